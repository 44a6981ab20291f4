//! What is open only until something happens: a connection on the strength of a session, until that ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// The moment at which something open is to be cut.
pub struct Until(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Until {
    /// When this future is ready.
    pub fn new(event: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(event))
    }

    /// Ready when it is time.
    pub async fn come(&mut self) {
        self.0.as_mut().await;
    }
}

impl fmt::Debug for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Until(..)")
    }
}

/// The session that an answer was begun for has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session that this was sent for has ended")]
pub struct Cut;

/// This body, broken off at that moment, so that nobody takes it for whole.
pub fn cut_off(body: Body, until: Until) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::stream(CutOff { body, until })
}

#[derive(Debug)]
struct CutOff {
    body: Body,
    until: Until,
}

impl HttpBody for CutOff {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.until.0.as_mut().poll(cx).is_ready() {
            // It must not be asked again.
            this.until = Until::new(std::future::pending());
            this.body = Body::Empty;
            return Poll::Ready(Some(Err(Cut.into())));
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn body_is_broken_off_in_its_middle_and_left_alone_before() {
        let mut whole = cut_off(Body::text("whole"), Until::new(std::future::pending()));
        let piece = whole.frame().await.unwrap().unwrap();
        assert_eq!(piece.into_data().unwrap(), "whole");
        assert!(whole.frame().await.is_none());
        assert!(cut_off(Body::Empty, Until::new(async {})).is_end_stream());

        let (end, ended) = oneshot::channel::<()>();
        let until = Until::new(async {
            ended.await.ok();
        });
        let mut body = cut_off(Body::text("never"), until);
        drop(end);

        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.is::<Cut>());
        assert!(body.frame().await.is_none());
    }
}
