//! Words of ACME: names, contacts, directories.

use std::fmt;
use std::net::IpAddr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::{Origin, string_schema, written};

/// Longest name: files are called after it, and a file system commonly allows 255 bytes.
const MAX_DOMAIN: usize = 230;

/// A name that a certificate can be ordered for, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AcmeDomain(String);

impl AcmeDomain {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AcmeDomain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with("*.") {
            return Err(format!(
                "`{text}` is a wildcard, which TLS-ALPN-01 cannot prove; write each name, or put a certificate for it into `certificates`"
            ));
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!(
                "`{text}` is an address; write a name, such as \"www.example.com\""
            ));
        }
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(letter)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        if text.len() > MAX_DOMAIN || !text.split('.').all(label) {
            return Err(format!(
                "`{text}` is not the name of a host; write letters, digits, `-` and dots, such as \"www.example.com\" (\"xn--…\" for others), at most {MAX_DOMAIN} bytes"
            ));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

string_schema!(
    AcmeDomain,
    r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$",
    "Name of a host: www.example.com"
);

/// Whom an authority may write to (RFC 8555 section 7.3): one address of e-mail.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct AcmeContact(String);

impl AcmeContact {
    /// The URL, with `mailto:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AcmeContact {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address = text.strip_prefix("mailto:").and_then(|address| {
            let (user, host) = address.split_once('@')?;
            // The same section: no header fields, and no more than one address.
            let fine = |part: &str| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_graphic() && !b"?,@".contains(&b))
            };
            Some(fine(user) && fine(host))
        });
        match address {
            Some(true) => Ok(Self(text)),
            Some(false) | None => Err(format!(
                "`{text}` is not a contact; write one address, such as \"mailto:ops@example.com\""
            )),
        }
    }
}

string_schema!(
    AcmeContact,
    r"^mailto:[^@?,]+@[^@?,]+$",
    "One address of e-mail: mailto:ops@example.com"
);

/// Where an authority says what it offers (RFC 8555 section 7.1.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AcmeDirectory {
    url: String,
    /// As it was written.
    written: String,
}

/// Of Let's Encrypt: <https://letsencrypt.org/docs/acme-protocol-updates/> and the page on staging.
const PRODUCTION: (&str, &str) = (
    "letsencrypt",
    "https://acme-v02.api.letsencrypt.org/directory",
);
const STAGING: (&str, &str) = (
    "letsencrypt-staging",
    "https://acme-staging-v02.api.letsencrypt.org/directory",
);

impl AcmeDirectory {
    /// Its URL; always `https`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Default for AcmeDirectory {
    fn default() -> Self {
        let (word, url) = PRODUCTION;
        Self {
            url: url.to_owned(),
            written: word.to_owned(),
        }
    }
}

impl fmt::Display for AcmeDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl TryFrom<String> for AcmeDirectory {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        for (word, url) in [PRODUCTION, STAGING] {
            if text == word || text == url {
                return Ok(Self {
                    url: url.to_owned(),
                    written: text,
                });
            }
        }
        let origin = text.parse::<http::Uri>().ok().and_then(|url| {
            // RFC 8555 section 6.1: over TLS only.
            (url.scheme_str() == Some("https")).then_some(())?;
            Origin::try_from(format!("https://{}", url.authority()?)).ok()
        });
        if origin.is_none() {
            return Err(
                "this is not the directory of an authority; write \"letsencrypt\", \"letsencrypt-staging\" or a URL such as \"https://acme.example.com/directory\"".to_owned(),
            );
        }
        Ok(Self {
            url: text.clone(),
            written: text,
        })
    }
}

string_schema!(
    AcmeDirectory,
    r"^(letsencrypt|letsencrypt-staging|https://[^@]+)$",
    "letsencrypt, letsencrypt-staging, or an https:// URL"
);

written!(AcmeDirectory, directory => directory);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_the_name_of_one_host() {
        let domain = AcmeDomain::try_from("WWW.Example.com".to_owned()).unwrap();
        assert_eq!(domain.as_str(), "www.example.com");
        assert!(AcmeDomain::try_from("localhost".to_owned()).is_ok());
        let long = format!("{}.test", vec!["a".repeat(60); 4].join("."));
        for wrong in [
            "",
            "*.example.com",
            "192.0.2.1",
            "2001:db8::1",
            "a..b",
            ".a",
            "a.",
            "-a.test",
            "a_b.test",
            "../a",
            "a/b",
            "b\u{fc}cher.example",
            &long,
        ] {
            assert!(AcmeDomain::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_contact_is_one_address_of_e_mail() {
        assert!(AcmeContact::try_from("mailto:ops@example.com".to_owned()).is_ok());
        for wrong in [
            "ops@example.com",
            "mailto:",
            "mailto:ops",
            "mailto:@example.com",
            "mailto:a@b,c@d",
            "mailto:a@b?subject=x",
            "mailto:a b@c",
            "tel:+123",
        ] {
            assert!(AcmeContact::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_directory_is_a_word_or_a_url_over_tls() {
        let url = |text: &str| AcmeDirectory::try_from(text.to_owned()).map(|it| it.url);
        assert_eq!(url("letsencrypt").unwrap(), AcmeDirectory::default().url());
        assert!(url("letsencrypt-staging").unwrap().contains("staging"));
        let own = "https://acme.example.com:14000/dir";
        assert_eq!(url(own).unwrap(), own);
        for wrong in [
            "zerossl",
            "http://acme.example.com/dir",
            "https://",
            "https://user:password@acme.example.com/dir",
            "acme.example.com",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
