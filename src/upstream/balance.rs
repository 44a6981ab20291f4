//! Which endpoint a request goes to.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{self, Balance};

/// Draws endpoints of one upstream, for one worker.
#[derive(Debug)]
pub(super) struct Draw {
    kind: Balance,
    /// Endpoints by number, each as often as its weight says, spread evenly.
    order: Box<[usize]>,
    weights: Box<[u32]>,
    /// What tells the endpoints apart for `Balance::User`: the same in every gateway.
    names: Box<[u64]>,
    turn: AtomicU64,
}

/// What decides for one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lot {
    key: Option<u64>,
    turn: u64,
}

impl Draw {
    pub(super) fn new(config: &config::Upstream) -> Self {
        let weight = |number: usize| {
            let weight = config.weights.get(number).map(|weight| weight.get());
            u32::from(weight.unwrap_or(1))
        };
        let weights: Box<[u32]> = (0..config.endpoints.len()).map(weight).collect();
        let names = config.endpoints.iter();
        Self {
            kind: config.balance,
            order: spread(&weights),
            weights,
            names: names
                .map(|origin| mark(origin.get_ref().to_string().as_bytes()))
                .collect(),
            // Workers and gateways that start together must not go in step.
            turn: AtomicU64::new(RandomState::new().hash_one(0_u8)),
        }
    }

    /// What decides for one request, however often it is sent: `key` is what the user is told by.
    pub(super) fn lot(&self, key: Option<u64>) -> Lot {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Lot { key, turn }
    }

    /// One of the endpoints that are `fit`; `None` if none is. `busy` is the number of requests under way.
    pub(super) fn pick(
        &self,
        lot: Lot,
        fit: impl Fn(usize) -> bool,
        busy: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let Lot { key, turn } = lot;
        match (self.kind, key) {
            (Balance::User, Some(key)) => self.of_user(key, fit),
            (Balance::RoundRobin, _) => self.from(turn, fit),
            (Balance::LeastBusy | Balance::User, _) => {
                let drawn = mix(turn);
                let first = self.from(drawn & HALF, &fit)?;
                let others = |number| number != first && fit(number);
                let Some(second) = self.from(drawn >> 32, others) else {
                    return Some(first);
                };
                let load = |number, other| u64::from(busy(number)) * self.weight(other);
                let second_is_free = load(second, first) < load(first, second);
                Some(if second_is_free { second } else { first })
            }
        }
    }

    /// The next fit one in the order, from this place on.
    fn from(&self, start: u64, fit: impl Fn(usize) -> bool) -> Option<usize> {
        let length = self.order.len();
        let start = usize::try_from(start.checked_rem(length as u64)?).ok()?;
        let (before, after) = self.order.split_at_checked(start)?;
        let mut all = after.iter().chain(before).copied();
        all.find(|number| fit(*number))
    }

