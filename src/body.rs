//! What streams through: a client's body on its way up, an upstream's on its way down, or a short text of our own.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Any error that a body can end with.
pub type BodyError = Box<dyn StdError + Send + Sync>;

/// A body in either direction.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// A short text of our own.
    Text(Option<Bytes>),
    /// Something that streams.
    Stream(Pin<Box<dyn Stream>>),
}

/// A body that streams, and can be printed while debugging.
pub trait Stream: HttpBody<Data = Bytes, Error = BodyError> + Send + std::fmt::Debug {}

impl<T: HttpBody<Data = Bytes, Error = BodyError> + Send + std::fmt::Debug> Stream for T {}

impl Body {
    /// A short text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self::Text(Some(text.into()))
    }

    /// Something that streams.
    pub fn stream(stream: impl Stream + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Text(text) => text.is_none(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Text(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

/// The client sent more than the route's `max_body`. Found in a chain of causes, it means 413.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body is larger than the route's max_body")]
pub struct BodyTooLarge;
