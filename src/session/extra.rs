//! What few sessions have, kept out of those that do not.

use std::ops::{Deref, DerefMut};

use super::{Act, Ban, Idle, List};

/// What few sessions have. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extra {
    /// Permissions with wildcards that are taken away in part by `denied`.
    pub partial: List,
    /// What the user may not do, whatever else says so.
    pub denied: List,
    /// When its user last proved who they are for a step-up; absent if never, or if that has run out.
    pub elevated_at: Option<u64>,
    /// Until when that counts.
    pub elevated_until: Option<u64>,
    /// How risky it is, 0 to 100: the higher of the user's and the session's own.
    pub risk: u8,
    /// What the user is banned from: service, or `*` for everything. Bans may have run out since.
    pub bans: Vec<(String, Ban)>,
    /// Who acts as this user, if it is somebody else, and in which session of theirs.
    pub actor: Option<Act>,
    /// Its end for want of use, if it has one.
    pub idle: Option<Idle>,
}

/// An [`Extra`] that takes no room while there is nothing in it.
#[derive(Debug, Clone, Default)]
pub struct Extras(Option<Box<Extra>>);

static NOTHING: Extra = Extra {
    partial: List::EMPTY,
    denied: List::EMPTY,
    elevated_at: None,
    elevated_until: None,
    risk: 0,
    bans: Vec::new(),
    actor: None,
    idle: None,
};

impl Extras {
    /// See [`super::Session::with_lists_in_common`].
    pub(super) fn share(&mut self) {
        if let Some(extra) = &mut self.0 {
            extra.partial.share();
            extra.denied.share();
        }
    }
}

impl Deref for Extras {
    type Target = Extra;

    fn deref(&self) -> &Extra {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Extras {
    fn deref_mut(&mut self) -> &mut Extra {
        self.0.get_or_insert_default()
    }
}

impl From<Extra> for Extras {
    fn from(extra: Extra) -> Self {
        Self((extra != NOTHING).then(|| Box::new(extra)))
    }
}

impl PartialEq for Extras {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Extras {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_takes_no_room_and_is_equal_to_nothing() {
        let nothing = Extras::from(Extra::default());
        let mut touched = Extras::default();
        touched.bans.clear();

        assert!(nothing.0.is_none() && touched.0.is_some());
        assert_eq!(nothing, touched);
        touched.risk = 1;
        assert_ne!(nothing, touched);
        assert_eq!(Extras::from(Extra::clone(&touched)).risk, 1);
    }

    #[test]
    fn session_is_small() {
        // A million of them lie in memory; with the counts of its `Arc` it is 192 bytes, a size that allocators have.
        assert!(size_of::<super::super::Session>() <= 176);
    }
}
