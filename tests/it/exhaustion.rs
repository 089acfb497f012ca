//! What happens when the system refuses a resource.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ChildGuard, Daemon, agent, eventually, exclusive};

// === Resources of a run ===

/// Waits until the system has refused what the run of `name` needs, and returns the error.
fn wait_for_failure(daemon: &Daemon, name: &str) -> String {
    let end = daemon.wait_for_end(name);
    assert_eq!(end["reason"], "failed", "{end}");
    assert_eq!(end["effect"]["shortfall"], "refused", "{end}");
    end["error"].as_str().unwrap().to_owned()
}

#[test]
fn memory_that_is_refused_fails_the_run_and_spares_the_daemon_and_other_runs() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
    // Enough for a part of the leak.
    let process = daemon.process();
    process.limit("as", process.mapped_bytes() + (100 << 20));
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": 4096, "leak_rate_mb": 60000 }),
    );
    let reason = wait_for_failure(&daemon, "memory_leaker");
    assert!(
        reason.starts_with("the system refused more memory at "),
        "{reason}"
    );
    assert_eq!(daemon.session()["scenarios"], json!(["network_latency"]));
    assert_eq!(daemon.session()["status"], "partial");
}

#[test]
fn a_limit_on_file_size_fails_the_run_and_spares_the_daemon() {
    let daemon = Daemon::builder()
        .wrapper(&["prlimit", "--fsize=1048576"])
        .start();
    daemon.start_scenario("disk_io", json!({ "write_rate_mb": 20 }));
    let reason = wait_for_failure(&daemon, "disk_io");
    assert!(reason.starts_with("the disk refused a write: "), "{reason}");
    assert_eq!(daemon.get("/health").status, 200);
}

#[test]
fn a_file_that_is_refused_fails_the_start_and_spares_the_daemon_and_other_runs() {
    let daemon = Daemon::start();
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 1 }));
    // Opens the connections of the test.
    assert_eq!(daemon.get("/health").status, 200);
    assert_eq!(daemon.session()["scenarios"], json!(["cpu_burner"]));
    // The daemon cannot open another file; open ones stay open.
    daemon.process().limit("nofile", 1);
    let answer = daemon.post("/api/v1/scenarios/disk_io/start", "");
    assert_eq!(answer.status, 500, "{answer:?}");
    let reason = answer.body["details"][0]["error"].as_str();
    let reason = reason.unwrap();
    assert!(
        reason.starts_with("no file can be made under DataDir ")
            && reason.contains("Too many open files"),
        "{reason}"
    );
    daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
    let running = json!(["cpu_burner", "network_latency"]);
    assert_eq!(daemon.session()["scenarios"], running);
    assert_eq!(daemon.get("/health").status, 200);
    // With descriptors available it starts.
    daemon.process().limit("nofile", 1000);
    daemon.start_scenario("disk_io", json!({ "write_rate_mb": 1 }));
    assert_eq!(daemon.stop_all().status, 200);
}

#[test]
fn a_daemon_without_enough_file_descriptors_names_the_limit_and_what_it_needs() {
    for (most, serves) in [(8, false), (20, false), (31, false), (32, true)] {
        let limit = format!("--nofile={most}:{most}");
        if serves {
            let daemon = Daemon::builder().wrapper(&["prlimit", &limit]).start();
            assert_eq!(daemon.get("/health").status, 200);
            assert_eq!(daemon.admin_get("/health").status, 200);
            continue;
        }
        let ended = Command::new("prlimit")
            .args([&limit, env!("CARGO_BIN_EXE_mockserver"), "--port", "0"])
            .current_dir(TempDir::new().unwrap().path())
            .output()
            .expect("prlimit can be run");
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let expected = format!(
            "mockserver: only {most} files may be open at a time (RLIMIT_NOFILE, `ulimit -n`); \
             the daemon needs at least 32\n"
        );
        assert_eq!(stderr, expected);
    }
}

/// Runs the daemon as another user: the kernel does not limit the threads of root.
const AS_A_USER: &str = "cp \"$1\" daemon && shift && chown -R 61234 . && \
    exec setpriv --reuid=61234 --clear-groups ./daemon \"$@\"";

