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

/// How long a name that cannot be looked up is not looked up again.
const BAD_FOR: Duration = Duration::from_secs(1);

/// The addresses of one upstream.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    found: Lock<Found>,
    /// Held by the one caller that looks the name up: each lookup takes a thread.
    lookup: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Found {
    at: Option<Instant>,
    addresses: Vec<SocketAddr>,
    /// When the last lookup failed, and why.
    failed: Option<(Instant, String)>,
}

impl Addresses {
    /// One of the addresses of `name`, a host with a port. If the name cannot be looked up again, what was found before
    /// stays good.
    pub(super) async fn one_of(&self, name: &str) -> Result<SocketAddr, Failure> {
        let due = self.found.lock().due();
        if due == Due::Again {
            self.look_up(name).await;
        } else if due == Due::First {
            let _one_at_a_time = self.lookup.lock().await;
            // Those that waited take what the first one has found.
            let due = self.found.lock().due();
            if due != Due::No {
                self.look_up(name).await;
            }
        }
        let found = self.found.lock();
        found.one().ok_or_else(|| {
            let reason = found.failed.as_ref().map(|(_, reason)| reason.clone());
            Failure::Lookup(reason.unwrap_or_else(|| "the name has no address".to_owned()))
        })
    }

    async fn look_up(&self, name: &str) {
        let looked_up = lookup_host(name).await.map(Iterator::collect);
        self.found.lock().take_in(looked_up);
    }

    /// Another address in the place of `refused`, where no connection can be opened. None where there is no other one;
    /// then the name is looked up for the next call.
    pub(super) fn instead_of(&self, refused: SocketAddr) -> Option<SocketAddr> {
        let mut found = self.found.lock();
        found.addresses.retain(|address| *address != refused);
        if found.addresses.is_empty() {
            found.at = None;
        }
        found.one()
    }
}

/// Whether a name must be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    /// Nothing is known of it.
    First,
    /// What is known is old.
    Again,
}

impl Found {
    /// Whether the caller must look the name up. Where there are addresses, one caller is asked to, and the others need
    /// not wait for it.
    fn due(&mut self) -> Due {
        let is_good = self.at.is_some_and(|at| at.elapsed() < GOOD_FOR);
        let failed = self.failed.as_ref();
        let has_failed = failed.is_some_and(|(at, _)| at.elapsed() < BAD_FOR);
        match self.addresses.is_empty() {
            _ if is_good => Due::No,
            true if has_failed => Due::No,
            true => Due::First,
            false => {
                self.at = Some(Instant::now());
                Due::Again
            }
        }
    }

    fn take_in(&mut self, looked_up: std::io::Result<Vec<SocketAddr>>) {
        let now = Instant::now();
        match looked_up {
            Ok(addresses) => (self.addresses, self.failed) = (addresses, None),
            Err(error) if self.addresses.is_empty() => {
                self.failed = Some((now, error.to_string()));
                return;
            }
            Err(_) => {}
        }
        self.at = Some(now);
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
        Self {
            found: Lock::new(Found {
                at: Some(Instant::now() + Duration::from_secs(3600)),
                addresses: addresses.collect(),
                failed: None,
            }),
            lookup: tokio::sync::Mutex::default(),
        }
    }
}
