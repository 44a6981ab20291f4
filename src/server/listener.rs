//! Listeners: which addresses are taken, with which certificates, by one socket for each worker.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

#[cfg(target_os = "linux")]
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, Type};

use super::tls::{Expiry, Orders, Tls, Wanted};
use super::{ServeError, heritage};
use crate::config::{ForwardAuth, Listener, ProxyProtocol};
use crate::metrics::{Certificate, Level};

/// A listener that is open.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// Its number, for as long as its sockets stay open.
    pub(super) id: usize,
    /// What the configuration says.
    configured: SocketAddr,
    /// Where clients can connect.
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Tls>,
    pub(super) proxy: ProxyProtocol,
    /// How a proxy asks here, if clients do not connect here.
    pub(super) asks: Option<Arc<ForwardAuth>>,
    /// For the next process; the workers have their own.
    _kept: Arc<Vec<TcpListener>>,
}

/// A listener that is to be opened, or to go on under new terms.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) open: Open,
    /// One for each worker; none if it is open already.
    pub(super) sockets: Vec<TcpListener>,
    /// Whether those who came in before must leave, because they would not be let in like that any more.
    pub(super) evict: bool,
}

/// Reads the certificates of all listeners, then takes the addresses that are not open yet for so many workers.
///
/// # Errors
/// If an address cannot be taken, or with every fault found in the certificates. Nothing has changed then.
pub(super) fn plan<'a>(
    listeners: impl IntoIterator<Item = &'a Listener>,
    workers: usize,
    before: &[Open],
    orders: &Orders,
) -> Result<Vec<Planned>, ServeError> {
    let mut left = before.to_vec();
    let mut next = before.iter().map(|open| open.id + 1).max().unwrap_or(0);
    let mut faults = Vec::new();
    let mut planned = Vec::new();
    for listener in listeners {
        let known = left
            .iter()
            .position(|open| open.configured == listener.address)
            .map(|place| left.remove(place));
        let former = known.as_ref().and_then(|open| open.tls.as_ref());
        let tls = listener.tls.as_ref();
        match tls
            .map(|tls| Tls::load_after(tls, orders, former))
            .transpose()
        {
            Ok(tls) => planned.push((listener, known, tls)),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(ServeError::Tls(faults));
    }
    let mut plans = Vec::with_capacity(planned.len());
    for (listener, known, tls) in planned {
        let asks = listener.forward_auth.clone().map(Arc::new);
        let mut plan = match known {
            Some(open) => open.under(tls, asks),
            None => {
                next += 1;
                Planned::anew(next - 1, listener.address, (tls, asks), workers)?
            }
        };
        plan.open.proxy = listener.proxy_protocol;
        plans.push(plan);
    }
    Ok(plans)
}

/// The certificates that clients are shown at these listeners, or will be.
pub(super) fn certificates<'a>(opens: impl IntoIterator<Item = &'a Open>) -> Vec<Certificate> {
    let of = |open: &Open| {
        let listener = open.address.to_string();
        let from_file = |expiry: &Expiry| {
            let expires = Arc::<Level>::default();
            expires.set(expiry.at);
            Certificate {
                listener: listener.clone(),
                file: expiry.file.display().to_string(),
                ordered: None,
                expires,
            }
        };
        let is_ordered = |(ordered, _): &Wanted| Certificate {
            listener: listener.clone(),
            file: ordered.file().display().to_string(),
            ordered: Some(ordered.domain().to_owned()),
            expires: Arc::clone(ordered.expires()),
        };
        let files = open.tls.iter().flat_map(Tls::expiries).map(from_file);
        let ordered = open.tls.iter().flat_map(Tls::wanted).map(is_ordered);
        files.chain(ordered).collect::<Vec<_>>()
    };
    opens.into_iter().flat_map(of).collect()
}

/// What is ordered for these listeners.
pub(super) fn wanted(opens: &[Open]) -> impl Iterator<Item = &Wanted> {
    let secured = opens.iter().filter_map(|open| open.tls.as_ref());
    secured.flat_map(Tls::wanted)
}

impl Open {
    /// Goes on with this TLS, and for who asks so.
    fn under(self, tls: Option<Tls>, asks: Option<Arc<ForwardAuth>>) -> Planned {
        let evict = match (&self.tls, &tls) {
            _ if self.asks != asks => true,
            (None, None) => false,
            (Some(before), Some(after)) => !after.admits_as(before),
            (Some(_), None) | (None, Some(_)) => true,
        };
        Planned {
            open: Self { tls, asks, ..self },
            sockets: Vec::new(),
            evict,
        }
    }
}

impl Planned {
    fn anew(
        id: usize,
        configured: SocketAddr,
        (tls, asks): (Option<Tls>, Option<Arc<ForwardAuth>>),
        workers: usize,
    ) -> Result<Self, ServeError> {
        let error = |source| ServeError::Bind {
            address: configured,
            source,
        };
        let sockets = open_all(configured, workers).map_err(error)?;
        let local = sockets
            .first()
            .map_or(Ok(configured), TcpListener::local_addr);
        let open = Open {
            id,
            configured,
            address: local.map_err(error)?,
            tls,
            proxy: ProxyProtocol::Off,
            asks,
            _kept: heritage::keep(&sockets).map_err(error)?,
        };
        Ok(Self {
            open,
            sockets,
            evict: false,
        })
    }
}

/// One socket for each worker: those that were left to us, or new ones.
fn open_all(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let mut sockets = heritage::take(address)?;
    if sockets.is_empty() {
        return bind(address, workers);
    }
    // What is missing accepts from a socket that another worker accepts from, too. What is too much is shared out as well:
    // the system hands connections to every socket.
    let left = sockets.len();
    for place in left..workers {
        let shared = sockets.get(place.checked_rem(left).unwrap_or(0));
        sockets.extend(shared.map(TcpListener::try_clone).transpose()?);
    }
    Ok(sockets)
}

/// Connections that wait to be accepted; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Seconds for which Linux keeps a connection to itself that says nothing. Clients of ours speak first, so that the worker
/// need not wake up twice to answer them; those who do not are taken in after that, and none is lost.
#[cfg(target_os = "linux")]
const SILENCE: u32 = 1;

// nix has the option not by name, but makes such: what is unsafe about it stands in nix.
#[cfg(target_os = "linux")]
sockopt_impl!(
    DeferAccept,
    Both,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    u32
);

/// Takes `address` `workers` times.
///
/// On Linux each worker has a socket of its own and the kernel spreads connections over them. Elsewhere it would not
/// spread them, so the workers accept from one socket. Port 0 becomes the same free port for all.
///
/// # Errors
/// If the address is taken, not ours, or not allowed.
fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let spread = workers > 1 && cfg!(target_os = "linux");
    let first = open(address, spread)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < workers {
        let next = match sockets.first() {
            Some(first) if !spread => first.try_clone()?,
            Some(_) | None => open(address, spread)?,
        };
        sockets.push(next);
    }
    Ok(sockets)
}

fn open(address: SocketAddr, spread: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restart must not wait for old connections to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    if spread {
        socket.set_reuse_port(true)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = spread;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    #[cfg(target_os = "linux")]
    // Without it everything works, at a higher price.
    nix::sys::socket::setsockopt(&socket, DeferAccept, &SILENCE).ok();
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn every_socket_keeps_the_silent_waiting() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        for socket in &sockets {
            let silence = nix::sys::socket::getsockopt(socket, DeferAccept);
            assert_eq!(silence, Ok(SILENCE));
        }
    }
}
