//! What each token opens on the admin listener.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::control;
use crate::support::{Answer, Daemon, PROBES, eventually, request, send_raw};

const ROLES: &str = "Name: orders\nVersion: 1.1.0\nBlind: true\n\
                     Auth: {Token: master, ReleaseToken: pipeline, CandidateToken: guest}\n";
const ADMIN: &str = "master";
const RELEASE: &str = "pipeline";
const CANDIDATE: &str = "guest";

fn ask(daemon: &Daemon, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    request(
        method,
        daemon.admin,
        path,
        body,
        &[("authorization", &bearer)],
    )
}

/// The whole answer without its date.
fn raw(daemon: &Daemon, token: &str, method: &str, path: &str, more: &str) -> String {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: orders\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n{more}"
    );
    let answer = send_raw(daemon.admin, head.as_bytes());
    let lines = answer.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

fn open(daemon: &Daemon, body: &Value) -> String {
    let opened = ask(daemon, ADMIN, "POST", "/api/v1/drills", &body.to_string());
    assert_eq!(opened.status, 201, "{opened:?}");
    opened.body["drill_id"].as_str().unwrap().to_owned()
}

fn tainted(daemon: &Daemon) -> Vec<Value> {
    let page = ask(daemon, ADMIN, "GET", "/api/v1/events?limit=1000", "").body;
    let events = page["events"].as_array().unwrap().iter();
    let of_kind = events.filter(|event| event["kind"] == "drill_tainted");
    of_kind
        .map(|event| event["drill"]["path"].clone())
        .collect()
}

#[test]
fn a_candidate_sees_the_drill_and_answers_it_and_a_release_system_reports() {
    let daemon = Daemon::start_with(ROLES, &[]);
    let id = open(&daemon, &control());
    let current = ask(&daemon, CANDIDATE, "GET", "/api/v1/drills/current", "");
    assert_eq!(
        (current.status, &current.body["drill_id"]),
        (200, &json!(id))
    );
    let names = current.body["vocabulary"].as_array().unwrap();
    assert!(names.contains(&json!("memory_leaker")), "{names:?}");
    let answers = format!("/api/v1/drills/{id}/answers");
    let healthy = json!({ "detected": false, "findings": [], "decision": "promote" }).to_string();
    let accepted = ask(&daemon, CANDIDATE, "POST", &answers, &healthy);
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let keys: Vec<_> = accepted.body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["accepted", "n", "received_at"]);
    let act = json!({ "kind": "promoted" }).to_string();
    for id in ["current", &id] {
        let path = format!("/api/v1/drills/{id}/events");
        assert_eq!(ask(&daemon, RELEASE, "POST", &path, &act).status, 202);
        assert_eq!(ask(&daemon, CANDIDATE, "POST", &path, &act).status, 403);
    }
    assert_eq!(
        ask(&daemon, RELEASE, "POST", &answers, &healthy).status,
        403
    );
    let path = "/api/v1/drills/current";
    assert_eq!(ask(&daemon, RELEASE, "GET", path, "").status, 403);
    assert_eq!(tainted(&daemon), [Value::Null; 0]);
}

