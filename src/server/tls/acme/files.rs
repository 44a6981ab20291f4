//! The folder where certificates and the account are kept. Whatever is in it is for this user only: all of it is secret, or
//! lies beside what is.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use tempfile::NamedTempFile;

use crate::config::Acme;

/// The folder of one authority: an account and a certificate of one are worth nothing at another.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn of(acme: &Acme) -> Self {
        let url = acme.directory.url();
        let name = url.strip_prefix("https://").unwrap_or(url);
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        };
        let name: String = name.chars().map(plain).collect();
        Self(acme.cache.get_ref().join(name))
    }

    /// A key, and the certificate for it with its intermediates.
    pub(super) fn certificate(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.pem"))
    }

    /// The same, for the authority to see.
    pub(super) fn answer(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.challenge"))
    }

    /// The account with the authority.
    pub(super) fn account(&self) -> PathBuf {
        self.0.join("account.json")
    }

    /// The turn to order something, for as long as the result lives; `None` if somebody else has it.
    ///
    /// # Errors
    /// If the folder cannot be made, or nothing can be written there.
    pub(super) fn turn(&self) -> io::Result<Option<File>> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.0)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(self.0.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Puts this into the file, whole or not at all, for this user only.
///
/// # Errors
/// What the system says. The file is as it was then.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// What is in a file; nothing if there is no such file.
///
/// # Errors
/// What the system says.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The key and the certificate in a text.
///
/// # Errors
/// What is wrong with it.
pub(super) fn pair(text: &[u8]) -> Result<CertifiedKey, String> {
    let pair = unchecked_pair(text)?;
    pair.keys_match().map_err(|error| error.to_string())?;
    Ok(pair)
}

/// The same, if the certificate is one that nobody is to believe: what an authority looks at has an extension that
/// verifiers of certificates must refuse (RFC 8737 section 3).
///
/// # Errors
/// What is wrong with it.
pub(super) fn unchecked_pair(text: &[u8]) -> Result<CertifiedKey, String> {
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|error| format!("no key: {error}"))?;
    let chain = CertificateDer::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("no certificate: {error}"))?;
    if chain.is_empty() {
        return Err("no certificate".to_owned());
    }
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(chain, key))
}
