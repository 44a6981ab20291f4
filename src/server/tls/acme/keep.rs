//! The life of a certificate: when it is ordered, and when again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::order::{self, OrderError};
use super::ordered::Ordered;
use super::renewal::Renewal;
use crate::config::Acme;
use crate::metrics::CertificateOrders;

/// A certificate is looked at so often: what a timer waits for is not what a calendar says, if the machine sleeps or its
/// clock is put right.
const LOOK: Duration = Duration::from_secs(3600);
/// Whoever waits for others that order asks so often whether they are done.
const TURN: Duration = Duration::from_secs(1);
/// From the account to the certificate.
const PATIENCE: Duration = Duration::from_secs(300);
/// Somebody should know when a certificate ends so soon and is not renewed.
const ALARM: Duration = Duration::from_secs(14 * 24 * 3600);

/// How long nothing is tried after one failure after the other.
#[derive(Debug, Default)]
struct Pauses(u32);

/// What came of a try.
enum Tried {
    Obtained,
    /// Somebody who shares the folder has obtained it.
    Found,
    /// It is another's turn.
    Waits,
}

/// Orders it and renews it, until it is dropped.
pub(super) async fn keep(
    ordered: Arc<Ordered>,
    mut settings: watch::Receiver<Arc<Acme>>,
    counts: Arc<CertificateOrders>,
) {
    let domain = ordered.domain();
    let (mut pauses, mut renewal) = (Pauses::default(), Renewal::default());
    loop {
        let acme = Arc::clone(&settings.borrow_and_update());
        renewal.ask(&ordered, &acme).await;
        let due = renewal.until_due(&ordered, SystemTime::now());
        if !due.is_zero() {
            sleep(due.min(LOOK).min(renewal.until_asked())).await;
            continue;
        }
        match attempt(&ordered, &acme).await {
            Ok(Tried::Waits) => sleep(TURN).await,
            Ok(Tried::Found) => {
                tracing::info!(domain, "another gateway has obtained a certificate");
                renewal.rest();
                pauses = Pauses::default();
            }
            Ok(Tried::Obtained) => {
                counts.obtained.one();
                renewal.rest();
                pauses = Pauses::default();
            }
            Err(error) => {
                counts.failed.one();
                let pause = pauses.after(&error);
                tell(&ordered, &error, pause);
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = settings.changed() => if changed.is_err() {
                        return;
                    },
                }
            }
        }
    }
}

async fn attempt(ordered: &Ordered, acme: &Acme) -> Result<Tried, OrderError> {
    let Some(_turn) = ordered.folder().turn()? else {
        return Ok(Tried::Waits);
    };
    if ordered.look() {
        return Ok(Tried::Found);
    }
    let (domain, directory) = (ordered.domain(), &acme.directory);
    tracing::info!(domain, %directory, "ordering a certificate");
    let obtained = timeout(PATIENCE, order::obtain(ordered, acme)).await;
    obtained.unwrap_or(Err(OrderError::Late))?;
    Ok(Tried::Obtained)
}

fn tell(ordered: &Ordered, error: &OrderError, pause: Duration) {
    let domain = ordered.domain();
    let again_in = humantime::format_duration(pause);
    let left = ordered.left(SystemTime::now());
    if left > ALARM {
        tracing::warn!(domain, %error, %again_in, "a certificate cannot be renewed");
    } else if left.is_zero() {
        tracing::error!(domain, %error, %again_in, "a certificate cannot be obtained: clients that ask for this name are turned away");
    } else {
        let ends_in = humantime::format_duration(Duration::from_secs(left.as_secs()));
        tracing::error!(domain, %error, %again_in, %ends_in, "a certificate cannot be renewed and ends soon");
    }
}

impl Pauses {
    /// Twice as long each time, from 2 s to 10 min. What the authority has heard counts at the authority, too: Let's Encrypt
    /// allows five failures an hour for each name (<https://letsencrypt.org/docs/rate-limits/>), so it is 5 min to 1 h then.
    fn after(&mut self, error: &OrderError) -> Duration {
        let (first, most) = match error.was_heard() {
            true => (Duration::from_secs(300), Duration::from_secs(3600)),
            false => (Duration::from_secs(2), Duration::from_secs(600)),
        };
        let pause = first.saturating_mul(1 << self.0.min(16)).min(most);
        self.0 += 1;
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn pauses_grow_and_are_longer_for_what_the_authority_has_heard() {
        let unheard = || OrderError::Folder(io::ErrorKind::StorageFull.into());
        let heard = || OrderError::Unproven("no".to_owned());
        let seconds = |error: &dyn Fn() -> OrderError| {
            let mut pauses = Pauses::default();
            let mut some = [0; 12];
            some.fill_with(|| pauses.after(&error()).as_secs());
            some
        };
        assert_eq!(seconds(&unheard)[..4], [2, 4, 8, 16]);
        assert_eq!(seconds(&unheard)[11], 600);
        assert_eq!(seconds(&heard)[..5], [300, 600, 1200, 2400, 3600]);
        assert_eq!(seconds(&heard)[11], 3600);
    }
}
