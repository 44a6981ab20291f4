//! What was seen while things failed, and what of it must not have been: S1 to S6, and that nobody is refused for nothing.
//!
//! A request is decided after it was begun, so one that was begun too late and let in is a violation however slow the
//! machine is: no clock has to be trusted further than that it runs forward. The same goes for a piece that is sent through
//! a tunnel and comes back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Everything of the next so long after a fault or a loss may still be its doing.
const AFTERMATH: Duration = Duration::from_secs(5);
/// So much later than the bound a tunnel is cut at the latest.
const TUNNELS: Duration = Duration::from_secs(1);
/// Of so many answers in good times, one may say that it cannot be told: the machine does other things, too.
const RARE: usize = 100;
/// What the upstream has seen is told as if by one more gateway.
pub(crate) const ORACLE: usize = usize::MAX;

/// One session, and what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) number: usize,
    pub(crate) token: String,
    pub(crate) user: String,
    pub(crate) sid: String,
    /// Unix milliseconds.
    pub(crate) ends_at: u64,
    /// Since when its end is acknowledged and confirmed.
    pub(crate) over: Option<Instant>,
    /// Since when every gateway is said to have dropped it.
    pub(crate) everywhere: Option<Instant>,
    /// Somebody has tried to end it, or a fault has lost it: it may be gone.
    pub(crate) shaky: bool,
}

/// One request and its answer; told by the client, or by the upstream which it arrived at.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) number: usize,
    pub(crate) begun: Instant,
    /// Unix milliseconds.
    pub(crate) begun_at: u64,
    pub(crate) ended: Instant,
    pub(crate) status: u16,
    pub(crate) user: String,
    /// Which of the user's changes of rights it knew of.
    pub(crate) version: usize,
    pub(crate) gateway: usize,
}

/// A change of a user's rights.
#[derive(Debug)]
pub(crate) struct Edit {
    pub(crate) started: Instant,
    pub(crate) acked: Option<Instant>,
}

/// A tunnel that was opened with a session.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) number: usize,
    pub(crate) gateway: usize,
    /// When the last piece was sent that came back.
    pub(crate) echoed: Instant,
    pub(crate) closed: Option<Instant>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) known: Vec<Known>,
    pub(crate) seen: Vec<Seen>,
    /// By the number of the user's session.
    pub(crate) edits: HashMap<usize, Vec<Edit>>,
    pub(crate) tunnels: Vec<Tunnel>,
    /// Requests begun before were under way when something was lost.
    pub(crate) losses: Vec<Instant>,
    /// Faults, from when to when.
    pub(crate) faults: Vec<(Instant, Option<Instant>)>,
    /// Gateways that stood still, from when to when.
    pub(crate) frozen: Vec<(usize, Instant, Instant)>,
    /// Ends that were said to be confirmed and were not where they have to be.
    pub(crate) hollow: Vec<String>,
    pub(crate) tally: Tally,
}

/// What has been found so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) wrong: Vec<String>,
    /// The longest that anybody was let in after an acknowledged end.
    pub(crate) worst: Duration,
    pub(crate) answers: usize,
    pub(crate) let_in: usize,
    /// Answers in good times, and those among them that say that it cannot be told.
    quiet: (usize, usize),
}

impl Log {
    /// Checks what was seen since the last time, and forgets it.
    pub(crate) fn settle(&mut self, bound: Duration) {
        let seen = std::mem::take(&mut self.seen);
        let mut tally = std::mem::take(&mut self.tally);
        let before = tally.wrong.len();
        for one in &seen {
            tally.answers += usize::from(one.gateway != ORACLE);
            let known = &self.known[one.number];
            let wrong = match one.status {
                200 => {
                    tally.let_in += 1;
                    let age = known
                        .over
                        .map(|over| one.begun.saturating_duration_since(over));
                    tally.worst = tally.worst.max(age.unwrap_or_default());
                    self.let_in(one, known, bound)
                }
                401 => self.refused(one, known),
                503 => None,
                other => Some(format!("{other} is no answer")),
            };
            if self.is_quiet(one.begun, one.ended) {
                tally.quiet.0 += 1;
                tally.quiet.1 += usize::from(one.status == 503);
            }
            tally
                .wrong
                .extend(wrong.map(|wrong| format!("{wrong}: {known:?} {one:?}")));
        }
        tally.wrong.append(&mut self.hollow);
        // Printed when they are found: a long run may be broken off.
        tally.wrong[before..]
            .iter()
            .for_each(|wrong| println!("{wrong}"));
        self.tally = tally;
    }

