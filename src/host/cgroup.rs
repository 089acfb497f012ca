//! The limits of the control groups this process runs in: how many cores, how much memory, how
//! much of it is used and how often the kernel held the CPU back. It owns every read of cgroup
//! files; [`host`](super) and the plugins that size a load by the container call it. It must never
//! fail (a file that is missing, closed or garbled is "no limit here"), never round a limit and
//! never serve a figure read at an earlier call.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// cgroup v1 prints "no limit" as a huge number that depends on the page size
/// (9223372036854771712 with pages of 4 KiB); no machine has memory of this order.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// Where the kernel's files are; a parameter so that tests use trees in a temp folder.
///
/// Which hierarchies are mounted where is looked up once, on construction. Which group the process
/// is in, and everything the group's files say, is read again at each call.
#[derive(Debug, Clone)]
pub(crate) struct Cgroup {
    mounts: Vec<Mount>,
    proc_self: PathBuf,
    online_cpus: PathBuf,
    /// Whether the files tell of this very process, so that the kernel can be asked directly.
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

impl Cgroup {
    /// The running process's own: `/sys/fs/cgroup` and `/proc/self`.
    pub(crate) fn system() -> Self {
        Self {
            is_live: true,
            ..Self::at("/sys/fs/cgroup", "/proc/self")
        }
    }

    /// The files under `root`, as of `/sys/fs/cgroup`, for the process that the files `cgroup`,
    /// `mountinfo` and `status` of `proc_self` tell of.
    ///
    /// Each file is optional. Mounts that `mountinfo` places outside `root` are not looked at; if
    /// it places none inside, the layout is guessed from the folders' names. The online CPUs are
    /// taken from `<root>/../../devices/system/cpu/online`, which is where sysfs has them, else
    /// from the machine.
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

    /// The bytes of memory charged to the process's own group that the kernel cannot simply take
    /// back: `memory.current` (v1: `memory.usage_in_bytes`) less `inactive_file` of `memory.stat`
    /// (v1: `total_inactive_file`). `None` if no usage can be read.
    ///
    /// If the own group does not account memory, its nearest ancestor that does is the one the
    /// kernel charges, and the one told here.
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

    /// How often the out-of-memory killer has struck in the process's own group, or its nearest
    /// ancestor that tells. `None` if none does.
    ///
    /// Source: `memory.events` in `Documentation/admin-guide/cgroup-v2.rst` and `memory.oom_control`
    /// in `Documentation/admin-guide/cgroup-v1/memory.rst` of the kernel.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        self.groups("memory").iter().find_map(Group::oom_kills)
    }

    /// How often the CPU quota held the process back: `cpu.stat` of the group that has the tightest
    /// quota, else of the process's own group (or its nearest ancestor that schedules CPU time).
    /// `None` if it tells nothing of throttling.
    pub(crate) fn throttled(&self) -> Option<Throttled> {
        let groups = self.groups("cpu");
        match tightest_quota(&groups) {
            Some((_, group)) => group.throttled(),
            None => groups.iter().find_map(Group::throttled),
        }
    }

    /// The limit that is there without any quota.
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
        // The status file still names allowed CPUs that went offline, so the kernel's own answer
        // comes first. It fails with more CPUs than a `CpuSet` holds.
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
    // Not of the calling thread, which may be pinned for a purpose of its own.
    let main_thread = rustix::process::getpid();
    let cpus = rustix::thread::sched_getaffinity(Some(main_thread)).ok()?;
    Some(cpus.count() as usize).filter(|&count| count > 0)
}

/// The smallest quota in cores and the group it is of: of equals, the one nearest to the process.
fn tightest_quota(groups: &[Group]) -> Option<(f64, &Group)> {
    groups
        .iter()
        .filter_map(|group| Some((group.quota()?, group)))
        .min_by(|(a, _), (b, _)| a.total_cmp(b))
}

