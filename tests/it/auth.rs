//! Access: the token, and the pages of other sites.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    Answer, Daemon, PROBES, agent, assert_problem, harmless, header_of, request, scenario_names,
    send, start_path, together,
};

const LOCKED: &str = "Log: {Level: debug}\nAuth: {Token: open-sesame, ProtectReads: true}\n";
const TOKEN: (&str, &str) = ("authorization", "Bearer open-sesame");
/// Reads that need neither a token nor an origin, beside the probes.
const OPEN: [&str; 6] = [
    "/version",
    "/api/v1/mock-service",
    "/api/v1/test/sleep10ms",
    "/api/v1/test/sleep30ms",
    "/openapi.json",
    "/docs",
];

/// Method and path of every operation, and whether the description says that it needs a token.
fn operations(daemon: &Daemon) -> Vec<(String, String, bool)> {
    let document = daemon.admin_get("/openapi.json").body;
    let paths = document["paths"].as_object().unwrap();
    let mut all = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
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

#[test]
fn the_description_says_exactly_what_is_guarded() {
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
fn pages_of_other_sites_cannot_use_the_control_api() {
    let daemon = Daemon::start();
    let own = format!("http://{}", daemon.service);
    let by_name = format!("evil.example:{}", daemon.service.port());
    let rebound = format!("http://{by_name}");
    let foreign: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        // DNS rebinding: a foreign name that resolves to this address.
        &[("origin", &rebound), ("host", &by_name)],
        &[("origin", &own), ("origin", &own)],
    ];
    for to in [daemon.service, daemon.admin] {
        for (method, path, guarded) in operations(&daemon) {
            for headers in foreign {
                let place = format!("{method} {path} {headers:?}");
                let body = r#"{"scenarios": [{"name": "crash"}]}"#;
                let body = if method == "POST" { body } else { "" };
                let answer = request(&method, to, &path, body, headers);
                if guarded {
                    assert_problem(answer, 403, "refused-origin", &place);
                } else {
                    assert_eq!(answer.status, 200, "{place}: {answer:?}");
                }
            }
        }
    }
    assert_eq!(daemon.session()["status"], "no active session");
}

#[test]
fn pages_of_the_daemon_people_and_other_clients_pass() {
    let daemon = Daemon::builder()
        .file("Auth: {AllowedHosts: [mock.example]}\n")
        .start();
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
        // A Kubernetes Service name; not a browser, so the name does not matter.
        &[("host", "mockserver.default.svc")],
        &[],
    ];
    for headers in passing {
        let start = "/api/v1/scenarios/dependency/start";
        let started = request("POST", to, start, "{}", headers);
        assert_eq!(started.status, 200, "{headers:?}: {started:?}");
        let read = request("GET", to, "/api/v1/composite/status", "", headers);
        assert_eq!(read.status, 200, "{headers:?}: {read:?}");
    }
}

// === The token ===

#[test]
fn with_protected_reads_everything_but_probes_and_traffic_needs_the_token() {
    let daemon = Daemon::builder().file(LOCKED).start();
    for to in [daemon.service, daemon.admin] {
        for (method, path, guarded) in operations(&daemon) {
            let place = format!("{method} {path}");
            // The service listener's page names no fault.
            let is_open = !guarded || path == "/metrics" && to == daemon.service;
            if is_open {
                let answer = request(&method, to, &path, "", &[]);
                assert_eq!(answer.status, 200, "{place}: {answer:?}");
                continue;
            }
            for headers in [
                &[][..],
                &[("authorization", "Bearer wrong")],
                &[("authorization", "bearer")],
                &[("authorization", "Basic b3BlbjpzZXNhbWU=")],
                // Two tokens are ambiguous.
                &[TOKEN, TOKEN],
                &[TOKEN, ("authorization", "Bearer wrong")],
            ] {
                let response = send(&agent(), &method, to, &path, b"", headers);
                assert_eq!(header_of(&response, "www-authenticate"), "Bearer");
                let place = format!("{place} {headers:?}");
                assert_problem(Answer::read(response), 401, "no-token", &place);
            }
            if method == "GET" && !path.ends_with("/stream") && !path.ends_with("/live") {
                let answer = request(&method, to, &path, "", &[TOKEN]);
                assert_ne!(answer.status, 401, "{place}");
            }
        }
        let stopped = request("POST", to, "/api/v1/composite/stop", "", &[TOKEN]);
        assert_eq!(stopped.status, 200, "{stopped:?}");
    }
}

