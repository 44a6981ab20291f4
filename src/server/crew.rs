//! The workers while they run: what they are told, and how they end.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use toml::Spanned;

use super::connection::{Hall, Rooms, Speech};
use super::listener::{self, Open, Planned};
use super::tls::Orders;
use super::worker::{DoorPlan, Doors, Order, Worker};
use super::{Handler, ServeError, Server, Terms};
use crate::config::Config;
use crate::crowd::Crowd;
use crate::descriptors;
use crate::metrics;
use crate::quota::Quota;

/// After so many steps of tasks the system is asked for new events, unless there is nothing left to do before. Four
/// times tokio's default: larger batches wake the other ends less often, which is 3 % of a request's CPU.
const TASKS_PER_POLL: u32 = 255;

/// Orders that a worker has not looked at yet; whoever gives more waits.
const ORDERS: usize = 4;

/// The threads of a running server. Dropped, it tells them to drain and waits for none.
#[derive(Debug)]
pub struct Crew<H, E> {
    posts: Vec<Post<H>>,
    endings: mpsc::Receiver<News<H, E>>,
    listeners: Vec<Open>,
    /// Certificates that are ordered for them.
    orders: Orders,
    drain_timeout: Duration,
    /// Requests under way.
    requests: Arc<Quota>,
    metrics: Arc<metrics::Metrics>,
}

/// Where one worker is reached.
#[derive(Debug)]
struct Post<H> {
    handler: Arc<ArcSwap<H>>,
    runtime: Handle,
    orders: mpsc::Sender<Order>,
}

/// What is heard of a worker.
#[derive(Debug)]
enum News<H, E> {
    Serves(usize, Arc<ArcSwap<H>>, Handle),
    Ended(Result<(), E>),
}

/// A new configuration of listeners and limits: checked, its addresses taken, not yet in use. Dropped, it changes nothing.
#[derive(Debug)]
pub struct Change {
    listeners: Vec<Planned>,
    terms: Terms,
    drain_timeout: Duration,
}

