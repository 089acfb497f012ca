use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Answer, Daemon, PATIENCE, PROBES, agent, answer, header_of, send};

const LOCKED: &str = "Log: {Level: debug}\nAuth: {Token: open-sesame, ProtectReads: true}\n";
const TOKEN: (&str, &str) = ("authorization", "Bearer open-sesame");
/// What never needs anything, beside the probes.
const OPEN: [&str; 6] = [
    "/version",
    "/api/v1/mock-service",
    "/api/v1/test/sleep10ms",
    "/api/v1/test/sleep30ms",
    "/openapi.json",
    "/docs",
];

fn ask(method: &str, to: SocketAddr, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
    answer(send(&agent(), method, to, path, body.as_bytes(), headers))
}

/// Method and path of every operation, and whether the description says that it is guarded.
fn operations(daemon: &Daemon) -> Vec<(String, String, bool)> {
    let document = daemon.admin_get("/openapi.json").body;
    let paths = document["paths"].as_object().expect("paths");
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            let path = path.replace("{name}", "crash").replace("{id}", "none");
            all.push((
                method.to_uppercase(),
                path,
                operation["security"].is_array(),
            ));
        }
    }
    all
}

fn assert_refused(answer: &Answer, status: u16, kind: &str, place: &str) {
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (status, "application/problem+json"),
        "{place}: {answer:?}"
    );
    let uri = format!("urn:mockserver:problem:{kind}");
    assert_eq!(answer.body["type"], uri, "{place}");
}

#[test]
fn the_description_tells_exactly_what_is_guarded() {
    let daemon = Daemon::start();
    let mut open: Vec<String> = operations(&daemon)
        .into_iter()
        .filter(|(_, _, guarded)| !guarded)
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    open.sort();
    let expected = PROBES.iter().chain(&OPEN);
    let mut expected: Vec<String> = expected.map(|path| format!("GET {path}")).collect();
    expected.sort();
    assert_eq!(open, expected);
}

// === Pages of other sites ===

#[test]
fn pages_of_other_sites_reach_nothing_of_the_control_api() {
    let daemon = Daemon::start();
    let own = format!("http://{}", daemon.service);
    let by_name = format!("evil.example:{}", daemon.service.port());
    let rebound = format!("http://{by_name}");
    let foreign: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        // The name of a site that was made to point here.
        &[("origin", &rebound), ("host", &by_name)],
        &[("origin", &own), ("origin", &own)],
    ];
    for to in [daemon.service, daemon.admin] {
        for (method, path, guarded) in operations(&daemon) {
            for headers in foreign {
                let place = format!("{method} {path} {headers:?}");
                let body = r#"{"scenarios": [{"name": "crash"}]}"#;
                let body = if method == "POST" { body } else { "" };
                let answer = ask(&method, to, &path, body, headers);
                if guarded {
                    assert_refused(&answer, 403, "refused-origin", &place);
                } else {
                    assert_eq!(answer.status, 200, "{place}: {answer:?}");
                }
            }
        }
    }
    assert_eq!(daemon.session()["status"], "no active session");
}

#[test]
fn our_own_pages_people_and_clients_that_are_no_browsers_pass() {
    let daemon = Daemon::start_with("Auth: {AllowedHosts: [mock.example]}\n", &[]);
    let to = daemon.service;
    let own = format!("http://{to}");
    let localhost = format!("localhost:{}", to.port());
    let by_localhost = format!("http://{localhost}");
    let passing: [&[(&str, &str)]; 6] = [
        &[("origin", &own), ("sec-fetch-site", "same-origin")],
        &[("origin", &by_localhost), ("host", &localhost)],
        // Behind a proxy that ends TLS.
        &[("origin", "https://mock.example"), ("host", "mock.example")],
        &[("sec-fetch-site", "none")],
        // A Service of Kubernetes; no browser, so nobody asks for its name.
        &[("host", "mockserver.default.svc")],
        &[],
    ];
    for headers in passing {
        let start = "/api/v1/scenarios/dependency/start";
        let started = ask("POST", to, start, "{}", headers);
        assert_eq!(started.status, 200, "{headers:?}: {started:?}");
        let read = ask("GET", to, "/api/v1/composite/status", "", headers);
        assert_eq!(read.status, 200, "{headers:?}: {read:?}");
    }
}

