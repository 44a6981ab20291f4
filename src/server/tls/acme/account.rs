//! The account with the authority, and how it is kept.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};

use super::call::Caller;
use super::files;
use super::order::OrderError;
use crate::config::Acme;

/// The account, as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    contact: Option<String>,
    credentials: AccountCredentials,
}

/// The one that is kept, to ask with and no more; `None` if there is none.
///
/// # Errors
/// If the folder cannot be read or the authority cannot be asked for its directory.
pub(super) async fn as_it_is(file: &Path, acme: &Acme) -> Result<Option<Account>, OrderError> {
    match read(file)? {
        Some(Ok(kept)) => resume(kept.credentials, acme).await.map(Some),
        Some(Err(_)) | None => Ok(None),
    }
}

/// The one that is kept, if there is one; the authority is told whom it may write to if that has changed. For whoever has
/// the turn to order.
///
/// # Errors
/// If the folder cannot be used, or the authority cannot be asked or says no.
pub(super) async fn known(file: &Path, acme: &Acme) -> Result<Option<Account>, OrderError> {
    let mut kept = match read(file)? {
        Some(Ok(kept)) => kept,
        Some(Err(_)) => {
            tracing::warn!(file = %file.display(), "what is kept there is no account; opening another one");
            return Ok(None);
        }
        None => return Ok(None),
    };
    let contact = contact(acme);
    let differs = kept.contact.as_deref() != contact;
    kept.contact = contact.map(str::to_owned);
    let text = serde_json::to_vec(&kept).map_err(Error::from)?;
    let account = resume(kept.credentials, acme).await?;
    if differs {
        account.update_contacts(contact.as_slice()).await?;
        files::write(file, &text)?;
    }
    Ok(Some(account))
}

fn read(file: &Path) -> io::Result<Option<serde_json::Result<Kept>>> {
    let text = files::read(file)?;
    Ok(text.map(|text| serde_json::from_slice(&text)))
}

async fn resume(credentials: AccountCredentials, acme: &Acme) -> Result<Account, OrderError> {
    let builder = Account::builder_with_http(Caller::new(acme));
    Ok(builder.from_credentials(credentials).await?)
}

/// Opens an account and keeps it.
///
/// # Errors
/// If the folder cannot be used, or the authority cannot be asked or says no.
pub(super) async fn open(file: &Path, acme: &Acme) -> Result<Account, OrderError> {
    let contact = contact(acme);
    let wish = NewAccount {
        contact: contact.as_slice(),
        terms_of_service_agreed: acme.accept_terms,
        only_return_existing: false,
    };
    let external = acme.external_account.as_ref().map(|external| {
        let secret = external.secret.expose().trim_end_matches('=');
        // It could be read when the configuration was.
        let secret = URL_SAFE_NO_PAD.decode(secret).unwrap_or_default();
        ExternalAccountKey::new(external.id.clone(), &secret)
    });
    let (account, credentials) = Account::builder_with_http(Caller::new(acme))
        .create(&wish, acme.directory.url().to_owned(), external.as_ref())
        .await?;
    let kept = Kept {
        contact: contact.map(str::to_owned),
        credentials,
    };
    files::write(file, &serde_json::to_vec(&kept).map_err(Error::from)?)?;
    tracing::info!(directory = %acme.directory, "an account has been opened");
    Ok(account)
}

fn contact(acme: &Acme) -> Option<&str> {
    acme.contact.as_ref().map(|contact| contact.as_str())
}
