//! Where an upstream is. A name may have the addresses of several servers, and each call takes one of them at random: so
//! a new version beside the old one gets its share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::net::lookup_host;

use super::failure::Failure;
use crate::sync::Lock;

/// How long found addresses are good: servers come and go.
const GOOD_FOR: Duration = Duration::from_secs(5);

/// The addresses of one upstream.
#[derive(Debug, Default)]
pub(super) struct Addresses(Lock<Found>);

#[derive(Debug, Default)]
struct Found {
    at: Option<Instant>,
    addresses: Vec<SocketAddr>,
}

impl Addresses {
    /// One of the addresses of `name`, a host with a port. If the name cannot be looked up again, what was found before
    /// stays good.
    pub(super) async fn one_of(&self, name: &str) -> Result<SocketAddr, Failure> {
        if self.0.lock().is_due() {
            let looked_up = lookup_host(name).await.map(Iterator::collect);
            let mut found = self.0.lock();
            match looked_up {
                Ok(addresses) => found.addresses = addresses,
                Err(error) if found.addresses.is_empty() => {
                    return Err(Failure::Lookup(error.to_string()));
                }
                Err(_) => {}
            }
            found.at = Some(Instant::now());
        }
        let one = self.0.lock().one();
        one.ok_or_else(|| Failure::Lookup("the name has no address".to_owned()))
    }

    /// Another address in the place of `refused`, where no connection can be opened. None where there is no other one;
    /// then the name is looked up for the next call.
    pub(super) fn instead_of(&self, refused: SocketAddr) -> Option<SocketAddr> {
        let mut found = self.0.lock();
        found.addresses.retain(|address| *address != refused);
        if found.addresses.is_empty() {
            found.at = None;
        }
        found.one()
    }
}

impl Found {
    /// Whether the caller must look the name up. Where there are addresses, one caller is asked to, and the others need
    /// not wait for it.
    fn is_due(&mut self) -> bool {
        let is_good = self.at.is_some_and(|at| at.elapsed() < GOOD_FOR);
        if !is_good && !self.addresses.is_empty() {
            self.at = Some(Instant::now());
        }
        !is_good
    }

    fn one(&self) -> Option<SocketAddr> {
        match self.addresses[..] {
            [] => None,
            [one] => Some(one),
            ref several => Some(several[rand::rng().random_range(..several.len())]),
        }
    }
}

#[cfg(test)]
impl Addresses {
    /// What a name with these ports on loopback has.
    pub(super) fn of_ports(ports: &[u16]) -> Self {
        let addresses = ports.iter().map(|port| ([127, 0, 0, 1], *port).into());
        Self(Lock::new(Found {
            at: Some(Instant::now() + Duration::from_secs(3600)),
            addresses: addresses.collect(),
        }))
    }
}
