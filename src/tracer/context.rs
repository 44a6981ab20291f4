//! `traceparent` as it came (W3C Trace Context, section 3.2).

use http::HeaderMap;
use opentelemetry::trace::{SpanId, TraceId};

/// Where a request comes from in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) sampled: bool,
}

impl Parent {
    /// What these headers say; `None` if that is nothing, or not one thing.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(super::TRACEPARENT).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        parse(value.as_bytes())
    }
}

fn parse(value: &[u8]) -> Option<Parent> {
    let (known, rest) = value.split_at_checked(55)?;
    let mut parts = known.split(|byte| *byte == b'-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version = hex::<1>(version)?;
    // Version 255 is no version; a later one may have more to say, behind a dash.
    let fits = match version {
        [0] => rest.is_empty(),
        [255] => false,
        [_] => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    let (trace, span, [flags]) = (hex::<16>(trace)?, hex::<8>(span)?, hex::<1>(flags)?);
    let parent = Parent {
        trace: TraceId::from_bytes(trace),
        span: SpanId::from_bytes(span),
        sampled: flags & 1 == 1,
    };
    let real = parent.trace != TraceId::INVALID && parent.span != SpanId::INVALID;
    (fits && real).then_some(parent)
}

/// So many bytes in lower-case hex.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_parent_is_taken_from_one_value_that_is_what_the_standard_says() {
        let parent = parse(GOOD.as_bytes()).unwrap();
        assert_eq!(parent.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span.to_string(), "b7ad6b7169203331");
        assert!(parent.sampled);
        let unsampled = GOOD.replace("-01", "-02");
        assert!(!parse(unsampled.as_bytes()).unwrap().sampled);
        let later = format!("{}-more", GOOD.replacen("00", "cc", 1));
        assert!(parse(later.as_bytes()).is_some());

        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}-more"),
            &format!("{GOOD} "),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replace("b7ad", "b7-d"),
            &GOOD.replace("-01", "-0g"),
            &GOOD.replace('-', "_"),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        let mut two = HeaderMap::new();
        two.append(crate::tracer::TRACEPARENT, GOOD.parse().unwrap());
        assert!(Parent::of(&two).is_some());
        two.append(crate::tracer::TRACEPARENT, GOOD.parse().unwrap());
        assert_eq!(Parent::of(&two), None);
    }
}
