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
use crate::config::Timeouts;

/// How long is waited for one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) connect: Duration,
    pub(super) response: Duration,
    pub(super) idle: Duration,
    /// When all of it has to have ended.
    pub(super) end: Option<Instant>,
}

impl Waits {
    pub(super) fn new(timeouts: Timeouts, began: Instant) -> Self {
        let total = timeouts.total.map(|total| total.get());
        Self {
            connect: timeouts.connect.get(),
            response: timeouts.response.get(),
            idle: timeouts.idle.get(),
            end: total.map(|total| deadline::later(began, total)),
        }
    }

    /// This deadline, or the end of all if that is earlier.
    pub(super) fn by(&self, deadline: Instant) -> Instant {
        self.end.map_or(deadline, |end| end.min(deadline))
    }

    /// What it means that the deadline has passed.
    pub(super) fn late(&self) -> UpstreamError {
        match self.end {
            Some(end) if end <= Instant::now() => UpstreamError::TotalTimeout,
            Some(_) | None => UpstreamError::ResponseTimeout,
        }
    }
}

/// Why there is no answer, and what follows from it.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) error: UpstreamError,
    /// Whether the request may be sent again.
    pub(super) again: Again,
    /// Whether the endpoint has failed, rather than the client, or a connection that had been idle for too long.
    pub(super) blame: bool,
}

/// Whether a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Not one byte of it has left.
    Unsent,
    /// It makes no difference if it is carried out twice.
    Repeatable,
    /// It may have been carried out.
    No,
}

impl Lost {
    /// The client's own doing, or its time is over.
    pub(super) fn for_good(error: UpstreamError, blame: bool) -> Self {
        Self {
            error,
            again: Again::No,
            blame,
        }
    }
}

/// Sends the request and waits for the head of the answer, at most `waits.response` from the moment when the upstream took
/// the last piece of the request. Time in which the client is waited for does not count: the client's body has a deadline
/// of its own.
///
/// # Errors
/// [`Lost`]: there is no answer.
pub(super) fn ask<'a>(
    mut connection: Connection,
    upload: &'a mut Upload,
    began: Instant,
    waits: &'a Waits,
) -> impl Future<Output = Result<(Connection, Answer), Lost>> + Send + use<'a> {
    let progress = upload.body().progress();
    let sent = deadline::later(began, waits.response);
    connection.wire.begin();
    async move {
        let answered = poll_fn(|cx| {
            if let Poll::Ready(answered) = poll_exchange(cx, &mut connection, upload) {
                return Poll::Ready(answered);
            }
            let due = || waits.by(response_deadline(progress.as_deref(), sent, waits.response));
            loop {
                let deadline = due();
                ready!(connection.timer.poll(cx, deadline));
                if due() <= deadline {
                    return Poll::Ready(Err(Failed::Late));
                }
            }
        })
        .await;
        match answered {
            Ok(answer) => Ok((connection, answer)),
            Err(Failed::Late) => Err(Lost::for_good(waits.late(), true)),
            Err(Failed::Body(error)) => Err(Lost::for_good(whose_fault(error), false)),
            Err(Failed::Wire(error)) => Err(lost(&connection, upload, error)),
        }
    }
}

/// The connection is of no use any more. What had been idle is closed by an upstream at any moment, also at the one when it
/// is used (RFC 9112 section 9.3.1).
fn lost(connection: &Connection, upload: &mut Upload, error: WireError) -> Lost {
    let unheard = closed(&error) && !connection.wire.heard();
    let again = match (unheard, upload.is_touched()) {
        (true, false) => Again::Unsent,
        (true, true) if upload.is_repeatable() => Again::Repeatable,
        (true | false, _) => Again::No,
    };
    if again != Again::No {
        upload.rewind();
    }
    Lost {
        error: UpstreamError::Broken(error),
        again,
        blame: !(unheard && connection.used),
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
pub(super) fn response_deadline(
    progress: Option<&Progress>,
    sent: Instant,
    wait: Duration,
) -> Instant {
    match progress.map(Progress::last) {
        None => sent,
        Some(Some(last)) => sent.max(deadline::later(last, wait)),
        Some(None) => deadline::after(wait),
    }
}