// === The token ===

#[test]
fn with_protected_reads_all_but_probes_and_traffic_needs_the_token() {
    let daemon = Daemon::start_with(LOCKED, &[]);
    for to in [daemon.service, daemon.admin] {
        for (method, path, guarded) in operations(&daemon) {
            let place = format!("{method} {path}");
            if !guarded {
                let answer = ask(&method, to, &path, "", &[]);
                assert_eq!(answer.status, 200, "{place}: {answer:?}");
                continue;
            }
            for headers in [
                &[][..],
                &[("authorization", "Bearer wrong")],
                &[("authorization", "bearer")],
                &[("authorization", "Basic b3BlbjpzZXNhbWU=")],
                // Which of the two counts is not for us to guess.
                &[TOKEN, TOKEN],
                &[TOKEN, ("authorization", "Bearer wrong")],
            ] {
                let response = send(&agent(), &method, to, &path, b"", headers);
                assert_eq!(header_of(&response, "www-authenticate"), "Bearer");
                let place = format!("{place} {headers:?}");
                assert_refused(&answer(response), 401, "no-token", &place);
            }
            if method == "GET" && !path.ends_with("/stream") {
                let answer = ask(&method, to, &path, "", &[TOKEN]);
                assert_ne!(answer.status, 401, "{place}");
            }
        }
        let stopped = ask("POST", to, "/api/v1/composite/stop", "", &[TOKEN]);
        assert_eq!(stopped.status, 200, "{stopped:?}");
    }
}

#[test]
fn a_head_request_is_a_read_too() {
    let daemon = Daemon::start_with(LOCKED, &[]);
    let head = |headers: &[(&str, &str)]| {
        let path = "/api/v1/scenarios";
        let response = send(&agent(), "HEAD", daemon.service, path, b"", headers);
        response.status().as_u16()
    };
    assert_eq!(head(&[]), 401);
    assert_eq!(head(&[TOKEN]), 200);
}

#[test]
fn the_healthcheck_needs_no_token() {
    let daemon = Daemon::start_with(LOCKED, &[]);
    let checked = Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(["healthcheck", "-f", "mockserver.yaml"])
        .env("MOCKSERVER_PORT", daemon.service.port().to_string())
        .current_dir(daemon.folder.path())
        .output();
    let checked = checked.expect("it runs");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn neither_the_token_nor_a_wrong_one_is_ever_told() {
    let mut daemon = Daemon::start_with(LOCKED, &[]);
    let path = "/api/v1/scenarios/dependency/start";
    let right = ask("POST", daemon.service, path, "{}", &[TOKEN]);
    assert_eq!(right.status, 200, "{right:?}");
    let nearly = [("authorization", "Bearer open-sesam")];
    let wrong = ask("POST", daemon.service, path, "{}", &nearly);
    let events = ask("GET", daemon.admin, "/api/v1/events", "", &[TOKEN]);
    daemon.signal(Signal::TERM);
    daemon.ended();
    let mut told = vec![right.body, wrong.body, events.body];
    while let Ok(line) = daemon.log.recv_timeout(PATIENCE) {
        told.push(line);
    }
    let told = json!(told).to_string();
    assert!(told.contains("Request served."), "{told}");
    assert!(!told.contains("open-sesam"), "{told}");
}

#[test]
fn a_metrics_page_with_the_truth_is_a_read() {
    let daemon = Daemon::start_with(LOCKED, &[]);
    let page = |headers: &[(&str, &str)]| ask("GET", daemon.admin, "/metrics", "", headers);
    assert_eq!(page(&[]).status, 401);
    let Value::String(text) = page(&[TOKEN]).body else {
        panic!("no text");
    };
    assert!(text.contains("mockserver_fault_active"), "{text}");
}
