//! Faults that take a resource of the system: the count is exact, the daemon keeps what it needs, and all is given back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    ChildGuard, Daemon, PATIENCE, agent, assert_problem, eventually, exclusive, free_port, request,
    start_path,
};

/// How long a stop may take to answer when thousands of things are to be given back, twice the bar of the benchmark.
const STOP_WITHIN: Duration = Duration::from_secs(2);

fn effect(daemon: &Daemon, name: &str) -> Value {
    daemon.status(name)["effect"].take()
}

/// Starts the leak and waits until it has its `max`.
fn leak(daemon: &Daemon, name: &str, metric: &str, params: Value) {
    let most = params["max"].as_f64().unwrap();
    daemon.start_scenario(name, params);
    daemon.wait_for_metric(name, metric, |count| count == most);
}

fn assert_stops_in_time(daemon: &Daemon) {
    let from = Instant::now();
    daemon.stop_all();
    let took = from.elapsed();
    assert!(took < STOP_WITHIN, "the stop took {took:?}");
}

/// Waits until the reading has this shortfall.
fn wait_for_shortfall(daemon: &Daemon, name: &str, shortfall: &str) -> Value {
    eventually(&format!("{name} falls short: {shortfall}"), || {
        let effect = effect(daemon, name);
        (effect["shortfall"] == shortfall).then_some(effect)
    })
}

// === Descriptors ===

#[test]
fn leaked_descriptors_are_counted_exactly_and_closed_when_the_stop_answers() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    // Opens the connections of the test.
    assert_eq!(daemon.get("/health").status, 200);
    daemon.session();
    let base = daemon.process().open_files();
    for kind in ["file", "socket"] {
        let params = json!({ "per_second": 5000, "max": 700, "kind": kind });
        leak(&daemon, "fd_leak", "current_descriptors", params);
        assert_eq!(daemon.process().open_files(), base + 700, "{kind}");
        assert_eq!(effect(&daemon, "fd_leak")["shortfall"], Value::Null);
        assert_stops_in_time(&daemon);
        assert_eq!(daemon.process().open_files(), base, "{kind}");
    }
}

#[test]
fn a_leak_of_descriptors_follows_its_rate() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let from = Instant::now();
    daemon.start_scenario("fd_leak", json!({ "per_second": 100 }));
    let started = Instant::now();
    daemon.wait_for_metric("fd_leak", "current_descriptors", |count| count >= 150.0);
    let (least, most) = (started.elapsed(), from.elapsed());
    // The schedule begins between the two, and 150 take a second and a half.
    assert!(most >= Duration::from_millis(1490), "{least:?} to {most:?}");
    let count = effect(&daemon, "fd_leak")["achieved"].as_f64().unwrap();
    assert!(count <= from.elapsed().as_secs_f64() * 100.0, "{count}");
}

#[test]
fn a_leak_of_descriptors_leaves_the_last_ones_to_the_daemon() {
    let _turn = exclusive();
    let daemon = Daemon::builder()
        .wrapper(&["prlimit", "--nofile=300:300"])
        .start();
    let report = daemon.start_scenario("fd_leak", json!({ "per_second": 100_000, "max": 5000 }));
    assert_eq!(report["status"], "success");
    let warning = daemon.status("fd_leak")["warning"].take();
    assert!(
        warning
            .as_str()
            .is_some_and(|text| text.starts_with("RLIMIT_NOFILE is 300")),
        "{warning}"
    );
    let effect = wait_for_shortfall(&daemon, "fd_leak", "reserved");
    let count = effect["achieved"].as_f64().unwrap();
    assert!((150.0..236.0).contains(&count), "{effect}");
    // New connections on both listeners.
    for to in [daemon.service, daemon.admin] {
        let answer = agent().get(format!("http://{to}/health")).call();
        assert_eq!(answer.unwrap().status(), 200);
    }
    // The service's clients take what is left; the admin listener has its own reserve.
    let clients: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(daemon.service).unwrap())
        .collect();
    let url = format!("http://{}/api/v1/composite/status", daemon.admin);
    for _ in 0..3 {
        let answer = agent().get(&url).call();
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_stops_in_time(&daemon);
    drop(clients);
    let answer = agent().get(format!("http://{}/health", daemon.service));
    assert_eq!(answer.call().unwrap().status(), 200);
}

