use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Daemon, agent, alone, ended, eventually, signal};

// === What a run needs is refused ===

/// Waits until the run of `name` has failed, and gives its reason.
fn failure(daemon: &Daemon, name: &str) -> String {
    let end = eventually("the run fails", || {
        let status = daemon.status(name);
        (status["running"] == false).then(|| status["end"].clone())
    });
    assert_eq!(end["reason"], "failed", "{end}");
    assert_eq!(end["effect"]["shortfall"], "refused", "{end}");
    end["error"].as_str().expect("a reason").to_owned()
}

#[test]
fn memory_that_is_refused_fails_the_run_and_spares_the_daemon_and_other_runs() {
    let _turn = alone();
    let daemon = Daemon::start();
    daemon.started("network_latency", json!({ "latency_ms": 1 }));
    // Room for a part of it.
    let process = daemon.process();
    process.limit("as", process.mapped_bytes() + (100 << 20));
    daemon.started(
        "memory_leaker",
        json!({ "target_mb": 4096, "leak_rate_mb": 60000 }),
    );
    let reason = failure(&daemon, "memory_leaker");
    assert!(
        reason.starts_with("the system refused more memory at "),
        "{reason}"
    );
    assert_eq!(daemon.session()["scenarios"], json!(["network_latency"]));
    assert_eq!(daemon.session()["status"], "partial");
}

#[test]
fn a_limit_on_file_size_fails_the_run_and_spares_the_daemon() {
    let daemon = Daemon::start_under(&["prlimit", "--fsize=1048576"], "", &[]);
    daemon.started("disk_io", json!({ "write_rate_mb": 20 }));
    let reason = failure(&daemon, "disk_io");
    assert!(reason.starts_with("the disk refused a write: "), "{reason}");
    assert_eq!(daemon.get("/health").status, 200);
}

#[test]
fn a_file_that_is_refused_fails_the_start_and_spares_the_daemon_and_other_runs() {
    let daemon = Daemon::start();
    daemon.started("cpu_burner", json!({ "target_percent": 1 }));
    // Both connections are open from now on.
    assert_eq!(daemon.get("/health").status, 200);
    assert_eq!(daemon.session()["scenarios"], json!(["cpu_burner"]));
    // From now on none is given; what is open stays open.
    daemon.process().limit("nofile", 1);
    let answer = daemon.post("/api/v1/scenarios/disk_io/start", "");
    assert_eq!(answer.status, 500, "{answer:?}");
    let reason = answer.body["details"][0]["error"].as_str();
    let reason = reason.expect("a reason");
    assert!(
        reason.starts_with("no file can be made under DataDir ")
            && reason.contains("Too many open files"),
        "{reason}"
    );
    daemon.started("network_latency", json!({ "latency_ms": 1 }));
    let running = json!(["cpu_burner", "network_latency"]);
    assert_eq!(daemon.session()["scenarios"], running);
    assert_eq!(daemon.get("/health").status, 200);
    // Once there are some again, it starts.
    daemon.process().limit("nofile", 1000);
    daemon.started("disk_io", json!({ "write_rate_mb": 1 }));
    assert_eq!(daemon.stop_all().status, 200);
}

#[test]
fn a_start_without_enough_file_descriptors_says_which_limit_it_is_and_what_it_needs() {
    for (most, serves) in [(8, false), (20, false), (31, false), (32, true)] {
        let limit = format!("--nofile={most}:{most}");
        if serves {
            let daemon = Daemon::start_under(&["prlimit", &limit], "", &[]);
            assert_eq!(daemon.get("/health").status, 200);
            assert_eq!(daemon.admin_get("/health").status, 200);
            continue;
        }
        let ended = Command::new("prlimit")
            .args([&limit, env!("CARGO_BIN_EXE_mockserver"), "--port", "0"])
            .current_dir(TempDir::new().expect("a folder").path())
            .output()
            .expect("prlimit runs");
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let told = String::from_utf8_lossy(&ended.stderr);
        let expected = format!(
            "mockserver: only {most} files may be open at a time (RLIMIT_NOFILE, `ulimit -n`); \
             the daemon needs at least 32\n"
        );
        assert_eq!(told, expected);
    }
}

/// Becomes the daemon as a user whose threads are counted, which the kernel does for all but root.
const AS_A_USER: &str = "cp \"$1\" daemon && shift && chown -R 61234 . && \
    exec setpriv --reuid=61234 --clear-groups ./daemon \"$@\"";

