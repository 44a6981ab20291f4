//! How a part of a session becomes the value of a header.

use super::HeaderError;
use crate::config::{Encoding, IdentityField};
use crate::peer::ClientCertificate;
use crate::session::Session;

/// Writes one text.
pub(super) fn single(out: &mut Vec<u8>, text: &str, rule: ValueRule) -> Result<(), HeaderError> {
    let start = out.len();
    encode(out, text, rule.encoding, None)?;
    rule.holds(out, start)
}

/// Writes several texts, joined with this separator; one inside a text is encoded, so splitting gives the texts back.
fn joined(
    out: &mut Vec<u8>,
    texts: &[String],
    separator: u8,
    rule: ValueRule,
) -> Result<(), HeaderError> {
    let start = out.len();
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(separator);
        }
        encode(out, text, rule.encoding, Some(separator))?;
    }
    rule.holds(out, start)
}

/// Writes this part of a session; nothing, if the session does not have it.
pub(super) fn of(
    session: &Session,
    field: IdentityField,
    rule: ValueRule,
    out: &mut Vec<u8>,
) -> Result<(), HeaderError> {
    match field {
        IdentityField::UserId => single(out, &session.user_id, rule),
        IdentityField::Permissions => joined(out, &session.permissions, b',', rule),
        IdentityField::PermissionsPiped => joined(out, &session.permissions, b'|', rule),
        IdentityField::Roles => joined(out, &session.roles, b',', rule),
        IdentityField::RolesPiped => joined(out, &session.roles, b'|', rule),
        IdentityField::DeviceId => single(out, &session.device.id, rule),
        IdentityField::DeviceType => single(out, &session.device.kind, rule),
        IdentityField::DeviceName => single(out, &session.device.name, rule),
        IdentityField::ExpiresAt => {
            if let Some(end) = session.expires_at {
                out.extend_from_slice((end / 1000).to_string().as_bytes());
            }
            Ok(())
        }
        IdentityField::ActorId => match &session.extras.actor {
            Some(actor) => single(out, &actor.user_id, rule),
            None => Ok(()),
        },
        // These are no parts of a session.
        IdentityField::RequestId
        | IdentityField::CertSubject
        | IdentityField::CertSan
        | IdentityField::CertFingerprint
        | IdentityField::Route
        | IdentityField::Anonymous
        | IdentityField::Nothing => Ok(()),
    }
}

/// Writes this part of a client's certificate; nothing, if it has shown none.
pub(super) fn certificate(
    shown: Option<&ClientCertificate>,
    field: IdentityField,
    rule: ValueRule,
    out: &mut Vec<u8>,
) -> Result<(), HeaderError> {
    let Some(shown) = shown else {
        return Ok(());
    };
    if field == IdentityField::CertSan {
        return joined(out, &shown.alternative_names, b',', rule);
    }
    let text = match field == IdentityField::CertSubject {
        true => &shown.subject,
        false => &shown.fingerprint,
    };
    single(out, text, rule)
}

/// What a value may look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueRule {
    pub(super) encoding: Encoding,
    pub(super) max_length: usize,
}

impl ValueRule {
    fn holds(self, out: &[u8], start: usize) -> Result<(), HeaderError> {
        if out.len() - start > self.max_length {
            return Err(HeaderError::TooLong);
        }
        Ok(())
    }
}

/// Writes visible ASCII and nothing else, so that what is written is the value of a header and stays in its line.
fn encode(
    out: &mut Vec<u8>,
    text: &str,
    encoding: Encoding,
    separator: Option<u8>,
) -> Result<(), HeaderError> {
    // No text that is plain has a NUL.
    let separator = separator.unwrap_or(0);
    let plain = |byte: u8| byte.is_ascii_graphic() & (byte != b'%') & (byte != separator);
    // Without a way out in the middle it is done for many bytes at once.
    if text.bytes().fold(true, |so_far, byte| so_far & plain(byte)) {
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    if encoding == Encoding::Refuse {
        // `%` needs no encoding where nothing is encoded.
        let fits = text.bytes().all(|byte| plain(byte) || byte == b'%');
        if !fits {
            return Err(HeaderError::Unencodable);
        }
        out.extend_from_slice(text.as_bytes());
        return Ok(());
    }
    for byte in text.bytes() {
        if plain(byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            for nibble in [byte >> 4, byte & 15] {
                let digits = b"0123456789ABCDEF";
                out.extend(digits.get(usize::from(nibble)));
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

    fn single(text: &str, rule: ValueRule) -> Result<String, HeaderError> {
        let mut out = b"before".to_vec();
        super::single(&mut out, text, rule)?;
        Ok(String::from_utf8(out.split_off(6)).unwrap())
    }

    fn joined(texts: &[String], separator: u8, rule: ValueRule) -> Result<String, HeaderError> {
        let mut out = Vec::new();
        super::joined(&mut out, texts, separator, rule)?;
        Ok(String::from_utf8(out).unwrap())
    }

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
    fn a_separator_inside_an_item_does_not_make_two() {
        let texts = ["a,b|c".to_owned(), "d".to_owned()];

        assert_eq!(joined(&texts, b',', PERCENT).unwrap(), "a%2Cb|c,d");
        assert_eq!(joined(&texts, b'|', PERCENT).unwrap(), "a,b%7Cc|d");
        for separator in [b',', b'|'] {
            let refused = joined(&texts, separator, REFUSE);
            assert_eq!(refused, Err(HeaderError::Unencodable));
            assert_eq!(joined(&[], separator, PERCENT).unwrap(), "");
        }
    }

    #[test]
    fn a_value_beyond_the_limit_is_refused_whole() {
        assert!(single(&"a".repeat(64), PERCENT).is_ok());
        assert_eq!(single(&"a".repeat(65), PERCENT), Err(HeaderError::TooLong));
        assert_eq!(single(&"é".repeat(11), PERCENT), Err(HeaderError::TooLong));
    }
}