/// The path of the process's group, as `<proc_self>/cgroup` (`membership`) has it; `/` if it does
/// not say.
///
/// A line is `id:controllers:path`; that of v2 names no controllers. A path may contain colons.
/// Source: `cgroups(7)`.
fn own_path<'a>(membership: &'a str, version: Version, controller: &str) -> &'a Path {
    let path = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_own = match version {
            Version::V1 => controllers.split(',').any(|name| name == controller),
            Version::V2 => controllers.is_empty(),
        };
        is_own.then_some(path)
    });
    Path::new(path.unwrap_or("/"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A hierarchy of groups, or a part of one, that can be seen in the file system.
#[derive(Debug, Clone)]
struct Mount {
    version: Version,
    /// What the hierarchy hands out, of v1 only: any v2 hierarchy may hand out anything.
    controllers: Vec<String>,
    /// The path, within the hierarchy, of the group that `point` shows.
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    fn carries(&self, version: Version, controller: &str) -> bool {
        self.version == version
            && (version == Version::V2 || self.controllers.iter().any(|name| name == controller))
    }

    /// The group whose path in the hierarchy is `own` and its ancestors, as far as this mount shows
    /// them; groups that do not exist here may be among them.
    ///
    /// A container without a cgroup namespace sees the host's path as `own`, and mounts that begin
    /// at that very path. Of a mount that begins elsewhere the first group is read, as it is the
    /// container's own or above it.
    fn groups(&self, own: &Path) -> Vec<Group> {
        let below = own.strip_prefix(&self.root).unwrap_or(Path::new(""));
        // Such a path leads out of the namespace: the groups seen here do not bind the process.
        if below.components().any(|part| part == Component::ParentDir) {
            return Vec::new();
        }
        below
            .ancestors()
            .map(|path| Group {
                version: self.version,
                dir: self.point.join(path),
            })
            .collect()
    }
}

/// The cgroup mounts in or at `root` that `<proc_self>/mountinfo` lists, in its order.
fn listed_mounts(root: &Path, proc_self: &Path) -> Vec<Mount> {
    let mountinfo = fs::read_to_string(proc_self.join("mountinfo")).unwrap_or_default();
    mountinfo
        .lines()
        .filter_map(parse_mount)
        .filter(|m| m.point.starts_with(root))
        .collect()
}

/// The mount of one line of `mountinfo`, if it is one of cgroups.
///
/// A line is `id parent major:minor root point options [tag]... - type source super-options`.
/// Source: `Documentation/filesystems/proc.rst` of the kernel.
fn parse_mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    Some(Mount {
        version,
        controllers: kind.nth(1)?.split(',').map(str::to_owned).collect(),
        root: unescaped(place.next()?),
        point: unescaped(place.next()?),
    })
}

/// A path of `mountinfo` without the four escapes the kernel writes there. A backslash is common:
/// systemd puts it into the names of units.
fn unescaped(field: &str) -> PathBuf {
    // The backslash comes last, or one that it leaves could be taken for another escape.
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(field.to_owned(), |path, (escape, meant)| {
        path.replace(escape, meant)
    })
    .into()
}

/// The mounts that the usual layouts have under `root`, for want of a list: folders named after v1
/// controllers, and v2 at `unified` beside them, or else at `root` itself.
fn guessed_mounts(root: &Path) -> Vec<Mount> {
    let unified = root.join("unified");
    let v2 = Mount {
        version: Version::V2,
        controllers: Vec::new(),
        root: PathBuf::from("/"),
        point: if unified.is_dir() {
            unified
        } else {
            root.to_owned()
        },
    };
    // Only the root of a v2 hierarchy has this file, and what else is in there are its groups.
    if root.join("cgroup.controllers").exists() {
        return vec![v2];
    }
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    folders
        .map(|folder| v1_mount(folder.path()))
        .chain([v2])
        .collect()
}

/// A v1 mount at a folder named after its controllers, such as `cpu` or `cpu,cpuacct`.
fn v1_mount(point: PathBuf) -> Mount {
    let name = point.file_name().unwrap_or_default().to_string_lossy();
    Mount {
        version: Version::V1,
        controllers: name.split(',').map(str::to_owned).collect(),
        root: PathBuf::from("/"),
        point,
    }
}

/// One control group, which may turn out not to exist.
#[derive(Debug)]
struct Group {
    version: Version,
    dir: PathBuf,
}

impl Group {
    /// The CPU quota in cores.
    fn quota(&self) -> Option<f64> {
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
        // The kernel takes no such values, so they cannot mean what they say.
        (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
    }

    fn memory_limit(&self) -> Option<u64> {
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

    fn memory_used(&self) -> Option<u64> {
        let (usage, reclaimable) = match self.version {
            Version::V1 => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::V2 => ("memory.current", "inactive_file"),
        };
        let reclaimable = self.stat("memory.stat", reclaimable).unwrap_or(0);
        // The files are not read at the same instant, so the part may exceed the whole.
        Some(self.number(usage)?.saturating_sub(reclaimable))
    }

    fn memory_headroom(&self) -> Option<u64> {
        Some(
            self.memory_limit()?
                .saturating_sub(self.memory_used().unwrap_or(0)),
        )
    }

    fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        self.stat(file, "oom_kill")
    }

    fn throttled(&self) -> Option<Throttled> {
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

    /// The one number in a file; `None` for `max` and for -1, which say that there is no limit.
    fn number(&self, file: &str) -> Option<u64> {
        self.text(file)?.trim().parse().ok()
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(file)).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const CGROUP: &str = "sys/fs/cgroup";
    const NO_LIMIT_V1: &str = "9223372036854771712\n";

    /// A file system of files written by the test, on a machine of eight CPUs.
    struct Tree(TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            tree.file("sys/devices/system/cpu/online", "0-7\n");
            tree.file("sys/fs/cgroup/.keep", "");
            tree
        }

        fn file(&self, path: &str, content: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        /// A file of a group, as `cpu.max` or `cpu/docker/cpu.stat`.
        fn group(&self, path: &str, content: &str) {
            self.file(&format!("{CGROUP}/{path}"), content);
        }

        fn v1_quota(&self, group: &str, quota: &str) {
            self.group(&format!("{group}/cpu.cfs_quota_us"), &format!("{quota}\n"));
            self.group(&format!("{group}/cpu.cfs_period_us"), "100000\n");
        }

        fn membership(&self, content: &str) {
            self.file("proc/self/cgroup", content);
        }

        /// `mountinfo`, of mounts given as root, point below `sys/fs/cgroup`, type, super options.
        fn mounts(&self, mounts: &[(&str, &str, &str, &str)]) {
            let top = self.0.path().join(CGROUP);
            let top = top.display();
            let mut text = format!("30 1 0:26 / {top} ro,nosuid - tmpfs tmpfs ro,mode=755\n");
            for (root, point, kind, options) in mounts {
                let point = format!("{top}/{point}");
                let point = point.trim_end_matches('/');
                text += &format!(
                    "31 30 0:27 {root} {point} rw,relatime shared:9 - {kind} {kind} rw,{options}\n"
                );
            }
            self.file("proc/self/mountinfo", &text);
        }

        fn cgroup(&self) -> Cgroup {
            Cgroup::at(self.0.path().join(CGROUP), self.0.path().join("proc/self"))
        }

        fn cpu(&self) -> (f64, CpuLimitSource) {
            let limit = self.cgroup().cpu_limit();
            (limit.cores, limit.source)
        }
    }

    /// A v2 mount seen from a container with a cgroup namespace.
    fn v2() -> Tree {
        let tree = Tree::new();
        tree.mounts(&[("/", "", "cgroup2", "nsdelegate")]);
        tree.membership("0::/\n");
        tree
    }

    /// A v2 mount seen by a service at `/top.slice/my.service`.
    fn v2_nested() -> Tree {
        let tree = v2();
        tree.membership("0::/top.slice/my.service\n");
        tree
    }

    /// v1 mounts of one controller each, the process in the group `/`.
    fn v1_single() -> Tree {
        let tree = Tree::new();
        tree.mounts(&[
            ("/", "cpuset", "cgroup", "cpuset"),
            ("/", "cpu", "cgroup", "cpu"),
            ("/", "memory", "cgroup", "memory"),
        ]);
        tree.membership("3:cpuset:/\n2:memory:/\n1:cpu:/\n0::/\n");
        tree
    }

    const QUOTA: CpuLimitSource = CpuLimitSource::Quota;
    const ONLINE: CpuLimitSource = CpuLimitSource::Online;
    const CPUSET: CpuLimitSource = CpuLimitSource::Cpuset;

    // v2

    #[test]
    fn a_v2_quota_in_the_root_of_the_mount_is_the_limit() {
        let tree = v2();
        tree.group("cpu.max", "200000 100000\n");
        assert_eq!(tree.cpu(), (2.0, QUOTA));
    }

    #[test]
    fn a_fraction_of_a_core_is_told_exactly() {
        let tree = v2();
        tree.group("cpu.max", "25000 100000\n");
        assert_eq!(tree.cpu(), (0.25, QUOTA));
        tree.group("cpu.max", "150000 100000\n");
        assert_eq!(tree.cpu(), (1.5, QUOTA));
        tree.group("cpu.max", "1000 1000000\n");
        assert_eq!(tree.cpu(), (0.001, QUOTA));
    }

    #[test]
    fn an_ancestor_with_a_smaller_v2_limit_wins() {
        let tree = v2_nested();
        tree.group("top.slice/cpu.max", "50000 100000\n");
        tree.group("top.slice/my.service/cpu.max", "300000 100000\n");
        tree.group("top.slice/memory.max", "1000\n");
        tree.group("top.slice/my.service/memory.max", "2000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(1000));
    }

    #[test]
    fn a_leaf_with_a_smaller_v2_limit_wins() {
        let tree = v2_nested();
        tree.group("cpu.max", "400000 100000\n");
        tree.group("top.slice/cpu.max", "max 100000\n");
        tree.group("top.slice/my.service/cpu.max", "75000 50000\n");
        tree.group("top.slice/memory.max", "max\n");
        tree.group("top.slice/my.service/memory.max", "2000\n");
        assert_eq!(tree.cpu(), (1.5, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(2000));
    }

    #[test]
    fn groups_beside_and_below_the_own_one_do_not_count() {
        let tree = v2_nested();
        tree.group("other.slice/cpu.max", "10000 100000\n");
        tree.group("top.slice/my.service/child/cpu.max", "10000 100000\n");
        tree.group("top.slice/my.service/child/memory.max", "10\n");
        assert_eq!(tree.cpu(), (8.0, ONLINE));
        assert_eq!(tree.cgroup().memory_limit(), None);
    }

    #[test]
    fn max_in_v2_is_no_limit() {
        let tree = v2();
        tree.group("cpu.max", "max 100000\n");
        tree.group("memory.max", "max\n");
        assert_eq!(tree.cpu(), (8.0, ONLINE));
        assert_eq!(tree.cgroup().memory_limit(), None);
        assert_eq!(tree.cgroup().memory_headroom(), None);
    }

    #[test]
    fn v2_memory_used_leaves_out_reclaimable_page_cache() {
        let tree = v2();
        tree.group("memory.max", "268435456\n");
        tree.group("memory.current", "100000000\n");
        tree.group(
            "memory.stat",
            "anon 1\nfile 40000000\ninactive_file 30000000\n",
        );
        let cgroup = tree.cgroup();
        assert_eq!(cgroup.memory_limit(), Some(268_435_456));
        assert_eq!(cgroup.memory_used(), Some(70_000_000));
        assert_eq!(cgroup.memory_headroom(), Some(198_435_456));
    }

    #[test]
    fn memory_used_is_of_the_own_group_not_of_an_ancestor() {
        let tree = v2_nested();
        tree.group("top.slice/memory.current", "900\n");
        tree.group("top.slice/my.service/memory.current", "100\n");
        assert_eq!(tree.cgroup().memory_used(), Some(100));
    }

    #[test]
    fn a_group_without_memory_accounting_is_charged_to_its_nearest_ancestor() {
        let tree = v2_nested();
        tree.group("top.slice/memory.current", "900\n");
        tree.group("top.slice/my.service/cgroup.procs", "1\n");
        assert_eq!(tree.cgroup().memory_used(), Some(900));
    }

    #[test]
    fn oom_kills_are_those_of_the_own_group() {
        let tree = v2_nested();
        assert_eq!(tree.cgroup().oom_kills(), None);
        tree.group("top.slice/my.service/memory.events", "oom 9\noom_kill 2\n");
        tree.group("top.slice/memory.events", "oom 9\noom_kill 5\n");
        assert_eq!(tree.cgroup().oom_kills(), Some(2));
    }

    #[test]
    fn memory_headroom_is_that_of_the_fullest_group_on_the_path() {
        let tree = v2_nested();
        tree.group("top.slice/memory.max", "1000\n");
        tree.group("top.slice/memory.current", "950\n");
        tree.group("top.slice/my.service/memory.max", "500\n");
        tree.group("top.slice/my.service/memory.current", "100\n");
        assert_eq!(tree.cgroup().memory_headroom(), Some(50));
    }

    #[test]
    fn a_full_group_has_no_headroom_even_if_its_limit_was_lowered_below_its_usage() {
        let tree = v2();
        tree.group("memory.max", "1000\n");
        tree.group("memory.current", "1500\n");
        assert_eq!(tree.cgroup().memory_headroom(), Some(0));
    }

    #[test]
    fn page_cache_counted_later_than_usage_does_not_wrap_around() {
        let tree = v2();
        tree.group("memory.current", "100\n");
        tree.group("memory.stat", "inactive_file 200\n");
        assert_eq!(tree.cgroup().memory_used(), Some(0));
    }

    #[test]
    fn v2_throttling_is_counted_in_microseconds() {
        let tree = v2();
        tree.group("cpu.max", "50000 100000\n");
        tree.group(
            "cpu.stat",
            "usage_usec 9\nnr_periods 20\nnr_throttled 7\nthrottled_usec 1500000\n",
        );
        let expected = Throttled {
            periods: 20,
            throttled_periods: 7,
            time: Duration::from_millis(1500),
        };
        assert_eq!(tree.cgroup().throttled(), Some(expected));
    }

    #[test]
    fn throttling_is_that_of_the_group_with_the_tightest_quota() {
        let tree = v2_nested();
        tree.group("top.slice/cpu.max", "50000 100000\n");
        tree.group(
            "top.slice/cpu.stat",
            "nr_periods 5\nnr_throttled 4\nthrottled_usec 3\n",
        );
        let own = "top.slice/my.service";
        tree.group(&format!("{own}/cpu.max"), "100000 100000\n");
        tree.group(
            &format!("{own}/cpu.stat"),
            "nr_periods 2\nnr_throttled 1\nthrottled_usec 0\n",
        );
        assert_eq!(tree.cgroup().throttled().unwrap().periods, 5);
        tree.group(&format!("{own}/cpu.max"), "25000 100000\n");
        assert_eq!(tree.cgroup().throttled().unwrap().periods, 2);
    }

    #[test]
    fn of_equal_quotas_the_own_groups_throttling_is_told() {
        let tree = v2_nested();
        for (group, periods) in [("top.slice", 5), ("top.slice/my.service", 2)] {
            tree.group(&format!("{group}/cpu.max"), "50000 100000\n");
            let stat = format!("nr_periods {periods}\nnr_throttled 0\nthrottled_usec 0\n");
            tree.group(&format!("{group}/cpu.stat"), &stat);
        }
        assert_eq!(tree.cgroup().throttled().unwrap().periods, 2);
    }

    #[test]
    fn without_a_quota_throttling_is_that_of_the_own_group() {
        let tree = v2_nested();
        tree.group(
            "top.slice/cpu.stat",
            "nr_periods 5\nnr_throttled 4\nthrottled_usec 3\n",
        );
        tree.group(
            "top.slice/my.service/cpu.stat",
            "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
        );
        let none = Throttled {
            periods: 0,
            throttled_periods: 0,
            time: Duration::ZERO,
        };
        assert_eq!(tree.cgroup().throttled(), Some(none));
    }

    #[test]
    fn a_group_that_does_not_schedule_cpu_time_is_throttled_as_its_nearest_ancestor() {
        let tree = v2_nested();
        tree.group(
            "top.slice/cpu.stat",
            "nr_periods 5\nnr_throttled 4\nthrottled_usec 3\n",
        );
        tree.group("top.slice/my.service/cpu.stat", "usage_usec 9\n");
        assert_eq!(tree.cgroup().throttled().unwrap().periods, 5);
    }

    #[test]
    fn a_cpu_stat_without_throttling_tells_nothing() {
        let tree = v2();
        tree.group("cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\n");
        assert_eq!(tree.cgroup().throttled(), None);
    }

    // v1

    #[test]
    fn v1_limits_are_found_in_mounts_of_one_controller_each() {
        let tree = v1_single();
        tree.v1_quota("cpu", "25000");
        tree.group("memory/memory.limit_in_bytes", "268435456\n");
        assert_eq!(tree.cpu(), (0.25, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(268_435_456));
    }

    #[test]
    fn v1_limits_are_found_in_a_mount_shared_by_two_controllers() {
        let tree = Tree::new();
        tree.mounts(&[("/", "cpu,cpuacct", "cgroup", "cpu,cpuacct")]);
        tree.membership("4:cpu,cpuacct:/a.slice\n1:name=systemd:/a.slice/b\n");
        tree.v1_quota("cpu,cpuacct", "-1");
        tree.v1_quota("cpu,cpuacct/a.slice", "150000");
        assert_eq!(tree.cpu(), (1.5, QUOTA));
    }

    #[test]
    fn a_v1_mount_is_found_whatever_its_folder_is_named() {
        let tree = Tree::new();
        tree.mounts(&[("/", "cpuacct,cpu", "cgroup", "cpu,cpuacct")]);
        tree.membership("4:cpu,cpuacct:/\n");
        tree.v1_quota("cpuacct,cpu", "50000");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn a_controller_is_not_taken_for_one_whose_name_begins_alike() {
        let tree = Tree::new();
        tree.mounts(&[
            ("/", "cpuset", "cgroup", "cpuset"),
            ("/", "cpuacct", "cgroup", "cpuacct"),
        ]);
        tree.membership("2:cpuset:/\n1:cpuacct:/\n");
        tree.v1_quota("cpuset", "50000");
        tree.v1_quota("cpuacct", "50000");
        assert_eq!(tree.cpu(), (8.0, ONLINE));
    }

    #[test]
    fn minus_one_and_the_huge_number_of_v1_are_no_limits() {
        let tree = v1_single();
        tree.v1_quota("cpu", "-1");
        tree.group("memory/memory.limit_in_bytes", NO_LIMIT_V1);
        tree.group(
            "memory/memory.stat",
            "hierarchical_memory_limit 9223372036854771712\n",
        );
        assert_eq!(tree.cpu(), (8.0, ONLINE));
        assert_eq!(tree.cgroup().memory_limit(), None);
    }

    #[test]
    fn a_limit_is_a_limit_up_to_the_order_no_machine_reaches() {
        let tree = v1_single();
        tree.group("memory/memory.limit_in_bytes", "1152921504606846975\n");
        assert_eq!(
            tree.cgroup().memory_limit(),
            Some(1_152_921_504_606_846_975)
        );
        tree.group("memory/memory.limit_in_bytes", "1152921504606846976\n");
        assert_eq!(tree.cgroup().memory_limit(), None);
    }

    #[test]
    fn the_smallest_v1_limit_on_the_path_wins() {
        let tree = v1_single();
        tree.membership("3:cpuset:/other\n2:memory:/pod/ctr\n1:cpu:/pod/ctr\n");
        tree.v1_quota("cpu", "-1");
        tree.v1_quota("cpu/pod", "50000");
        tree.v1_quota("cpu/pod/ctr", "200000");
        tree.group("memory/memory.limit_in_bytes", NO_LIMIT_V1);
        tree.group("memory/pod/memory.limit_in_bytes", "3000\n");
        tree.group("memory/pod/ctr/memory.limit_in_bytes", "2000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(2000));
    }

    #[test]
    fn a_v1_container_that_sees_the_hosts_paths_reads_the_mounts_it_was_given() {
        let tree = Tree::new();
        let own = "/kubepods/pod1/cri-containerd:abc";
        tree.mounts(&[
            (own, "cpu,cpuacct", "cgroup", "cpu,cpuacct"),
            (own, "memory", "cgroup", "memory"),
        ]);
        tree.membership(&format!("5:memory:{own}\n4:cpu,cpuacct:{own}\n"));
        tree.v1_quota("cpu,cpuacct", "50000");
        tree.group("memory/memory.limit_in_bytes", "1000\n");
        tree.group("memory/memory.usage_in_bytes", "300\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(1000));
        assert_eq!(tree.cgroup().memory_headroom(), Some(700));
    }

    #[test]
    fn a_group_made_inside_such_a_container_is_found_below_its_mount() {
        let tree = Tree::new();
        tree.mounts(&[("/docker/abc", "cpu", "cgroup", "cpu")]);
        tree.membership("4:cpu:/docker/abc/inner:1\n");
        tree.v1_quota("cpu", "200000");
        tree.v1_quota("cpu/inner:1", "50000");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn a_limit_of_v1_that_no_visible_group_has_is_still_known() {
        let tree = v1_single();
        tree.group("memory/memory.limit_in_bytes", NO_LIMIT_V1);
        tree.group("memory/memory.usage_in_bytes", "100\n");
        tree.group(
            "memory/memory.stat",
            "cache 1\nhierarchical_memory_limit 4000\n",
        );
        assert_eq!(tree.cgroup().memory_limit(), Some(4000));
        assert_eq!(tree.cgroup().memory_headroom(), Some(3900));
    }

    #[test]
    fn v1_memory_used_leaves_out_the_page_cache_of_the_whole_group() {
        let tree = v1_single();
        tree.group("memory/memory.usage_in_bytes", "1000\n");
        tree.group(
            "memory/memory.stat",
            "inactive_file 1\ntotal_inactive_file 400\n",
        );
        assert_eq!(tree.cgroup().memory_used(), Some(600));
    }

    #[test]
    fn v1_throttling_is_counted_in_nanoseconds() {
        let tree = v1_single();
        tree.v1_quota("cpu", "50000");
        tree.group(
            "cpu/cpu.stat",
            "nr_periods 20\nnr_throttled 7\nthrottled_time 1500000001\n",
        );
        let expected = Throttled {
            periods: 20,
            throttled_periods: 7,
            time: Duration::from_nanos(1_500_000_001),
        };
        assert_eq!(tree.cgroup().throttled(), Some(expected));
    }

    // Hybrid

    #[test]
    fn in_a_hybrid_layout_a_controller_is_read_from_the_hierarchy_that_has_it() {
        let tree = Tree::new();
        tree.mounts(&[
            ("/", "unified", "cgroup2", "nsdelegate"),
            ("/", "cpu,cpuacct", "cgroup", "cpu,cpuacct"),
        ]);
        tree.membership("4:cpu,cpuacct:/one\n0::/two\n");
        tree.v1_quota("cpu,cpuacct/one", "50000");
        tree.group(
            "cpu,cpuacct/one/cpu.stat",
            "nr_periods 1\nnr_throttled 1\nthrottled_time 9\n",
        );
        tree.group("unified/two/memory.max", "1000\n");
        tree.group("unified/two/memory.current", "10\n");
        let cgroup = tree.cgroup();
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(cgroup.throttled().unwrap().time, Duration::from_nanos(9));
        assert_eq!(
            (cgroup.memory_limit(), cgroup.memory_used()),
            (Some(1000), Some(10))
        );
    }

    // Layouts without a list of mounts

    #[test]
    fn without_mountinfo_a_v2_tree_is_known_by_its_controllers_file() {
        let tree = Tree::new();
        tree.membership("0::/app\n");
        tree.group("cgroup.controllers", "cpu memory\n");
        tree.group("app/cpu.max", "50000 100000\n");
        // A group that happens to be named like a v1 mount.
        tree.v1_quota("cpu", "10000");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn without_mountinfo_v1_and_hybrid_trees_are_known_by_their_folders() {
        let tree = Tree::new();
        tree.membership("4:cpu,cpuacct:/app\n0::/app\n");
        tree.v1_quota("cpu,cpuacct/app", "50000");
        tree.group("unified/app/memory.max", "1000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(1000));
    }

    #[test]
    fn without_mountinfo_a_link_to_a_shared_v1_mount_is_followed() {
        let tree = Tree::new();
        tree.v1_quota("cpu,cpuacct", "50000");
        let link = tree.0.path().join(CGROUP).join("cpu");
        std::os::unix::fs::symlink("cpu,cpuacct", link).unwrap();
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn without_mountinfo_a_path_of_the_host_leads_to_the_root_of_the_mount() {
        let tree = Tree::new();
        tree.membership("5:memory:/docker/abc\n4:cpu:/docker/abc\n");
        tree.v1_quota("cpu", "50000");
        tree.group(
            "cpu/cpu.stat",
            "nr_periods 1\nnr_throttled 0\nthrottled_time 0\n",
        );
        tree.group("memory/memory.usage_in_bytes", "10\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(tree.cgroup().throttled().unwrap().periods, 1);
        assert_eq!(tree.cgroup().memory_used(), Some(10));
    }

    #[test]
    fn without_any_file_of_proc_the_root_of_the_tree_is_read() {
        let tree = Tree::new();
        tree.group("cpu.max", "50000 100000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    // Mounts

    #[test]
    fn the_mount_that_shows_most_ancestors_is_read() {
        let tree = v2_nested();
        tree.mounts(&[
            ("/top.slice/my.service", "bound", "cgroup2", "x"),
            ("/", "", "cgroup2", "x"),
            ("/other", "other", "cgroup2", "x"),
        ]);
        tree.group("top.slice/cpu.max", "50000 100000\n");
        tree.group("bound/cpu.max", "100000 100000\n");
        tree.group("other/cpu.max", "10000 100000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn a_mount_of_another_group_is_passed_over() {
        let tree = v2_nested();
        tree.mounts(&[
            ("/other", "other", "cgroup2", "x"),
            ("/top.slice/my.service", "bound", "cgroup2", "x"),
        ]);
        tree.group("bound/cpu.max", "50000 100000\n");
        tree.group("other/cpu.max", "10000 100000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn a_namespaced_path_leads_to_the_root_of_a_mount_that_names_the_hosts() {
        let tree = v1_single();
        tree.mounts(&[("/docker/abc", "cpu", "cgroup", "cpu")]);
        tree.v1_quota("cpu", "50000");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn a_mount_made_inside_a_namespace_is_preferred_to_the_one_it_covers() {
        let tree = v2();
        tree.mounts(&[
            ("/../..", "hidden", "cgroup2", "x"),
            ("/", "", "cgroup2", "x"),
        ]);
        tree.group("hidden/cpu.max", "10000 100000\n");
        tree.group("cpu.max", "50000 100000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn a_process_moved_out_of_its_namespace_is_not_bound_by_the_groups_in_it() {
        let tree = v2();
        tree.membership("0::/../elsewhere\n");
        tree.group("cpu.max", "50000 100000\n");
        tree.file("sys/fs/elsewhere/cpu.max", "10000 100000\n");
        assert_eq!(tree.cpu(), (8.0, ONLINE));
    }

    #[test]
    fn escapes_in_mountinfo_are_resolved() {
        let tree = Tree::new();
        tree.mounts(&[(r"/a\134x2db\040c", "cpu", "cgroup", "cpu")]);
        tree.membership("4:cpu:/a\\x2db c/inner\n");
        tree.v1_quota("cpu/inner", "50000");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    #[test]
    fn mounts_outside_the_root_are_not_read() {
        let tree = Tree::new();
        tree.group("cpu.max", "50000 100000\n");
        let elsewhere = "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        tree.file("proc/self/mountinfo", elsewhere);
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    // No limits, bad limits, changing limits

    #[test]
    fn where_there_are_no_groups_nothing_is_limited_or_known() {
        let tree = Tree::new();
        let cgroup = tree.cgroup();
        assert_eq!(tree.cpu(), (8.0, ONLINE));
        assert_eq!(cgroup.memory_limit(), None);
        assert_eq!(cgroup.memory_used(), None);
        assert_eq!(cgroup.memory_headroom(), None);
        assert_eq!(cgroup.throttled(), None);
    }

    #[test]
    fn where_there_are_no_folders_at_all_the_machine_is_the_limit() {
        let gone = Cgroup::at("/nonexistent/a/b/c", "/nonexistent/d");
        let expected = CpuLimit {
            cores: super::super::online_cpus() as f64,
            source: ONLINE,
        };
        assert_eq!(gone.cpu_limit(), expected);
        assert_eq!(gone.memory_limit(), None);
        assert_eq!(gone.throttled(), None);
    }

    #[test]
    fn garbage_is_no_limit() {
        let garbage = [
            "",
            "\n",
            "x y\n",
            "100000\n",
            "0 100000\n",
            "50000 0\n",
            "-5 100000",
            "1e4 1e5",
            "NaN 1",
        ];
        for text in garbage {
            let tree = v2();
            for file in [
                "cpu.max",
                "memory.max",
                "memory.current",
                "memory.stat",
                "cpu.stat",
            ] {
                tree.group(file, if file == "memory.max" { "12k" } else { text });
            }
            assert_eq!(tree.cpu(), (8.0, ONLINE), "{text:?}");
            assert_eq!(tree.cgroup().memory_limit(), None, "{text:?}");
            assert_eq!(tree.cgroup().throttled(), None, "{text:?}");
        }
    }

    #[test]
    fn garbage_in_one_group_does_not_hide_the_limit_of_another() {
        let tree = v2_nested();
        tree.group("top.slice/my.service/cpu.max", "?\n");
        tree.group("top.slice/cpu.max", "50000 100000\n");
        // Neither text nor a file.
        fs::write(tree.0.path().join(CGROUP).join("cpu.max"), [0xff, 0xfe]).unwrap();
        tree.group("top.slice/my.service/memory.max/not-a-file", "");
        tree.group("top.slice/memory.max", "1000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
        assert_eq!(tree.cgroup().memory_limit(), Some(1000));
    }

    #[test]
    fn garbage_in_proc_does_not_hide_the_limit() {
        let tree = Tree::new();
        tree.membership("what\n0:\n::\n");
        tree.file("proc/self/mountinfo", "x\n1 2 - cgroup\n - cgroup2 a b\n");
        tree.file("proc/self/status", "Cpus_allowed_list:\tmany\n");
        tree.group("cpu.max", "50000 100000\n");
        assert_eq!(tree.cpu(), (0.5, QUOTA));
    }

    /// What a file of the kernel might hold, and what it never does.
    fn any_content() -> impl Strategy<Value = String> {
        prop_oneof![
            "(max|-1|0|[0-9]{1,20}|[0-9]{1,6} [0-9]{1,6}|inactive_file [0-9]{1,6}| |\n){0,4}",
            "[^\\x00]{0,12}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_kernels_files_hold_limits_are_sound_or_none(
            membership in "([0-9]{0,2}:(cpu|cpu,cpuacct|memory|)?:/?(a|b|\\.\\.|)/?(a|b)?\n|[^\\x00]{0,8}\n?){0,3}",
            mountinfo in prop::option::of("([0-9a-z/ :,\\\\-]{0,40}\n|.{0,10}){0,3}"),
            status in "(Cpus_allowed(_list)?:\t[0-9a-f,-]{0,8}\n|.{0,8}){0,3}",
            v2: bool,
            groups in prop::collection::vec(
                (
                    prop::sample::select(vec!["", "a/", "b/", "a/b/"]),
                    prop::sample::select(vec![
                        "cpu.max", "cpu.stat", "memory.max", "memory.current", "memory.stat",
                        "memory.events", "cpu.cfs_quota_us", "cpu.cfs_period_us",
                        "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control",
                    ]),
                    any_content(),
                ),
                0..8,
            ),
        ) {
            let tree = Tree::new();
            tree.membership(&membership);
            match mountinfo {
                Some(text) => tree.file("proc/self/mountinfo", &text),
                None if v2 => tree.mounts(&[("/", "", "cgroup2", "nsdelegate")]),
                None => tree.mounts(&[
                    ("/", "cpu", "cgroup", "cpu,cpuacct"),
                    ("/", "memory", "cgroup", "memory"),
                ]),
            }
            tree.file("proc/self/status", &status);
            for (group, file, content) in groups {
                let controller = file.split('.').next().unwrap_or_default();
                let top = if v2 { String::new() } else { format!("{controller}/") };
                tree.group(&format!("{top}{group}{file}"), &content);
            }
            let cgroup = tree.cgroup();
            let cores = cgroup.cpu_limit().cores;
            prop_assert!(cores > 0.0 && cores.is_finite(), "{} cores", cores);
            prop_assert!(cgroup.memory_limit().is_none_or(|bytes| bytes < UNLIMITED_BYTES));
            let limit = cgroup.memory_limit();
            let (used, room) = (cgroup.memory_used(), cgroup.memory_headroom());
            prop_assert!(limit.zip(room).is_none_or(|(limit, room)| room <= limit), "{used:?}");
            cgroup.oom_kills();
            cgroup.throttled();
        }
    }

    #[test]
    fn a_limit_that_changes_is_told_at_the_next_call() {
        let tree = v2();
        let cgroup = tree.cgroup();
        tree.group("cpu.max", "50000 100000\n");
        tree.group("memory.max", "1000\n");
        assert_eq!(cgroup.cpu_limit().cores, 0.5);
        assert_eq!(cgroup.memory_limit(), Some(1000));
        tree.group("cpu.max", "150000 100000\n");
        tree.group("memory.max", "max\n");
        assert_eq!(cgroup.cpu_limit().cores, 1.5);
        assert_eq!(cgroup.memory_limit(), None);
    }

    #[test]
    fn a_process_moved_to_another_group_is_followed() {
        let tree = v2_nested();
        let cgroup = tree.cgroup();
        tree.group("top.slice/my.service/cpu.max", "50000 100000\n");
        tree.group("b/cpu.max", "25000 100000\n");
        assert_eq!(cgroup.cpu_limit().cores, 0.5);
        tree.membership("0::/b\n");
        assert_eq!(cgroup.cpu_limit().cores, 0.25);
    }

    // CPUs

    #[test]
    fn a_cpuset_smaller_than_the_quota_is_the_limit() {
        let tree = v2();
        tree.group("cpu.max", "400000 100000\n");
        tree.file(
            "proc/self/status",
            "Name:\tx\nCpus_allowed:\t5\nCpus_allowed_list:\t0,2\n",
        );
        assert_eq!(tree.cpu(), (2.0, CPUSET));
    }

    #[test]
    fn a_quota_up_to_the_cpuset_is_the_limit() {
        let tree = v2();
        tree.file("proc/self/status", "Cpus_allowed_list:\t0-1\n");
        tree.group("cpu.max", "150000 100000\n");
        assert_eq!(tree.cpu(), (1.5, QUOTA));
        tree.group("cpu.max", "200000 100000\n");
        assert_eq!(tree.cpu(), (2.0, QUOTA));
    }

    #[test]
    fn a_quota_above_the_online_cpus_does_not_add_any() {
        let tree = v2();
        tree.group("cpu.max", "1000000 100000\n");
        assert_eq!(tree.cpu(), (8.0, ONLINE));
    }

    #[test]
    fn an_affinity_with_every_online_cpu_is_no_limit() {
        let tree = v2();
        for list in ["0-7", "0-127"] {
            tree.file("proc/self/status", &format!("Cpus_allowed_list:\t{list}\n"));
            assert_eq!(tree.cpu(), (8.0, ONLINE));
        }
    }

    #[test]
    fn the_running_system_can_be_asked() {
        let system = Cgroup::system();
        let limit = system.cpu_limit();
        assert!(limit.cores > 0.0 && limit.cores <= super::super::online_cpus() as f64);
        assert!(live_affinity().unwrap() <= super::super::online_cpus());
        assert!(system.memory_headroom() <= system.memory_limit());
    }
}
