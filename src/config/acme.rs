//! Certificates that a listener orders itself.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;
use toml::Spanned;

use super::value::{AcmeContact, AcmeDirectory, AcmeDomain, Secret};

/// Certificates by ACME (RFC 8555), ordered one for each name, renewed when the authority says so (RFC 9773) or a third of
/// their time is left. The authority looks for its answer at port 443 of the name (TLS-ALPN-01, RFC 8737), which must lead
/// to this listener.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    /// Names to order certificates for, such as `["www.example.com"]`. No wildcards: TLS-ALPN-01 cannot prove them. A name
    /// that one of `certificates` is for is answered with that one.
    #[schemars(with = "Vec<AcmeDomain>")]
    pub domains: Vec<Spanned<AcmeDomain>>,
    /// Whether you agree to the authority's terms of service. It gives no certificates to those who do not, and nobody can but
    /// you.
    #[serde(default)]
    pub accept_terms: bool,
    /// Whom the authority may write to: `"mailto:ops@example.com"`. Absent: nobody.
    pub contact: Option<AcmeContact>,
    /// Folder for the account's key, the certificates and their keys; made if it is not there. Several gateways may share
    /// one: then each certificate is ordered once, and each gateway answers for all.
    #[schemars(with = "PathBuf")]
    pub cache: Spanned<PathBuf>,
    /// The authority: `"letsencrypt"`, `"letsencrypt-staging"` (for trials: browsers do not believe it), or the URL of
    /// another one's directory.
    #[serde(default)]
    pub directory: AcmeDirectory,
    /// PEM file with the authorities to believe when the directory is asked, such as those of a company. Absent: the
    /// system's.
    #[schemars(with = "Option<PathBuf>")]
    pub ca: Option<Spanned<PathBuf>>,
    /// What binds the account to one that you have with the authority already (RFC 8555 section 7.3.4); some ask for it.
    pub external_account: Option<ExternalAccount>,
}

/// An account with the authority, from its website.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// What the authority calls the key.
    pub id: String,
    /// The key, in base64url as the authority shows it.
    pub secret: Secret,
}

impl PartialEq for ExternalAccount {
    /// Not in constant time: for a configuration and the one before, never for what somebody sends.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.secret.expose() == other.secret.expose()
    }
}
