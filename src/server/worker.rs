//! One worker: a thread with a runtime, sockets and a handler of its own.

use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, timeout_at};

use super::Handler;
use super::connection::{self, Arrival, Hall, Speech};
use super::drain::Drain;
use super::tls::Tls;
use crate::config::{ForwardAuth, ProxyProtocol};
use crate::crowd::Room;
use crate::slot::Slots;

/// How long nothing is accepted after the system refused to hand out a connection, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long idle HTTP/1.1 connections are kept at the end, so that their clients hear of it with an answer. Closing at once
/// would lose the requests that are on their way.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What a worker is told while it runs.
#[derive(Debug)]
pub(super) enum Order {
    /// These are your doors from now on.
    Change(Doors),
    /// Take in nobody any more; who is inside may stay for so long.
    Drain(Duration),
}

/// Where clients come in, and how they are spoken to.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) doors: Vec<DoorPlan>,
    pub(super) speech: Arc<Speech>,
    /// Of all workers together.
    pub(super) max_connections: usize,
}

/// One listener, for one worker.
#[derive(Debug)]
pub(super) struct DoorPlan {
    /// The same for as long as its sockets stay open.
    pub(super) id: usize,
    /// Further sockets for it.
    pub(super) sockets: Vec<net::TcpListener>,
    pub(super) tls: Option<Tls>,
    pub(super) proxy: ProxyProtocol,
    pub(super) asks: Option<Arc<ForwardAuth>>,
    /// Whether those who came in before must leave, because they would not be let in like that any more.
    pub(super) evict: bool,
}

/// One listener at work.
#[derive(Debug)]
struct Door {
    id: usize,
    socket: TcpListener,
    terms: DoorTerms,
}

/// How clients come in by a listener.
#[derive(Debug, Clone)]
struct DoorTerms {
    tls: Option<Tls>,
    proxy: ProxyProtocol,
    asks: Option<Arc<ForwardAuth>>,
    drain: Arc<Drain>,
}

/// What a worker works with.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) doors: Doors,
    pub(super) orders: Receiver<Order>,
    /// How long open requests may run on if nobody is left to say it.
    pub(super) drain_timeout: Duration,
}

/// A connection, and the number of the door it came in by.
type Came = (usize, TcpStream, SocketAddr);

/// What an accept loop hears of.
enum Event {
    Accepted(Came, Room),
    Failed(io::Error),
    Ordered(Option<Order>),
}

/// A worker in its accept loop.
struct Porter<H> {
    doors: Vec<Door>,
    /// Of doors that are closed, and people still inside.
    former: Vec<Arc<Drain>>,
    speech: Arc<Speech>,
    max_connections: usize,
    slots: Arc<Slots>,
    hall: Arc<Hall<H>>,
    turn: usize,
}

impl Worker {
    /// Serves until it is told to stop, then lets open requests finish for as long as the drain may take.
    ///
    /// # Errors
    /// If the sockets cannot be handed to the runtime.
    pub(super) async fn run<H: Handler>(self, hall: Hall<H>) -> io::Result<()> {
        let mut orders = self.orders;
        let mut porter = Porter {
            doors: Vec::new(),
            former: Vec::new(),
            speech: Arc::clone(&self.doors.speech),
            max_connections: 0,
            slots: Slots::new(Arc::clone(&hall.rooms.cells)),
            hall: Arc::new(hall),
            turn: 0,
        };
        porter.change(self.doors)?;
        loop {
            match porter.event(&mut orders).await {
                Event::Accepted(came, room) => porter.admit(came, room),
                Event::Failed(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
                Event::Ordered(Some(Order::Change(doors))) => porter.change(doors)?,
                Event::Ordered(Some(Order::Drain(patience))) => {
                    porter.finish(patience).await;
                    return Ok(());
                }
                Event::Ordered(None) => {
                    porter.finish(self.drain_timeout).await;
                    return Ok(());
                }
            }
        }
    }
}

impl<H: Handler> Porter<H> {
    async fn event(&mut self, orders: &mut Receiver<Order>) -> Event {
        poll_fn(|cx| {
            if let Poll::Ready(order) = orders.poll_recv(cx) {
                return Poll::Ready(Event::Ordered(order));
            }
            let room = ready!(self.hall.rooms.crowd.poll_room(cx, self.max_connections));
            self.turn = self.turn.wrapping_add(1);
            let came = ready!(accept(cx, &self.doors, self.turn));
            Poll::Ready(match came {
                Ok(came) => Event::Accepted(came, room),
                Err(error) => Event::Failed(error),
            })
        })
        .await
    }

