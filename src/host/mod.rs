//! What the machine, or the container on it, gives this process: CPUs and memory, read afresh at every call.
//!
//! Plugins read it before they take a share of either, and status reports turn a share into absolute figures. It must
//! never fail, never round a figure, never cache one (limits change while the process runs) and never change what it
//! reads.

pub(crate) mod allocator;
pub(crate) mod cgroup;
pub(crate) mod clock;
pub(crate) mod code;
pub(crate) mod disks;
pub(crate) mod lived;
pub(crate) mod process;
pub(crate) mod runtimes;
pub(crate) mod threads;
pub(crate) mod turns;

use std::fs;
use std::path::Path;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, System};

use cgroup::Cgroup;

/// The kernel's list of the CPUs that are online, such as `0-3,6`.
///
/// Source: `Documentation/admin-guide/cputopology.rst` of the kernel.
const ONLINE_CPUS: &str = "/sys/devices/system/cpu/online";

/// How many CPUs the machine has online, whether or not this process may use them: at least 1.
///
/// Read from `/sys/devices/system/cpu/online`, else counted in `/proc/stat`.
pub(crate) fn online_cpus() -> usize {
    // Not std's available_parallelism, which takes affinity and quota into account.
    cpus_listed_in(Path::new(ONLINE_CPUS))
        .or_else(cpus_of_proc_stat)
        .unwrap_or(1)
}

/// The most memory that this process can have, and what says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    pub bytes: u64,
    /// `memory.max` (v1: `memory.limit_in_bytes`) or `memory.high` of a control group, or the machine's `MemTotal`.
    pub source: &'static str,
}

/// The container's limit ([`Cgroup::memory_limit`]) or the machine's `MemTotal`, whichever is smaller. Where no group
/// has a limit, [`Cgroup::memory_high`] counts as the container's.
///
/// `None` when neither can be read.
pub(crate) fn memory_limit(cgroup: &Cgroup) -> Option<MemoryLimit> {
    let limit = |source| move |bytes| MemoryLimit { bytes, source };
    let hard = cgroup.memory_limit().map(limit(cgroup.memory_limit_file()));
    let container = hard.or_else(|| cgroup.memory_high().map(limit("memory.high")));
    let machine = machine_memory().map(|machine| machine.total_memory());
    let machine = machine.map(limit("MemTotal"));
    // Of equals the first, the container.
    container
        .into_iter()
        .chain(machine)
        .min_by_key(|limit| limit.bytes)
}

/// The bytes of [`memory_limit`]; 0 when it cannot be read: a caller that takes a share of it takes nothing.
pub(crate) fn memory_limit_bytes(cgroup: &Cgroup) -> u64 {
    memory_limit(cgroup).map_or(0, |limit| limit.bytes)
}

/// How many bytes memory can still grow until the system ends the process: the room under the container's limits ([`Cgroup::memory_headroom`]) or the
/// machine's `MemAvailable`, whichever is smaller.
///
/// 0 when neither can be read. Swap does not count as room.
pub(crate) fn memory_headroom_bytes(cgroup: &Cgroup) -> u64 {
    smaller_known(
        cgroup.memory_headroom(),
        machine_memory().map(|machine| machine.available_memory()),
    )
}

fn smaller_known(container: Option<u64>, machine: Option<u64>) -> u64 {
    container.into_iter().chain(machine).min().unwrap_or(0)
}

/// `/proc/meminfo` now; `None` if it cannot be read, which sysinfo reports as a total of 0.
fn machine_memory() -> Option<System> {
    let mut machine = System::new().ok()?;
    machine.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    (machine.total_memory() > 0).then_some(machine)
}

fn cpus_of_proc_stat() -> Option<usize> {
    let mut machine = System::new().ok()?;
    machine.refresh_cpu_list(CpuRefreshKind::nothing());
    Some(machine.cpus().len()).filter(|&count| count > 0)
}

fn cpus_listed_in(file: &Path) -> Option<usize> {
    count_cpus(&fs::read_to_string(file).ok()?)
}

/// How many CPUs a list such as `0-3,6` names; `None` if it is not such a list or names none.
///
/// Source: "List format" in `cpuset(7)`, which the kernel prints without its stride suffix.
fn count_cpus(list: &str) -> Option<usize> {
    list.trim().split(',').map(count_range).sum()
}

fn count_range(range: &str) -> Option<usize> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    Some(usize::from(last.checked_sub(first)?) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_is_counted_range_by_range() {
        assert_eq!(count_cpus("0\n"), Some(1));
        assert_eq!(count_cpus("0-3\n"), Some(4));
        assert_eq!(count_cpus("0-3,6,8-9"), Some(7));
    }

    #[test]
    fn text_that_is_no_list_of_cpus_is_unknown() {
        for garbage in ["", "\n", "x", "3-1", "0-", "-1", "0,,1", "0-99999999999"] {
            assert_eq!(count_cpus(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn both_ways_to_count_the_online_cpus_find_some() {
        assert!(online_cpus() >= 1);
        assert!(cpus_of_proc_stat() >= Some(1));
    }

    #[test]
    fn without_a_container_the_memory_limit_is_the_machines_total() {
        let nowhere = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::at(nowhere.path(), nowhere.path());
        let total = machine_memory().unwrap().total_memory();
        assert_eq!(memory_limit_bytes(&cgroup), total);
        assert!((1..total).contains(&memory_headroom_bytes(&cgroup)));
    }

    #[test]
    fn a_container_smaller_than_the_machine_sets_memory_limit_and_headroom() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("memory.max"), "1000\n").unwrap();
        fs::write(root.path().join("memory.current"), "400\n").unwrap();
        let cgroup = Cgroup::at(root.path(), root.path());
        assert_eq!(memory_limit_bytes(&cgroup), 1000);
        assert_eq!(memory_headroom_bytes(&cgroup), 600);
    }

    #[test]
    fn a_container_limit_above_the_machine_does_not_add_memory() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("memory.max"), (1u64 << 59).to_string()).unwrap();
        fs::write(root.path().join("memory.current"), "0").unwrap();
        let cgroup = Cgroup::at(root.path(), root.path());
        let total = machine_memory().unwrap().total_memory();
        assert_eq!(memory_limit_bytes(&cgroup), total);
        assert!(memory_headroom_bytes(&cgroup) < total);
    }

    #[test]
    fn when_neither_limit_is_known_no_memory_is_promised() {
        assert_eq!(smaller_known(None, None), 0);
    }
}
