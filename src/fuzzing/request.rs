//! Heads of HTTP/1.1 requests.

use http::Request;

use crate::config::Limits;
use crate::head::{Head, HeadError, HeadLimits, canonical_host, canonical_path};
use crate::server::fuzzing::{Reading, read_head};

/// Which heads are let in.
pub(super) fn limits() -> HeadLimits {
    HeadLimits::new(&Limits::default())
}

/// A whole request that nobody objects to.
pub(super) fn let_in(bytes: &[u8]) -> Option<(Request<()>, Head, usize)> {
    let reading = read_head(bytes, &limits()).ok()??;
    if reading.fault.is_some() {
        return None;
    }
    let (parts, ()) = reading.request.into_parts();
    let head = Head::check(&parts, &limits()).ok()?;
    Some((Request::from_parts(parts, ()), head, reading.length))
}

/// What is let in is in its one form, and names one host.
pub fn head(bytes: &[u8]) {
    let Some((request, head, length)) = let_in(bytes) else {
        return;
    };
    let (parts, ()) = request.into_parts();
    let path = head.path(&parts);
    assert_eq!(canonical_path(path).as_deref(), Ok(path));
    assert_eq!(canonical_host(head.host()).as_deref(), Some(head.host()));
    let (text, _) = bytes.split_at(length);
    assert!(text.ends_with(b"\r\n\r\n"));
    let lines = memchr::memchr_iter(b'\n', text).count();
    let before = usize::from(text.starts_with(b"\r\n"));
    assert_eq!(
        lines,
        parts.headers.len() + before + 2,
        "a line that is no field"
    );
    assert!(
        parts
            .headers
            .iter()
            .all(|(_, value)| { !value.as_bytes().iter().any(|byte| b"\r\n\0".contains(byte)) })
    );
}

/// A head says the same however the network cuts it, and whatever follows it.
pub fn layout(bytes: &[u8]) {
    let limits = limits();
    let Ok(Some(whole)) = read_head(bytes, &limits) else {
        return;
    };
    let (head, _) = bytes.split_at(whole.length);
    for cut in 0..head.len() {
        let (begun, _) = head.split_at(cut);
        let reading = read_head(begun, &limits);
        assert!(matches!(reading, Ok(None)), "{cut} of {}", head.len());
    }
    assert_eq!(text(&read_head(head, &limits)), text(&Ok(Some(whole))));
}

fn text(reading: &Result<Option<Reading>, HeadError>) -> String {
    format!("{reading:?}")
}
