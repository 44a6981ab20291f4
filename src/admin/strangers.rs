//! Refusals of callers that nobody knows. Each is worth a line in the audit log, but whoever may call as often as they
//! please must not fill the disk with them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config;
use crate::limit::network;

/// Addresses that are counted apart at a time; all further ones are counted as one.
const ADDRESSES: usize = 256;

/// How many lines each address has had.
#[derive(Debug)]
pub(super) struct Strangers {
    most: u64,
    window: Duration,
    counts: Mutex<HashMap<Option<IpAddr>, Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    began: Instant,
    refusals: u64,
}

/// What becomes of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is noted.
    Noted,
    /// It is the first that is not: after this time somebody has to come back and ask how many there were.
    FirstLeftOut(Duration),
    /// It is counted.
    LeftOut,
}

impl Strangers {
    pub(super) fn new(config: Option<&config::Audit>) -> Self {
        let rate = config.cloned().unwrap_or_default().strangers;
        Self {
            most: u64::from(rate.count.get()),
            window: rate.per,
            counts: Mutex::default(),
        }
    }

    /// One more refusal of somebody at this address; also says as whom they are counted.
    pub(super) fn refused(&self, from: Option<IpAddr>, now: Instant) -> (Option<IpAddr>, Fate) {
        let mut counts = self.counts.lock();
        let over = |count: &Count| now.saturating_duration_since(count.began) >= self.window;
        let mut whom = from.map(network);
        if counts.len() >= ADDRESSES && !counts.contains_key(&whom) {
            // Who has had too many is waited for by somebody.
            counts.retain(|_, count| !over(count) || count.refusals > self.most);
            if counts.len() >= ADDRESSES {
                whom = None;
            }
        }
        let fresh = Count {
            began: now,
            refusals: 0,
        };
        let count = counts.entry(whom).or_insert(fresh);
        if over(count) && count.refusals <= self.most {
            *count = fresh;
        }
        count.refusals += 1;
        let fate = match count.refusals.checked_sub(self.most) {
            None | Some(0) => Fate::Noted,
            Some(1) => Fate::FirstLeftOut(self.window),
            Some(_) => Fate::LeftOut,
        };
        (whom, fate)
    }

    /// How many were left out, and begins anew.
    pub(super) fn left_out(&self, whom: Option<IpAddr>) -> u64 {
        let count = self.counts.lock().remove(&whom);
        count.map_or(0, |count| count.refusals.saturating_sub(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers(rate: &str) -> Strangers {
        let config: config::Audit = toml::from_str(&format!("strangers = '{rate}'")).unwrap();
        Strangers::new(Some(&config))
    }

    fn at(last: u16) -> Option<IpAddr> {
        let [high, low] = last.to_be_bytes();
        Some(IpAddr::from([10, 0, high, low]))
    }

    #[test]
    fn each_address_has_its_lines_and_then_one_that_counts() {
        let (strangers, now) = (strangers("2/m"), Instant::now());
        let fates =
            |from| -> Vec<Fate> { (0..4).map(|_| strangers.refused(from, now).1).collect() };
        let expected = [
            Fate::Noted,
            Fate::Noted,
            Fate::FirstLeftOut(Duration::from_secs(60)),
            Fate::LeftOut,
        ];

        assert_eq!(fates(at(1)), expected);
        assert_eq!(fates(at(2)), expected);
        assert_eq!(strangers.left_out(at(1)), 2);
        assert_eq!(fates(at(1)), expected, "it begins anew");
        assert_eq!(strangers.left_out(at(3)), 0);
    }

    #[test]
    fn who_comes_now_and_then_is_always_noted() {
        let (strangers, mut now) = (strangers("1/m"), Instant::now());
        for _ in 0..5 {
            assert_eq!(strangers.refused(at(1), now).1, Fate::Noted);
            now += Duration::from_secs(60);
        }
    }

    #[test]
    fn neighbors_in_one_network_and_crowds_are_counted_together() {
        let (strangers, now) = (strangers("1/m"), Instant::now());
        let six = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]));
        assert_eq!(strangers.refused(six(1), now).1, Fate::Noted);
        assert_ne!(strangers.refused(six(2), now).1, Fate::Noted);

        let crowd = u16::try_from(2 * ADDRESSES).unwrap();
        let noted = (0..crowd).filter(|last| strangers.refused(at(*last), now).1 == Fate::Noted);
        assert_eq!(noted.count(), ADDRESSES);
        assert_eq!(strangers.counts.lock().len(), ADDRESSES + 1);
    }
}
