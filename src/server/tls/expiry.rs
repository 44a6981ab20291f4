//! When certificates end.

use std::ops::Range;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::fault::Fault;

/// Before this time somebody should know.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The end of a chain: that of the certificate that ends first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::server) struct Expiry {
    pub(in crate::server) file: PathBuf,
    /// Where the configuration names it.
    pub(super) span: Range<usize>,
    /// Unix seconds.
    pub(in crate::server) at: i64,
}

/// When the first certificate of this chain ends, in Unix seconds; `None` if that cannot be read.
pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let ends = chain.iter().filter_map(|certificate| {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(parsed.validity().not_after.timestamp())
    });
    ends.min()
}

impl Expiry {
    /// A warning, if it is over or will be soon.
    pub(super) fn warning(&self, now: SystemTime) -> Option<Fault> {
        let seconds = u64::try_from(self.at).unwrap_or(0);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        if end > now + SOON {
            return None;
        }
        let (file, date) = (self.file.display(), humantime::format_rfc3339_seconds(end));
        let text = match end.duration_since(now) {
            Ok(left) => format!(
                "the certificate `{file}` ends in {} days, at {date}",
                left.as_secs() / 86_400
            ),
            Err(_) => format!("the certificate `{file}` has ended, at {date}"),
        };
        Some(
            Fault::warning(self.span.clone(), text)
                .help("renew it; a new file is taken over without a restart"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn ending(year: i32, month: u8, day: u8) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_chain_ends_with_its_first_certificate_that_does_and_is_warned_of_two_weeks_before() {
        let chain = [ending(2031, 1, 1), ending(2030, 3, 20), ending(2040, 1, 1)];
        let at = of(&chain).unwrap();
        // 2030-03-20T00:00:00Z
        assert_eq!(at, 1_900_195_200);
        let expiry = Expiry {
            file: "cert.pem".into(),
            span: 3..7,
            at,
        };
        let day = Duration::from_secs(24 * 3600);
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_195_200);

        assert!(expiry.warning(end - 15 * day).is_none());
        let soon = expiry.warning(end - 13 * day - day / 2).unwrap();
        assert_eq!(
            soon.message,
            "the certificate `cert.pem` ends in 13 days, at 2030-03-20T00:00:00Z"
        );
        assert!(!soon.is_error());
        let over = expiry.warning(end + day).unwrap();
        assert_eq!(
            over.message,
            "the certificate `cert.pem` has ended, at 2030-03-20T00:00:00Z"
        );
        assert_eq!(of(&[]), None);
    }
}
