//! Whoever waits for an upstream is judged again before anything is sent: what was found out about the session may be
//! outdated by then.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::uptime::Uptime;

/// From the judgement to the first byte: whoever is quicker has not waited.
pub const SOON: Duration = Duration::from_millis(20);

/// Judges a request once more.
pub trait Judge: Send {
    /// Whether it may still be sent as it is.
    fn judge(&mut self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

/// When a request was let in, and who says whether that still holds.
pub struct Admission<'a> {
    /// When it sets out.
    pub began: Instant,
    /// When it was judged.
    pub since: Uptime,
    /// Who says.
    pub judge: &'a mut dyn Judge,
}

impl Admission<'_> {
    /// Whether it may be sent now.
    pub(super) async fn holds(&mut self) -> bool {
        let now = Uptime::now();
        if now.since(self.since) <= SOON {
            return true;
        }
        let holds = self.judge.judge().await;
        self.since = Uptime::now();
        holds
    }
}

impl fmt::Debug for Admission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("since", &self.since)
            .finish_non_exhaustive()
    }
}
