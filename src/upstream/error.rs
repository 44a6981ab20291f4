//! Why there is no answer from upstream, and whose fault it is.

use std::error::Error as StdError;
use std::io;

use super::wire::WireError;
use crate::body::{BodyError, BodyTooLarge, ClientGone, ClientSlow};

/// Why there is no answer from upstream.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No endpoint accepted a connection. 502.
    #[error("cannot connect to the upstream")]
    Connect(#[source] io::Error),
    /// No connection within `timeouts.connect`. 504.
    #[error("no connection to the upstream within the connect timeout")]
    ConnectTimeout,
    /// No head of an answer within `timeouts.response`. 504.
    #[error("no answer from the upstream within the response timeout")]
    ResponseTimeout,
    /// No whole answer within `timeouts.total`. 504.
    #[error("no answer from the upstream within the total timeout")]
    TotalTimeout,
    /// As many requests are under way as may be, and no more may wait, or not for longer. 503.
    #[error("the upstream has as many requests as it may have")]
    Busy,
    /// While it waited for the upstream it lost its permit; nothing was sent. Whoever judged it knows why.
    #[error("the request may not be sent any more")]
    Withdrawn,
    /// It closed the connection or did not speak the protocol. 502.
    #[error("the upstream broke off or broke the protocol")]
    Broken(#[source] WireError),
    /// It switched to a protocol that was not asked for. 502.
    #[error("the upstream switched to a protocol that was not asked for")]
    WrongUpgrade,
    /// The client's body was larger than the route allows. 413.
    #[error("the request body is larger than the route allows")]
    BodyTooLarge,
    /// The client's body broke off or stalled. 400.
    #[error("the client broke off its request body")]
    ClientBody,
    /// The client's body came too slowly. 408.
    #[error("the client sent its request body too slowly")]
    ClientSlow,
}

/// Whose fault it is that a request could not be sent to its end.
pub(super) fn whose_fault(error: BodyError) -> UpstreamError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error.as_ref());
    while let Some(found) = cause {
        if found.is::<BodyTooLarge>() {
            return UpstreamError::BodyTooLarge;
        }
        if found.is::<ClientSlow>() {
            return UpstreamError::ClientSlow;
        }
        if found.is::<ClientGone>() {
            return UpstreamError::ClientBody;
        }
        cause = found.source();
    }
    UpstreamError::Broken(io::Error::other(error).into())
}