#[test]
fn a_start_without_enough_threads_ends_and_says_what_it_needs() {
    let folder = TempDir::new().expect("a folder");
    let daemon = folder.path().join("daemon");
    std::fs::copy(env!("CARGO_BIN_EXE_mockserver"), daemon).expect("a copy");
    // A user of its own, whose threads are no other test's; without root all that this user has count.
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
        .expect("sh runs");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told = String::from_utf8_lossy(&ended.stderr);
    let expected = format!("mockserver: the system gives {given} of the ");
    assert!(told.starts_with(&expected), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
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
    let daemon = Daemon::start_under(by, "", &[]);
    daemon.started("cpu_burner", json!({ "target_percent": 1 }));
    // Fewer than there are: from now on no thread is given.
    let limited = Command::new(as_the_user[0])
        .args(&as_the_user[1..])
        .args(["prlimit", "--pid", &daemon.pid().to_string(), "--nproc=1:"])
        .status();
    assert!(limited.expect("prlimit runs").success());
    for name in ["memory_leaker", "goroutine_leak", "disk_io"] {
        let answer = daemon.post(&format!("/api/v1/scenarios/{name}/start"), "");
        assert_eq!(answer.status, 500, "{answer:?}");
        let reason = answer.body["details"][0]["error"]
            .as_str()
            .expect("a reason");
        assert!(
            reason.starts_with("the system refused a thread"),
            "{reason}"
        );
    }
    // What needs none starts, and what had its threads goes on.
    daemon.started("network_latency", json!({ "latency_ms": 1 }));
    let running = json!(["cpu_burner", "network_latency"]);
    assert_eq!(daemon.session()["scenarios"], running);
    assert_eq!(daemon.get("/health").status, 200);
    assert_eq!(daemon.stop_all().body["stopped"], running);
}

// === Nobody reads the log ===

/// A daemon whose standard output the test holds in its own hands.
struct Piped {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    service: SocketAddr,
    _folder: TempDir,
}

impl Piped {
    fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .args(["--host", "127.0.0.1", "--port", "0", "--log-level", "debug"])
            .env("MOCKSERVER_ADMIN_PORT", "0")
            .env("MOCKSERVER_LOG_FORMAT", "json")
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the daemon starts");
        // As gone as the reader of the output: what is told there must not matter either.
        drop(child.stderr.take());
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut service = None;
        loop {
            let mut line = String::new();
            output.read_line(&mut line).expect("a line");
            let line: Value = serde_json::from_str(&line).expect("a JSON line");
            if line["listener"] == "service" {
                service = line["address"].as_str().and_then(|text| text.parse().ok());
            }
            if line["message"] == "Ready." {
                break;
            }
        }
        let service = service.expect("an address");
        Self {
            child,
            output: Some(output),
            service,
            _folder: folder,
        }
    }

    fn ask(&self, times: usize) {
        let agent = agent();
        for _ in 0..times {
            let health = agent.get(format!("http://{}/health", self.service)).call();
            assert_eq!(health.expect("an answer").status(), 200);
        }
    }

    fn ends_well(mut self) {
        signal(&self.child, Signal::TERM);
        assert_eq!(ended(&mut self.child).code(), Some(0));
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_daemon_serves_and_ends_well_when_the_reader_of_its_log_is_gone() {
    let mut daemon = Piped::start();
    drop(daemon.output.take());
    daemon.ask(50);
    daemon.ends_well();
}

#[test]
fn the_daemon_serves_and_ends_well_when_nobody_reads_its_log() {
    let daemon = Piped::start();
    // Far more lines than a pipe holds.
    daemon.ask(3_000);
    daemon.ends_well();
}

#[test]
fn the_last_words_before_a_crash_are_in_the_log() {
    let mut daemon = Piped::start();
    let crash = format!("http://{}/api/v1/scenarios/crash/start", daemon.service);
    // The crash may come before the answer.
    agent().post(crash).send("{\"crash_delay\": 0}").ok();
    let mut text = String::new();
    daemon
        .output
        .take()
        .expect("it")
        .read_to_string(&mut text)
        .expect("text");
    assert!(
        text.contains("The crash scenario ends the process."),
        "{text}"
    );
}
