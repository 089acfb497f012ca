//! What a stop releases: threads, files, memory, and a way in while it is busy.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, Usage, connect_and_write, eventually, exclusive, harmless, together};

/// How long the kernel may take to release what the daemon has released.
const KERNEL: Duration = Duration::from_secs(1);
/// Memory that the allocator may keep after it was used and freed.
const KEPT_MB: f64 = 4.0;

/// The number of entries of a data folder, the ledger aside.
fn files_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != "ledger")
        .count()
}

/// Waits no longer than the kernel may take.
fn at_once(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < KERNEL, "not at once: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Scenarios with a resource to release.
const LOADS: [(&str, &str); 6] = [
    ("cpu_burner", r#"{"target_percent": 20}"#),
    ("memory_leaker", r#"{"target_mb": 64, "leak_rate_mb": 400}"#),
    ("goroutine_leak", r#"{"goroutines_per_second": 20000}"#),
    ("disk_io", r#"{"write_rate_mb": 4}"#),
    ("fd_leak", r#"{"per_second": 200}"#),
    ("thread_leak", r#"{"per_second": 100}"#),
];

/// All scenarios that do not end the process.
fn everything() -> Vec<Value> {
    let load = |name: &str| LOADS.iter().find(|(of, _)| *of == name);
    let plugins = together()
        .into_iter()
        .filter(|plugin| !plugin.ends_process());
    let entry = plugins.map(|plugin| {
        let params = load(plugin.name()).map_or_else(
            || harmless(plugin),
            |(_, params)| serde_json::from_str(params).unwrap(),
        );
        json!({ "name": plugin.name(), "params": params })
    });
    entry.collect()
}

/// Runs everything until the loads are there, and returns what the process uses then.
fn run_everything(daemon: &Daemon) -> Usage {
    daemon.start_set(everything().into());
    daemon.wait_for_metric("memory_leaker", "current_mb", |mb| mb >= 64.0);
    daemon.wait_for_metric("goroutine_leak", "current_goroutines", |n| n >= 4_000.0);
    daemon.process().usage()
}

#[test]
fn after_a_stop_threads_files_and_memory_are_back_where_they_were() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    // The first round makes what a process keeps: connections, stacks, arenas of the allocator.
    run_everything(&daemon);
    daemon.get("/api/v1/scenarios");
    daemon.stop_all();
    let base = daemon.process().usage();
    for _ in 0..3 {
        let busy = run_everything(&daemon);
        assert!(busy.threads > base.threads, "{busy:?} {base:?}");
        assert!(busy.open_files > base.open_files, "{busy:?} {base:?}");
        assert!(
            busy.resident_mb >= base.resident_mb + 60.0,
            "{busy:?} {base:?}"
        );
        daemon.stop_all();
        let mut now = base;
        at_once(&format!("threads, files and memory as in {base:?}"), || {
            now = daemon.process().usage();
            now.is_within(base, KEPT_MB)
        });
        assert_eq!(files_in(&daemon.folder.path().join("data")), 0);
    }
}

#[test]
fn each_scenario_alone_releases_its_threads_and_files() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    run_everything(&daemon);
    daemon.stop_all();
    let base = daemon.process().usage();
    for scenario in everything() {
        let name = scenario["name"].as_str().unwrap();
        for _ in 0..2 {
            daemon.start_scenario(name, scenario["params"].clone());
            daemon.stop_scenario(name);
            at_once(&format!("what {name} held, as in {base:?}"), || {
                daemon.process().usage().is_within(base, f64::INFINITY)
            });
        }
    }
}

#[test]
fn two_hundred_thousand_leaked_tasks_are_released_by_the_stop() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.start_scenario("goroutine_leak", json!({}));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    daemon.start_scenario(
        "goroutine_leak",
        json!({ "goroutines_per_second": 200_000 }),
    );
    daemon.wait_for_metric("goroutine_leak", "current_goroutines", |n| n >= 200_000.0);
    let peak = daemon.process().resident_mb();
    assert!(
        peak - base > 20.0,
        "200,000 tasks took only {} MiB",
        peak - base
    );
    daemon.stop_all();
    assert_eq!(
        daemon.status("goroutine_leak")["metrics"]["current_goroutines"],
        0
    );
    let mut left = 0.0;
    at_once("95 % of the memory is back", || {
        left = daemon.process().resident_mb() - base;
        left <= (peak - base) * 0.05
    });
}

#[test]
fn a_killed_daemon_leaves_no_file_of_its_disk_load() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("disk_io", json!({ "write_rate_mb": 20 }));
    daemon.wait_for_metric("disk_io", "written_mb", |mb| mb >= 2.0);
    let data = daemon.folder.path().join("data");
    assert!(data.is_dir(), "disk_io does not write to DataDir");
    assert_eq!(files_in(&data), 0, "the file of disk_io has a name");
    daemon.signal(Signal::KILL);
    daemon.ended();
    assert_eq!(files_in(&data), 0);
}

#[test]
fn foreign_files_in_the_data_folder_are_left_alone() {
    let daemon = Daemon::start();
    let data = daemon.folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("precious"), "kept").unwrap();
    daemon.start_scenario("disk_io", json!({ "write_rate_mb": 5 }));
    daemon.stop_all();
    let kept = std::fs::read_to_string(data.join("precious"));
    assert_eq!(kept.unwrap(), "kept");
    assert_eq!(files_in(&data), 1);
}

#[test]
fn a_stop_answers_within_a_second_on_either_listener_under_full_load() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let set = json!([
        { "name": "cpu_burner", "params": { "target_percent": 100 } },
        { "name": "network_latency", "params": { "latency_ms": 60_000 } },
    ]);
    for to in [daemon.service, daemon.admin] {
        daemon.start_set(set.clone());
        daemon.wait_for_metric("cpu_burner", "current_cpu_percent", |percent| percent > 0.0);
        let start = Instant::now();
        let answer = daemon.ask("POST", to, "/api/v1/composite/stop", b"");
        let took = start.elapsed();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(took < Duration::from_secs(1), "the stop took {took:?}");
        assert_eq!(daemon.session()["status"], "no active session");
    }
}

/// Starts a long delay and requests that wait in it, each on a new connection that ends with the answer.
fn delayed(daemon: &Daemon, requests: usize) -> Vec<TcpStream> {
    daemon.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let waiting = (0..requests)
        .map(|_| connect_and_write(daemon.service, request))
        .collect();
    daemon.wait_for_delayed_requests(requests);
    waiting
}

fn assert_all_are_answered(waiting: Vec<TcpStream>) {
    for mut stream in waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[test]
fn a_stop_answers_while_a_thousand_requests_are_delayed() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let waiting = delayed(&daemon, 1_000);
    assert_eq!(daemon.post("/api/v1/composite/stop", "").status, 200);
    assert_all_are_answered(waiting);
}

#[test]
fn the_memory_of_two_thousand_delayed_requests_is_released_once_they_are_answered() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({}));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    let waiting = delayed(&daemon, 2_000);
    let peak = daemon.process().resident_mb();
    assert!(
        peak - base > 4.0 * KEPT_MB,
        "2,000 requests took only {} MiB",
        peak - base
    );
    daemon.stop_all();
    assert_all_are_answered(waiting);
    eventually("the memory of the requests is released", || {
        (daemon.process().resident_mb() <= base + KEPT_MB).then_some(())
    });
}