#[test]
fn a_daemon_without_enough_threads_ends_and_says_what_it_needs() {
    let folder = TempDir::new().unwrap();
    let daemon = folder.path().join("daemon");
    std::fs::copy(env!("CARGO_BIN_EXE_mockserver"), daemon).unwrap();
    // As root, a user without other threads; else the threads of this user count.
    let (script, given) = match rustix::process::geteuid().is_root() {
        true => (
            "chown -R 61235 . && exec setpriv --reuid=61235 --clear-groups \
             prlimit --nproc=3 ./daemon --port 0",
            2,
        ),
        false => ("exec prlimit --nproc=1 ./daemon --port 0", 0),
    };
    let ended = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder.path())
        .output()
        .expect("sh can be run");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    // A program complains under the name that it was started by.
    let expected = format!("daemon: the system gives {given} of the ");
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn a_thread_that_is_refused_fails_the_start_and_spares_the_daemon_and_other_runs() {
    let is_root = rustix::process::geteuid().is_root();
    let (by, as_the_user): (&[&str], &[&str]) = if is_root {
        let user = &["setpriv", "--reuid=61234", "--clear-groups"];
        (&["sh", "-c", AS_A_USER, "sh"], user)
    } else {
        (&["env"], &["env"])
    };
    let daemon = Daemon::builder().wrapper(by).start();
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 1 }));
    // Less than the user has: no further thread can start.
    let limited = Command::new(as_the_user[0])
        .args(&as_the_user[1..])
        .args(["prlimit", "--pid", &daemon.pid().to_string(), "--nproc=1:"])
        .status();
    assert!(limited.expect("prlimit can be run").success());
    for name in [
        "memory_leaker",
        "goroutine_leak",
        "disk_io",
        "fd_leak",
        "thread_leak",
    ] {
        let answer = daemon.post(&format!("/api/v1/scenarios/{name}/start"), "");
        assert_eq!(answer.status, 500, "{answer:?}");
        let reason = answer.body["details"][0]["error"].as_str().unwrap();
        assert!(
            reason.starts_with("the system refused a thread"),
            "{reason}"
        );
    }
    // A scenario without threads starts, and one that has its threads goes on.
    daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
    let running = json!(["cpu_burner", "network_latency"]);
    assert_eq!(daemon.session()["scenarios"], running);
    assert_eq!(daemon.get("/health").status, 200);
    assert_eq!(daemon.stop_all().body["stopped"], running);
}

/// The user has its threads alone: they all count.
const AS_A_USER_ALONE: &str = "cp \"$1\" daemon && shift && chown -R 61236 . && \
    exec setpriv --reuid=61236 --clear-groups ./daemon \"$@\"";

#[test]
fn a_leak_of_threads_that_is_refused_says_so_and_goes_on_when_it_may() {
    if !rustix::process::geteuid().is_root() {
        // The threads of this user's other processes would count too.
        return;
    }
    let _turn = exclusive();
    let daemon = Daemon::builder()
        .wrapper(&["sh", "-c", AS_A_USER_ALONE, "sh"])
        .start();
    let limit = |most: u32| {
        let limited = Command::new("setpriv")
            .args(["--reuid=61236", "--clear-groups", "prlimit"])
            .args(["--pid", &daemon.pid().to_string()])
            .arg(format!("--nproc={most}:"))
            .status();
        assert!(limited.expect("prlimit can be run").success());
    };
    limit(100);
    daemon.start_scenario("thread_leak", json!({ "per_second": 1000, "max": 300 }));
    let effect = eventually("the leak is refused", || {
        let effect = daemon.status("thread_leak")["effect"].take();
        (effect["shortfall"] == "refused").then_some(effect)
    });
    assert_eq!(daemon.process().threads(), 100, "{effect}");
    assert_eq!(daemon.get("/health").status, 200);
    limit(1000);
    daemon.wait_for_metric("thread_leak", "current_threads", |count| count == 300.0);
    assert_eq!(daemon.stop_all().status, 200);
}

// === A log without a reader ===

/// A daemon whose standard output the test reads, or does not.
struct Piped {
    child: ChildGuard,
    output: Option<BufReader<ChildStdout>>,
    service: SocketAddr,
    _folder: TempDir,
}

impl Piped {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .args(["--host", "127.0.0.1", "--port", "0", "--log-level", "debug"])
            .env("MOCKSERVER_ADMIN_PORT", "0")
            .env("MOCKSERVER_LOG_FORMAT", "json")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon can be executed");
        // Standard error has no reader either.
        drop(child.stderr.take());
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut service = None;
        loop {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["listener"] == "service" {
                service = line["address"].as_str().and_then(|text| text.parse().ok());
            }
            if line["message"] == "Ready." {
                break;
            }
        }
        let service = service.unwrap();
        Self {
            child: ChildGuard(child),
            output: Some(output),
            service,
            _folder: folder,
        }
    }

    /// Each request is a line in the log.
    fn request(&self, path: &str, times: usize) {
        let agent = agent();
        for _ in 0..times {
            let answer = agent.get(format!("http://{}{path}", self.service)).call();
            assert_ne!(answer.unwrap().status(), 500);
        }
    }

    fn assert_ends_well(mut self) {
        self.child.signal(Signal::TERM);
        assert_eq!(self.child.ended().code(), Some(0));
    }
}

#[test]
fn the_daemon_serves_and_ends_well_when_the_reader_of_its_log_is_gone() {
    let mut daemon = Piped::start();
    drop(daemon.output.take());
    daemon.request("/health", 50);
    daemon.assert_ends_well();
}

#[test]
fn the_daemon_serves_and_ends_well_while_its_log_is_not_read() {
    let daemon = Piped::start();
    // Lines of a kilobyte: far more than the 64 KiB that a pipe holds.
    daemon.request(&format!("/{}", "x".repeat(1_000)), 500);
    daemon.assert_ends_well();
}

#[test]
fn the_last_line_before_a_crash_is_in_the_log() {
    let mut daemon = Piped::start();
    let crash = format!("http://{}/api/v1/scenarios/crash/start", daemon.service);
    // The crash may come before the answer.
    agent().post(crash).send("{\"crash_delay\": 0}").ok();
    let mut text = String::new();
    let mut output = daemon.output.take().unwrap();
    output.read_to_string(&mut text).unwrap();
    assert!(
        text.contains("The crash scenario ends the process."),
        "{text}"
    );
}
