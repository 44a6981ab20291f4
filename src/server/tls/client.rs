//! The names in a client's certificate, once the certificate has been verified.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::peer::ClientCertificate;

/// Who shows this certificate.
pub(super) fn read(certificate: &CertificateDer<'_>) -> ClientCertificate {
    let fingerprint = digest(&SHA256, certificate);
    let fingerprint = fingerprint.as_ref().iter();
    let mut read = ClientCertificate {
        fingerprint: fingerprint.map(|byte| format!("{byte:02x}")).collect(),
        ..ClientCertificate::default()
    };
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return read;
    };
    read.names = names(certificate, &parsed);
    read.subject = parsed.subject().to_string();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        let all = extension.value.general_names.iter();
        read.alternative_names = all.filter_map(alternative_name).collect();
    }
    read
}

/// A name with its kind; `None` for kinds that nobody asks for.
fn alternative_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(format!("dns:{}", name.to_ascii_lowercase())),
        GeneralName::URI(uri) => Some(format!("uri:{uri}")),
        GeneralName::RFC822Name(address) => Some(format!("email:{address}")),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| format!("ip:{address}"))
        }
        GeneralName::OtherName(..)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

/// `cn:`, `dns:` and `uri:` names of the certificate; DNS names in lower case.
fn names(certificate: &CertificateDer<'_>, parsed: &X509Certificate<'_>) -> Vec<String> {
    let Ok(verified) = webpki::EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let common = parsed.subject().iter_common_name();
    let common = common.filter_map(|name| name.as_str().ok().map(|name| format!("cn:{name}")));
    let dns = verified
        .valid_dns_names()
        .map(|name| format!("dns:{}", name.to_ascii_lowercase()));
    let uri = verified.valid_uri_names().map(|uri| format!("uri:{uri}"));
    common.chain(dns).chain(uri).collect()
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

        let address = IpAddr::from([192, 0, 2, 1]);
        params.subject_alt_names.push(SanType::IpAddress(address));
        let whole = certificate(&params);
        let shown = read(&whole);

        let common = format!("cn:{}", "Büro ".repeat(20));
        assert_eq!(
            shown.names,
            [&common, "dns:back.office.test", "uri:spiffe://prod/billing"]
        );
        assert_eq!(
            shown.alternative_names,
            [
                "dns:back.office.test",
                "uri:spiffe://prod/billing",
                "ip:192.0.2.1"
            ]
        );
        assert!(shown.subject.contains("O=cn:nobody"), "{}", shown.subject);
        assert!(shown.subject.contains("CN=Büro"), "{}", shown.subject);
        assert_eq!(shown.fingerprint.len(), 64);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "x");
        let whole = certificate(&params);
        assert!(!read(&whole).names.is_empty());
        for cut in 0..whole.len() {
            let _ = read(&CertificateDer::from(whole[..cut].to_vec()));
            for byte in [0, 0x7f, 0x81, 0x82, 0x83, 0xff] {
                let mut spoiled = whole.to_vec();
                spoiled[cut] = byte;
                let _ = read(&CertificateDer::from(spoiled));
            }
        }
    }
}