    /// The highest of the endpoints' lots (weighted rendezvous hashing): an endpoint that goes takes along only its own
    /// users, and one that comes takes its share of each.
    fn of_user(&self, key: u64, fit: impl Fn(usize) -> bool) -> Option<usize> {
        let heights = self.names.iter().enumerate().filter(|(n, _)| fit(*n));
        let heights = heights.map(|(number, name)| (number, self.height(key ^ name, number)));
        let highest = heights.max_by(|(_, one), (_, other)| one.total_cmp(other));
        highest.map(|(number, _)| number)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits tell enough users apart"
    )]
    fn height(&self, seed: u64, number: usize) -> f64 {
        // Within 0 and 1, without either.
        let drawn = ((mix(seed) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        self.weight(number) as f64 / -drawn.ln()
    }

    fn weight(&self, number: usize) -> u64 {
        self.weights.get(number).copied().unwrap_or(1).into()
    }
}

/// The lower half of a drawn number; the upper one is drawn from, too.
const HALF: u64 = 0xffff_ffff;

/// A number for these bytes (FNV-1a): the same in every gateway, so that a user meets the same endpoint through any of them.
pub(super) fn mark(bytes: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325_u64;
    let mark = bytes.iter().fold(start, |mark, byte| {
        (mark ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(mark)
}

/// Spreads numbers that lie close together (the end of `SplitMix64`).
fn mix(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Each number as often as its weight says, never more often in a row than need be: at each step all gain their weight,
/// and the one that has most pays for its turn.
fn spread(weights: &[u32]) -> Box<[usize]> {
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(*weight)).collect();
    let divisor = weights
        .iter()
        .fold(0, |divisor, weight| gcd(divisor, *weight));
    let total: i64 = weights.iter().sum();
    let turns = total.checked_div(divisor).unwrap_or(0);
    let mut credit = vec![0_i64; weights.len()];
    let mut order = Vec::new();
    for _ in 0..turns {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        let richest = credit
            .iter_mut()
            .enumerate()
            .max_by_key(|(number, credit)| {
                // The first of several.
                (**credit, std::cmp::Reverse(*number))
            });
        if let Some((number, credit)) = richest {
            *credit -= total;
            order.push(number);
        }
    }
    order.into()
}

fn gcd(one: i64, other: i64) -> i64 {
    match other {
        0 => one,
        other => gcd(other, one % other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(count: usize, rest: &str) -> Draw {
        let endpoints: Vec<_> = (0..count).map(|n| format!("http://e{n}.test")).collect();
        Draw::new(&toml::from_str(&format!("endpoints = {endpoints:?}\n{rest}")).unwrap())
    }

    fn counts(count: usize, picks: impl Iterator<Item = Option<usize>>) -> Vec<usize> {
        let mut counts = vec![0; count];
        picks.for_each(|picked| counts[picked.unwrap()] += 1);
        counts
    }

    #[test]
    fn round_robin_goes_by_weight_and_leaves_out_what_is_not_fit() {
        let even = draw(3, "balance = 'round_robin'");
        let heavy = draw(3, "balance = 'round_robin'\nweights = [4, 2, 2]");
        let pick = |draw: &Draw, fit: fn(usize) -> bool| draw.pick(draw.lot(None), fit, |_| 0);

        let all = counts(3, (0..30).map(|_| pick(&even, |_| true)));
        let two = counts(3, (0..30).map(|_| pick(&even, |n| n != 1)));
        let weighed = counts(3, (0..40).map(|_| pick(&heavy, |_| true)));

        assert_eq!(all, [10, 10, 10]);
        assert_eq!((two[1], two[0] + two[2]), (0, 30));
        assert_eq!(weighed, [20, 10, 10]);
        assert_eq!(*heavy.order, [0, 1, 2, 0]);
        assert_eq!(pick(&even, |_| false), None);
    }

    #[test]
    fn the_less_busy_of_two_is_taken_and_a_heavy_one_may_have_more() {
        let two = draw(2, "");
        let busy = |n: usize| [5, 4][n];
        let picks = counts(2, (0..50).map(|_| two.pick(two.lot(None), |_| true, busy)));
        assert_eq!(picks, [0, 50]);

        let heavy = draw(2, "weights = [2, 1]");
        let picks = counts(
            2,
            (0..50).map(|_| heavy.pick(heavy.lot(None), |_| true, busy)),
        );
        assert_eq!(picks, [50, 0]);

        let idle = counts(
            2,
            (0..1000).map(|_| two.pick(two.lot(None), |_| true, |_| 0)),
        );
        assert!(idle.iter().all(|count| *count > 400), "{idle:?}");
        let most_busy = draw(8, "");
        let busy = |n: usize| u32::from(n == 3) * 100;
        let picks = counts(
            8,
            (0..800).map(|_| most_busy.pick(most_busy.lot(None), |_| true, busy)),
        );
        assert_eq!(picks[3], 0, "it loses against every other");
    }

    #[test]
    fn a_user_stays_at_one_endpoint_and_only_the_users_of_a_lost_one_move() {
        let four = draw(4, "balance = 'user'");
        let user = |n: u32| mark(format!("user-{n}").as_bytes());
        let at = |n: u32, fit: fn(usize) -> bool| {
            four.pick(four.lot(Some(user(n))), fit, |_| 0).unwrap()
        };

        let homes: Vec<_> = (0..4000).map(|n| at(n, |_| true)).collect();
        let share = counts(4, homes.iter().map(|home| Some(*home)));
        assert!(
            share.iter().all(|users| (800..1200).contains(users)),
            "{share:?}"
        );
        for n in 0..4000_u32 {
            let home = homes[n as usize];
            assert_eq!(at(n, |_| true), home);
            let without = at(n, |number| number != 2);
            assert!(without != 2 && (home == 2 || without == home));
        }
    }

    #[test]
    fn users_are_shared_by_weight_and_met_by_name_not_by_place() {
        let heavy = draw(2, "balance = 'user'\nweights = [3, 1]");
        let user = |n: u32| mark(&n.to_be_bytes());
        let picks = (0..4000).map(|n| heavy.pick(heavy.lot(Some(user(n))), |_| true, |_| 0));
        let share = counts(2, picks);
        assert!((2800..3200).contains(&share[0]), "{share:?}");

        let text = "balance = 'user'\nendpoints = ['http://e1.test', 'http://e0.test']";
        let turned = Draw::new(&toml::from_str(text).unwrap());
        let straight = draw(2, "balance = 'user'");
        for n in 0..100 {
            let one = straight
                .pick(straight.lot(Some(user(n))), |_| true, |_| 0)
                .unwrap();
            let other = turned
                .pick(turned.lot(Some(user(n))), |_| true, |_| 0)
                .unwrap();
            assert_eq!(one, 1 - other);
        }
    }

    #[test]
    fn the_mark_of_a_user_never_changes() {
        // Another gateway, perhaps of another version, must come to the same.
        assert_eq!(mark(b"alice"), 0xa74db18baa5f20d2);
    }
}