    /// The same at the end.
    pub(crate) fn finish(&mut self, bound: Duration) -> Tally {
        self.settle(bound);
        let mut tally = std::mem::take(&mut self.tally);
        tally.wrong.extend(self.tunnels.iter().filter_map(|tunnel| {
            let wrong = self.tunnel(tunnel, bound)?;
            Some(format!(
                "{wrong}: {:?} {tunnel:?}",
                self.known[tunnel.number]
            ))
        }));
        let (all, unsure) = tally.quiet;
        if unsure * RARE > all {
            tally.wrong.push(format!(
                "L2: {unsure} of {all} times it could not be told although all was well"
            ));
        }
        tally
    }

    fn let_in(&self, seen: &Seen, known: &Known, bound: Duration) -> Option<String> {
        if seen.user != known.user {
            return Some(format!("S3: {} let in as {}", known.user, seen.user));
        }
        if seen.begun_at > known.ends_at {
            return Some("S4: let in after its end".to_owned());
        }
        if let Some(over) = known.over.filter(|over| *over + bound < seen.begun) {
            let back = self
                .losses
                .iter()
                .any(|lost| (over..seen.begun).contains(lost));
            let rule = if back { "S2" } else { "S1" };
            let age = seen.begun - over;
            return Some(format!("{rule}: let in {age:?} after it was over"));
        }
        if known.everywhere.is_some_and(|over| over < seen.begun) {
            return Some("S1: let in after every gateway was said to have dropped it".to_owned());
        }
        self.rights(seen, bound)
    }

    /// Rights may be as old as the bound, but have to be some that the user had.
    fn rights(&self, seen: &Seen, bound: Duration) -> Option<String> {
        let edits = self.edits.get(&seen.number).map_or(&[][..], Vec::as_slice);
        if seen.version > 0 {
            let edit = edits.get(seen.version - 1);
            if edit.is_none_or(|edit| edit.started > seen.ended) {
                return Some("S3: let in with rights that nobody gave".to_owned());
            }
        }
        let newest = edits.iter().rposition(|edit| {
            edit.acked.is_some_and(|acked| {
                let lost = |lost: &Instant| acked <= *lost + AFTERMATH && *lost <= seen.ended;
                acked + bound < seen.begun && !self.losses.iter().any(lost)
            })
        });
        let needed = newest.map_or(0, |place| place + 1);
        (seen.version < needed)
            .then(|| format!("S3: let in with rights that were changed, {needed}"))
    }

    fn refused(&self, seen: &Seen, known: &Known) -> Option<String> {
        let lived = known.over.is_none() && !known.shaky && seen.begun_at + 5000 < known.ends_at;
        let lost = |lost: &Instant| seen.begun <= *lost + AFTERMATH;
        (lived && !self.losses.iter().any(lost)).then(|| "L1: logged out by nobody".to_owned())
    }

    fn tunnel(&self, tunnel: &Tunnel, bound: Duration) -> Option<String> {
        let known = &self.known[tunnel.number];
        let stood = self.frozen.iter().any(|(gateway, from, to)| {
            // Whoever stands still cuts nothing, and has a moment for it afterwards.
            *gateway == tunnel.gateway && (*from..*to + TUNNELS).contains(&tunnel.echoed)
        });
        if known
            .over
            .is_some_and(|over| over + bound + TUNNELS < tunnel.echoed)
            && !stood
        {
            return Some("S5: a tunnel outlived its session".to_owned());
        }
        let closed = tunnel.closed?;
        let cut = known.over.is_none() && !known.shaky && self.is_quiet(closed - AFTERMATH, closed);
        cut.then(|| "L1: a tunnel was cut by nobody".to_owned())
    }

    /// Whether all was well from some time before until then.
    fn is_quiet(&self, from: Instant, to: Instant) -> bool {
        self.faults
            .iter()
            .all(|(began, over)| *began > to || over.is_some_and(|over| over + AFTERMATH < from))
    }
}

mod planted {
    use super::{Edit, Known, Log, Seen, TUNNELS, Tunnel};
    use std::time::{Duration, Instant};

    const BOUND: Duration = Duration::from_secs(2);
    const MOMENT: Duration = Duration::from_millis(1);

    struct Scene {
        begun: Instant,
        known: Known,
        seen: Seen,
        log: Log,
    }

