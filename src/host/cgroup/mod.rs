//! The limits of the control groups this process runs in: how many cores, how much memory, how much of it is used and
//! how often the kernel held the CPU back.
//!
//! Every read of a cgroup file is here. It must never fail (a file that is missing, closed or garbled is "no limit
//! here"), never round a limit and never serve a figure of an earlier call.
//!
//! By hand: `cgroups-rs` creates groups and does not read ancestors, `sysinfo` reads memory of one group only, and
//! `procfs` would carry two parsers of a line each.

mod group;
mod hierarchy;

use std::fs;
use std::path::{Path, PathBuf};

use group::Group;
pub(crate) use group::{HighRoom, Throttled};
use hierarchy::{Mount, Version, guessed_mounts, listed_mounts, own_path};

/// Where the kernel's files are; tests use trees in a temporary folder.
///
/// Mounts are looked up once, on construction. The group of the process and everything its files say is read at each
/// call.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    mounts: Vec<Mount>,
    proc_self: PathBuf,
    online_cpus: PathBuf,
    /// Whether the files are those of this process, so that a system call can replace a file.
    is_live: bool,
}

/// How many cores' worth of CPU time the process can use, and what says so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CpuLimit {
    /// Cores: seconds of CPU time per second. A fraction is exact, never rounded (0.25, 1.5).
    pub cores: f64,
    /// What sets the limit.
    pub source: CpuLimitSource,
}

/// What sets a [`CpuLimit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CpuLimitSource {
    /// A CFS bandwidth quota of a control group, no larger than the CPUs the process may run on.
    Quota,
    /// The process may run on some of the online CPUs only: a cpuset, or an affinity mask.
    Cpuset,
    /// Nothing but the number of CPUs that are online.
    Online,
}

impl Cgroup {
    /// The files of the running process: `/sys/fs/cgroup` and `/proc/self`.
    pub(crate) fn system() -> Self {
        Self {
            is_live: true,
            ..Self::at("/sys/fs/cgroup", "/proc/self")
        }
    }

    /// The files under `root`, as under `/sys/fs/cgroup`, for the process with the files `cgroup`, `mountinfo` and
    /// `status` in `proc_self`.
    ///
    /// Each file is optional. Mounts that `mountinfo` places outside `root` are ignored; if it places none inside, the
    /// layout is guessed from the folders' names. The online CPUs are read from
    /// `<root>/../../devices/system/cpu/online`, which is where sysfs has them, else from the machine.
    pub(crate) fn at(root: impl Into<PathBuf>, proc_self: impl Into<PathBuf>) -> Self {
        let (root, proc_self) = (root.into(), proc_self.into());
        let mut mounts = listed_mounts(&root, &proc_self);
        if mounts.is_empty() {
            mounts = guessed_mounts(&root);
        }
        let online_cpus = root.join("../../devices/system/cpu/online");
        Self {
            mounts,
            proc_self,
            online_cpus,
            is_live: false,
        }
    }

    /// The CPU limit: the smallest quota of the process's group and its ancestors up to the root of
    /// the mount, or the number of CPUs the process may run on, whichever is smaller.
    ///
    /// A quota is quota / period: `cpu.max` of v2, `cpu.cfs_quota_us` / `cpu.cfs_period_us` of v1.
    /// Without one the limit is the affinity, without that the online CPUs; it never fails.
    ///
    /// Source: `cpu.max` in `Documentation/admin-guide/cgroup-v2.rst` and
    /// `Documentation/scheduler/sched-bwc.rst` of the kernel.
    pub(crate) fn cpu_limit(&self) -> CpuLimit {
        let runnable = self.runnable_cpus();
        match tightest_quota(&self.groups("cpu")) {
            Some((cores, _)) if cores <= runnable.cores => CpuLimit {
                cores,
                source: CpuLimitSource::Quota,
            },
            _ => runnable,
        }
    }

