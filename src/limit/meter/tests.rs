use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn rate(text: &str) -> Rate {
    text.to_owned().try_into().unwrap()
}

fn millis(n: u64) -> u64 {
    n * 1000 * TICKS_PER_MICRO
}

/// A bucket that is asked at these times; nothing else ever happens to it.
fn decisions(meter: Meter, times: impl IntoIterator<Item = u64>) -> Vec<Metered> {
    let mut full_at = 0;
    let take = |now| {
        let (metered, after) = meter.take(full_at, now);
        full_at = after;
        metered
    };
    times.into_iter().map(take).collect()
}

#[test]
fn a_burst_passes_then_one_more_each_interval() {
    let meter = Meter::new(rate("10/s"), 3);
    let times = [0, 0, 0, 0, 99, 100, 100, 1000].map(millis);

    let answers = decisions(meter, times);

    let allowed: Vec<bool> = answers.iter().map(|answer| answer.allowed).collect();
    assert_eq!(allowed, [true, true, true, false, false, true, false, true]);
    let remaining: Vec<u64> = answers.iter().map(|answer| answer.remaining).collect();
    assert_eq!(remaining, [2, 1, 0, 0, 0, 0, 0, 2]);
    assert_eq!(answers[0].full_in, Duration::from_millis(100));
    assert_eq!(answers[0].next_in, Duration::ZERO);
    assert_eq!(answers[3].full_in, Duration::from_millis(300));
    assert_eq!(answers[3].next_in, Duration::from_millis(100));
    assert_eq!(answers[4].next_in, Duration::from_millis(1));
}

#[test]
fn a_bucket_is_never_more_than_empty_whatever_was_kept() {
    let meter = Meter::new(rate("1/s"), 2);

    let (metered, after) = meter.take(u64::MAX, millis(5));

    assert!(!metered.allowed);
    assert_eq!(after, millis(2005));
    assert_eq!(metered.next_in, Duration::from_secs(1));
}

#[test]
fn the_interval_never_undercuts_the_rate() {
    for (text, ticks) in [
        ("1/h", 28_800_000_000),
        ("3/s", 2_666_667),
        ("100/s", 80_000),
        ("100000/s", 80),
        ("300000/s", 27),
        ("4294967295/s", 1),
    ] {
        assert_eq!(Meter::new(rate(text), 1).interval(), ticks, "{text}");
    }
}

/// Credit in ticks: the bucket as one would draw it.
struct Drawn {
    credit: u64,
    at: u64,
}

impl Drawn {
    fn take(&mut self, meter: Meter, now: u64) -> bool {
        self.credit = (self.credit + (now - self.at)).min(meter.window());
        self.at = now;
        let there = self.credit >= meter.interval();
        if there {
            self.credit -= meter.interval();
        }
        there
    }
}

fn any_meter() -> impl Strategy<Value = (Rate, u32)> {
    let unit = prop_oneof![Just("s"), Just("m"), Just("h")];
    let one = (1..5000_u32, unit).prop_map(|(count, unit)| rate(&format!("{count}/{unit}")));
    (one, 1..40_u32)
}

/// Arrivals, mostly about as fast as the rate, sometimes at once, sometimes after a long silence.
fn arrivals(meter: Meter) -> impl Strategy<Value = Vec<u64>> {
    let interval = meter.interval();
    let gap = prop_oneof![
        3 => Just(0),
        6 => 0..=interval * 2,
        1 => 0..=meter.window() * 2,
    ];
    vec(gap, 1..300).prop_map(|gaps| {
        let sum = |now: &mut u64, gap| {
            *now += gap;
            Some(*now)
        };
        gaps.into_iter().scan(0, sum).collect()
    })
}

proptest! {
    #[test]
    fn it_decides_as_the_drawn_bucket_does(
        (meter, times) in any_meter()
            .prop_map(|(rate, burst)| Meter::new(rate, burst))
            .prop_flat_map(|meter| (Just(meter), arrivals(meter))),
    ) {
        let mut drawn = Drawn { credit: meter.window(), at: 0 };
        for (answer, now) in decisions(meter, times.clone()).into_iter().zip(times) {
            prop_assert_eq!(answer.allowed, drawn.take(meter, now));
            prop_assert_eq!(answer.remaining, drawn.credit / meter.interval());
            prop_assert_eq!(ticks(answer.full_in), meter.window() - drawn.credit);
            prop_assert_eq!(ticks(answer.next_in), meter.interval().saturating_sub(drawn.credit));
        }
    }

    #[test]
    fn no_stretch_of_time_has_more_than_the_burst_and_the_rate(
        (rate, burst, times) in any_meter().prop_flat_map(|(rate, burst)| {
            (Just(rate), Just(burst), arrivals(Meter::new(rate, burst)))
        }),
    ) {
        let answers = decisions(Meter::new(rate, burst), times.clone());
        let passed: Vec<u64> = answers.iter().zip(times).filter(|(a, _)| a.allowed).map(|(_, t)| t).collect();
        let per = u128::from(ticks(rate.per));
        for (first, from) in passed.iter().enumerate() {
            for (last, to) in passed.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u128;
                // count <= burst + rate * time, without dividing.
                let most = u128::from(burst) * per + u128::from(rate.count.get()) * u128::from(to - from);
                prop_assert!(count * per <= most, "{count} in {} ticks", to - from);
            }
        }
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_refused(
        (meter, gaps) in any_meter()
            .prop_map(|(rate, burst)| Meter::new(rate, burst))
            .prop_flat_map(|meter| (Just(meter), vec(meter.interval()..=meter.interval() * 3, 1..200))),
    ) {
        let mut now = 0;
        let times: Vec<u64> = gaps.iter().map(|gap| { now += gap; now }).collect();
        prop_assert!(decisions(meter, times).iter().all(|answer| answer.allowed));
    }

    #[test]
    fn who_waits_as_told_is_let_in_and_not_before(
        (meter, times) in any_meter()
            .prop_map(|(rate, burst)| Meter::new(rate, burst))
            .prop_flat_map(|meter| (Just(meter), arrivals(meter))),
    ) {
        let mut full_at = 0;
        for now in times {
            let (answer, after) = meter.take(full_at, now);
            if !answer.allowed {
                let wait = ticks(answer.next_in);
                prop_assert!(!meter.take(full_at, now + wait - 1).0.allowed);
                prop_assert!(meter.take(full_at, now + wait).0.allowed);
            }
            full_at = after;
        }
    }
}
