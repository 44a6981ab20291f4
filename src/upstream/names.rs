//! Where the name of an endpoint leads: looked up from time to time, and not by requests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

/// The addresses of one endpoint.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    port: u16,
    /// Whether the host is an address, so that there is nothing to look up.
    fixed: bool,
    found: ArcSwap<Vec<SocketAddr>>,
    /// They take turns.
    turn: AtomicUsize,
}

impl Names {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let address: Option<IpAddr> = host.parse().ok();
        let known = address.map(|address| SocketAddr::new(address, port));
        Self {
            host: host.to_owned(),
            port,
            fixed: known.is_some(),
            found: ArcSwap::from_pointee(known.into_iter().collect()),
            turn: AtomicUsize::new(0),
        }
    }

    /// Whether it has to be looked up from time to time.
    pub(super) fn changes(&self) -> bool {
        !self.fixed
    }

    /// Every address, in the order in which they are to be tried: the next one first. Before the first look-up this is one.
    ///
    /// # Errors
    /// If the name leads nowhere.
    pub(super) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let mut found = self.found.load_full();
        if found.is_empty() {
            self.look_up().await?;
            found = self.found.load_full();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut addresses = found.as_ref().clone();
        let first = turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(first);
        Ok(addresses)
    }

    /// Whether a connection to this address is still one to this endpoint.
    pub(super) fn lead_to(&self, address: SocketAddr) -> bool {
        self.fixed || self.found.load().contains(&address)
    }

    /// Looks the name up with the system; whether the addresses are others than before.
    ///
    /// # Errors
    /// If the name leads nowhere; what was found before stays in use.
    pub(super) async fn look_up(&self) -> io::Result<bool> {
        if self.fixed {
            return Ok(false);
        }
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        self.take(found.collect())
    }

    fn take(&self, mut found: Vec<SocketAddr>) -> io::Result<bool> {
        if found.is_empty() {
            let error = format!("`{}` has no address", self.host);
            return Err(io::Error::new(io::ErrorKind::NotFound, error));
        }
        // Resolvers shuffle.
        found.sort_unstable();
        found.dedup();
        if **self.found.load() == found {
            return Ok(false);
        }
        self.found.store(Arc::new(found));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let address = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        ports.iter().map(address).collect()
    }

    #[tokio::test]
    async fn addresses_take_turns_and_what_was_found_stays_while_nothing_is() {
        let names = Names::new("app.test", 80);

        assert!(names.take(addresses(&[2, 1, 2])).unwrap());
        assert!(!names.take(addresses(&[1, 2])).unwrap());
        assert!(names.take(Vec::new()).is_err());

        assert_eq!(names.addresses().await.unwrap(), addresses(&[1, 2]));
        assert_eq!(names.addresses().await.unwrap(), addresses(&[2, 1]));
        assert!(names.lead_to(addresses(&[2])[0]));
        assert!(names.take(addresses(&[1, 3])).unwrap());
        assert!(!names.lead_to(addresses(&[2])[0]));
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up_and_a_name_is_looked_up_when_nobody_has() {
        let fixed = Names::new("::1", 80);
        let name = Names::new("localhost", 80);
        let nobody = Names::new("nobody.invalid", 80);

        assert!(!fixed.changes() && name.changes());
        assert!(!fixed.look_up().await.unwrap());
        let found = name.addresses().await.unwrap();
        assert!(found.iter().all(|one| one.ip().is_loopback()) && !found.is_empty());
        assert!(nobody.addresses().await.is_err());
    }
}
