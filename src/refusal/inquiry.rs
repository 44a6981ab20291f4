//! Words for proxies that ask, and may not or not so.

use http::StatusCode;

use super::{Answer, answer};
use crate::inquiry::InquiryError;

pub(super) fn answer_to(error: InquiryError) -> Answer {
    let unusable = |detail| answer(StatusCode::BAD_REQUEST, "inquiry_unusable", detail);
    match error {
        InquiryError::Stranger => answer(
            StatusCode::FORBIDDEN,
            "inquiry_refused",
            "Nobody may ask from this address.",
        ),
        InquiryError::Missing(_) => unusable("The proxy does not tell what request it asks about."),
        InquiryError::Twice(_) => unusable("The proxy tells of two requests at once."),
        InquiryError::Unusable(_) => {
            unusable("The request that the proxy asks about cannot be understood.")
        }
    }
}
