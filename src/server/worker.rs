//! One worker: a thread with a runtime, sockets and a handler of its own.

use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Handler;
use super::connection::{self, Speech};
use super::drain::{Drain, Watch};
use super::tls::Tls;
use crate::config::Limits;

/// How long nothing is accepted after the system refused to hand out a connection, most likely for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a worker works with.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) sockets: Vec<(net::TcpListener, Option<Tls>)>,
    pub(super) limits: Limits,
    pub(super) drain_timeout: Duration,
    pub(super) drain: Arc<Drain>,
}

/// What an accept loop hears of.
enum Event {
    Accepted(usize, TcpStream, SocketAddr),
    Failed(io::Error),
    Closing,
}

impl Worker {
    /// Serves until the drain is closed, then lets open requests finish for as long as the drain may take.
    ///
    /// # Errors
    /// If the sockets cannot be handed to the runtime.
    pub(super) async fn run<H: Handler>(self, handler: Arc<H>) -> io::Result<()> {
        let max_connections = usize::try_from(self.limits.max_connections).unwrap_or(usize::MAX);
        let speech = Arc::new(Speech::new(&self.limits));
        let mut listeners = Vec::with_capacity(self.sockets.len());
        for (socket, tls) in self.sockets {
            listeners.push((TcpListener::from_std(socket)?, tls));
        }
        let mut connections = JoinSet::new();
        let mut watch = self.drain.watch();
        let mut turn = 0;
        loop {
            let event = poll_fn(|cx| {
                if watch.is_closing(cx) {
                    return Poll::Ready(Event::Closing);
                }
                // Reaped here, so that the memory of closed connections is not kept until the next one comes.
                while let Poll::Ready(Some(_)) = connections.poll_join_next(cx) {}
                if connections.len() >= max_connections {
                    return Poll::Pending;
                }
                turn += 1;
                accept(cx, &listeners, turn)
            })
            .await;
            match event {
                Event::Accepted(index, stream, address) => {
                    let tls = listeners.get(index).and_then(|(_, tls)| tls.clone());
                    connections.spawn(connection::serve(
                        (stream, address),
                        tls,
                        Arc::clone(&speech),
                        Arc::clone(&handler),
                        self.drain.watch(),
                    ));
                }
                Event::Failed(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    pause(&mut watch).await;
                }
                Event::Closing => break,
            }
        }
        drop(listeners);
        finish(connections, self.drain_timeout).await;
        Ok(())
    }
}

/// The next connection of any listener. They are asked in turn, so that a busy one does not starve the others.
fn accept(
    cx: &mut Context<'_>,
    listeners: &[(TcpListener, Option<Tls>)],
    turn: usize,
) -> Poll<Event> {
    let start = turn.checked_rem(listeners.len()).unwrap_or(0);
    let (later, first) = listeners.split_at(start);
    let indexes = (start..listeners.len()).chain(0..start);
    for (index, (listener, _)) in indexes.zip(first.iter().chain(later)) {
        match listener.poll_accept(cx) {
            Poll::Ready(Ok((stream, address))) => {
                return Poll::Ready(Event::Accepted(index, stream, address));
            }
            // The client was gone before it was its turn: nothing that waiting would make better.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {
                cx.waker().wake_by_ref();
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
            Poll::Pending => {}
        }
    }
    Poll::Pending
}

async fn pause(watch: &mut Watch) {
    let mut pause = std::pin::pin!(tokio::time::sleep(ACCEPT_PAUSE));
    poll_fn(|cx| {
        if watch.is_closing(cx) {
            return Poll::Ready(());
        }
        pause.as_mut().poll(cx)
    })
    .await;
}

async fn finish(mut connections: JoinSet<()>, timeout: Duration) {
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(timeout, all_ended).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "cutting connections that did not end within the drain timeout"
        );
        connections.shutdown().await;
    }
}