#[test]
fn a_head_request_is_a_read_too() {
    let daemon = Daemon::builder().file(LOCKED).start();
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
    let daemon = Daemon::builder().file(LOCKED).start();
    let checked = Command::new(env!("CARGO_BIN_EXE_mockserver"))
        .args(["healthcheck", "-f", "mockserver.yaml"])
        .env("MOCKSERVER_PORT", daemon.service.port().to_string())
        .current_dir(daemon.folder.path())
        .output();
    let checked = checked.expect("the binary can be executed");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn no_token_is_ever_logged_or_returned() {
    let mut daemon = Daemon::builder().file(LOCKED).start();
    let path = "/api/v1/scenarios/dependency/start";
    let right = request("POST", daemon.service, path, "{}", &[TOKEN]);
    assert_eq!(right.status, 200, "{right:?}");
    let nearly = [("authorization", "Bearer open-sesam")];
    let wrong = request("POST", daemon.service, path, "{}", &nearly);
    let events = request("GET", daemon.admin, "/api/v1/events", "", &[TOKEN]);
    let log = daemon.whole_log();
    let output = json!([right.body, wrong.body, events.body, log]).to_string();
    assert!(output.contains("Request served."), "{output}");
    assert!(!output.contains("open-sesam"), "{output}");
}

#[test]
fn only_the_metrics_page_with_the_faults_needs_the_token() {
    let daemon = Daemon::builder().file(LOCKED).start();
    let page = |to, headers: &[(&str, &str)]| request("GET", to, "/metrics", "", headers);
    assert_eq!(page(daemon.admin, &[]).status, 401);
    let text = page(daemon.admin, &[TOKEN]).body.to_string();
    assert!(text.contains("mockserver_fault_active"), "{text}");
    for headers in [&[][..], &[TOKEN], &[("authorization", "Bearer wrong")]] {
        let answer = page(daemon.service, headers);
        assert_eq!(answer.status, 200, "{headers:?}: {answer:?}");
        let text = answer.body.to_string();
        assert!(text.contains("process_cpu_seconds_total"), "{text}");
        assert!(!text.contains("mockserver_"), "{text}");
    }
}

/// All that the service listener answers without a token, head and body, on every path and on one that is none.
fn answers_without_a_token(daemon: &Daemon) -> String {
    // What the daemon can do is in the description, and how it looks on its page, for all daemons alike.
    let described = ["/docs", "/openapi.json", "/"];
    let asked = operations(daemon).into_iter().map(|(_, path, _)| path);
    let asked = asked.filter(|path| !described.contains(&path.as_str()));
    let mut answers = String::new();
    for path in asked.chain(["/no/such/route".to_owned()]) {
        for method in ["GET", "HEAD", "POST", "OPTIONS", "DELETE"] {
            let response = send(&agent(), method, daemon.service, &path, b"", &[]);
            let head = format!("{} {:?}", response.status(), response.headers());
            let body = Answer::read(response).body;
            // A refusal repeats the path that was asked.
            answers += &format!("{head} {body}\n").replace(&path, "PATH");
        }
    }
    answers
}

#[test]
fn with_protected_reads_the_service_listener_names_no_fault() {
    let daemon = Daemon::builder().file(LOCKED).start();
    let start = |name: &str, params: Value| {
        let answer = request(
            "POST",
            daemon.admin,
            &start_path(name),
            &params.to_string(),
            &[TOKEN],
        );
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        answer.body["session_id"].to_string()
    };
    for plugin in together() {
        start(plugin.name(), harmless(plugin));
    }
    // By default it would answer every request, and the calls of a dependency would hang.
    start(
        "http_error",
        json!({ "match": { "routes": ["/api/v1/test/sleep30ms"] } }),
    );
    for name in ["connection_abort", "rate_limit"] {
        start(name, json!({ "match": { "routes": ["/none"] } }));
    }
    start("metrics_fault", json!({ "mode": "counter_reset" }));
    let session = start("dependency", json!({ "failure_type": "error" }));
    let session = session.trim_matches('"').to_owned();
    let answers = answers_without_a_token(&daemon);
    // The words of any service whose call has failed.
    let failed_call = "\"error\":\"dependency call failed\"";
    assert!(answers.contains(failed_call), "no fault shows: {answers}");
    let answers = answers.replace(failed_call, "");
    assert!(!answers.contains(&session), "{session} in {answers}");
    let words = scenario_names().chain(["fault", "inject", "ledger"]);
    for name in words {
        let answers = answers.to_lowercase();
        assert!(!answers.contains(name), "{name} in {answers}");
    }
}
