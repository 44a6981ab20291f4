//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::exchange::Waits;
use super::pool::Connection;
use super::wire::{Decoded, Decoder, Upload, UploadError, WireError};
use crate::body::{Body, BodyError};
use crate::deadline;

/// Where the body of an answer comes from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) connection: Connection,
    pub(super) decoder: Decoder,
    /// Whether the connection may carry another request afterwards.
    pub(super) keeps: bool,
    /// The request, if it was answered before all of it was sent.
    pub(super) upload: Option<Box<Upload>>,
    /// Longest wait for a piece, and for all of them.
    pub(super) waits: Waits,
}

/// The body of an answer, whose connection goes home once the body has ended.
///
/// A body that is there as a whole already is taken as a whole, which frees the connection at once.
///
/// # Errors
/// If the framing is found to be broken before the answer has been handed on.
pub(super) fn body(mut source: Source, now: Instant) -> Result<Body, WireError> {
    let first = source.connection.wire.decode(&mut source.decoder)?;
    let whole = match &first {
        Some(Decoded::End) => true,
        Some(Decoded::Data(_)) => source.is_at_end()?,
        Some(Decoded::Trailers(_)) | None => false,
    };
    if !whole {
        return Ok(Body::stream(Reply {
            first,
            source: Some(source),
            stalls_at: None,
            fresh: true,
            broken: None,
        }));
    }
    source.end(now);
    Ok(match first {
        Some(Decoded::Data(data)) => Body::text(data),
        Some(Decoded::Trailers(_) | Decoded::End) | None => Body::Empty,
    })
}

impl Source {
    fn is_at_end(&mut self) -> Result<bool, WireError> {
        self.connection.wire.is_at_end(&mut self.decoder)
    }

    fn end(self, now: Instant) {
        if self.keeps {
            self.connection.go_home(now);
        }
    }

    /// Sends what is left of the request while the answer is read.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        match self.connection.wire.poll_send(cx, upload) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Err(UploadError::Body(error))) => return Err(error),
            // An upstream that has answered need not read the rest.
            Poll::Ready(Ok(()) | Err(UploadError::Io(_))) => {}
        }
        self.upload = None;
        Ok(())
    }
}

/// The body of an answer while it streams. Dropped before its end, it takes the connection with it.
#[derive(Debug)]
struct Reply {
    first: Option<Decoded>,
    /// `None` once it has ended.
    source: Option<Source>,
    /// Set while the upstream is waited for.
    stalls_at: Option<Instant>,
    /// Whether a part was handed on since there was last nothing to hand on.
    fresh: bool,
    /// An error that the parts before it have to be ahead of.
    broken: Option<BodyError>,
}

/// The upstream sent nothing for as long as the route's `timeouts.idle`.
#[derive(Debug, thiserror::Error)]
#[error("the upstream stalled within its answer")]
pub(super) struct Stalled;

/// The route's `timeouts.total` was over.
#[derive(Debug, thiserror::Error)]
#[error("the answer takes longer than the total timeout")]
pub(super) struct CutShort;

impl Reply {
    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyError>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(Ok(Decoded::End));
        };
        source.poll_upload(cx)?;
        if let Some(first) = self.first.take() {
            return Poll::Ready(Ok(first));
        }
        let wire = &mut source.connection.wire;
        if let Poll::Ready(decoded) = wire.poll_body(cx, &mut source.decoder) {
            self.stalls_at = None;
            return Poll::Ready(decoded.map_err(BodyError::from));
        }
        let (idle, end) = (source.waits.idle, source.waits.end);
        let stalls_at = *self.stalls_at.get_or_insert_with(|| deadline::after(idle));
        let deadline = source.waits.by(stalls_at);
        ready!(source.connection.timer.poll(cx, deadline));
        Poll::Ready(Err(match end {
            Some(end) if end <= deadline => CutShort.into(),
            Some(_) | None => Stalled.into(),
        }))
    }
}

impl Reply {
    /// The next part; with the last one, or an error, the connection is given up or goes home.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Decoded, BodyError>> {
        let decoded = ready!(self.poll_decoded(cx));
        let ended = match (&decoded, &mut self.source) {
            (Ok(Decoded::Data(_)), Some(source)) => source.is_at_end(),
            (Ok(_), _) | (_, None) => Ok(true),
            (Err(_), Some(_)) => Ok(false),
        };
        if let (Ok(_), Ok(false)) = (&decoded, &ended) {
            self.fresh = true;
            return Poll::Ready(decoded);
        }
        let source = self.source.take();
        let decoded = decoded.and_then(|decoded| ended.map(|_| decoded).map_err(BodyError::from));
        if let (Ok(_), Some(source)) = (&decoded, source) {
            source.end(Instant::now());
        }
        Poll::Ready(decoded)
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(broken) = this.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Poll::Ready(part) = this.poll_part(cx) else {
            this.fresh = false;
            return Poll::Pending;
        };
        match part {
            Ok(Decoded::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Ok(Decoded::Trailers(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(Decoded::End) => Poll::Ready(None),
            Err(broken) if this.fresh => {
                // Whoever writes the answer down gathers parts while they come, and drops them at an error.
                (this.broken, this.fresh) = (Some(broken), false);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(broken) => Poll::Ready(Some(Err(broken))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.first {
            Some(Decoded::Data(data)) => data.len() as u64,
            Some(Decoded::Trailers(_) | Decoded::End) | None => 0,
        };
        let left = match &self.source {
            None => Some(0),
            Some(source) => source.decoder.left(),
        };
        match left {
            Some(left) => SizeHint::with_exact(left.saturating_add(first)),
            None => SizeHint::default(),
        }
    }
}
