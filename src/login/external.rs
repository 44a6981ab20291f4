//! Which sessions of ours came out of a session at an OpenID provider: what its logout tokens name.

use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::store::{Ends, Key, SessionStore, StoreError, Swapped};

/// One provider's session leads to at most so many of ours; no user has more.
const MAX_LINKS: usize = 256;
/// How often a login is noted again that another one got in the way of.
const TRIES: usize = 8;

/// A session of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whose.
    pub user_id: String,
    /// Its name.
    pub sid: String,
    /// When it ends at the latest, in Unix milliseconds.
    pub ends_at: u64,
}

/// Adds a session to those at this key.
///
/// # Errors
/// If it was not added, or nobody knows.
pub(super) async fn note(store: &SessionStore, key: &Key, link: &Link) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let before = read(store, key).await?;
        let mut links = before.links;
        let extra = (links.len() + 1).saturating_sub(MAX_LINKS);
        links.drain(..extra);
        links.push(link.clone());
        let ends_at = links.iter().map(|link| link.ends_at).max();
        let bytes = serde_json::to_vec(&links)
            .map_err(|_| StoreError::Failed("a login cannot be written down".to_owned()))?;
        let old = before.bytes.as_deref();
        if let Swapped::Done = store.swap(key, old, Some(&bytes), ends_at).await? {
            return Ok(());
        }
    }
    Err(StoreError::Busy)
}

/// The sessions at this key; `None` if none was ever noted, or all have ended since.
///
/// # Errors
/// If nobody could tell.
pub(super) async fn find(store: &SessionStore, key: &Key) -> Result<Option<Vec<Link>>, StoreError> {
    let found = read(store, key).await?;
    Ok(found.bytes.map(|_| found.links))
}

struct Found {
    bytes: Option<bytes::Bytes>,
    /// Those that may still be live.
    links: Vec<Link>,
}

async fn read(store: &SessionStore, key: &Key) -> Result<Found, StoreError> {
    let kept = store.get(std::slice::from_ref(key), Ends::None).await?;
    let Some(kept) = kept.into_iter().next().flatten() else {
        return Ok(Found {
            bytes: None,
            links: Vec::new(),
        });
    };
    let mut links: Vec<Link> = serde_json::from_slice(&kept.bytes)
        .map_err(|_| StoreError::Failed("a note of logins cannot be read".to_owned()))?;
    let now = now();
    links.retain(|link| now < link.ends_at);
    Ok(Found {
        bytes: Some(kept.bytes),
        links,
    })
}
