//! The rules that keep a verdict from outliving its session.
//!
//! Each of them closes a hole that the others leave open. In a debug build the environment variable
//! `DRAWBRIDGE_SAFEGUARDS_OFF` (names with commas between) takes some away, so that a test can show which hole that is; a
//! release build has no such switch.

/// One of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safeguard {
    /// A cached verdict is used only for so long after its records were asked for.
    Age,
    /// What was read before changes could have been missed is read again.
    Epoch,
    /// A server's word counts only while it is known to be the master.
    Fence,
    /// A record that was changed while it was being read is not kept.
    Marker,
    /// What was ended stays ended, also if the store forgets it.
    Tombstone,
    /// An end is confirmed only when the replicas have it, too.
    Wait,
}

impl Safeguard {
    /// Whether it is in force: always, except in a debug build that was told otherwise.
    #[cfg(not(debug_assertions))]
    #[inline]
    pub fn holds(self) -> bool {
        true
    }

    /// Whether it is in force: always, except in a debug build that was told otherwise.
    #[cfg(debug_assertions)]
    pub fn holds(self) -> bool {
        use std::sync::LazyLock;

        const ALL: [Safeguard; 6] = [
            Safeguard::Age,
            Safeguard::Epoch,
            Safeguard::Fence,
            Safeguard::Marker,
            Safeguard::Tombstone,
            Safeguard::Wait,
        ];
        static OFF: LazyLock<Vec<Safeguard>> = LazyLock::new(|| {
            let names = std::env::var("DRAWBRIDGE_SAFEGUARDS_OFF").unwrap_or_default();
            let named = |one: &Safeguard| {
                let own = format!("{one:?}");
                names.split(',').any(|name| name.eq_ignore_ascii_case(&own))
            };
            ALL.into_iter().filter(named).collect()
        });
        !OFF.contains(&self)
    }
}
