//! Header maps that are used again. A request and its answer make one each, and each lies in two pieces of memory.

use std::cell::RefCell;

use http::HeaderMap;

/// Kept by a thread: as many as are in use at once, more or less.
const MOST: usize = 64;
/// Fields for which a map that is kept has room; what a large one holds would be held for ever.
const LARGEST: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for so many fields.
pub fn map(fields: usize) -> HeaderMap {
    let mut map = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    map.reserve(fields);
    map
}

/// For the next one; what is in it is forgotten.
pub fn keep(mut map: HeaderMap) {
    if map.capacity() == 0 || map.capacity() > LARGEST {
        return;
    }
    map.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            spare.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;

    #[test]
    fn map_that_is_used_again_knows_nothing_of_its_former_life() {
        let mut first = map(3);
        first.append(COOKIE, HeaderValue::from_static("session=a"));
        first.append(COOKIE, HeaderValue::from_static("session=b"));
        let room = first.capacity();
        keep(first);

        let again = map(0);
        assert_eq!(again.capacity(), room, "it is the same");
        assert!(again.is_empty());
        assert!(!again.contains_key(COOKIE));
        assert_eq!(map(0).capacity(), 0, "there was one");
    }

    #[test]
    fn large_maps_are_not_kept() {
        keep(map(LARGEST + 1));
        assert_eq!(map(0).capacity(), 0);
    }
}