#[test]
fn everything_else_is_one_constant_answer() {
    let daemon = Daemon::start_with(ROLES, &[]);
    open(&daemon, &control());
    let unknown = raw(&daemon, CANDIDATE, "GET", "/no/such/path", "\r\n");
    assert!(unknown.starts_with("HTTP/1.1 403 "), "{unknown}");
    let document = ask(&daemon, ADMIN, "GET", "/openapi.json", "").body;
    let paths = document["paths"].as_object().unwrap().keys();
    let paths = paths.map(|path| {
        path.replace("{name}", "crash")
            .replace("{id}", "d-0000000000")
    });
    let more = [
        "/",
        "/docs",
        "/metrics/",
        "/%zz%20",
        "/api/v1/drills/",
        "//",
    ]
    .map(str::to_owned);
    let mut asked = 0;
    for path in paths.chain(more) {
        for token in [RELEASE, CANDIDATE] {
            for (method, more) in [
                ("GET", "\r\n"),
                ("POST", "Content-Length: 2\r\n\r\n{}"),
                (
                    "POST",
                    "Content-Length: 1\r\nOrigin: http://evil.example\r\n\r\n{",
                ),
                ("DELETE", "\r\n"),
            ] {
                let may = match token {
                    RELEASE => path.ends_with("/events") && path.contains("d-") && method == "POST",
                    _ => {
                        path.ends_with("/current") && method == "GET"
                            || path.ends_with("/answers") && method == "POST"
                    }
                };
                // What is no path is answered before any token is read.
                if may || path.contains("%zz") {
                    continue;
                }
                asked += 1;
                let given = raw(&daemon, token, method, &path, more);
                assert_eq!(given, unknown, "{token} {method} {path} {more:?}");
            }
        }
    }
    assert!(asked > 200, "{asked}");
    for probe in PROBES {
        assert_eq!(request("GET", daemon.admin, probe, "", &[]).status, 200);
    }
}

#[test]
fn who_asks_for_the_truth_taints_the_drill() {
    let daemon = Daemon::start_with(ROLES, &[]);
    let id = open(&daemon, &control());
    for path in ["/no/such/path", "/health", "/api/v1/drills/current/answers"] {
        assert_eq!(ask(&daemon, CANDIDATE, "GET", path, "").status, 403);
    }
    assert_eq!(tainted(&daemon), [Value::Null; 0]);
    let truths = [
        "/api/v1/composite/status",
        "/metrics",
        "/api/v1/presets",
        "/api/v1/scenarios/crash/stop",
        "/api/v1/events",
    ];
    for path in truths.iter().chain(&truths) {
        assert_eq!(ask(&daemon, CANDIDATE, "GET", path, "").status, 403);
    }
    let all = eventually("each path is noted", || {
        let all = tainted(&daemon);
        (all.len() >= truths.len()).then_some(all)
    });
    assert_eq!(all, truths);
    let close = format!("/api/v1/drills/{id}/close");
    assert_eq!(ask(&daemon, ADMIN, "POST", &close, "").status, 200);
}

#[test]
fn a_report_is_for_all_roles_once_it_may_be_revealed() {
    let daemon = Daemon::start_with(ROLES, &[]);
    for (reveal, status) in [("after", 200), ("admin", 403)] {
        let mut body = control();
        body["reveal"] = reveal.into();
        let id = open(&daemon, &body);
        let report = format!("/api/v1/drills/{id}/report");
        for token in [CANDIDATE, RELEASE] {
            assert_eq!(ask(&daemon, token, "GET", &report, "").status, 403);
        }
        let close = format!("/api/v1/drills/{id}/close");
        let closed = ask(&daemon, ADMIN, "POST", &close, "");
        for token in [CANDIDATE, RELEASE] {
            let read = ask(&daemon, token, "GET", &report, "");
            assert_eq!(read.status, status, "{reveal} {read:?}");
            assert!(status != 200 || read.body == closed.body);
        }
    }
}

#[test]
fn tokens_of_roles_are_read_again_at_a_signal() {
    let yaml = "Name: orders\nBlind: true\nAuth: {Token: master, CandidateTokenFile: guest}\n";
    let builder = Daemon::builder().file(yaml);
    let folder = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    let file = folder.path().join("guest");
    fs::write(&file, "before\n").unwrap();
    let base = "Host: 127.0.0.1\nPort: 0\n";
    fs::write(
        folder.path().join("mockserver.yaml"),
        format!("{base}{yaml}"),
    )
    .unwrap();
    let daemon = builder.folder(&folder).start();
    let status = |token| ask(&daemon, token, "GET", "/metrics", "").status;
    assert_eq!((status("before"), status("after")), (403, 401));
    fs::write(&file, "after\n").unwrap();
    daemon.signal(Signal::HUP);
    eventually("the token is replaced", || {
        (status("after") == 403).then_some(())
    });
    assert_eq!(status("before"), 401);
}
