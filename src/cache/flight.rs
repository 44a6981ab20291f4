//! Reading through the cache: one question to the store for all who want to know the same.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::counts::{Counts, count};
use super::front::Front;
use super::{Answer, Cache, Digest, Entry, Known, MaxAge, Verdict};
use crate::changes::Worth;
use crate::safeguard::Safeguard;
use crate::uptime::Uptime;

/// Between two moments at which refreshes are asked for.
const BEAT: Duration = Duration::from_millis(4);
/// An answer that has taken longer is asked for again where the store is asked each time.
const PAUSED: Duration = Duration::from_secs(1);

/// One worker's way through the cache. Its questions go over that worker's connection and run on its runtime; those of
/// another worker are not waited for, because that one's connection may be the one that is broken.
#[derive(Debug)]
pub struct Reader<V, E> {
    cache: Arc<Cache<V>>,
    front: Front<V>,
    flights: Arc<Flights<V, E>>,
    counts: Arc<Counts>,
}

type Outcome<V, E> = Result<Arc<Entry<V>>, E>;
type Flights<V, E> = Mutex<HashMap<Digest, watch::Receiver<Option<Outcome<V, E>>>>>;

impl<V, E> Reader<V, E>
where
    V: Verdict,
    E: Clone + Send + Sync + 'static,
{
    /// For the worker that calls it.
    pub fn new(cache: Arc<Cache<V>>) -> Self {
        let counts = Arc::<Counts>::default();
        cache.readers.lock().push(Arc::clone(&counts));
        Self {
            front: Front::new(cache.limits.entries),
            cache,
            flights: Arc::default(),
            counts,
        }
    }

    /// The cache behind it.
    pub fn cache(&self) -> &Arc<Cache<V>> {
        &self.cache
    }

    /// The verdict about `digest` that may be used at `now` without asking the store. If it is due, `ask` asks for it again
    /// meanwhile.
    #[inline]
    pub fn remembered<A>(
        &self,
        digest: &Digest,
        (now, max_age): (Uptime, MaxAge),
        ask: impl Fn(Option<&Entry<V>>) -> A,
    ) -> Option<V>
    where
        A: Future<Output = Result<Answer<V>, E>> + Send + 'static,
    {
        let max_age = max_age.less(self.cache.changes.margin());
        let fresh = |entry: &Entry<V>| {
            let is_fresh = self.cache.is_fresh(entry, digest, (now, max_age));
            is_fresh.then(|| entry.verdict.clone())
        };
        if let Some(verdict) = self.front.get(digest, fresh) {
            count(&self.counts.hits);
            return Some(verdict);
        }
        let Known::Good { entry, due } = self.cache.known(digest, now, max_age) else {
            return None;
        };
        self.front.put(digest, &entry);
        self.hit(digest, (&entry, due), ask);
        Some(entry.verdict.clone())
    }

    /// Counts a verdict that is used, and asks for it again if it is due.
    #[inline]
    fn hit<A>(
        &self,
        digest: &Digest,
        (entry, due): (&Entry<V>, bool),
        ask: impl Fn(Option<&Entry<V>>) -> A,
    ) where
        A: Future<Output = Result<Answer<V>, E>> + Send + 'static,
    {
        count(&self.counts.hits);
        if due {
            count(&self.counts.refreshes);
            self.refresh(digest, ask(Some(entry)));
        }
    }

    /// The verdict about `digest`, no older than `max_age`. If it has to be asked for, `ask` asks the store; it is given
    /// what is still good and only asked for again.
    ///
    /// # Errors
    /// What `ask` says, if nothing is known that is young enough.
    #[inline]
    pub async fn find<A>(
        &self,
        digest: &Digest,
        max_age: MaxAge,
        ask: impl Fn(Option<&Entry<V>>) -> A,
    ) -> Result<Arc<Entry<V>>, E>
    where
        A: Future<Output = Result<Answer<V>, E>> + Send + 'static,
    {
        // What a server says that may not be the master any more is older than it looks.
        let max_age = max_age.less(self.cache.changes.margin());
        if max_age == MaxAge::STRICT {
            count(&self.counts.strict);
            // Whoever asks strictly must not get an answer that was asked for earlier.
            let mut answer = ask(None).await?;
            if Uptime::now().since(answer.basis.sent_at()) > PAUSED && Safeguard::Age.holds() {
                // This process stood still meanwhile, and nobody knows for how long the answer has lain there.
                answer = ask(None).await?;
            }
            return Ok(self.cache.correct(digest, answer));
        }
        let fallback = match self.cache.known(digest, Uptime::now(), max_age) {
            Known::Good { entry, due } => {
                self.hit(digest, (&entry, due), &ask);
                return Ok(entry);
            }
            Known::Doubted(entry) => Some(entry),
            Known::Nothing => None,
        };
        count(&self.counts.misses);
        // Rare, and large: kept out of the future that every request carries.
        match Box::pin(self.wait(digest, max_age, &ask)).await {
            Ok(entry) => Ok(entry),
            Err(error) => match fallback {
                Some(entry) if self.may_serve(&entry, max_age) => {
                    count(&self.counts.doubted);
                    Ok(entry)
                }
                Some(_) | None => Err(error),
            },
        }
    }

    /// Whether a doubted verdict may serve now that the store could not be asked.
    fn may_serve(&self, entry: &Entry<V>, max_age: MaxAge) -> bool {
        let now = Uptime::now();
        let worth = self.cache.changes.judge(&entry.basis, now);
        worth != Worth::Void && entry.is_young(now, max_age)
    }

    async fn wait<A>(
        &self,
        digest: &Digest,
        max_age: MaxAge,
        ask: &impl Fn(Option<&Entry<V>>) -> A,
    ) -> Result<Arc<Entry<V>>, E>
    where
        A: Future<Output = Result<Answer<V>, E>> + Send + 'static,
    {
        let mut paused = false;
        loop {
            let flying = self.flights.lock().get(digest).cloned();
            let joined = flying.is_some();
            let mut landed = flying.unwrap_or_else(|| self.take_off(digest, ask(None)));
            let outcome = match landed.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                Err(_) => None,
            };
            match outcome {
                // Asked for before we came, and perhaps too long before.
                Some(Ok(entry)) if joined && !entry.is_young(Uptime::now(), max_age) => {}
                // Asked for by us: this process stood still meanwhile, which it does not do each time.
                Some(Ok(entry)) if !paused && !entry.is_young(Uptime::now(), max_age) => {
                    paused = true;
                }
                Some(outcome) => return outcome,
                // Its task broke off. Whatever broke it may break this request, too, but no other.
                None => return Ok(self.cache.keep(digest, ask(None).await?)),
            }
        }
    }

    /// Asks the store again for what is still good. Questions of the same moment leave together: a write for each would
    /// cost more than all the rest of a refresh.
    fn refresh<A>(&self, digest: &Digest, ask: A)
    where
        A: Future<Output = Result<Answer<V>, E>> + Send + 'static,
    {
        let (cache, digest) = (Arc::clone(&self.cache), *digest);
        tokio::spawn(async move {
            sleep_until(next_beat(Instant::now())).await;
            if let Ok(answer) = ask.await {
                cache.keep(&digest, answer);
            }
        });
    }

    /// Asks the store in a task of its own, so that the answer arrives even if whoever wanted it first goes away.
    fn take_off<A>(&self, digest: &Digest, ask: A) -> watch::Receiver<Option<Outcome<V, E>>>
    where
        A: Future<Output = Result<Answer<V>, E>> + Send + 'static,
    {
        let (outcome, landed) = watch::channel(None);
        self.flights.lock().insert(*digest, landed.clone());
        let flight = Flight {
            flights: Arc::clone(&self.flights),
            digest: *digest,
        };
        let cache = Arc::clone(&self.cache);
        tokio::spawn(async move {
            let answer = ask.await;
            let entry = answer.map(|answer| cache.keep(&flight.digest, answer));
            // First, so that whoever comes now asks anew.
            drop(flight);
            outcome.send_replace(Some(entry));
        });
        landed
    }
}

/// The next moment at which refreshes are asked for, the same for all that come before it.
fn next_beat(now: Instant) -> Instant {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(|| now);
    let past = now.saturating_duration_since(first).as_nanos() % BEAT.as_nanos();
    let past = Duration::from_nanos(u64::try_from(past).unwrap_or(0));
    now + BEAT - past
}

/// A question under way; dropped, it is not any more, also by a panic.
struct Flight<V, E> {
    flights: Arc<Flights<V, E>>,
    digest: Digest,
}

impl<V, E> Drop for Flight<V, E> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.digest);
    }
}
