//! File descriptors: how many the process may have, and what each part of it may take of them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the daemon itself needs: runtimes, the ledger, logs, the kernel's files that are read, spare ones,
/// and the files and threads of its faults.
pub(crate) const OWN_FILES: u64 = 32;
/// What a connection can cost at most while its request comes in, in bytes.
const CONNECTION_BYTES: u64 = 32 * 1024;
/// What the daemon itself takes at most, in bytes: a full ledger, large bodies and the admin listener's
/// connections included. Of a small container it is half.
const OWN_BYTES: u64 = 64 * 1024 * 1024;
/// The most connections of the service listener, and of the admin listener.
const MOST: (u64, u64) = (16 * 1024, 256);
/// The least; below, nothing works any more.
const LEAST: u64 = 4;

/// The most connections that each listener may have open at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionBudget {
    /// The service listener.
    pub service: u32,
    /// The admin listener: a share that the other cannot touch.
    pub admin: u32,
}

impl ConnectionBudget {
    /// What `descriptors` leave beside what the daemon itself needs, and no more than fit into
    /// `memory_bytes` (0 where that is not known) beside what the daemon needs of it.
    pub(crate) fn of(descriptors: u64, memory_bytes: u64) -> Self {
        let left = descriptors.saturating_sub(OWN_FILES);
        let admin = (left / 4).clamp(LEAST, MOST.1);
        let fit = match (memory_bytes - OWN_BYTES.min(memory_bytes / 2)) / CONNECTION_BYTES {
            0 => MOST.0,
            fit => fit.min(MOST.0),
        };
        let service = left.saturating_sub(admin).min(fit).max(LEAST);
        // Both are at most what MOST says.
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            service: small(service),
            admin: small(admin),
        }
    }
}

/// Raises the number of descriptors that the process may have to what its parent allows, and gives
/// that. The lower default is there for programs that use `select`, which this one does not.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_listeners_share_what_the_daemon_does_not_need() {
        let budget = |descriptors, memory| {
            let budget = ConnectionBudget::of(descriptors, memory);
            (budget.service, budget.admin)
        };
        assert_eq!(budget(64, 0), (24, 8));
        assert_eq!(budget(1024, 0), (744, 248));
        assert_eq!(budget(u64::MAX, 0), (16_384, 256));
        // A container of 256 MiB holds 5,000 requests that wait, and no flood fills it.
        assert_eq!(budget(u64::MAX, 256 << 20), (6_144, 256));
        assert_eq!(budget(0, 1), (4, 4));
    }
}