// === Workers ===

/// How long a request to `path` takes on a new connection, and whether it was answered within `patience`.
fn answered_within(to: SocketAddr, path: &str, patience: Duration) -> Option<Duration> {
    let from = Instant::now();
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut byte = [0];
    let read = stream.read(&mut byte);
    matches!(read, Ok(1)).then(|| from.elapsed())
}

fn lag_seconds(daemon: &Daemon) -> f64 {
    let page = daemon.admin_get("/metrics").body;
    let mut lines = page.as_str().unwrap().lines();
    let lag = lines.find_map(|line| line.strip_prefix("tokio_event_loop_lag_seconds "));
    lag.unwrap().parse().unwrap()
}

#[test]
fn a_stall_delays_the_service_and_not_the_admin_listener() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.start_scenario("runtime_stall", json!({ "stall_ms": 300, "every_ms": 500 }));
    daemon.wait_for_metric("runtime_stall", "stalls", |count| count >= 2.0);
    // Requests all over a few periods: some wait for the end of a stall, none longer.
    let (mut slowest, mut of_admin) = (Duration::ZERO, Duration::MAX);
    for _ in 0..30 {
        let took = answered_within(daemon.service, "/health", PATIENCE).expect("an answer");
        slowest = slowest.max(took);
        let took = answered_within(daemon.admin, "/health", PATIENCE).expect("an answer");
        of_admin = of_admin.min(took);
        std::thread::sleep(Duration::from_millis(37));
    }
    assert!(slowest >= Duration::from_millis(150), "{slowest:?}");
    assert!(of_admin < Duration::from_millis(100), "{of_admin:?}");
    let lag = lag_seconds(&daemon);
    assert!(lag > 0.05, "a lag of {lag} s");
    let reading = effect(&daemon, "runtime_stall");
    assert_eq!(reading["asked"].as_f64(), Some(300.0), "{reading}");
    let achieved = reading["achieved"].as_f64().unwrap();
    assert!(achieved > 100.0, "{reading}");
    assert_stops_in_time(&daemon);
}

#[test]
fn a_stall_of_some_workers_leaves_the_others() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let workers = daemon.admin_get("/metrics").body;
    let mut lines = workers.as_str().unwrap().lines();
    let workers = lines.find_map(|line| line.strip_prefix("tokio_num_workers "));
    if workers.unwrap().parse::<f64>().unwrap() < 2.0 {
        return;
    }
    let params = json!({ "stall_ms": 60_000, "every_ms": 600_000, "workers": 0.01 });
    daemon.start_scenario("runtime_stall", params);
    for _ in 0..20 {
        let answered = answered_within(daemon.service, "/health", PATIENCE);
        assert!(answered.is_some());
    }
    assert_stops_in_time(&daemon);
}

