//! Names for requests, so that a client, the gateway and an upstream can speak of the same one.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header in which a trusted proxy hands us its own id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken over from a trusted proxy.
const MAX_LENGTH: usize = 128;

/// Makes ids that no other worker or process makes: 64 random bits chosen at start, then a count. They are names, not
/// secrets.
#[derive(Debug)]
pub struct RequestIds {
    /// 16 digits of the worker, then room for 16 of the count.
    worker: [u8; 32],
    next: AtomicU64,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Default for RequestIds {
    fn default() -> Self {
        let mut random = [0_u8; 16];
        // Without random bytes ids of two workers could be the same; that misleads, but endangers nothing.
        aws_lc_rs::rand::fill(&mut random).ok();
        let mut worker = [b'0'; 32];
        for (digit, byte) in worker.iter_mut().zip(random) {
            *digit = HEX.get(usize::from(byte & 15)).copied().unwrap_or(b'0');
        }
        Self {
            worker,
            next: AtomicU64::new(0),
        }
    }
}

impl RequestIds {
    /// The id of a request: the one a trusted proxy gave it, or a new one of 32 hex digits.
    pub fn of(&self, headers: &HeaderMap, trusted: bool) -> HeaderValue {
        let given = || {
            let mut values = headers.get_all(X_REQUEST_ID).iter();
            values
                .next()
                .filter(|value| values.next().is_none() && fits(value.as_bytes()))
                .cloned()
        };
        if trusted && let Some(given) = given() {
            return given;
        }
        self.next()
    }

    fn next(&self) -> HeaderValue {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut hex = self.worker;
        let digits = hex.iter_mut().rev().zip((0..64).step_by(4));
        for (digit, shift) in digits {
            *digit = HEX
                .get((count >> shift) as usize & 15)
                .copied()
                .unwrap_or(b'0');
        }
        HeaderValue::from_bytes(&hex).expect("hex digits are a header value")
    }
}

fn fits(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_only_a_trusted_proxy_may_give_one() {
        let (ids, mut headers) = (RequestIds::default(), HeaderMap::new());
        headers.insert(X_REQUEST_ID, HeaderValue::from_static("abc-1"));

        assert_eq!(ids.of(&headers, true), "abc-1");
        let (first, second) = (ids.of(&headers, false), ids.of(&headers, false));
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
        assert!(
            first
                .to_str()
                .unwrap()
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
        );
    }

    #[test]
    fn an_id_that_could_spoil_a_log_is_replaced() {
        let ids = RequestIds::default();
        let long = "a".repeat(129);

        for bad in ["", "a b", "a\"b", &long] {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(bad).unwrap());
            assert_eq!(ids.of(&headers, true).len(), 32, "{bad:?}");
        }
        let mut twice = HeaderMap::new();
        twice.append(X_REQUEST_ID, HeaderValue::from_static("a"));
        twice.append(X_REQUEST_ID, HeaderValue::from_static("b"));
        assert_eq!(ids.of(&twice, true).len(), 32);
    }
}
