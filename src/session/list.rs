//! Lists of rights that many sessions have in common, kept once.
//!
//! A million users hold a few hundred different sets of rights. Kept once, a set stays in the processor's cache, however
//! many sessions there are; kept with each session it would have to be fetched from memory for each request.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

/// So many lists are kept before anybody looks for those that no session has any more.
const FEW: usize = 1024;

thread_local! {
    /// Each worker has its own, so that none waits for another one.
    static KNOWN: RefCell<Known> = RefCell::default();
}

/// A list that never changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List(Option<Arc<[String]>>);

/// The lists that sessions have in common.
#[derive(Debug, Default)]
struct Known {
    lists: HashSet<Arc<[String]>>,
    /// How many there may be before they are looked through.
    most: usize,
}

impl List {
    /// Nothing.
    pub const EMPTY: Self = Self(None);

    /// Becomes the list of another session, if one has been kept that is equal.
    pub(super) fn share(&mut self) {
        if let Some(own) = &mut self.0 {
            KNOWN.with_borrow_mut(|known| known.share(own));
        }
    }
}

impl Known {
    fn share(&mut self, own: &mut Arc<[String]>) {
        if let Some(same) = self.lists.get(own) {
            *own = Arc::clone(same);
            return;
        }
        if self.lists.len() >= self.most {
            self.lists.retain(|list| Arc::strong_count(list) > 1);
            self.most = FEW.max(2 * self.lists.len());
        }
        self.lists.insert(Arc::clone(own));
    }
}

impl Deref for List {
    type Target = [String];

    fn deref(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<Vec<String>> for List {
    fn from(list: Vec<String>) -> Self {
        Self((!list.is_empty()).then(|| list.into()))
    }
}

impl<const N: usize> PartialEq<[&str; N]> for List {
    fn eq(&self, other: &[&str; N]) -> bool {
        **self == *other
    }
}

impl FromIterator<String> for List {
    fn from_iter<I: IntoIterator<Item = String>>(items: I) -> Self {
        items.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(items: &[&str]) -> List {
        let mut list: List = items.iter().map(|item| (*item).to_owned()).collect();
        list.share();
        list
    }

    fn is_same(one: &List, other: &List) -> bool {
        std::ptr::eq(&**one, &**other)
    }

    #[test]
    fn equal_lists_are_kept_once() {
        let (one, other, third) = (shared(&["a", "b"]), shared(&["a", "b"]), shared(&["b"]));

        assert!(is_same(&one, &other));
        assert!(!is_same(&one, &third));
        assert_eq!(*other, ["a", "b"]);
    }

    #[test]
    fn lists_that_no_session_has_any_more_are_forgotten() {
        let held = shared(&["held"]);

        for number in 0..10 * FEW {
            shared(&[&number.to_string()]);
        }

        assert!(KNOWN.with_borrow(|known| known.lists.len()) <= FEW);
        assert!(is_same(&held, &shared(&["held"])));
    }
}