impl<H: Handler, E: From<ServeError> + Send + 'static> Crew<H, E> {
    pub(super) async fn start<M, F>(server: Server, make: M) -> Result<Self, E>
    where
        M: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = Result<H, E>>,
    {
        let make = Arc::new(make);
        // Each worker tells that it serves and that it has ended.
        let (news, endings) = mpsc::channel(2 * server.workers);
        let listeners = server.listeners.iter();
        let mut crew = Self {
            posts: Vec::with_capacity(server.workers),
            endings,
            listeners: listeners.map(|planned| planned.open.clone()).collect(),
            orders: server.orders,
            drain_timeout: server.drain_timeout,
            requests: Quota::new(server.terms.limits.max_in_flight, server.workers),
            metrics: Arc::clone(&server.metrics),
        };
        crew.tell_certificates();
        let crowd = Arc::new(Crowd::default());
        let doors = share(server.listeners, &server.terms, server.workers);
        let mut orders = Vec::with_capacity(doors.len());
        for (index, doors) in doors.into_iter().enumerate() {
            let (sender, receiver) = mpsc::channel(ORDERS);
            orders.push(sender);
            let worker = Worker {
                doors,
                orders: receiver,
                drain_timeout: server.drain_timeout,
            };
            let rooms = Rooms {
                cells: server.metrics.worker(index),
                crowd: Arc::clone(&crowd),
                requests: crew.requests.share(),
            };
            let (make, ended) = (Arc::clone(&make), Ended(Some(news.clone())));
            thread::Builder::new()
                .name(format!("{}-{index}", server.name))
                .spawn(move || ended.with(|news| work(worker, (index, rooms), &*make, news)))
                .map_err(ServeError::Worker)?;
        }
        drop(news);
        crew.muster(orders).await?;
        // An authority that is asked for one looks at a listener, so somebody must be there.
        crew.orders.settle(listener::wanted(&crew.listeners));
        Ok(crew)
    }

    /// Waits until all serve.
    async fn muster(&mut self, orders: Vec<mpsc::Sender<Order>>) -> Result<(), E> {
        let mut missing = orders.len();
        let mut serving = Vec::new();
        serving.resize_with(orders.len(), || None);
        while missing > 0 {
            match self.endings.recv().await {
                Some(News::Serves(index, handler, runtime)) => {
                    if let Some(place) = serving.get_mut(index) {
                        *place = Some((handler, runtime));
                        missing -= 1;
                    }
                }
                Some(News::Ended(ended)) => {
                    ended?;
                    return Err(ServeError::Died.into());
                }
                None => return Err(ServeError::Died.into()),
            }
        }
        let serving = serving.into_iter().flatten().zip(orders);
        self.posts = serving
            .map(|((handler, runtime), orders)| Post {
                handler,
                runtime,
                orders,
            })
            .collect();
        Ok(())
    }

    /// What each worker answers with, and the runtime it does so in.
    pub fn handlers(&self) -> impl Iterator<Item = (Arc<H>, &Handle)> {
        let posts = self.posts.iter();
        posts.map(|post| (post.handler.load_full(), &post.runtime))
    }

    /// Reads the certificates of this configuration and takes the addresses that it adds.
    ///
    /// # Errors
    /// If an address cannot be taken, or with every fault found in the certificates. Nothing has changed then.
    pub fn plan(&self, config: &Config) -> Result<Change, ServeError> {
        let listeners = config.listeners.iter().map(Spanned::get_ref);
        Ok(Change {
            listeners: listener::plan(listeners, self.posts.len(), &self.listeners, &self.orders)?,
            terms: Terms::new(config),
            drain_timeout: config.server.drain_timeout.get(),
        })
    }

    /// Puts the change into use, and the handlers, one for each worker. Requests under way end as they began.
    pub async fn change(&mut self, change: Change, handlers: Vec<H>) {
        let opens = change.listeners.iter();
        self.listeners = opens.map(|planned| planned.open.clone()).collect();
        self.tell_certificates();
        self.drain_timeout = change.drain_timeout;
        self.requests.set(change.terms.limits.max_in_flight);
        let doors = share(change.listeners, &change.terms, self.posts.len());
        for ((post, doors), handler) in self.posts.iter().zip(doors).zip(handlers) {
            post.handler.store(Arc::new(handler));
            // A worker that has died is told of by its ending.
            post.orders.send(Order::Change(doors)).await.ok();
        }
        self.orders.settle(listener::wanted(&self.listeners));
    }

    fn tell_certificates(&self) {
        let shown = listener::certificates(&self.listeners);
        *self.metrics.process.certificates.lock() = shown;
    }

    /// Where clients can connect, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = (std::net::SocketAddr, bool)> {
        let listeners = self.listeners.iter();
        listeners.map(|open| (open.address, open.tls.is_some()))
    }

    /// Resolves when a worker ends although nobody told it to; the others are stopped then.
    ///
    /// # Errors
    /// Always: why it ended.
    pub async fn ended(&mut self) -> Result<(), E> {
        let ended = self.ending().await.unwrap_or(Ok(()));
        self.posts.clear();
        let mut outcome = ended.and(Err(ServeError::Died.into()));
        while let Some(ended) = self.ending().await {
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// Takes in nobody any more, lets open requests finish for as long as the drain may take, and waits for the end.
    ///
    /// # Errors
    /// The first error of a worker.
    pub async fn drain(mut self) -> Result<(), E> {
        self.orders.settle([]);
        // Sockets that stay open here would go on collecting clients.
        self.listeners.clear();
        for post in self.posts.drain(..) {
            post.orders
                .send(Order::Drain(self.drain_timeout))
                .await
                .ok();
        }
        let mut outcome = Ok(());
        while let Some(ended) = self.ending().await {
            outcome = outcome.and(ended);
        }
        outcome
    }

    async fn ending(&mut self) -> Option<Result<(), E>> {
        loop {
            if let News::Ended(ended) = self.endings.recv().await? {
                return Some(ended);
            }
        }
    }
}

/// What each worker gets of the listeners.
fn share(listeners: Vec<Planned>, terms: &Terms, workers: usize) -> Vec<Doors> {
    let speech = Arc::new(Speech::new(terms));
    let most = terms.limits.max_connections.min(descriptors::connections());
    let max_connections = usize::try_from(most).unwrap_or(usize::MAX);
    let mut shares: Vec<_> = (0..workers)
        .map(|_| Doors {
            doors: Vec::with_capacity(listeners.len()),
            speech: Arc::clone(&speech),
            max_connections,
        })
        .collect();
    for planned in listeners {
        for share in &mut shares {
            share.doors.push(DoorPlan {
                id: planned.open.id,
                sockets: Vec::new(),
                tls: planned.open.tls.clone(),
                proxy: planned.open.proxy,
                asks: planned.open.asks.clone(),
                evict: planned.evict,
            });
        }
        // Every socket must be listened to: the system hands connections to all of them.
        for (index, socket) in planned.sockets.into_iter().enumerate() {
            let place = index.checked_rem(workers).unwrap_or(0);
            let share = shares.get_mut(place);
            if let Some(door) = share.and_then(|share| share.doors.last_mut()) {
                door.sockets.push(socket);
            }
        }
    }
    shares
}

/// Tells how a worker ended, even if it panicked.
struct Ended<H, E: From<ServeError>>(Option<mpsc::Sender<News<H, E>>>);

impl<H, E: From<ServeError>> Ended<H, E> {
    fn with(mut self, work: impl FnOnce(&mpsc::Sender<News<H, E>>) -> Result<(), E>) {
        if let Some(news) = &self.0 {
            let outcome = work(news);
            // Nobody listens any more only if the crew was dropped.
            news.try_send(News::Ended(outcome)).ok();
            self.0 = None;
        }
    }
}

impl<H, E: From<ServeError>> Drop for Ended<H, E> {
    fn drop(&mut self) {
        if let Some(news) = self.0.take() {
            news.try_send(News::Ended(Err(ServeError::Died.into())))
                .ok();
        }
    }
}

/// The life of a worker's thread.
fn work<H, F, E>(
    worker: Worker,
    (index, rooms): (usize, Rooms),
    make: &impl Fn(usize) -> F,
    news: &mpsc::Sender<News<H, E>>,
) -> Result<(), E>
where
    H: Handler,
    F: Future<Output = Result<H, E>>,
    E: From<ServeError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_PER_POLL)
        .build()
        .map_err(ServeError::Worker)?;
    let outcome = runtime.block_on(async {
        let handler = Arc::new(ArcSwap::from_pointee(make(index).await?));
        let serves = News::Serves(index, Arc::clone(&handler), Handle::current());
        news.try_send(serves).ok();
        let hall = Hall { handler, rooms };
        worker.run(hall).await.map_err(ServeError::Worker)?;
        Ok(())
    });
    // Not waiting for name look-ups that nobody wants the answer of any more.
    runtime.shutdown_background();
    outcome
}
