//! How a part of a session becomes the value of a header.

use http::HeaderValue;

use super::HeaderError;
use crate::config::Encoding;

/// One text.
pub(super) fn single(text: &str, rule: ValueRule) -> Result<HeaderValue, HeaderError> {
    if text.is_empty() {
        return Ok(HeaderValue::from_static(""));
    }
    let mut out = String::with_capacity(text.len());
    encode(&mut out, text, rule.encoding, false)?;
    rule.finish(out)
}

/// Several texts, joined with commas; a comma inside one is encoded, so splitting at commas gives them back.
pub(super) fn joined(texts: &[String], rule: ValueRule) -> Result<HeaderValue, HeaderError> {
    if texts.is_empty() {
        return Ok(HeaderValue::from_static(""));
    }
    let mut out = String::with_capacity(texts.iter().map(|text| text.len() + 1).sum());
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        encode(&mut out, text, rule.encoding, true)?;
    }
    rule.finish(out)
}

/// What a value may look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueRule {
    pub(super) encoding: Encoding,
    pub(super) max_length: usize,
}

impl ValueRule {
    fn finish(self, text: String) -> Result<HeaderValue, HeaderError> {
        if text.len() > self.max_length {
            return Err(HeaderError::TooLong);
        }
        HeaderValue::try_from(text).map_err(|_| HeaderError::Unencodable)
    }
}

fn encode(
    out: &mut String,
    text: &str,
    encoding: Encoding,
    in_list: bool,
) -> Result<(), HeaderError> {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'%' && !(in_list && byte == b',');
    if text.bytes().all(plain) {
        out.push_str(text);
        return Ok(());
    }
    if encoding == Encoding::Refuse {
        // `%` needs no encoding where nothing is encoded.
        let fits = text.bytes().all(|byte| plain(byte) || byte == b'%');
        out.push_str(text);
        return if fits {
            Ok(())
        } else {
            Err(HeaderError::Unencodable)
        };
    }
    for byte in text.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(
                    char::from_digit(nibble.into(), 16)
                        .expect("a nibble is one hex digit")
                        .to_ascii_uppercase(),
                );
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERCENT: ValueRule = ValueRule {
        encoding: Encoding::Percent,
        max_length: 64,
    };
    const REFUSE: ValueRule = ValueRule {
        encoding: Encoding::Refuse,
        max_length: 64,
    };

    #[test]
    fn what_a_header_cannot_carry_is_percent_encoded_or_refused() {
        let cases = [
            ("alice", "alice", true),
            ("", "", true),
            ("a,b", "a,b", true),
            ("50%", "50%25", true),
            (
                "bob\r\nX-User-Roles: admin",
                "bob%0D%0AX-User-Roles:%20admin",
                false,
            ),
            ("nul\0", "nul%00", false),
            ("é", "%C3%A9", false),
            (" padded", "%20padded", false),
        ];

        for (text, encoded, plain) in cases {
            assert_eq!(single(text, PERCENT).unwrap(), encoded, "{text:?}");
            assert_eq!(single(text, REFUSE).is_ok(), plain, "{text:?}");
        }
        assert_eq!(single("50%", REFUSE).unwrap(), "50%");
    }

    #[test]
    fn a_comma_inside_an_item_does_not_make_two() {
        let texts = ["a,b".to_owned(), "c".to_owned()];

        assert_eq!(joined(&texts, PERCENT).unwrap(), "a%2Cb,c");
        assert_eq!(joined(&texts, REFUSE), Err(HeaderError::Unencodable));
        assert_eq!(joined(&[], PERCENT).unwrap(), "");
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused_whole() {
        assert!(single(&"a".repeat(64), PERCENT).is_ok());
        assert_eq!(single(&"a".repeat(65), PERCENT), Err(HeaderError::TooLong));
        assert_eq!(single(&"é".repeat(11), PERCENT), Err(HeaderError::TooLong));
    }
}
