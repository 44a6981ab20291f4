//! What holds whatever happens in whatever order.

use proptest::prelude::*;

use super::*;
use crate::config::OnLimit;

/// Something that is done to a user.
#[derive(Debug, Clone)]
enum Deed {
    Login {
        device: u8,
        kind: u8,
        refresh: bool,
    },
    Refresh {
        family: u8,
        back: u8,
    },
    Kick(u8),
    KickKind(u8),
    KickAll,
    KickOthers(u8),
    Ban {
        everything: bool,
        lasts: u64,
        end: bool,
    },
    Unban,
    Wait(u64),
    Realm,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (0..6_u8, 0..3_u8, any::<bool>())
            .prop_map(|(device, kind, refresh)| Deed::Login { device, kind, refresh }),
        6 => (0..12_u8, 0..3_u8).prop_map(|(family, back)| Deed::Refresh { family, back }),
        2 => (0..12_u8).prop_map(Deed::Kick),
        1 => (0..3_u8).prop_map(Deed::KickKind),
        1 => Just(Deed::KickAll),
        1 => (0..12_u8).prop_map(Deed::KickOthers),
        1 => (any::<bool>(), 1..2 * HOUR, any::<bool>())
            .prop_map(|(everything, lasts, end)| Deed::Ban { everything, lasts, end }),
        1 => Just(Deed::Unban),
        3 => (0..2 * DAY).prop_map(Deed::Wait),
        1 => Just(Deed::Realm),
    ]
}

/// A user, and what an observer knows about its sessions.
struct World {
    user: User,
    now: u64,
    realm_epoch: u64,
    /// Which sessions were opened, with the hashes of their chains.
    opened: Vec<(String, Vec<String>)>,
    /// Which of them somebody has ended.
    over: Vec<String>,
    made: u32,
}

