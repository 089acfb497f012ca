//! Faults of the service's log: too many lines, and none.

use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::proc::Process;
use crate::support::program::{command, with_file};
use crate::support::{ChildGuard, Daemon, eventually, exclusive, free_port, request, start_path};

/// Lines that come within `time`.
fn lines_within(daemon: &Daemon, time: Duration) -> Vec<Value> {
    let until = Instant::now() + time;
    let next = || {
        let left = until.saturating_duration_since(Instant::now());
        daemon.log.recv_timeout(left).ok()
    };
    std::iter::from_fn(next).collect()
}

// === log_flood ===

/// The bar of the benchmark is 5 %; this is twice that.
#[test]
fn lines_come_at_their_rate_whatever_the_level_of_the_log() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    let params = json!({ "lines_per_second": 2000, "template": "debug" });
    daemon.start_scenario("log_flood", params);
    lines_within(&daemon, Duration::from_millis(500));
    let from = Instant::now();
    let lines = lines_within(&daemon, Duration::from_secs(3));
    let asked = 2000.0 * from.elapsed().as_secs_f64();
    let flood = lines.iter().filter(|line| line["level"] == "DEBUG").count() as f64;
    let effect = daemon.status("log_flood")["effect"].take();
    assert!(flood <= asked * 1.1, "{flood} lines of {asked}");
    // Others may have the CPU; then the run reports it.
    assert!(
        flood >= asked * 0.9 || !effect["shortfall"].is_null(),
        "{flood} lines of {asked}: {effect}"
    );
    let status = daemon.stop_scenario("log_flood");
    // Whatever had been written before the stop answered is still on its way to this reader.
    let rest = lines_within(&daemon, Duration::from_secs(1)).len();
    assert!(rest < 4000, "{rest} lines after the stop");
    assert!(status["metrics"]["written_lines"].as_f64() >= Some(flood));
}

#[test]
fn a_stack_trace_is_several_lines_of_text_and_its_lines_are_counted() {
    let _turn = exclusive();
    let (folder, port) = (with_file("Log: {Format: text}\n"), free_port());
    let (flag, admin) = (port.to_string(), free_port().to_string());
    let flags = ["-f", "a.yaml", "--port", &flag, "--admin-port", &admin];
    let file = std::fs::File::create(folder.path().join("output")).unwrap();
    let child = command(&folder, &flags).stdout(file).spawn();
    let (mut child, service) = (
        ChildGuard(child.unwrap()),
        SocketAddr::from(([127, 0, 0, 1], port)),
    );
    eventually("it listens", || TcpStream::connect(service).ok());
    let params = json!({ "lines_per_second": 500, "template": "stack_trace" }).to_string();
    let path = start_path("log_flood");
    let start = request("POST", service, &path, &params, &[]);
    assert_eq!(start.status, 200, "{start:?}");
    let path = "/api/v1/scenarios/log_flood/status";
    let written = eventually("some lines are written", || {
        let status = request("GET", service, path, "", &[]).body;
        status["metrics"]["written_lines"]
            .as_u64()
            .filter(|lines| *lines >= 1000)
    });
    child.signal(Signal::TERM);
    child.ended();
    let text = std::fs::read_to_string(folder.path().join("output")).unwrap();
    let is_event = |line: &&str| line.contains(" ERROR Cache refresh failed.");
    let events = text.lines().filter(is_event).count();
    let calls = text.lines().filter(|line| line.starts_with(' ')).count();
    assert!(
        events + calls >= written as usize,
        "{events} {calls} {written}"
    );
    assert_eq!(calls, events * 10);
    assert!(
        text.ends_with("All faults stopped.\n") || text.contains("shutting down"),
        "{text}"
    );
}

