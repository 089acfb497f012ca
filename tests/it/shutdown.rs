//! The shutdown, and faults that change it.

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Daemon, assert_problem, connect_and_write, eventually};

fn hanging(params: Value) -> Daemon {
    let daemon = Daemon::start();
    daemon.start_scenario("shutdown_hang", params);
    daemon
}

fn wait_for_signals(daemon: &Daemon, signals: u32) {
    daemon.wait_for_metric("shutdown_hang", "signals", |n| n == f64::from(signals));
}

/// Requests `path` and reads to the end of the connection, in a thread.
fn request_in_thread(daemon: &Daemon, path: &str) -> thread::JoinHandle<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = connect_and_write(daemon.service, request.as_bytes());
    thread::spawn(move || {
        let mut text = String::new();
        // Closed or reset.
        drop(stream.read_to_string(&mut text));
        text
    })
}

#[test]
fn an_ignored_signal_takes_effect_when_the_fault_stops() {
    let mut daemon = hanging(json!({ "mode": "ignore" }));
    for signals in 1..=3 {
        daemon.signal(Signal::TERM);
        wait_for_signals(&daemon, signals);
    }
    assert_eq!(
        (daemon.get("/ready").status, daemon.get("/health").status),
        (200, 200)
    );
    let effect = &daemon.status("shutdown_hang")["effect"];
    assert_eq!(
        (&effect["asked"], &effect["achieved"]),
        (&json!(1.0), &json!(1.0))
    );
    // The answer may come after the end.
    let start = Instant::now();
    let client = daemon.client();
    let path = "/api/v1/scenarios/shutdown_hang/stop";
    assert_eq!(client.post(path, "").status, 200);
    assert_eq!(daemon.ended().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_run_that_replaces_another_keeps_its_signal_pending() {
    let other = json!({ "mode": "slow", "drain_seconds": 3600 });
    let set = json!([
        { "name": "shutdown_hang", "params": other },
        { "name": "dependency" },
    ]);
    for replaced_by_set in [false, true] {
        for first in ["ignore", "stay_ready"] {
            let mut daemon = hanging(json!({ "mode": first, "drain_seconds": 3600 }));
            daemon.signal(Signal::TERM);
            wait_for_signals(&daemon, 1);
            if replaced_by_set {
                daemon.start_set(set.clone());
            } else {
                daemon.start_scenario("shutdown_hang", other.clone());
            }
            wait_for_signals(&daemon, 1);
            eventually("the new run decides", || {
                (daemon.get("/ready").status == 503).then_some(())
            });
            // A set without a replacement would start and end at once.
            let set = json!({ "scenarios": [{ "name": "dependency" }] });
            let refused = daemon.try_start_set(set);
            let problem = assert_problem(refused, 503, "shutting-down", first);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("shutdown_hang holds it back"), "{detail}");
            assert_eq!(daemon.status("shutdown_hang")["running"], true);
            // The run that has the signal decides on readiness, and not the one before it.
            daemon.start_scenario("shutdown_hang", json!({ "mode": "stay_ready" }));
            wait_for_signals(&daemon, 1);
            eventually("the new run decides", || {
                (daemon.get("/ready").status == 200).then_some(())
            });
            // Without one the signal takes effect; the answer may come after the end.
            let client = daemon.client();
            assert_eq!(client.post("/api/v1/composite/stop", "").status, 200);
            assert_eq!(daemon.ended().code(), Some(0));
        }
    }
}

#[test]
fn a_fault_that_saw_no_signal_leaves_the_shutdown_unchanged() {
    let mut daemon = hanging(json!({ "mode": "ignore" }));
    daemon.stop_scenario("shutdown_hang");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn sigint_ends_a_daemon_that_ignores_sigterm() {
    let mut daemon = hanging(json!({}));
    daemon.signal(Signal::TERM);
    wait_for_signals(&daemon, 1);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_slow_shutdown_serves_on_either_unready_or_ready() {
    for (mode, ready) in [("slow", 503), ("stay_ready", 200)] {
        let mut daemon = hanging(json!({ "mode": mode, "drain_seconds": 3 }));
        let start = Instant::now();
        daemon.signal(Signal::TERM);
        wait_for_signals(&daemon, 1);
        eventually("the readiness probe answers as expected", || {
            (daemon.get("/ready").status == ready).then_some(())
        });
        assert_eq!(daemon.get("/api/v1/mock-service").status, 200, "{mode}");
        assert_eq!(daemon.get("/health").status, 200, "{mode}");
        assert_eq!(daemon.ended().code(), Some(0), "{mode}");
        let took = start.elapsed();
        let (least, most) = (Duration::from_secs(3), Duration::from_secs(5));
        assert!(least <= took && took < most, "{mode} took {took:?}");
    }
}

#[test]
fn a_second_signal_ends_a_slow_shutdown_at_once() {
    let mut daemon = hanging(json!({ "mode": "slow", "drain_seconds": 3600 }));
    daemon.signal(Signal::TERM);
    wait_for_signals(&daemon, 1);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(128 + 15));
    let next = daemon.start_again();
    let previous = next.previous_end();
    assert_eq!(
        (&previous["end"], &previous["because"]),
        (
            &json!("planned"),
            &json!("a second signal was to exit with 143")
        )
    );
}

#[test]
fn dropped_requests_get_no_answer_where_drained_ones_do() {
    for (mode, answered) in [(Some("drop"), false), (None, true)] {
        let mut daemon = Daemon::start();
        if let Some(mode) = mode {
            daemon.start_scenario("shutdown_hang", json!({ "mode": mode }));
        }
        daemon.start_scenario("dependency", json!({ "failure_type": "timeout" }));
        let waiting = request_in_thread(&daemon, "/api/v1/mock-service");
        daemon.wait_for_metric("dependency", "failed_calls", |calls| calls == 1.0);
        let start = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().code(), Some(0), "{mode:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{mode:?}");
        let text = waiting.join().unwrap();
        assert_eq!(
            text.starts_with("HTTP/1.1 200"),
            answered,
            "{mode:?}: {text:?}"
        );
    }
}

#[test]
fn a_normal_shutdown_accepts_no_requests_after_the_signal() {
    let mut daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({ "failure_type": "timeout" }));
    daemon.signal(Signal::TERM);
    // Refused, or closed without an answer.
    eventually("the service listener is closed", || {
        TcpStream::connect(daemon.service).is_err().then_some(())
    });
    assert_eq!(daemon.ended().code(), Some(0));
}
