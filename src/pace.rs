//! How slowly a client may send the body of a request.
//!
//! Only the time counts in which the client is waited for: an upstream that reads slowly is not its fault. It has a
//! credit of that time. Each byte adds to it what the byte may take, up to where it began, so that nobody can send a
//! lot at once and then take hours over the rest.

use std::time::Duration;

use tokio::time::Instant;

/// What all bodies are held to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    /// Bytes a second; 0 for any speed.
    pub rate: u64,
    /// For how long a client may be slower than that.
    pub grace: Duration,
    /// How long a body may take in all; `None` for any time.
    pub whole: Option<Duration>,
}

/// How one body keeps to it.
#[derive(Debug)]
pub struct Credit {
    pace: Pace,
    left: Duration,
    /// When it has to be there as a whole.
    end: Option<Instant>,
    /// Since when the client is waited for.
    waiting: Option<Instant>,
}

impl Credit {
    /// For a body that begins now.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            left: pace.grace,
            end: pace
                .whole
                .and_then(|whole| Instant::now().checked_add(whole)),
            waiting: None,
        }
    }

    /// Until when the client may be waited for, from now on or from when it was first asked; `None` for any time.
    pub fn wait(&mut self) -> Option<Instant> {
        if self.pace.rate == 0 {
            return self.end;
        }
        let since = *self.waiting.get_or_insert_with(Instant::now);
        let slow = since.checked_add(self.left);
        slow.into_iter().chain(self.end).min()
    }

    /// The client has sent so many bytes.
    pub fn came(&mut self, bytes: usize) {
        if self.pace.rate == 0 {
            return;
        }
        let waited = self.waiting.take().map(|since| since.elapsed());
        let earned = Duration::from_secs_f64(bytes as f64 / self.pace.rate as f64);
        let left = self.left.saturating_sub(waited.unwrap_or_default());
        self.left = left.saturating_add(earned).min(self.pace.grace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        rate: 1000,
        grace: Duration::from_secs(10),
        whole: None,
    };

    async fn sends(credit: &mut Credit, bytes: usize, after: Duration) -> bool {
        let until = credit.wait().unwrap();
        tokio::time::advance(after).await;
        let in_time = Instant::now() < until;
        credit.came(bytes);
        in_time
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_to_the_rate_may_go_on_and_one_below_it_may_not() {
        let second = Duration::from_secs(1);
        let mut steady = Credit::new(PACE);
        for _ in 0..100 {
            assert!(sends(&mut steady, 1000, second).await);
        }
        let mut slow = Credit::new(PACE);
        let mut seconds = 0;
        while sends(&mut slow, 500, second).await {
            seconds += 1;
        }
        // Half the rate uses up half a second each time; the last second is not there as a whole.
        assert_eq!(seconds, 18);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_at_once_buys_no_more_than_the_grace() {
        let mut credit = Credit::new(PACE);
        assert!(sends(&mut credit, 100_000_000, Duration::ZERO).await);

        assert!(!sends(&mut credit, 1, Duration::from_secs(10)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_does_not_read_costs_the_client_nothing() {
        let mut credit = Credit::new(PACE);
        assert!(sends(&mut credit, 1, Duration::from_secs(5)).await);
        tokio::time::advance(Duration::from_secs(3600)).await;

        assert!(sends(&mut credit, 1, Duration::from_secs(4)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_has_an_end_whatever_the_rate() {
        let mut credit = Credit::new(Pace {
            rate: 0,
            whole: Some(Duration::from_secs(60)),
            ..PACE
        });
        let end = Instant::now() + Duration::from_secs(60);
        credit.came(1_000_000);

        assert_eq!(credit.wait(), Some(end));
        assert_eq!(Credit::new(Pace { rate: 0, ..PACE }).wait(), None);
    }
}
