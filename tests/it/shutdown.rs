//! How SIGTERM is taken, and what a fault makes of it.

use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Daemon, eventually, sent};

fn hung(params: Value) -> Daemon {
    let daemon = Daemon::start();
    daemon.started("shutdown_hang", params);
    daemon
}

/// Waits until the fault was met by so many signals.
fn met(daemon: &Daemon, signals: u64) {
    eventually("the signal is counted", || {
        let metrics = &daemon.status("shutdown_hang")["metrics"];
        (metrics["signals"] == signals).then_some(())
    });
}

/// Asks for `path` and reads on to the end of the connection, in a thread.
fn asks(daemon: &Daemon, path: &str) -> thread::JoinHandle<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut stream = sent(daemon.service, request.as_bytes());
    thread::spawn(move || {
        let mut text = String::new();
        // Closed or reset.
        drop(stream.read_to_string(&mut text));
        text
    })
}

#[test]
fn an_ignored_signal_is_followed_when_the_fault_stops() {
    let mut daemon = hung(json!({ "mode": "ignore" }));
    for signals in 1..=3 {
        daemon.signal(Signal::TERM);
        met(&daemon, signals);
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
fn a_run_that_takes_the_place_of_another_holds_its_signal_on() {
    let other = json!({ "mode": "slow", "drain_seconds": 3600 });
    let set = json!([
        { "name": "shutdown_hang", "params": other },
        { "name": "dependency" },
    ]);
    for replaced_by_set in [false, true] {
        for first in ["ignore", "stay_ready"] {
            let mut daemon = hung(json!({ "mode": first, "drain_seconds": 3600 }));
            daemon.signal(Signal::TERM);
            met(&daemon, 1);
            if replaced_by_set {
                daemon.started_set(set.clone());
            } else {
                daemon.started("shutdown_hang", other.clone());
            }
            met(&daemon, 1);
            eventually("it does as the new run says", || {
                (daemon.get("/ready").status == 503).then_some(())
            });
            // Without one in its place the signal is followed.
            let dependency = json!([{ "name": "dependency" }]);
            assert_eq!(daemon.started_set(dependency)["status"], "success");
            assert_eq!(daemon.ended().code(), Some(0));
        }
    }
}

#[test]
fn a_fault_that_met_no_signal_leaves_the_end_as_it_was() {
    let mut daemon = hung(json!({ "mode": "ignore" }));
    daemon.stopped("shutdown_hang");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn sigint_ends_a_daemon_that_ignores_sigterm() {
    let mut daemon = hung(json!({}));
    daemon.signal(Signal::TERM);
    met(&daemon, 1);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_slow_end_serves_on_unready_and_one_that_stays_ready_does_not_show() {
    for (mode, ready) in [("slow", 503), ("stay_ready", 200)] {
        let mut daemon = hung(json!({ "mode": mode, "drain_seconds": 4 }));
        let start = Instant::now();
        daemon.signal(Signal::TERM);
        met(&daemon, 1);
        eventually("the probe tells", || {
            (daemon.get("/ready").status == ready).then_some(())
        });
        assert_eq!(daemon.get("/api/v1/mock-service").status, 200, "{mode}");
        assert_eq!(daemon.get("/health").status, 200, "{mode}");
        assert_eq!(daemon.ended().code(), Some(0), "{mode}");
        let took = start.elapsed();
        let (least, most) = (Duration::from_secs(4), Duration::from_secs(6));
        assert!(least <= took && took < most, "{mode} took {took:?}");
    }
}

#[test]
fn a_second_signal_ends_a_slow_end_at_once() {
    let mut daemon = hung(json!({ "mode": "slow", "drain_seconds": 3600 }));
    daemon.signal(Signal::TERM);
    met(&daemon, 1);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(128 + 15));
    let next = Daemon::start_in(Arc::clone(&daemon.folder), &[]);
    let page = next.get("/api/v1/events").body;
    let events = page["events"].as_array().expect("a list");
    let boot = events.last().expect("a boot");
    let previous = &boot["boot"]["previous"];
    assert_eq!(
        (&previous["end"], &previous["because"]),
        (
            &json!("planned"),
            &json!("a second signal was to exit with 143")
        ),
        "{boot}"
    );
}

#[test]
fn dropped_requests_get_no_answer_where_drained_ones_do() {
    for (mode, answered) in [(Some("drop"), false), (None, true)] {
        let mut daemon = Daemon::start();
        if let Some(mode) = mode {
            daemon.started("shutdown_hang", json!({ "mode": mode }));
        }
        daemon.started("dependency", json!({ "failure_type": "timeout" }));
        let waiting = asks(&daemon, "/api/v1/mock-service");
        eventually("the request waits", || {
            let metrics = &daemon.status("dependency")["metrics"];
            (metrics["failed_calls"] == 1).then_some(())
        });
        let start = Instant::now();
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.ended().code(), Some(0), "{mode:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{mode:?}");
        let text = waiting.join().expect("no panic");
        assert_eq!(
            text.starts_with("HTTP/1.1 200"),
            answered,
            "{mode:?}: {text:?}"
        );
    }
}

#[test]
fn a_healthy_end_takes_no_more_requests_from_the_signal_on() {
    let mut daemon = Daemon::start();
    daemon.started("dependency", json!({ "failure_type": "timeout" }));
    daemon.signal(Signal::TERM);
    // Refused, or closed without an answer.
    eventually("it listens no more", || {
        TcpStream::connect(daemon.service).is_err().then_some(())
    });
    assert_eq!(daemon.ended().code(), Some(0));
}
