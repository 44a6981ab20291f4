//! One order: an account, a proof that the name leads to us, a certificate.

use std::io;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use super::account::{known, open};
use super::files;
use super::ordered::{Answer, Held, Ordered};
use crate::config::Acme;

/// How long the authority may take to look, and to issue.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(90));

/// What an authority says that has forgotten an account, or never knew it (RFC 8555 section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// What it says of a number that it has given out itself and does not know any more (section 6.5).
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// Not in time.
    #[error("it took too long")]
    Late,
    /// The authority cannot be asked, or says no.
    #[error(transparent)]
    Acme(#[from] Error),
    /// The authority has looked, and did not see our answer.
    #[error("the authority did not see that the name leads here: {0}")]
    Unproven(String),
    /// It does not do TLS-ALPN-01.
    #[error("the authority does not offer TLS-ALPN-01")]
    NoChallenge,
    /// What it gave is of no use.
    #[error("the authority gave a certificate that is of no use: {0}")]
    Useless(String),
    /// No key or no request could be made.
    #[error("no request can be made: {0}")]
    Request(#[from] rcgen::Error),
    /// Nothing can be kept.
    #[error("nothing can be kept in the folder for certificates: {0}")]
    Folder(#[from] io::Error),
}

impl OrderError {
    /// Whether the authority has heard of it and said no: it counts how often it does.
    pub(super) fn was_heard(&self) -> bool {
        match self {
            Self::Unproven(_) | Self::NoChallenge | Self::Useless(_) => true,
            Self::Acme(Error::Api(problem)) => {
                problem.r#type.as_deref() != Some(BAD_NONCE)
                    && problem.status.is_none_or(|status| status < 500)
            }
            Self::Acme(_) | Self::Late | Self::Request(_) | Self::Folder(_) => false,
        }
    }

    fn is_of_no_account(&self) -> bool {
        matches!(self, Self::Acme(Error::Api(problem)) if problem.r#type.as_deref() == Some(NO_ACCOUNT))
    }
}

/// Orders it, keeps it, and shows it from now on.
///
/// # Errors
/// [`OrderError`]; what is shown is as it was then.
pub(super) async fn obtain(ordered: &Ordered, acme: &Acme) -> Result<(), OrderError> {
    let file = ordered.folder().account();
    let outcome = match known(&file, acme).await? {
        Some(account) => place(&account, ordered).await,
        None => place(&open(&file, acme).await?, ordered).await,
    };
    match outcome {
        Err(error) if error.is_of_no_account() => {
            tracing::warn!("the authority does not know the account any more; opening another one");
            place(&open(&file, acme).await?, ordered).await
        }
        outcome => outcome,
    }
}

async fn place(account: &Account, ordered: &Ordered) -> Result<(), OrderError> {
    let mut order = begin(account, ordered).await?;
    let answers = prove(&mut order, ordered).await?;
    let polled = order.poll_ready(&POLLING).await;
    if order.state().status == OrderStatus::Invalid {
        return Err(OrderError::Unproven(why_not(&mut order).await?));
    }
    polled?;
    drop(answers);
    let mut params = CertificateParams::new([ordered.domain().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    let request = params.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&POLLING).await?;
    keep(ordered, &format!("{}{chain}", key.serialize_pem()))
}

/// Begins an order, in place of the certificate that there is where the authority takes that (RFC 9773 section 5).
async fn begin(account: &Account, ordered: &Ordered) -> Result<Order, Error> {
    let domain = ordered.domain();
    let identifiers = [Identifier::Dns(domain.to_owned())];
    if let Some(old) = ordered.identifier() {
        match account
            .new_order(&NewOrder::new(&identifiers).replaces(old))
            .await
        {
            Ok(order) => return Ok(order),
            Err(Error::Unsupported(_)) => {}
            // It may be replaced already, or be of another account: that must not be in the way of a new one.
            Err(error) => {
                tracing::info!(domain, %error, "the authority orders nothing in place of the certificate; ordering as if there were none");
            }
        }
    }
    account.new_order(&NewOrder::new(&identifiers)).await
}

/// Has the authority look whether the name leads to us; what it is to see is there for as long as the result lives.
async fn prove(order: &mut Order, ordered: &Ordered) -> Result<Vec<Answer>, OrderError> {
    let mut answers = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status != AuthorizationStatus::Pending {
            // Proven not long ago, or of no use: the order says which.
            continue;
        }
        let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
        let mut challenge = challenge.ok_or(OrderError::NoChallenge)?;
        let mut params = CertificateParams::new([ordered.domain().to_owned()])?;
        let digest = challenge.key_authorization().digest();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        answers.push(ordered.show(&format!("{}{}", key.serialize_pem(), certificate.pem()))?);
        challenge.set_ready().await?;
    }
    Ok(answers)
}

/// What the authority says of a name that it could not verify.
async fn why_not(order: &mut Order) -> Result<String, OrderError> {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let state = authorization.refresh().await?;
        let found = state.challenges.iter().filter_map(|one| one.error.as_ref());
        reasons.extend(found.map(Problem::to_string));
    }
    Ok(match reasons.is_empty() {
        true => "it does not say why".to_owned(),
        false => reasons.join("; "),
    })
}

/// Keeps a key and the certificate for it, and shows them from now on.
///
/// # Errors
/// [`OrderError::Useless`]; nothing has changed then.
pub(super) fn keep(ordered: &Ordered, text: &str) -> Result<(), OrderError> {
    let key = files::pair(text.as_bytes()).map_err(OrderError::Useless)?;
    let held = Held::of(key, ordered.domain()).map_err(OrderError::Useless)?;
    if held.is_due(SystemTime::now()) {
        // Else it would be ordered again and again without a pause.
        return Err(OrderError::Useless("it has no time left".to_owned()));
    }
    let (file, ends) = (ordered.file(), held.ends());
    if let Err(error) = files::write(&file, text.as_bytes()) {
        let file = file.display();
        tracing::error!(%file, %error, "a certificate cannot be kept: after a restart it has to be ordered again");
    }
    ordered.take(held);
    let ends = u64::try_from(ends).unwrap_or(0);
    let ends = SystemTime::UNIX_EPOCH + Duration::from_secs(ends);
    let ends = humantime::format_rfc3339_seconds(ends);
    tracing::info!(domain = ordered.domain(), %ends, "a certificate has been obtained");
    Ok(())
}
