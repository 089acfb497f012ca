//! What others could learn of an open drill: of a control as much as of a fault, and on the service listener nothing.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::quick;
use crate::support::{Daemon, agent, send, send_raw};

const BLIND: &str =
    "Name: orders\nVersion: 1.1.0\nBlind: true\nWorkload: {Routes: [{Path: '/work/{id}'}]}\n";
const CURRENT: &str = "/api/v1/drills/current";
/// How often each masked reply is asked for.
const TURNS: usize = 300;

fn with_open(preset: &str) -> (Daemon, String) {
    let daemon = Daemon::start_with(BLIND, &[]);
    let opened = daemon.admin_post("/api/v1/drills", quick(preset).to_string());
    assert_eq!(opened.status, 201, "{opened:?}");
    let id = opened.body["drill_id"].as_str().unwrap().to_owned();
    (daemon, id)
}

fn get(daemon: &Daemon, path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
    send_raw(daemon.admin, head.as_bytes())
}

/// What may differ from drill to drill is made the same.
fn shape_of(view: &mut Value) {
    for key in ["drill_id", "opened_at", "deadline_at", "commitment"] {
        let text = view[key].as_str().unwrap();
        view[key] = "x".repeat(text.len()).into();
    }
}

#[test]
fn a_control_and_a_fault_look_the_same_to_a_candidate() {
    let (control, _) = with_open("control_quiet");
    let (fault, _) = with_open("latency_regression_p50");
    let length = |daemon: &Daemon| get(daemon, CURRENT).len();
    assert_eq!(length(&control), length(&fault));
    let mut views = [&control, &fault].map(|daemon| daemon.admin_get(CURRENT).body);
    views.iter_mut().for_each(shape_of);
    assert_eq!(views[0], views[1]);
    let answer = r#"{"detected": true, "findings": [{"scenario": "crash"}], "decision": "hold"}"#;
    let answers = [&control, &fault].map(|daemon| {
        let path = format!("{CURRENT}/answers");
        let mut accepted = daemon.admin_post(&path, answer);
        let text = accepted.body["received_at"].take();
        (accepted, text.as_str().unwrap().len())
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_control_takes_as_long_as_a_fault_to_be_shown() {
    let daemons = ["control_quiet", "latency_regression_p50"].map(|preset| with_open(preset).0);
    let mut times = [Vec::new(), Vec::new()];
    let agent = agent();
    for _ in 0..TURNS {
        for (daemon, times) in daemons.iter().zip(&mut times) {
            let began = Instant::now();
            let answer = send(&agent, "GET", daemon.admin, CURRENT, b"", &[]);
            assert_eq!(answer.status(), 200);
            times.push(began.elapsed());
        }
    }
    let [control, fault] = times.map(median);
    println!("a control takes {control:?}, a fault {fault:?}");
    let (least, most) = (control.min(fault), control.max(fault));
    assert!(most < least * 3 / 2, "{control:?} {fault:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn an_id_holds_the_time_and_no_more() {
    let (first, a) = with_open("control_quiet");
    let (_second, b) = with_open("latency_regression_p50");
    assert!(
        a.len() == b.len() && a < b && a.starts_with("d-"),
        "{a} {b}"
    );
    // The same as the one of the masked view.
    assert_eq!(first.admin_get(CURRENT).body["drill_id"], a.as_str());
}

#[test]
fn the_service_listener_knows_of_no_drill() {
    let (daemon, id) = with_open("latency_regression_p50");
    let unknown = daemon.get("/no/such/path");
    for path in [
        "/api/v1/drills",
        "/api/v1/drills/current",
        &format!("/api/v1/drills/{id}/report"),
        "/api/v1/presets",
        "/api/v1/scenarios",
        "/api/v1/composite/status",
    ] {
        assert_eq!(daemon.get(path), unknown, "{path}");
        assert_eq!(
            daemon.post(path, "{}"),
            daemon.post("/no/such/path", "{}"),
            "{path}"
        );
    }
}