    impl Scene {
        /// Alice is let in as who she is.
        fn new() -> Self {
            let begun = Instant::now() + Duration::from_secs(60);
            Self {
                begun,
                known: Known {
                    number: 0,
                    token: String::new(),
                    user: "alice".to_owned(),
                    sid: String::new(),
                    ends_at: 100_000,
                    over: None,
                    everywhere: None,
                    shaky: false,
                },
                seen: Seen {
                    number: 0,
                    begun,
                    begun_at: 1,
                    ended: begun + MOMENT,
                    status: 200,
                    user: "alice".to_owned(),
                    version: 0,
                    gateway: 0,
                },
                log: Log::default(),
            }
        }

        fn edit(mut self, started: Instant, acked: Option<Instant>) -> Self {
            self.log
                .edits
                .entry(0)
                .or_default()
                .push(Edit { started, acked });
            self
        }

        fn over(mut self, ago: Duration) -> Self {
            self.known.over = Some(self.begun - ago);
            self
        }

        fn status(mut self, status: u16) -> Self {
            self.seen.status = status;
            self
        }

        fn version(mut self, version: usize) -> Self {
            self.seen.version = version;
            self
        }

        fn lost(mut self, at: Instant) -> Self {
            self.log.losses.push(at);
            self
        }

        /// The last piece that came back was sent so long after the session was over.
        fn tunnel(mut self, after: Duration, closed: bool) -> Self {
            let over = self.known.over.unwrap_or(self.begun);
            self.log.tunnels.push(Tunnel {
                number: 0,
                gateway: 0,
                echoed: over + after,
                closed: closed.then(|| over + after),
            });
            self
        }

        fn found(mut self) -> Option<String> {
            self.log.known.push(self.known);
            self.log.seen.push(self.seen);
            let tally = self.log.finish(BOUND);
            let first = tally.wrong.first()?;
            Some(first[..2].to_owned())
        }
    }

    fn is(rule: &str, scene: Scene) {
        assert_eq!(scene.found().as_deref(), Some(rule));
    }

    fn fine(scene: Scene) {
        assert_eq!(scene.found(), None);
    }

    #[test]
    fn ends_that_are_not_kept_are_found() {
        let late = BOUND + MOMENT;
        is("S1", Scene::new().over(late));
        fine(Scene::new().over(BOUND));
        fine(Scene::new().over(late).status(401));
        let scene = Scene::new().over(late);
        let lost = scene.begun - BOUND;
        is("S2", scene.lost(lost));
        let mut everywhere = Scene::new().over(MOMENT);
        everywhere.known.everywhere = everywhere.known.over;
        is("S1", everywhere);
        let mut expired = Scene::new();
        expired.seen.begun_at = 100_001;
        is("S4", expired);
        let mut hollow = Scene::new();
        hollow.log.hollow.push("S6: on one server only".to_owned());
        is("S6", hollow);
    }

    #[test]
    fn wrong_identities_are_found() {
        let mut bob = Scene::new();
        bob.seen.user = "bob".to_owned();
        is("S3", bob);
        let at = Scene::new().begun;
        is("S3", Scene::new().version(1));
        is("S3", Scene::new().version(1).edit(at + BOUND, None));
        fine(Scene::new().version(1).edit(at, None));
        let long_ago = at - BOUND - 2 * MOMENT;
        is("S3", Scene::new().edit(long_ago, Some(long_ago)));
        fine(Scene::new().edit(long_ago, None));
        fine(Scene::new().edit(long_ago, Some(at - MOMENT)));
        fine(Scene::new().edit(long_ago, Some(long_ago)).lost(at));
    }

    #[test]
    fn tunnels_that_last_are_found() {
        let most = BOUND + TUNNELS;
        is("S5", Scene::new().over(MOMENT).tunnel(most + MOMENT, false));
        fine(Scene::new().over(MOMENT).tunnel(most, true));
        let mut frozen = Scene::new().over(MOMENT).tunnel(most + MOMENT, false);
        let over = frozen.begun - MOMENT;
        frozen.log.frozen.push((0, over, over + most));
        fine(frozen);
        is("L1", Scene::new().tunnel(MOMENT, true));
        let mut shaken = Scene::new().tunnel(MOMENT, true);
        shaken.log.faults.push((shaken.begun - BOUND, None));
        fine(shaken);
    }

    #[test]
    fn refusals_for_nothing_are_found() {
        is("L1", Scene::new().status(401));
        let at = Scene::new().begun;
        fine(Scene::new().status(401).lost(at));
        is("L2", Scene::new().status(503));
        let mut faulty = Scene::new().status(503);
        faulty
            .log
            .faults
            .push((faulty.begun - BOUND, Some(faulty.begun)));
        fine(faulty);
        is("50", Scene::new().status(502)); // it is no answer
    }
}