    /// The memory limit in bytes: the smallest of the process's group and its ancestors up to the
    /// root of the mount. `None` if there is none.
    ///
    /// That is `memory.max` of v2; of v1 it is `memory.limit_in_bytes`, and the
    /// `hierarchical_memory_limit` of `memory.stat`, which knows of ancestors a container cannot
    /// see.
    ///
    /// Source: `Documentation/admin-guide/cgroup-v2.rst` and
    /// `Documentation/admin-guide/cgroup-v1/memory.rst` of the kernel.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.groups("memory")
            .iter()
            .filter_map(Group::memory_limit)
            .min()
    }

    /// The file that sets [`memory_limit`](Self::memory_limit).
    pub(crate) fn memory_limit_file(&self) -> &'static str {
        match self.groups("memory").first().map(|group| group.version) {
            Some(Version::V1) => "memory.limit_in_bytes",
            _ => "memory.max",
        }
    }

    /// The smallest `memory.high` of the process's group and its ancestors: above it the kernel reclaims memory of the
    /// group, and puts each thread to sleep that takes more, for up to two seconds each time. `None` if there is none,
    /// as with v1.
    ///
    /// Source: `Documentation/admin-guide/cgroup-v2.rst` of the kernel, and `mem_cgroup_handle_over_high` in its
    /// `mm/memcontrol.c`.
    pub(crate) fn memory_high(&self) -> Option<u64> {
        let groups = self.groups("memory");
        groups.iter().filter_map(Group::memory_high).min()
    }

    /// The room below the `memory.high` that has the least, of the process's group and its ancestors; other processes
    /// in a group take of it as well. `None` without any.
    ///
    /// Usage is counted as in [`memory_used`](Self::memory_used). Where it stays above for all that, page cache counts
    /// too: the kernel does not get rid of it.
    pub(crate) fn memory_high_room(&self) -> Option<HighRoom> {
        let groups = self.groups("memory");
        let rooms = groups.iter().filter_map(Group::memory_high_room);
        rooms.min_by_key(|room| room.bytes)
    }

    /// How often usage came to `memory.high` in the groups that have one. `None` if none has.
    pub(crate) fn memory_high_events(&self) -> Option<u64> {
        let groups = self.groups("memory");
        groups
            .iter()
            .filter_map(Group::high_events)
            .reduce(|a, b| a.saturating_add(b))
    }

    /// The bytes of memory charged to the process's own group that the kernel cannot simply take
    /// back: `memory.current` (v1: `memory.usage_in_bytes`) less `inactive_file` of `memory.stat`
    /// (v1: `total_inactive_file`). `None` if no usage can be read.
    ///
    /// If that group does not account memory, the kernel charges its nearest ancestor that does, which is then the
    /// one reported.
    ///
    /// Source: the working set of kubelet and cAdvisor, by which Kubernetes evicts pods.
    pub(crate) fn memory_used(&self) -> Option<u64> {
        self.groups("memory").iter().find_map(Group::memory_used)
    }

    /// How many bytes memory can still grow before a limit is hit: limit less usage, of whichever
    /// of the process's group and its ancestors has the least left. `None` without a limit.
    ///
    /// It is not always [`memory_limit`](Self::memory_limit) less
    /// [`memory_used`](Self::memory_used): the limit of an ancestor is shared with that ancestor's
    /// other groups. Usage is counted as in `memory_used`; one that cannot be read counts as 0.
    pub(crate) fn memory_headroom(&self) -> Option<u64> {
        self.groups("memory")
            .iter()
            .filter_map(Group::memory_headroom)
            .min()
    }

    /// How often the out-of-memory killer has struck in the process's own group, or in its nearest ancestor that counts
    /// it. `None` if none does.
    ///
    /// Source: `memory.events` in `Documentation/admin-guide/cgroup-v2.rst` and `memory.oom_control`
    /// in `Documentation/admin-guide/cgroup-v1/memory.rst` of the kernel.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        self.groups("memory").iter().find_map(Group::oom_kills)
    }

    /// How often the CPU quota held the process back: `cpu.stat` of the group that has the tightest
    /// quota, else of the process's own group (or its nearest ancestor that schedules CPU time).
    /// `None` if that file does not count throttling.
    pub(crate) fn throttled(&self) -> Option<Throttled> {
        let groups = self.groups("cpu");
        match tightest_quota(&groups) {
            Some((_, group)) => group.throttled(),
            None => groups.iter().find_map(Group::throttled),
        }
    }

    /// The limit without any quota.
    fn runnable_cpus(&self) -> CpuLimit {
        let online = super::cpus_listed_in(&self.online_cpus).unwrap_or_else(super::online_cpus);
        match self.affinity() {
            Some(allowed) if allowed < online => CpuLimit {
                cores: allowed as f64,
                source: CpuLimitSource::Cpuset,
            },
            _ => CpuLimit {
                cores: online as f64,
                source: CpuLimitSource::Online,
            },
        }
    }

    /// How many CPUs the process may run on.
    fn affinity(&self) -> Option<usize> {
        // The status file still names allowed CPUs that went offline, so the system call comes first. It fails
        // with more CPUs than a `CpuSet` holds.
        let live = if self.is_live { live_affinity() } else { None };
        live.or_else(|| {
            let status = fs::read_to_string(self.proc_self.join("status")).ok()?;
            super::count_cpus(
                status
                    .lines()
                    .find_map(|l| l.strip_prefix("Cpus_allowed_list:"))?,
            )
        })
    }

    /// The groups whose limits on what `controller` hands out bind the process: its own first, then
    /// each ancestor, last the root of the mount.
    fn groups(&self, controller: &str) -> Vec<Group> {
        let membership = fs::read_to_string(self.proc_self.join("cgroup")).unwrap_or_default();
        // A controller is bound to one hierarchy only, and to v2's if no v1 hierarchy has it.
        [Version::V1, Version::V2]
            .into_iter()
            .find_map(|version| {
                let own = own_path(&membership, version, controller);
                Some(self.mount_of(version, controller, own)?.groups(own))
            })
            .unwrap_or_default()
    }

    /// The mount to look for the group `own` in: the one that holds it with as many of its
    /// ancestors as can be seen. If none holds it any mount of the controller will do: see
    /// [`Mount::groups`].
    fn mount_of(&self, version: Version, controller: &str, own: &Path) -> Option<&Mount> {
        let mut candidates = self
            .mounts
            .iter()
            .filter(|mount| mount.carries(version, controller));
        candidates
            .clone()
            .filter(|mount| own.starts_with(&mount.root))
            .min_by_key(|mount| mount.root.components().count())
            .or_else(|| candidates.next())
    }
}

/// The affinity of this process's main thread.
fn live_affinity() -> Option<usize> {
    // Not of the calling thread, which may be pinned for its own purpose.
    let main_thread = rustix::process::getpid();
    let cpus = rustix::thread::sched_getaffinity(Some(main_thread)).ok()?;
    Some(cpus.count() as usize).filter(|&count| count > 0)
}

/// The smallest quota in cores and its group: of equals, the one nearest to the process.
fn tightest_quota(groups: &[Group]) -> Option<(f64, &Group)> {
    groups
        .iter()
        .filter_map(|group| Some((group.quota()?, group)))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
}

#[cfg(test)]
mod tests;