/// A pipe that nothing reads takes 64 KiB; everything else is lost, and the daemon lives.
#[test]
fn without_a_reader_lines_are_lost_and_nothing_else() {
    let _turn = exclusive();
    let (folder, port, admin) = (with_file("Log: {Format: json}\n"), free_port(), free_port());
    let (flag, admin_flag) = (port.to_string(), admin.to_string());
    let flags = ["-f", "a.yaml", "--port", &flag, "--admin-port", &admin_flag];
    let child = command(&folder, &flags).stdout(Stdio::piped()).spawn();
    let mut child = ChildGuard(child.unwrap());
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    eventually("the admin listener listens", || {
        TcpStream::connect(admin).ok()
    });
    let before = Process(child.id()).resident_mb();
    let params = json!({ "lines_per_second": 10_000 }).to_string();
    let start = request("POST", admin, &start_path("log_flood"), &params, &[]);
    assert_eq!(start.status, 200, "{start:?}");
    let path = "/api/v1/scenarios/log_flood/status";
    let status = eventually("the loss is reported", || {
        let status = request("GET", admin, path, "", &[]).body;
        (status["effect"]["shortfall"] == "slow_reader").then_some(status)
    });
    assert!(
        status["metrics"]["lost_lines"].as_u64() > Some(0),
        "{status}"
    );
    let eventual = eventually("nothing is written any more", || {
        let status = request("GET", admin, path, "", &[]).body;
        (status["effect"]["achieved"] == 0.0).then_some(status)
    });
    assert_eq!(eventual["effect"]["asked"], 10_000.0);
    let grown = Process(child.id()).resident_mb() - before;
    assert!(grown < 16.0, "{grown} MiB more");
    let service = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(request("GET", service, "/health", "", &[]).status, 200);
    let stop = request("POST", admin, "/api/v1/composite/stop", "", &[]);
    assert_eq!(stop.status, 200, "{stop:?}");
    child.signal(Signal::TERM);
    assert!(child.ended().success());
}

// === log_silence ===

const REQUESTS: &str = "Log: {Admin: own/admin.log, Requests: always}\n";

fn messages(lines: &[Value]) -> Vec<&str> {
    let messages = lines.iter().map(|line| line["message"].as_str().unwrap());
    messages.collect()
}

#[test]
fn a_silent_service_logs_nothing_but_its_last_words() {
    let mut daemon = Daemon::start_with(REQUESTS, &[]);
    daemon.get("/health");
    daemon.wait_for_log("the request", |line| line["message"] == "Request served.");
    daemon.start_scenario("log_silence", json!({}));
    let reading = daemon.status("log_silence")["effect"].take();
    assert_eq!(reading["shortfall"], "no_traffic", "{reading}");
    for _ in 0..3 {
        daemon.get("/health");
    }
    // A line is written before its answer.
    let held_back = daemon.wait_for_metric("log_silence", "held_back_lines", |lines| lines >= 3.0);
    assert_eq!(held_back, 3.0);
    daemon.stop_scenario("log_silence");
    daemon.get("/ready");
    daemon.start_scenario("log_silence", json!({}));
    daemon.get("/health");
    daemon.wait_for_metric("log_silence", "held_back_lines", |lines| lines == 1.0);
    let lines = daemon.whole_log();
    let expected = ["Request served.", "Signal received: shutting down."];
    assert_eq!(messages(&lines), expected);
    let own = std::fs::read_dir(daemon.folder.path().join("own")).unwrap();
    let own: String = own
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert_eq!(own.matches("\"Scenario started.\"").count(), 2, "{own}");
}

/// A panic is on standard error in any case.
#[test]
fn a_silent_service_that_crashes_says_why() {
    let yaml = "Blind: true\nName: orders\nLog: {Requests: always}\n";
    let daemon = Daemon::start_with(yaml, &[]);
    let start = daemon.admin_post(&start_path("log_silence"), "");
    assert_eq!(start.status, 200, "{start:?}");
    daemon.get("/health");
    let params = json!({ "mode": "exit", "crash_delay": 0 }).to_string();
    daemon.admin_post(&start_path("crash"), params);
    let line = daemon.wait_for_log("why it ends", |line| line["message"].is_string());
    assert_eq!(line["level"], "ERROR");
    assert!(
        line["message"].as_str().unwrap().starts_with("Fatal: "),
        "{line}"
    );
}
