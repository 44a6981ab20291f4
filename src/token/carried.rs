//! Bearer tokens and cookies in the headers that carry them.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};
use memchr::memmem;

/// What follows `Bearer ` (any case, RFC 9110 section 11.1). Other schemes are somebody else's.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match rest {
        [b' ', token @ ..] => Some(token),
        [] => Some(rest),
        _ => None,
    }
}

pub(super) fn remove_bearer(headers: &mut HeaderMap) {
    let mut others = Vec::new();
    let mut ours = false;
    for value in headers.get_all(AUTHORIZATION) {
        match bearer(value.as_bytes()) {
            Some(_) => ours = true,
            None => others.push(value.clone()),
        }
    }
    if !ours {
        return;
    }
    headers.remove(AUTHORIZATION);
    for other in others {
        headers.append(AUTHORIZATION, other);
    }
}

/// The pairs of a cookie line. Each keeps the blanks around it.
pub(super) fn cookies(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';')
}

/// The value of this pair, if it is the cookie of that name. Blanks around name and value do not belong to them.
pub(super) fn cookie_value<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = memchr::memchr(b'=', pair)?;
    let (left, right) = pair.split_at_checked(equals)?;
    (left.trim_ascii() == name.as_bytes()).then(|| right.get(1..).unwrap_or_default().trim_ascii())
}

pub(super) fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    let ours = |line: &[u8]| cookies(line).any(|pair| cookie_value(pair, name).is_some());
    let mentions = |line: &[u8]| memmem::find(line, name.as_bytes()).is_some();
    if !headers
        .get_all(COOKIE)
        .iter()
        .any(|line| mentions(line.as_bytes()) && ours(line.as_bytes()))
    {
        return;
    }
    let lines: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for line in lines {
        if !ours(line.as_bytes()) {
            headers.append(COOKIE, line);
            continue;
        }
        let rest = without_cookie(line.as_bytes(), name);
        if let (false, Ok(value)) = (rest.is_empty(), http::HeaderValue::from_bytes(&rest)) {
            headers.append(COOKIE, value);
        }
    }
}

/// The line without our pairs and without the one `; ` that each of them no longer needs.
fn without_cookie(line: &[u8], name: &str) -> Vec<u8> {
    let kept: Vec<&[u8]> = cookies(line)
        .filter(|pair| cookie_value(pair, name).is_none())
        .collect();
    let joined = kept.join(&b';');
    let first_kept = cookies(line)
        .next()
        .is_some_and(|pair| cookie_value(pair, name).is_none());
    if first_kept {
        joined
    } else {
        joined.trim_ascii_start().to_vec()
    }
}