    fn admit(&self, (index, stream, address): Came, room: Room) {
        if let Some(door) = self.doors.get(index) {
            self.admit_by(door.terms.clone(), (stream, address), room);
        }
    }

    fn admit_by(&self, terms: DoorTerms, (stream, address): (TcpStream, SocketAddr), room: Room) {
        self.hall.rooms.cells.clients.accepted.one();
        let arrival = Arrival {
            stream,
            address,
            tls: terms.tls,
            proxy: terms.proxy,
            asks: terms.asks,
            slot: self.slots.take(room),
            watch: terms.drain.watch(),
        };
        let (speech, hall) = (Arc::clone(&self.speech), Arc::clone(&self.hall));
        tokio::spawn(connection::serve(arrival, speech, hall));
    }

    /// Takes these doors in place of those there are; doors with a known id stay open.
    fn change(&mut self, plan: Doors) -> io::Result<()> {
        self.speech = plan.speech;
        self.max_connections = plan.max_connections;
        let mut before = std::mem::take(&mut self.doors);
        for plan in plan.doors {
            let (kept, others): (Vec<_>, Vec<_>) =
                before.into_iter().partition(|door| door.id == plan.id);
            before = others;
            let known = kept.first().map(|door| Arc::clone(&door.terms.drain));
            if plan.evict {
                known.iter().for_each(|drain| self.retire(drain));
            }
            let drain = known.filter(|_| !plan.evict).unwrap_or_default();
            let opened = plan.sockets.into_iter().map(TcpListener::from_std);
            let sockets = kept.into_iter().map(|door| Ok(door.socket)).chain(opened);
            for socket in sockets {
                self.doors.push(Door {
                    id: plan.id,
                    socket: socket?,
                    terms: DoorTerms {
                        tls: plan.tls.clone(),
                        proxy: plan.proxy,
                        asks: plan.asks.clone(),
                        drain: Arc::clone(&drain),
                    },
                });
            }
        }
        for door in before {
            let drain = Arc::clone(&door.terms.drain);
            self.close(door);
            self.retire(&drain);
        }
        Ok(())
    }

    /// Takes in whom the system has let in already, and nobody else.
    fn close(&self, door: Door) {
        let Ok(socket) = door.socket.into_std() else {
            return;
        };
        while let Ok((stream, address)) = socket.accept() {
            let admitted = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = admitted {
                let room = self.hall.rooms.crowd.room();
                self.admit_by(door.terms.clone(), (stream, address), room);
            }
        }
    }

    /// Lets those who came in by a door that is closed finish what they are at.
    fn retire(&mut self, drain: &Arc<Drain>) {
        self.former.retain(|drain| Arc::strong_count(drain) > 1);
        self.former.push(Arc::clone(drain));
        drain.close();
        let drain = Arc::clone(drain);
        tokio::spawn(async move {
            sleep(LAST_ANSWERS).await;
            drain.finish();
        });
    }

    async fn finish(mut self, patience: Duration) {
        let start = Instant::now();
        let (gone, end) = (
            start + patience.min(LAST_ANSWERS),
            start.checked_add(patience),
        );
        let mut drains = std::mem::take(&mut self.former);
        for door in std::mem::take(&mut self.doors) {
            drains.push(Arc::clone(&door.terms.drain));
            door.terms.drain.close();
            self.close(door);
        }
        let empty = || poll_fn(|cx| self.slots.poll_taken(cx, 0));
        if timeout_at(gone, empty()).await.is_ok() {
            return;
        }
        drains.iter().for_each(|drain| drain.finish());
        let Some(end) = end else {
            return empty().await;
        };
        if timeout_at(end, empty()).await.is_err() {
            tracing::warn!(
                connections = self.slots.taken(),
                "cutting connections that did not end within the drain timeout"
            );
        }
    }
}

/// The next connection of any door. They are asked in turn, so that a busy one does not starve the others.
fn accept(cx: &mut Context<'_>, doors: &[Door], turn: usize) -> Poll<io::Result<Came>> {
    let start = turn.checked_rem(doors.len()).unwrap_or(0);
    let (later, first) = doors.split_at(start);
    let indexes = (start..doors.len()).chain(0..start);
    for (index, door) in indexes.zip(first.iter().chain(later)) {
        match door.socket.poll_accept(cx) {
            Poll::Ready(Ok((stream, address))) => {
                return Poll::Ready(Ok((index, stream, address)));
            }
            // The client was gone before it was its turn: nothing that waiting would make better.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {
                cx.waker().wake_by_ref();
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {}
        }
    }
    Poll::Pending
}
