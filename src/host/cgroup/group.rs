//! One control group and what its files say.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::hierarchy::Version;

/// cgroup v1 prints "no limit" as a huge number that depends on the page size
/// (9223372036854771712 with pages of 4 KiB); no machine has memory of this order.
pub(super) const UNLIMITED_BYTES: u64 = 1 << 60;

/// How often a CPU quota held a group back, as totals since the group was created.
///
/// Source: `cpu.stat` in `Documentation/admin-guide/cgroup-v2.rst` and
/// `Documentation/scheduler/sched-bwc.rst` of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttled {
    /// Quota periods in which the group wanted to run (`nr_periods`).
    pub periods: u64,
    /// Those of them in which it used up its quota and was stopped (`nr_throttled`).
    pub throttled_periods: u64,
    /// How long it was stopped, summed over the CPUs it was stopped on (`throttled_usec` of v2,
    /// `throttled_time`, in nanoseconds, of v1).
    pub time: Duration,
}

/// The room below a `memory.high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HighRoom {
    /// The `memory.high` in bytes.
    pub high: u64,
    /// How many bytes usage can still grow; less than 0 where it is above.
    pub bytes: i64,
}

/// A control group, which need not exist.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) version: Version,
    pub(super) dir: PathBuf,
}

impl Group {
    /// The CPU quota in cores.
    pub(super) fn quota(&self) -> Option<f64> {
        let (quota, period): (u64, u64) = match self.version {
            Version::V1 => (
                self.number("cpu.cfs_quota_us")?,
                self.number("cpu.cfs_period_us")?,
            ),
            Version::V2 => {
                let text = self.text("cpu.max")?;
                let (quota, period) = text.trim().split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            }
        };
        // The kernel accepts no such values, so they are garbage.
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }

    pub(super) fn memory_limit(&self) -> Option<u64> {
        let limits = match self.version {
            Version::V1 => [
                self.number("memory.limit_in_bytes"),
                self.stat("memory.stat", "hierarchical_memory_limit"),
            ],
            Version::V2 => [self.number("memory.max"), None],
        };
        limits
            .into_iter()
            .flatten()
            .filter(|&limit| limit < UNLIMITED_BYTES)
            .min()
    }

    /// From where on the kernel slows the group down.
    pub(super) fn memory_high(&self) -> Option<u64> {
        match self.version {
            Version::V1 => None,
            Version::V2 => self.number("memory.high"),
        }
        .filter(|&high| high < UNLIMITED_BYTES)
    }

    pub(super) fn memory_high_room(&self) -> Option<HighRoom> {
        let high = self.memory_high()?;
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let below = |used: u64| signed(high) - signed(used);
        let room = below(self.memory_used().unwrap_or(0));
        // Page cache makes way, unless it has to be written first: then usage stays above.
        let all = below(self.number("memory.current").unwrap_or(0));
        let cache_stays = all < -signed(high / 64);
        Some(HighRoom {
            high,
            bytes: if cache_stays { room.min(all) } else { room },
        })
    }

    /// How often usage came to `memory.high`.
    pub(super) fn high_events(&self) -> Option<u64> {
        self.memory_high()?;
        self.stat("memory.events", "high")
    }

    pub(super) fn memory_used(&self) -> Option<u64> {
        let (usage, reclaimable) = match self.version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let reclaimable = self.stat("memory.stat", reclaimable).unwrap_or(0);
        // The files are not read at the same instant, so the part may exceed the whole.
        Some(self.number(usage)?.saturating_sub(reclaimable))
    }

    pub(super) fn memory_headroom(&self) -> Option<u64> {
        Some(
            self.memory_limit()?
                .saturating_sub(self.memory_used().unwrap_or(0)),
        )
    }

    pub(super) fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        self.stat(file, "oom_kill")
    }

    pub(super) fn throttled(&self) -> Option<Throttled> {
        let stat = |key| self.stat("cpu.stat", key);
        Some(Throttled {
            periods: stat("nr_periods")?,
            throttled_periods: stat("nr_throttled")?,
            time: match self.version {
                Version::V1 => Duration::from_nanos(stat("throttled_time")?),
                Version::V2 => Duration::from_micros(stat("throttled_usec")?),
            },
        })
    }

    /// The value of `key` in a file of lines `key value`.
    fn stat(&self, file: &str, key: &str) -> Option<u64> {
        let text = self.text(file)?;
        let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
        pairs.find(|&(name, _)| name == key)?.1.trim().parse().ok()
    }

    /// The one number in a file; `None` for `max` and -1, which mean no limit.
    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(file)).ok()
    }
}
