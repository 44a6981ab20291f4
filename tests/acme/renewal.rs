//! An authority that says when certificates are to be renewed (RFC 9773). Debian's Pebble does not yet, so this is
//! acme2certifier. It believes in every name: that these lead to us is proven with Pebble.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use crate::support::redis::eventually;
use crate::support::{Program, installed};
use crate::{ORDER, Stage};

const SAYS: &str = "the authority says when the certificate should be renewed";
const OBTAINED: &str = "a certificate has been obtained";

/// It, with what signs certificates and what is kept of them.
struct Certifier<'a> {
    stage: &'a Stage,
    dir: tempfile::TempDir,
}

impl<'a> Certifier<'a> {
    fn new(stage: &'a Stage) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "issuer of a test");
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        std::fs::write(dir.path().join("root.pem"), root).unwrap();
        std::fs::write(dir.path().join("root.key"), key.serialize_pem()).unwrap();
        Self { stage, dir }
    }

    /// Started, it answers so when it is asked for renewal information.
    fn start(&self, renewal: &str) -> Program {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let config = format!(
            "[DEFAULT]\ndebug: True\n\
             [CAhandler]\nhandler_module: acme2certifier.cahandlers.openssl_ca_handler\n\
             issuing_ca_key: {}\nissuing_ca_cert: {}\nissuing_ca_crl: {}\n\
             cert_save_path: {}\ncert_validity_days: 90\n\
             [DBhandler]\nhandler: wsgi\ndbfile: {}\n\
             [Challenge]\nchallenge_validation_disable: True\n\
             [Renewalinfo]\nretry_after_timeout: 86400\n{renewal}\n",
            at("root.key"),
            at("root.pem"),
            at("revoked.pem"),
            self.dir.path().display(),
            at("certifier.db"),
        );
        std::fs::write(at("certifier.cfg"), config).unwrap();
        let leaf = self.stage.authority.sign(&["127.0.0.1"]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/acme/certifier.py");
        let log = File::options()
            .create(true)
            .append(true)
            .open(at("log"))
            .unwrap();
        Program::start(
            Command::new(installed("acme2certifier/bin/python"))
                .arg(script)
                .arg(self.stage.pebble.to_string())
                .args([leaf.cert, leaf.key])
                .env("ACME_SRV_CONFIGFILE", at("certifier.cfg"))
                .env("ACME2CERTIFIER_I_KNOW_THE_RISK", "1")
                .stderr(log),
        )
    }
}

#[tokio::test]
#[ignore = "needs acme2certifier: tests/run.sh"]
async fn a_certificate_is_renewed_when_the_authority_says_so_and_the_new_one_has_its_rest() {
    let stage = Stage::new();
    let certifier = Certifier::new(&stage);
    let patient = certifier.start("renewalthreshold_pctg: 50");
    let tls = stage.acme(&["a.test"], ", contact = \"mailto:ops@example.com\"");
    let mut gateway = stage.listening(&[], &tls).start().await;
    let says = async |gateway: &crate::Gateway, times| {
        let said = || gateway.told(SAYS) >= times;
        eventually(SAYS, ORDER, said).await;
    };
    let obtained = async |gateway: &crate::Gateway, times| {
        let told = || gateway.told(OBTAINED) >= times;
        eventually(OBTAINED, ORDER, told).await;
    };
    says(&gateway, 1).await;
    assert_eq!(gateway.told(OBTAINED), 1);
    let first = stage.certificate("a.test");

    // All that it has issued is to be replaced, as after a mistake of its own.
    drop(patient);
    let _hasty = certifier.start("renewal_force: True");
    gateway.terminate();
    gateway.restart().await;

    obtained(&gateway, 2).await;
    assert_ne!(stage.certificate("a.test"), first);
    // It was told which one is replaced, and did not say that it had understood.
    assert_eq!(
        gateway.told("orders nothing in place of the certificate"),
        1
    );

    // It says the same of the new one.
    says(&gateway, 3).await;
    gateway.edit("\"a.test\"", "\"a.test\", \"b.test\"");
    gateway.signal("-HUP");
    obtained(&gateway, 3).await;
    says(&gateway, 4).await;
    assert_eq!(gateway.told("ordering a certificate"), 3);
}
