//! One request over one connection, up to the head of the answer.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::error::whose_fault;
use super::pool::Connection;
use super::wire::{Answer, Upload, UploadError, WireError};
use super::{UpstreamError, deadline};
use crate::body::Progress;

/// What came of sending a request: the head of an answer, or why the connection was of no use. The request may be sent
/// again then.
pub(super) type Asked = Result<(Connection, Answer), WireError>;

/// Sends the request and waits for the head of the answer, at most `wait` from the moment when the upstream took the
/// last piece of the request. Time in which the client is waited for does not count: the client's body has a deadline of
/// its own.
///
/// # Errors
/// If there is no answer, and the request must not be sent again.
pub(super) async fn ask(
    mut connection: Connection,
    upload: &mut Upload,
    began: Instant,
    wait: Duration,
) -> Result<Asked, UpstreamError> {
    let progress = upload.body().progress();
    let sent = deadline::later(began, wait);
    connection.wire.begin();
    let answered = poll_fn(|cx| {
        if let Poll::Ready(answered) = poll_exchange(cx, &mut connection, upload) {
            return Poll::Ready(answered);
        }
        loop {
            let deadline = response_deadline(progress.as_deref(), sent, wait);
            ready!(connection.timer.poll(cx, deadline));
            if response_deadline(progress.as_deref(), sent, wait) <= deadline {
                return Poll::Ready(Err(Failed::Late));
            }
        }
    })
    .await;
    match answered {
        Ok(answer) => Ok(Ok((connection, answer))),
        Err(Failed::Late) => Err(UpstreamError::ResponseTimeout),
        Err(Failed::Body(error)) => Err(whose_fault(error)),
        Err(Failed::Wire(error)) => {
            let lost = closed(&error) && !connection.wire.heard();
            let again = !upload.is_touched() || (connection.used && upload.is_repeatable());
            if lost && again {
                upload.rewind();
                return Ok(Err(error));
            }
            Err(UpstreamError::Broken(error))
        }
    }
}

/// Why there is no answer.
enum Failed {
    Late,
    Body(crate::body::BodyError),
    Wire(WireError),
}

/// Sends and listens at the same time: an upstream may answer before it has read everything.
fn poll_exchange(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    upload: &mut Upload,
) -> Poll<Result<Answer, Failed>> {
    let wire = &mut connection.wire;
    let broken = match wire.poll_send(cx, upload) {
        Poll::Ready(Err(UploadError::Body(error))) => return Poll::Ready(Err(Failed::Body(error))),
        // It may have answered before it closed.
        Poll::Ready(Err(UploadError::Io(error))) => Some(error),
        Poll::Ready(Ok(())) | Poll::Pending => None,
    };
    match (wire.poll_answer(cx, upload.to_head()), broken) {
        (Poll::Ready(Ok(answer)), _) => Poll::Ready(Ok(answer)),
        (Poll::Ready(Err(_)) | Poll::Pending, Some(error)) => {
            Poll::Ready(Err(Failed::Wire(error.into())))
        }
        (Poll::Ready(Err(error)), None) => Poll::Ready(Err(Failed::Wire(error))),
        (Poll::Pending, None) => Poll::Pending,
    }
}

/// Whether the upstream has closed the connection, and not broken the protocol.
fn closed(error: &WireError) -> bool {
    match error {
        WireError::Closed => true,
        WireError::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        ),
        WireError::Head(_) | WireError::Framing(_) | WireError::TooLarge | WireError::Chunks(_) => {
            false
        }
    }
}

/// When the upstream is late, as things stand.
fn response_deadline(progress: Option<&Progress>, sent: Instant, wait: Duration) -> Instant {
    match progress.map(Progress::last) {
        None => sent,
        Some(Some(last)) => sent.max(deadline::later(last, wait)),
        Some(None) => deadline::after(wait),
    }
}
