//! The names in a client's certificate, once the certificate has been verified.

use rustls::pki_types::CertificateDer;

/// The object identifier 2.5.4.3, a common name (RFC 5280 appendix A.1).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// Strings that are ASCII or UTF-8; others (TeletexString, BMPString) are not read.
const TEXTS: [u8; 3] = [0x0c, 0x13, 0x16];

/// `cn:`, `dns:` and `uri:` names of the certificate; DNS names in lower case.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let common = common_names(parsed.subject())
        .into_iter()
        .map(|name| format!("cn:{name}"));
    let dns = parsed
        .valid_dns_names()
        .map(|name| format!("dns:{}", name.to_ascii_lowercase()));
    let uri = parsed.valid_uri_names().map(|uri| format!("uri:{uri}"));
    common.chain(dns).chain(uri).collect()
}

/// The common names in a subject: a list of sets of (type, value), without the outermost header.
fn common_names(mut subject: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((SET, mut set, rest)) = element(subject) {
        subject = rest;
        while let Some((SEQUENCE, pair, rest)) = element(set) {
            set = rest;
            let Some((OBJECT_IDENTIFIER, kind, value)) = element(pair) else {
                continue;
            };
            if let (true, Some((tag, text, _))) = (kind == COMMON_NAME, element(value))
                && TEXTS.contains(&tag)
                && let Ok(text) = std::str::from_utf8(text)
            {
                names.push(text.to_owned());
            }
        }
    }
    names
}

/// Tag and content of the first DER element, and what follows it; lengths up to 65,535.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, string::Ia5String};

    fn certificate(params: &CertificateParams) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn every_name_of_a_certificate_is_found_with_its_kind() {
        let mut params = CertificateParams::new(vec!["Back.Office.Test".to_owned()]).unwrap();
        let spiffe = Ia5String::try_from("spiffe://prod/billing".to_owned()).unwrap();
        params.subject_alt_names.push(SanType::URI(spiffe));
        let name = &mut params.distinguished_name;
        name.remove(DnType::CommonName);
        name.push(DnType::OrganizationName, "cn:nobody");
        name.push(DnType::CommonName, "Büro ".repeat(20));

        let names = names(&certificate(&params));

        let common = format!("cn:{}", "Büro ".repeat(20));
        assert_eq!(
            names,
            [&common, "dns:back.office.test", "uri:spiffe://prod/billing"]
        );
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "x");
        let whole = certificate(&params);
        let parsed = webpki::EndEntityCert::try_from(&whole).unwrap();
        let subject = parsed.subject().to_vec();
        assert!(!common_names(&subject).is_empty());

        for cut in 0..subject.len() {
            let _ = common_names(&subject[..cut]);
            for byte in [0, 0x7f, 0x81, 0x82, 0x83, 0xff] {
                let mut spoiled = subject.clone();
                spoiled[cut] = byte;
                let _ = common_names(&spoiled);
            }
        }
    }
}
