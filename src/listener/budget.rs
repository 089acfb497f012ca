//! File descriptors: how many the process may open, how many each listener may use, and a reserve for `accept()`.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for the daemon itself: runtimes, ledger, logs, `/proc` and cgroup files, the reserve, and its faults.
pub(crate) const OWN_FILES: u64 = 32;
/// The most memory that a connection takes while its request comes in, in bytes.
const CONNECTION_BYTES: u64 = 32 * 1024;
/// The most memory that the daemon itself takes, in bytes: a full ledger, large bodies and the connections of the admin
/// listener included. In a small container it is half of the limit.
const OWN_BYTES: u64 = 64 * 1024 * 1024;
/// The most connections of the service listener and of the admin listener.
const MOST: (u64, u64) = (16 * 1024, 256);
/// The most connections of the traffic's clients.
const MOST_CLIENTS: u64 = 4096;
/// Descriptors of their runtime.
const CLIENT_FILES: u64 = 8;
/// With fewer connections than this a listener is useless.
const LEAST: u64 = 4;
/// Descriptors that each listener keeps in reserve.
const RESERVED: usize = 4;

/// The most connections that each listener may have open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionBudget {
    pub service: u32,
    /// A share that the service listener cannot use up.
    pub admin: u32,
    /// Of the traffic's clients, which may be clients of the service listener.
    pub clients: u32,
}

impl ConnectionBudget {
    /// Divides the `descriptors` that the daemon does not need itself. The service listener gets no more connections
    /// than fit into `memory_bytes` (0: unknown) beside the daemon. Where there `is_traffic`, its clients get a quarter.
    pub(crate) fn of(descriptors: u64, memory_bytes: u64, is_traffic: bool) -> Self {
        let left = descriptors.saturating_sub(OWN_FILES);
        let admin = (left / 4).clamp(LEAST, MOST.1);
        let fit = match (memory_bytes - OWN_BYTES.min(memory_bytes / 2)) / CONNECTION_BYTES {
            0 => MOST.0,
            fit => fit.min(MOST.0),
        };
        let clients = match is_traffic {
            true => ((left - admin.min(left)) / 4)
                .min(fit / 4)
                .clamp(LEAST, MOST_CLIENTS),
            false => 0,
        };
        let of_clients = if is_traffic {
            clients + CLIENT_FILES
        } else {
            0
        };
        let left = left.saturating_sub(admin + of_clients);
        let service = left.min(fit.saturating_sub(clients)).max(LEAST);
        // MOST bounds both.
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            service: small(service),
            admin: small(admin),
            clients: small(clients),
        }
    }
}

/// Raises the soft limit of open files to the hard limit and returns the result. The lower default protects programs
/// that use `select`, which this one does not.
pub(crate) fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}

/// Descriptors that a listener holds only to close them when `accept()` fails with EMFILE or ENFILE: a fault or a
/// lowered limit may have used up all others.
#[derive(Debug, Default)]
pub(super) struct ReserveFds(Vec<File>);

impl ReserveFds {
    /// Opens the missing ones, as far as the system allows.
    pub(super) fn refill(&mut self) {
        while self.is_short() {
            let Ok(file) = File::open("/dev/null") else {
                return;
            };
            self.0.push(file);
        }
    }

    pub(super) fn is_short(&self) -> bool {
        self.0.len() < RESERVED
    }

    /// Closes one; false if none is left.
    pub(super) fn release_one(&mut self) -> bool {
        self.0.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_listeners_share_what_the_daemon_does_not_need() {
        let budget = |descriptors, memory| {
            let budget = ConnectionBudget::of(descriptors, memory, false);
            assert_eq!(budget.clients, 0);
            (budget.service, budget.admin)
        };
        assert_eq!(budget(64, 0), (24, 8));
        assert_eq!(budget(1024, 0), (744, 248));
        assert_eq!(budget(u64::MAX, 0), (16_384, 256));
        // A container of 256 MiB holds 5,000 waiting requests, and no flood fills it.
        assert_eq!(budget(u64::MAX, 256 << 20), (6_144, 256));
        assert_eq!(budget(0, 1), (4, 4));
    }

    #[test]
    fn the_clients_of_the_traffic_get_a_quarter_of_the_rest() {
        for (descriptors, memory, service, clients) in [
            (1024, 0, 550, 186),
            (u64::MAX, 0, 12_288, 4096),
            (u64::MAX, 256 << 20, 4608, 1536),
            (64, 0, 10, 6),
        ] {
            let budget = ConnectionBudget::of(descriptors, memory, true);
            let found = (budget.service, budget.clients);
            assert_eq!(found, (service, clients), "{descriptors} {memory}");
        }
    }
}
