//! The body of an answer over HTTP/2 on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::Answer;
use super::load::Held;
use crate::body::{Body, BodyError, Progress};
use crate::deadline::{self, LazyTimer};
use crate::headers;
use crate::upstream::exchange::Waits;
use crate::upstream::pool::Stay;
use crate::upstream::reply::{CutShort, Stalled};

/// The answer for the client: no field that is bound to a connection, its body still streaming.
pub(super) fn of(
    answer: Answer,
    (held, progress): (Arc<Held>, Option<Arc<Progress>>),
    stay: Stay,
    waits: Waits,
) -> Response<Body> {
    let (mut parts, incoming) = answer.into_parts();
    strip(&mut parts.headers);
    let body = if incoming.is_end_stream() {
        Body::Empty
    } else {
        if let Some(progress) = &progress {
            progress.talk();
        }
        Body::stream(Reply {
            incoming,
            progress,
            waits,
            timer: LazyTimer::default(),
            stalls_at: None,
            _held: held,
            _stay: stay,
        })
    };
    Response::from_parts(parts, body)
}

/// An endpoint must not send such fields (RFC 9113 section 8.2.2); one that does is not believed.
fn strip(fields: &mut HeaderMap) {
    let barred = |name: &&HeaderName| headers::is_hop_by_hop(name.as_str());
    while let Some(name) = fields.keys().find(barred).cloned() {
        fields.remove(name);
    }
}

/// The body of an answer while it streams. Dropped before its end, it resets its stream.
#[derive(Debug)]
struct Reply {
    incoming: Incoming,
    /// How far the request has come, which may still be on its way.
    progress: Option<Arc<Progress>>,
    waits: Waits,
    timer: LazyTimer,
    /// Set while the upstream is waited for.
    stalls_at: Option<Instant>,
    _held: Arc<Held>,
    _stay: Stay,
}

impl Reply {
    /// Ready once the upstream has been waited for in vain.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let idle = self.waits.idle;
        let stalls_at = *self.stalls_at.get_or_insert_with(|| deadline::after(idle));
        loop {
            // In a conversation the client may be the one who speaks.
            let moved = self.progress.as_ref().map(|progress| progress.moved());
            let moved = moved.map_or(stalls_at, |moved| deadline::later(moved, idle));
            let deadline = self.waits.by(stalls_at.max(moved));
            ready!(self.timer.poll(cx, deadline));
            if self.waits.end.is_some_and(|end| end <= deadline) {
                return Poll::Ready(CutShort.into());
            }
            if stalls_at.max(moved) <= Instant::now() {
                return Poll::Ready(Stalled.into());
            }
        }
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
        let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) else {
            let failed = ready!(this.poll_patience(cx));
            return Poll::Ready(Some(Err(failed)));
        };
        this.stalls_at = None;
        Poll::Ready(frame.map(|frame| {
            let mut frame = frame?;
            if let Some(trailers) = frame.trailers_mut() {
                strip(trailers);
            }
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
