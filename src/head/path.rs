//! The one form of a path. What is routed, judged, logged and sent upstream is this and nothing else.
//!
//! # The rule
//! | in the path | what becomes of it | why |
//! |---|---|---|
//! | `%41`, `%7e`: an escape of a letter, a digit, `-`, `.`, `_`, `~` | decoded | RFC 3986 section 6.2.2.2: it means the same |
//! | any other escape, `%3b`, `%c3%a9` | kept, in capitals | section 6.2.2.1; upstreams may tell them apart |
//! | `.` and `..` segments, also as `%2e`, `.%2E` | 400 | who resolves them differs, and so does what they lead to |
//! | `//`, anywhere | 400 | some upstreams merge them, others read a host out of them |
//! | `%2f`, `%5c`, `\` | 400 | a slash to some |
//! | `;`, as in `/..;/` or `/a;x=1`; `%3b` behind `.` or `..` | 400 | path parameters: cut off by some (Tomcat) before they resolve dots |
//! | `%00` to `%1f`, `%7f` | 400 | end or tear a text |
//! | `%`, `%4`, `%zz`, `%u002e` | 400 | no escape |
//! | escapes that are not UTF-8, such as `%c0%af` | 400 | overlong forms of `/` and `.` |
//! | bytes above `0x7e` and blanks, not escaped | 400 | RFC 3986 section 2 |
//! | `#` | 400 over HTTP/1.1; over HTTP/2 the library cuts it off with what follows, for all that look at it | no part of a target |
//! | `%252e` | kept: it is `%25` and `2e` | nothing is ever decoded twice |
//! | `/a/`, `/a.`, `/a%20`, `/A` | kept: other paths than `/a` | upper and lower case differ (section 6.2.2.1) |
//!
//! The query is no part of it: no rule looks at it, and it goes on byte for byte.

use std::borrow::Cow;

use super::HeadError;

/// The one form of a path: escapes of unreserved characters (RFC 3986 section 2.3) are decoded, the others are kept in
/// capitals. Borrowed where nothing had to change.
///
/// # Errors
/// [`HeadError::Target`] and [`HeadError::Path`].
pub fn canonical_path(path: &str) -> Result<Cow<'_, str>, HeadError> {
    if !path.starts_with('/') {
        return Err(HeadError::Target);
    }
    let plain = |byte: u8| (0x21..0x7f).contains(&byte) && !b"\\;#?".contains(&byte);
    if !path.bytes().all(plain) {
        return Err(HeadError::Path);
    }
    let canonical = if path.contains('%') {
        Cow::Owned(decode(path)?)
    } else {
        Cow::Borrowed(path)
    };
    let mut segments = canonical
        .strip_prefix('/')
        .unwrap_or_default()
        .split('/')
        .peekable();
    while let Some(segment) = segments.next() {
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        let name = segment.split("%3B").next();
        if empty_inside || name == Some(".") || name == Some("..") {
            return Err(HeadError::Path);
        }
    }
    Ok(match canonical {
        Cow::Owned(decoded) if decoded == path => Cow::Borrowed(path),
        Cow::Owned(changed) => Cow::Owned(changed),
        Cow::Borrowed(same) => Cow::Borrowed(same),
    })
}

fn decode(path: &str) -> Result<String, HeadError> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(char::from(byte));
            continue;
        }
        let hex = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
            return Err(HeadError::Path);
        };
        let code = u8::try_from(high * 16 + low).expect("two hex digits are one byte");
        if code < 0x20 || code == 0x7f || code == b'/' || code == b'\\' {
            return Err(HeadError::Path);
        }
        if code.is_ascii_alphanumeric() || b"-._~".contains(&code) {
            out.push(char::from(code));
        } else {
            out.push('%');
            out.extend(
                [high, low]
                    .into_iter()
                    .filter_map(|digit| char::from_digit(digit, 16))
                    .map(|c| c.to_ascii_uppercase()),
            );
        }
    }
    // Overlong forms of `/` and `.` are not UTF-8; a decoder further back that is lax about it must not see them.
    let whole: Vec<u8> = percent_encoding::percent_decode_str(&out).collect();
    std::str::from_utf8(&whole).map_err(|_| HeadError::Path)?;
    Ok(out)
}
