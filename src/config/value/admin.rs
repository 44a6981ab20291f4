//! Words of the admin API: digests of keys, names in certificates.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::string_schema;

/// SHA-256 of an admin key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

impl TryFrom<String> for KeyDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // The text may be the key itself, written here by mistake, so none of it is shown.
        let wrong = "this is not the SHA-256 of a key; it is 64 hex digits, as `drawbridge admin-key` prints them";
        let mut digits = text.trim().chars().map(|digit| digit.to_digit(16));
        let mut bytes = [0_u8; 32];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(wrong.to_owned());
            };
            *byte = u8::try_from(high << 4 | low).unwrap_or_default();
        }
        match digits.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong.to_owned()),
        }
    }
}

string_schema!(
    KeyDigest,
    r"^\s*[0-9A-Fa-f]{64}\s*$",
    "SHA-256 in hex: 64 digits"
);

/// A name that stands in a client certificate, with its kind: `cn:`, `dns:` or `uri:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct CertificateName(String);

impl CertificateName {
    /// The kind, a colon, and the name; DNS names in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CertificateName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("cn" | "uri", name)) if !name.is_empty() => Ok(Self(text)),
            Some(("dns", name)) if !name.is_empty() => Ok(Self(text.to_ascii_lowercase())),
            _ => Err(format!(
                "`{text}` is not a name in a certificate; write \"cn:NAME\", \"dns:NAME\" or \"uri:URI\""
            )),
        }
    }
}

string_schema!(
    CertificateName,
    r"^(cn|dns|uri):.+$",
    "Name in a certificate: cn:NAME, dns:NAME or uri:URI"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_64_hex_digits_and_the_fault_does_not_repeat_what_may_be_a_key() {
        let good = KeyDigest::try_from("0fA0".repeat(16)).unwrap();
        assert_eq!(good.as_bytes()[..2], [0x0f, 0xa0]);

        let key = format!("dba_{}", "x".repeat(43));
        for bad in ["", "0f", &"0f".repeat(33), &"0g".repeat(32), &key] {
            let told = KeyDigest::try_from(bad.to_owned()).unwrap_err();
            assert!(told.contains("64 hex digits"), "{told}");
            assert!(bad.is_empty() || !told.contains(bad), "{told}");
        }
    }

    #[test]
    fn a_certificate_name_has_a_kind_and_dns_names_have_no_case() {
        let name = |text: &str| CertificateName::try_from(text.to_owned());
        assert_eq!(name("dns:Back.Office").unwrap().as_str(), "dns:back.office");
        assert_eq!(name("cn:Back Office").unwrap().as_str(), "cn:Back Office");
        for bad in ["", "back.office", "cn:", "ip:10.0.0.1"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
