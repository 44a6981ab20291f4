//! Which refusals the log tells of.

use http::HeaderValue;

use crate::refusal::Refusal;

/// Outages are for the operator; everything else is the client's own doing and belongs into the access log.
pub(super) fn log_refusal(refusal: &Refusal, id: &HeaderValue) {
    let code = refusal.code();
    let id = id.to_str().unwrap_or_default();
    match refusal {
        Refusal::Store(_)
        | Refusal::Uncounted(_)
        | Refusal::Upstream(_)
        | Refusal::Header(_)
        | Refusal::Login(_)
        | Refusal::Oidc(_) => {
            let error: &dyn std::error::Error = refusal;
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::debug!(id, code, %refusal, cause, "a request could not be served");
        }
        Refusal::Head(_)
        | Refusal::Inquiry(_)
        | Refusal::Misdirected
        | Refusal::Overloaded
        | Refusal::Route(_)
        | Refusal::UpgradeWithBody
        | Refusal::TooMany(_)
        | Refusal::Slowed(_)
        | Refusal::Token(_)
        | Refusal::Denied(_)
        | Refusal::Body(_)
        | Refusal::Forged(_)
        | Refusal::Refresh(_)
        | Refusal::Unserved(_) => tracing::trace!(id, code, %refusal, "refused"),
    }
}
