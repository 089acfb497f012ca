use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Daemon, Process, alone, eventually, sent};

/// How long the kernel may take over its own books after the daemon has let go.
const BOOKKEEPING: Duration = Duration::from_secs(1);
/// What the allocator may keep of memory that was used and freed.
const KEPT_MB: f64 = 4.0;

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Holding {
    threads: usize,
    open_files: usize,
    resident_mb: f64,
}

impl Holding {
    fn of(process: Process) -> Self {
        Self {
            threads: process.threads(),
            open_files: process.open_files(),
            resident_mb: process.resident_mb(),
        }
    }

    fn is_within(self, base: Self) -> bool {
        self.threads <= base.threads
            && self.open_files <= base.open_files
            && self.resident_mb <= base.resident_mb + KEPT_MB
    }
}

/// How many entries a data folder has beside the ledger, which is meant to stay.
fn files_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name() != "ledger")
        .count()
}

/// Waits for no longer than the kernel's own books may take.
fn at_once(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < BOOKKEEPING, "not at once: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// All scenarios but the crash, each with something to hold.
fn everything() -> Value {
    json!([
        { "name": "cpu_burner", "params": { "target_percent": 20 } },
        { "name": "memory_leaker", "params": { "target_mb": 64, "leak_rate_mb": 400 } },
        { "name": "network_latency", "params": { "latency_ms": 1 } },
        { "name": "health_check" },
        { "name": "goroutine_leak", "params": { "goroutines_per_second": 20_000 } },
        { "name": "disk_io", "params": { "write_rate_mb": 4 } },
        { "name": "dependency" },
    ])
}

/// Runs everything until it has what it wants, and gives what the process holds then.
fn run_everything(daemon: &Daemon) -> Holding {
    daemon.started_set(everything());
    eventually("the memory is leaked", || {
        let leaked = &daemon.status("memory_leaker")["metrics"]["current_mb"];
        leaked.as_f64().filter(|mb| *mb >= 64.0)
    });
    eventually("tasks are leaked", || {
        let leaked = &daemon.status("goroutine_leak")["metrics"]["current_goroutines"];
        leaked.as_f64().filter(|tasks| *tasks >= 4_000.0)
    });
    Holding::of(daemon.process())
}

#[test]
fn after_a_stop_threads_files_and_memory_are_back_where_they_were() {
    let _turn = alone();
    let daemon = Daemon::start();
    // The first round makes what a process makes once: connections, stacks, the allocator's arenas.
    run_everything(&daemon);
    daemon.get("/api/v1/scenarios");
    daemon.stop_all();
    let base = Holding::of(daemon.process());
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
            now = Holding::of(daemon.process());
            now.is_within(base)
        });
        assert_eq!(files_in(&daemon.folder.path().join("data")), 0);
    }
}

#[test]
fn each_scenario_alone_gives_back_its_threads_and_files() {
    let _turn = alone();
    let daemon = Daemon::start();
    run_everything(&daemon);
    daemon.stop_all();
    let base = Holding::of(daemon.process());
    for scenario in everything().as_array().expect("a list") {
        let name = scenario["name"].as_str().expect("a name");
        for _ in 0..3 {
            daemon.started(name, scenario.get("params").cloned().unwrap_or(json!({})));
            daemon.stopped(name);
            at_once(&format!("what {name} held, as in {base:?}"), || {
                let now = Holding::of(daemon.process());
                now.threads <= base.threads && now.open_files <= base.open_files
            });
        }
    }
}

#[test]
fn two_hundred_thousand_leaked_tasks_are_gone_after_the_stop() {
    let _turn = alone();
    let daemon = Daemon::start();
    daemon.started("goroutine_leak", json!({}));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    daemon.started(
        "goroutine_leak",
        json!({ "goroutines_per_second": 200_000 }),
    );
    eventually("200,000 tasks", || {
        let tasks = &daemon.status("goroutine_leak")["metrics"]["current_goroutines"];
        tasks.as_f64().filter(|tasks| *tasks >= 200_000.0)
    });
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
    daemon.started("disk_io", json!({ "write_rate_mb": 20 }));
    eventually("something is written", || {
        let written = &daemon.status("disk_io")["metrics"]["written_mb"];
        written.as_f64().filter(|mb| *mb >= 2.0)
    });
    let data = daemon.folder.path().join("data");
    assert!(data.is_dir(), "it writes elsewhere");
    assert_eq!(files_in(&data), 0, "its file has a name");
    daemon.signal(Signal::KILL);
    daemon.ended();
    assert_eq!(files_in(&data), 0);
}

#[test]
fn files_of_others_in_the_data_folder_are_left_alone() {
    let daemon = Daemon::start();
    let data = daemon.folder.path().join("data");
    std::fs::create_dir_all(&data).expect("a folder");
    std::fs::write(data.join("precious"), "kept").expect("a file");
    daemon.started("disk_io", json!({ "write_rate_mb": 5 }));
    daemon.stop_all();
    let kept = std::fs::read_to_string(data.join("precious"));
    assert_eq!(kept.expect("still there"), "kept");
    assert_eq!(files_in(&data), 1);
}

#[test]
fn a_stop_answers_within_a_second_on_either_listener_under_full_load() {
    let _turn = alone();
    let daemon = Daemon::start();
    let set = json!([
        { "name": "cpu_burner", "params": { "target_percent": 100 } },
        { "name": "network_latency", "params": { "latency_ms": 60_000 } },
    ]);
    for to in [daemon.service, daemon.admin] {
        daemon.started_set(set.clone());
        eventually("the CPU is burnt", || {
            let used = &daemon.status("cpu_burner")["metrics"]["current_cpu_percent"];
            used.as_f64().filter(|percent| *percent > 0.0)
        });
        let start = Instant::now();
        let answer = daemon.ask("POST", to, "/api/v1/composite/stop", b"");
        let took = start.elapsed();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(took < Duration::from_secs(1), "the stop took {took:?}");
        assert_eq!(daemon.session()["status"], "no active session");
    }
}

/// Lets so many requests wait, each on a connection of its own that ends with its answer.
fn wait(daemon: &Daemon, requests: usize) -> Vec<TcpStream> {
    daemon.started("network_latency", json!({ "latency_ms": 600_000 }));
    let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let waiting = (0..requests)
        .map(|_| sent(daemon.service, request))
        .collect();
    daemon.delays(requests);
    waiting
}

fn all_are_answered(waiting: Vec<TcpStream>) {
    for mut stream in waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    }
}

#[test]
fn a_stop_answers_while_a_thousand_requests_wait() {
    let _turn = alone();
    let daemon = Daemon::start();
    let waiting = wait(&daemon, 1_000);
    assert_eq!(daemon.post("/api/v1/composite/stop", "").status, 200);
    all_are_answered(waiting);
}

#[test]
fn the_memory_of_two_thousand_requests_that_waited_is_back_once_they_are_answered() {
    let _turn = alone();
    let daemon = Daemon::start();
    daemon.started("network_latency", json!({}));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    let waiting = wait(&daemon, 2_000);
    let peak = daemon.process().resident_mb();
    assert!(
        peak - base > 4.0 * KEPT_MB,
        "they took only {} MiB",
        peak - base
    );
    daemon.stop_all();
    all_are_answered(waiting);
    // Without that, most of it would stay for good.
    eventually("what they took is back", || {
        (daemon.process().resident_mb() <= base + KEPT_MB).then_some(())
    });
}