impl World {
    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            realm_epoch: self.realm_epoch,
        }
    }

    fn sid(&self, n: u8) -> Option<(String, Vec<String>)> {
        let count = self.opened.len();
        (count > 0).then(|| self.opened[usize::from(n) % count].clone())
    }

    fn kick(&mut self, whom: &Whom, rules: &Rules) {
        let ended = self.user.kick(whom, Why::Kicked, rules, self.moment());
        self.over.extend(ended.into_iter().map(|entry| entry.sid));
    }

    fn login(&mut self, (device_id, kind, refresh): (u8, u8, bool), rules: &Rules) {
        self.made += 1;
        let sid = format!("s{}", self.made);
        let mut new = match refresh {
            true => with_family(&sid, self.now),
            false => entry(&sid, Device::default(), self.now),
        };
        new.realm_epoch = self.realm_epoch;
        new.device = device(&format!("d{device_id}"), &format!("k{kind}"));
        let mut next = self.user.clone();
        let banned = self
            .user
            .bans
            .get(EVERYTHING)
            .is_some_and(|b| b.holds(self.now));
        match next.login(new, rules, &Seen::new(), self.moment()) {
            Ok(ended) => {
                assert!(!banned, "who is banned does not get in");
                self.over.extend(ended.into_iter().map(|entry| entry.sid));
                self.user = next;
                self.opened.push((sid, vec!["hash-0".to_owned()]));
            }
            Err(Refused::Disabled(_)) => assert!(banned),
            Err(Refused::TooMany) => assert_eq!(rules.on_limit, OnLimit::Refuse),
        }
    }

    fn refresh(&mut self, n: u8, back: u8, rules: &Rules) {
        let Some((sid, hashes)) = self.sid(n) else {
            return;
        };
        self.made += 1;
        let place = hashes.len().saturating_sub(1 + usize::from(back));
        let hash = hashes[place].clone();
        let step = Step {
            nonce: format!("n{}", self.made),
            hash: format!("hash-{}", self.made),
            key: format!("key-{}", self.made),
        };
        let family = format!("family-{sid}");
        let before = self.user.clone();
        let turn = self
            .user
            .refresh((&family, &hash), step.clone(), rules, self.moment());
        match turn {
            Turn::Taken(entry) => {
                assert_eq!(place + 1, hashes.len(), "only the last link takes a step");
                assert!(!self.over.contains(&sid), "what is over stays over");
                assert_eq!(entry.sid, sid);
                let known = self.opened.iter_mut().find(|(known, _)| *known == sid);
                known.unwrap().1.push(step.hash);
            }
            Turn::Again(_) => {
                assert_eq!(place + 2, hashes.len(), "only the parent is asked again");
                assert!(!self.over.contains(&sid), "what is over stays over");
            }
            Turn::Reused(entry) => {
                assert!(place + 1 < hashes.len(), "the last link is never stolen");
                self.over.push(entry.sid);
            }
            Turn::Disabled(_) => assert!(before.bans.contains_key(EVERYTHING)),
            Turn::Unknown | Turn::Ended(_) => {}
        }
    }

    fn carry_out(&mut self, deed: &Deed, rules: &Rules) {
        match *deed {
            Deed::Login {
                device,
                kind,
                refresh,
            } => self.login((device, kind, refresh), rules),
            Deed::Refresh { family, back } => self.refresh(family, back, rules),
            Deed::Kick(n) => {
                if let Some((sid, _)) = self.sid(n) {
                    self.kick(&Whom::Session(sid), rules);
                }
            }
            Deed::KickKind(kind) => self.kick(&Whom::DeviceType(format!("k{kind}")), rules),
            Deed::KickAll => self.kick(&Whom::All, rules),
            Deed::KickOthers(n) => {
                if let Some((sid, _)) = self.sid(n) {
                    self.kick(&Whom::AllBut(sid), rules);
                }
            }
            Deed::Ban {
                everything,
                lasts,
                end,
            } => {
                let ban = NewBan {
                    service: (!everything).then(|| "billing".to_owned()),
                    until: Some(self.now + lasts),
                    reason: String::new(),
                    end_sessions: end,
                };
                let ended = self.user.ban(ban, rules, self.moment());
                self.over.extend(ended.into_iter().map(|entry| entry.sid));
            }
            Deed::Unban => {
                self.user.unban(None, self.moment());
            }
            Deed::Wait(time) => self.now += time,
            Deed::Realm => {
                let all = self.opened.iter().map(|(sid, _)| sid.clone());
                self.over.extend(all);
                self.realm_epoch = self.now.max(self.realm_epoch + 1);
            }
        }
    }

    /// What holds after every deed.
    fn check(&self, rules: &Rules, epoch_before: u64) {
        let user = &self.user;
        assert!(user.epoch >= epoch_before, "epochs never go back");
        let moment = self.moment();
        let live: Vec<_> = user.sessions.iter().filter(|e| e.is_live(moment)).collect();
        for entry in &live {
            assert!(!self.over.contains(&entry.sid), "{} came back", entry.sid);
        }
        assert!(live.len() <= rules.max_per_user);
        for (kind, most) in &rules.max_per_type {
            let of_kind = live.iter().filter(|entry| entry.device.kind == *kind);
            assert!(of_kind.count() <= *most);
        }
        for kind in &rules.exclusive_types {
            let of_kind = live.iter().filter(|entry| entry.device.kind == *kind);
            assert!(of_kind.count() <= 1);
        }
        let mut devices: Vec<_> = live.iter().map(|entry| &entry.device.id).collect();
        devices.sort();
        devices.dedup();
        assert_eq!(devices.len(), live.len(), "one session for each device");
        assert!(user.gone.len() <= 32);
        let end = user.ends_at(rules);
        for entry in &user.sessions {
            assert!(end.is_none_or(|end| end > entry.last()));
        }
        let bytes = user.encode().unwrap();
        assert_eq!(User::decode(&bytes).as_ref(), Ok(user));
        let glance = Glance::decode(&bytes).unwrap();
        let listed: Vec<_> = glance.sessions.iter().map(|listed| &listed.sid).collect();
        let kept: Vec<_> = user.sessions.iter().map(|entry| &entry.sid).collect();
        assert_eq!(listed, kept);
        assert_eq!(glance.gone, user.gone);
        assert_eq!(glance.bans, user.bans);
    }
}

proptest! {
    #[test]
    fn rules_hold_after_every_deed(
        deeds in prop::collection::vec(deed(), 1..60),
        per_user in 1..6_u16, per_type in 1..4_u16, exclusive in any::<bool>(),
        on_limit in prop_oneof![Just("refuse"), Just("oldest"), Just("least_recently_seen")],
    ) {
        let exclusive = if exclusive { "exclusive_types = ['k1']" } else { "" };
        let rules = rules(&format!(
            "max_per_user = {per_user}\nmax_per_type = {{ k0 = {per_type} }}\n{exclusive}\non_limit = '{on_limit}'"
        ));
        let mut world = World {
            user: User::new("alice"),
            now: NOW,
            realm_epoch: 0,
            opened: Vec::new(),
            over: Vec::new(),
            made: 0,
        };
        for deed in &deeds {
            let epoch = world.user.epoch;
            world.carry_out(deed, &rules);
            world.check(&rules, epoch);
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(User::decode(&bytes).is_err());
        prop_assert!(Glance::decode(&bytes).is_err());
        prop_assert!(Realm::decode(&bytes).is_err());
    }
}
