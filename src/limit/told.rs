//! What clients are told of limits: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Meter, Metered};

const STATE: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The two fields in the making; empty if there is nothing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    state: String,
    policy: String,
}

impl Told {
    /// One more limit. The quota is the whole bucket, the window is the time in which it is refilled, and a request more
    /// is never refused to a client that believes both.
    pub(super) fn add(&mut self, name: &str, meter: Meter, metered: Metered) {
        for field in [&mut self.state, &mut self.policy] {
            if !field.is_empty() {
                field.push_str(", ");
            }
        }
        let (state, policy) = (&mut self.state, &mut self.policy);
        let (left, full_in) = (metered.remaining, seconds(metered.full_in));
        let (quota, window) = (meter.burst(), seconds(meter.fills_in()).max(1));
        let fine = "writing to a string cannot fail";
        write!(state, "\"{name}\";r={left};t={full_in}").expect(fine);
        write!(policy, "\"{name}\";q={quota};w={window}").expect(fine);
    }

    /// Writes the fields. Where an answer has them already they are its upstream's own words on its own quotas, and stay.
    pub fn write(self, headers: &mut HeaderMap) {
        if self.state.is_empty() || headers.contains_key(STATE) || headers.contains_key(POLICY) {
            return;
        }
        for (name, text) in [(STATE, self.state), (POLICY, self.policy)] {
            let value = HeaderValue::try_from(text).expect("names of limits are plain ASCII");
            headers.insert(name, value);
        }
    }
}

/// In whole seconds, rounded up: whoever waits so long has waited long enough.
pub fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
