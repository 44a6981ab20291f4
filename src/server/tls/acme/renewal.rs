//! When the authority would have a certificate renewed (ACME Renewal Information, RFC 9773).

use std::time::{Duration, SystemTime};

use instant_acme::{CertificateIdentifier, Error, RenewalInfo};
use tokio::time::Instant;

use super::account;
use super::order::OrderError;
use super::ordered::Ordered;
use crate::config::Acme;

/// Asked no more often than the first and no more seldom than the second, whatever the authority says (section 4.3.2).
const BETWEEN: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
/// An authority that cannot answer is asked again after so long (section 4.3.3).
const LATER: Duration = Duration::from_secs(6 * 3600);
/// A certificate that has only just come is not replaced for so long: an authority that wants each one replaced at once would
/// be asked for one after the other.
const REST: Duration = Duration::from_secs(3600);

/// 9999-12-31T23:59:59Z, the last second that can be told.
const LAST: u64 = 253_402_300_799;

/// What the authority has said of the certificate that there is.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    asked: Option<Asked>,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Asked {
    of: CertificateIdentifier<'static>,
    again: Instant,
    /// Questions without an answer, one after the other.
    failures: u32,
    /// From when to when, in Unix seconds.
    window: Option<(i64, i64)>,
}

impl Renewal {
    /// Asks, if there is a certificate to ask about and it is time to.
    pub(super) async fn ask(&mut self, ordered: &Ordered, acme: &Acme) {
        let is_over = ordered.left(SystemTime::now()).is_zero();
        let Some(of) = ordered.identifier().filter(|_| !is_over) else {
            self.asked = None;
            return;
        };
        let before = self.asked.take().filter(|asked| asked.of == of);
        let asked = match before {
            Some(asked) if asked.again > Instant::now() => asked,
            before => Asked::now(of, before, ordered, acme).await,
        };
        self.asked = Some(asked);
    }

    /// Another certificate has come.
    pub(super) fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    /// How long until it should be renewed: when the authority says so, or else by our own rule.
    pub(super) fn until_due(&self, ordered: &Ordered, now: SystemTime) -> Duration {
        match self.asked.as_ref().and_then(|asked| asked.window) {
            Some(window) => {
                let rest = self.rests_until.map_or(Duration::ZERO, |until| {
                    until.saturating_duration_since(Instant::now())
                });
                ordered.until_due_within(window, rest, now)
            }
            None => ordered.until_due(now),
        }
    }

    /// How long until the next question.
    pub(super) fn until_asked(&self) -> Duration {
        let asked = self.asked.as_ref();
        asked.map_or(BETWEEN.1, |asked| {
            asked.again.saturating_duration_since(Instant::now())
        })
    }
}

impl Asked {
    async fn now(
        of: CertificateIdentifier<'static>,
        before: Option<Self>,
        ordered: &Ordered,
        acme: &Acme,
    ) -> Self {
        let domain = ordered.domain();
        let (known, failures) = before.map_or((None, 0), |asked| (asked.window, asked.failures));
        let (window, failures, pause) = match window(&of, ordered, acme).await {
            Ok((window, after)) => {
                if known != Some(window) {
                    let (from, until) = (time(window.0), time(window.1));
                    tracing::info!(domain, %from, %until, "the authority says when the certificate should be renewed");
                }
                (Some(window), 0, bounded(after))
            }
            Err(error) => {
                if !error.is_unsupported() {
                    tracing::info!(domain, %error, "the authority does not say when the certificate should be renewed");
                }
                (known, failures + 1, error.pause(failures))
            }
        };
        Self {
            of,
            again: Instant::now() + pause,
            failures,
            window,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("there is no account to ask with")]
    NoAccount,
    #[error("it ends before it begins")]
    NoWindow,
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl Unanswered {
    fn is_unsupported(&self) -> bool {
        matches!(self, Self::Order(OrderError::Acme(Error::Unsupported(_))))
    }

    /// How long nothing is asked, after so many failures before this one. What may be over soon is asked for again after a
    /// minute, then two, and so on (section 4.3.3).
    fn pause(&self, failures: u32) -> Duration {
        let is_passing = match self {
            Self::Order(OrderError::Acme(Error::Api(problem))) => {
                problem.status.is_some_and(|status| status >= 500)
            }
            Self::Order(OrderError::Acme(Error::Other(_))) => true,
            Self::Order(_) | Self::NoAccount | Self::NoWindow => false,
        };
        match is_passing {
            true => BETWEEN.0.saturating_mul(1 << failures.min(16)).min(LATER),
            false => LATER,
        }
    }
}

/// From when to when it should be renewed, and how long that is to be believed.
async fn window(
    of: &CertificateIdentifier<'static>,
    ordered: &Ordered,
    acme: &Acme,
) -> Result<((i64, i64), Duration), Unanswered> {
    let account = account::as_it_is(&ordered.folder().account(), acme).await?;
    let account = account.ok_or(Unanswered::NoAccount)?;
    let (info, after) = account.renewal_info(of).await.map_err(OrderError::from)?;
    Ok((read(&info)?, after))
}

/// Section 4.2: one that ends before it begins, or as it begins, is as good as none.
fn read(info: &RenewalInfo) -> Result<(i64, i64), Unanswered> {
    let window = &info.suggested_window;
    let (from, until) = (window.start.unix_timestamp(), window.end.unix_timestamp());
    match from < until {
        true => Ok((from, until)),
        false => Err(Unanswered::NoWindow),
    }
}

fn bounded(after: Duration) -> Duration {
    after.clamp(BETWEEN.0, BETWEEN.1)
}

fn time(seconds: i64) -> humantime::Rfc3339Timestamp {
    let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(info: &str) -> Result<(i64, i64), Unanswered> {
        read(&serde_json::from_str(info).unwrap())
    }

    #[test]
    fn a_window_ends_after_it_begins() {
        let window = |from: &str, until: &str| {
            of(&format!(
                r#"{{"suggestedWindow": {{"start": "{from}", "end": "{until}"}}}}"#
            ))
            .ok()
        };
        let (from, until) = ("2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z");
        assert_eq!(window(from, until), Some((1_893_456_000, 1_893_542_400)));
        assert_eq!(window(until, from), None);
        assert_eq!(window(from, from), None);
    }

    #[test]
    fn it_is_asked_once_a_minute_at_most_and_once_a_day_at_least() {
        let seconds = |after| bounded(Duration::from_secs(after)).as_secs();
        assert_eq!([0, 59, 61, 21_600].map(seconds), [60, 60, 61, 21_600]);
        assert_eq!(seconds(u64::MAX), 86_400);
    }

    #[test]
    fn what_may_be_over_soon_is_asked_for_again_sooner() {
        let acme = |error| Unanswered::Order(OrderError::Acme(error));
        let problem = |status: u16| {
            let text = format!(r#"{{"status": {status}}}"#);
            Error::Api(serde_json::from_str(&text).unwrap())
        };
        let minutes = |error: &Unanswered| [0, 1, 2, 40].map(|n| error.pause(n).as_secs() / 60);
        let passing = [1, 2, 4, 360];
        assert_eq!(minutes(&acme(Error::Other("away".into()))), passing);
        assert_eq!(minutes(&acme(problem(503))), passing);
        assert_eq!(minutes(&acme(problem(404))), [360; 4]);
        assert_eq!(minutes(&acme(Error::Unsupported("it"))), [360; 4]);
        assert_eq!(minutes(&Unanswered::NoWindow), [360; 4]);
    }
}
