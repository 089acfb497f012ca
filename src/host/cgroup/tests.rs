//! Limits read from trees of files, as the kernel lays them out and as it never would.

use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::group::UNLIMITED_BYTES;
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
fn a_fraction_of_a_core_is_exact() {
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
fn of_equal_quotas_the_own_groups_throttling_counts() {
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
fn a_cpu_stat_without_throttling_is_unknown() {
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
    fn limits_are_sound_or_none_whatever_the_files_hold(
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
fn a_changed_limit_is_seen_at_the_next_call() {
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
fn the_running_system_can_be_read() {
    let system = Cgroup::system();
    let limit = system.cpu_limit();
    assert!(limit.cores > 0.0 && limit.cores <= super::super::online_cpus() as f64);
    assert!(live_affinity().unwrap() <= super::super::online_cpus());
    assert!(system.memory_headroom() <= system.memory_limit());
}