#[test]
fn a_deadlock_silences_the_service_until_it_is_stopped_or_ends() {
    let _turn = exclusive();
    let mut daemon = Daemon::start();
    for by_duration in [false, true] {
        let params = match by_duration {
            true => json!({ "duration": 1.5 }),
            false => json!({}),
        };
        // Over the service listener: the answer still leaves.
        let report = daemon.start_scenario("deadlock", params);
        assert_eq!(report["status"], "success");
        eventually("every worker waits", || {
            let effect = effect(&daemon, "deadlock");
            let (asked, achieved) = (effect["asked"].as_f64()?, effect["achieved"].as_f64()?);
            (asked > 0.0 && asked == achieved).then_some(())
        });
        let silent = answered_within(daemon.service, "/health", Duration::from_millis(500));
        assert_eq!(silent, None);
        assert_eq!(daemon.child.try_wait().unwrap(), None, "it does not exit");
        let from = Instant::now();
        match by_duration {
            true => drop(daemon.wait_for_end("deadlock")),
            false => drop(daemon.stop_all()),
        }
        let answered = answered_within(daemon.service, "/health", PATIENCE);
        assert!(answered.is_some(), "the service is revived");
        assert!(by_duration || from.elapsed() < Duration::from_secs(1));
    }
    daemon.start_scenario("deadlock", json!({}));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn what_only_the_admin_listener_could_stop_is_refused_without_one() {
    let folder = tempfile::TempDir::new().unwrap();
    let port = free_port();
    let mut child = ChildGuard(
        Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .env("MOCKSERVER_ADMIN_PORT", "0")
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let service = SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it listens", || TcpStream::connect(service).ok());
    let refused = [
        ("deadlock", json!({}), ""),
        ("runtime_stall", json!({}), "/workers"),
    ];
    for (name, params, pointer) in refused {
        let path = start_path(name);
        let answer = request("POST", service, &path, &params.to_string(), &[]);
        let problem = assert_problem(answer, 422, "invalid-params", name);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        let set = json!({ "scenarios": [{ "name": name, "params": params }] }).to_string();
        let answer = request("POST", service, "/api/v1/composite/start", &set, &[]);
        let problem = assert_problem(answer, 422, "invalid-params", name);
        let pointer = format!("/scenarios/0/params{pointer}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    child.signal(Signal::TERM);
    child.ended();
}

// === Threads ===

#[test]
fn leaked_threads_are_counted_exactly_and_gone_when_the_stop_answers() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.session();
    let base = daemon.process().threads();
    let params = json!({ "per_second": 2000, "max": 400, "stack_kb": 64 });
    leak(&daemon, "thread_leak", "current_threads", params);
    assert_eq!(daemon.process().threads(), base + 400);
    assert_eq!(effect(&daemon, "thread_leak")["shortfall"], Value::Null);
    assert_stops_in_time(&daemon);
    assert_eq!(daemon.process().threads(), base);
}

#[test]
fn a_leak_of_threads_ends_before_the_address_space_of_the_daemon_does() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let process = daemon.process();
    process.limit("as", process.mapped_bytes() + (1500 << 20));
    daemon.start_scenario("thread_leak", json!({ "per_second": 1000, "max": 1000 }));
    let effect = wait_for_shortfall(&daemon, "thread_leak", "reserved");
    // The allocator takes some of it for each thread.
    let count = effect["achieved"].as_f64().unwrap();
    assert!((20.0..750.0).contains(&count), "{effect}");
    assert_eq!(daemon.get("/health").status, 200);
    daemon.stop_all();
}

// === Disk ===

/// A file system of its own for `DataDir`, as large as said; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// None where this user may not mount.
    fn new(mb: u32) -> Option<Self> {
        let folder = tempfile::TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mb}m"), "tmpfs"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        let is_mounted = mounted.is_ok_and(|status| status.success());
        is_mounted.then(|| Self(folder))
    }

    fn daemon(&self, limits: &str) -> Daemon {
        let yaml = format!("DataDir: {}\n{limits}", self.0.path().display());
        Daemon::builder().file(&yaml).start()
    }

    fn free_mb(&self) -> f64 {
        let system = rustix::fs::statvfs(self.0.path()).unwrap();
        (system.f_bavail * system.f_frsize) as f64 / 1_048_576.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a daemon that the test ends may still be there.
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_fill_takes_the_space_that_was_asked_for_and_gives_all_of_it_back() {
    let _turn = exclusive();
    let Some(disk) = Mounted::new(256) else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let daemon = disk.daemon("");
    daemon.session();
    let before = disk.free_mb();
    for (params, taken) in [
        (json!({ "size_mb": 100, "rate_mb": 1000 }), 100.0),
        (
            json!({ "leave_free_mb": 20, "rate_mb": 1000 }),
            before - 20.0,
        ),
        (json!({ "percent": 50, "rate_mb": 1000 }), before - 128.0),
    ] {
        let name = "disk_fill";
        daemon.start_scenario(name, params.clone());
        daemon.wait_for_metric(name, "current_mb", |mb| (mb - taken).abs() <= 1.0);
        let gone = before - disk.free_mb();
        assert!(
            (gone - taken).abs() <= 1.0,
            "{params}: {gone} MiB of {taken}"
        );
        let names = std::fs::read_dir(disk.0.path()).unwrap().count();
        assert_eq!(names, 1, "only the ledger has a name");
        assert_eq!(effect(&daemon, name)["shortfall"], Value::Null);
        assert_stops_in_time(&daemon);
        let left = before - disk.free_mb();
        assert!(left.abs() <= 1.0, "{params}: {left} MiB are left");
    }
}

#[test]
fn a_fill_leaves_the_last_space_free_unless_it_is_asked_for() {
    let _turn = exclusive();
    let Some(disk) = Mounted::new(128) else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let daemon = disk.daemon("");
    daemon.start_scenario("disk_fill", json!({ "size_mb": 500, "rate_mb": 10_000 }));
    let effect = wait_for_shortfall(&daemon, "disk_fill", "reserved");
    let free = disk.free_mb();
    assert!((63.0..=65.0).contains(&free), "{free} MiB free: {effect}");
    let warning = daemon.status("disk_fill")["warning"].take();
    assert!(
        warning
            .as_str()
            .is_some_and(|text| text.contains("64 MiB kept free")),
        "{warning}"
    );
    // Others take of it: the fill gives way.
    std::fs::write(disk.0.path().join("other"), vec![1; 20 << 20]).unwrap();
    eventually("the fill gives way", || {
        (disk.free_mb() >= 63.0).then_some(())
    });
    let less = json!({ "size_mb": 500, "rate_mb": 10_000, "keep_free_mb": 4 });
    daemon.start_scenario("disk_fill", less);
    eventually("it takes more where that is asked for", || {
        (disk.free_mb() <= 5.0).then_some(())
    });
    assert_eq!(daemon.get("/health").status, 200);
    assert_stops_in_time(&daemon);
}

#[test]
fn a_fill_is_limited_whatever_its_target_is() {
    let Some(disk) = Mounted::new(64) else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let daemon = disk.daemon("Limits: {DiskMb: 10}\n");
    for (params, pointer) in [
        (json!({ "size_mb": 11 }), "/size_mb"),
        (json!({ "percent": 50 }), "/percent"),
        (json!({ "leave_free_mb": 5 }), "/leave_free_mb"),
    ] {
        let refused = daemon.try_start("disk_fill", params.clone());
        let problem = assert_problem(refused, 422, "invalid-params", "disk_fill");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        let detail = problem["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains("(Limits.DiskMb)"), "{detail}");
    }
    daemon.start_scenario("disk_fill", json!({ "percent": 10 }));
    daemon.stop_all();
}

#[test]
fn reads_come_from_the_disk_at_their_rate() {
    let _turn = exclusive();
    // Not under /tmp, which may be in memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let yaml = format!("DataDir: {}\n", folder.path().display());
    let daemon = Daemon::builder().file(&yaml).start();
    daemon.start_scenario("disk_io", json!({ "read_rate_mb": 8 }));
    daemon.wait_for_metric("disk_io", "read_mb", |mb| mb >= 8.0);
    let process = daemon.process();
    let (from, before, written) = (
        Instant::now(),
        process.read_bytes(),
        process.written_bytes(),
    );
    std::thread::sleep(Duration::from_secs(4));
    let read = (process.read_bytes() - before) as f64 / 1_048_576.0;
    let written = (process.written_bytes() - written) as f64 / 1_048_576.0;
    let rate = read / from.elapsed().as_secs_f64();
    let reading = effect(&daemon, "disk_io");
    assert!(rate <= 8.8, "{rate} MiB/s of 8: {reading}");
    // A busy disk may be slower; then the run reports it.
    let is_short = !reading["shortfall"].is_null();
    assert!(rate >= 7.2 || is_short, "{rate} MiB/s of 8: {reading}");
    assert!(written < 1.0, "{written} MiB were written");
    assert_stops_in_time(&daemon);
}

#[test]
fn reads_from_memory_fall_short() {
    let Some(disk) = Mounted::new(64) else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let daemon = disk.daemon("");
    daemon.start_scenario("disk_io", json!({ "read_rate_mb": 4 }));
    let effect = wait_for_shortfall(&daemon, "disk_io", "refused");
    assert_eq!(effect["achieved"].as_f64(), Some(0.0), "{effect}");
}

#[test]
fn operations_are_counted_and_each_has_its_block() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let params = json!({ "iops": 50, "block_kb": 16 });
    daemon.start_scenario("disk_io", params.clone());
    daemon.wait_for_metric("disk_io", "current_write_iops", |iops| iops > 0.0);
    let status = daemon.status("disk_io");
    let (effect, figures) = (&status["effect"], &status["metrics"]);
    assert_eq!(status["params"], params);
    assert_eq!(effect["unit"], "operations/s");
    assert_eq!(effect["asked"].as_f64(), Some(50.0), "{effect}");
    let achieved = effect["achieved"].as_f64().unwrap();
    assert!(achieved <= 60.0, "{effect}");
    let mb = figures["current_write_rate_mb"].as_f64().unwrap();
    let expected = figures["current_write_iops"].as_f64().unwrap() / 64.0;
    assert!((mb - expected).abs() <= 0.02, "{figures}");
    assert_stops_in_time(&daemon);
    // Without a sync, and with a rate that changes.
    let shape = json!({ "square": { "low": 1, "high": 20, "period_s": 0.2 } });
    let params = json!({ "write_rate_mb": shape, "sync": false, "block_kb": 64 });
    daemon.start_scenario("disk_io", params);
    daemon.wait_for_metric("disk_io", "written_mb", |mb| mb >= 4.0);
    assert_stops_in_time(&daemon);
}

#[test]
fn operations_are_limited_by_their_bytes() {
    let yaml = "Limits: {DiskMbPerSecond: 1}\n";
    let daemon = Daemon::builder().file(yaml).start();
    let refused = daemon.try_start("disk_io", json!({ "iops": 257 }));
    let problem = assert_problem(refused, 422, "invalid-params", "disk_io");
    assert_eq!(problem["errors"][0]["pointer"], "/iops", "{problem}");
    daemon.start_scenario("disk_io", json!({ "iops": 256 }));
}

// === Memory and locks ===

/// Page faults so far, and the CPU time in the system in hundredths of a second.
fn faults_and_system(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // After the name, which may have spaces: the state is field 3 of proc(5).
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    (fields[7].parse().unwrap(), fields[12].parse().unwrap())
}

#[test]
fn a_churn_costs_page_faults_and_leaves_the_level_where_it_was() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let churn = json!({ "mb": 16, "per_second": 20 });
    daemon.start_scenario("memory_churn", churn.clone());
    daemon.wait_for_metric("memory_churn", "times", |times| times >= 5.0);
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    daemon.start_scenario("memory_churn", churn);
    let before = faults_and_system(daemon.pid()).0;
    let times = daemon.wait_for_metric("memory_churn", "times", |times| times >= 40.0);
    let faults = (faults_and_system(daemon.pid()).0 - before) as f64;
    // Each time has 4096, but for the first, part of which came before; the page size may be larger.
    let page = page_size() as f64;
    let least = (times - 2.0) * 16.0 * 1_048_576.0 / page;
    assert!(faults >= least, "{faults} faults in {times} times");
    assert_stops_in_time(&daemon);
    let left = daemon.process().resident_mb() - base;
    assert!(left <= 4.0, "{left} MiB are left");
}

fn page_size() -> u64 {
    let map = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = map.lines();
    let size = lines.find_map(|line| line.strip_prefix("KernelPageSize:"));
    let size = size.unwrap().trim().strip_suffix(" kB").unwrap();
    size.parse::<u64>().unwrap() * 1024
}

#[test]
fn a_lock_that_many_want_takes_time_in_the_system() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let base = daemon.process().threads();
    daemon.start_scenario("lock_contention", json!({ "threads": 16, "hold_us": 1 }));
    daemon.wait_for_metric("lock_contention", "locks_per_second", |locks| locks > 0.0);
    let (_, system) = faults_and_system(daemon.pid());
    assert!(system >= 2, "{system} hundredths of a second in the system");
    let effect = effect(&daemon, "lock_contention");
    assert_eq!(effect["achieved"].as_f64(), Some(16.0), "{effect}");
    assert_eq!(daemon.get("/health").status, 200);
    assert_stops_in_time(&daemon);
    assert_eq!(daemon.process().threads(), base);
}
