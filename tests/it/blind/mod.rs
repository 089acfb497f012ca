//! A blind service: what others can see of it is an ordinary service.

mod patient;
mod shapes;
mod words;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::program::{command, run, stderr, with_file};
use crate::support::{
    ChildGuard, Daemon, PROBES, eventually, free_port, request, scenario_names, send_raw,
};

const TOKEN: (&str, &str) = ("authorization", "Bearer open-sesame");
/// What any service has.
const ORDINARY: [&str; 2] = ["/metrics", "/version"];

fn blind(yaml: &str) -> Daemon {
    let base = "Name: orders\nVersion: 1.1.0\nBlind: true\n";
    Daemon::start_with(&format!("{base}{yaml}"), &[])
}

/// Method and path of every route, as the admin listener describes them.
fn routes(daemon: &Daemon) -> Vec<(String, String)> {
    let document = daemon.admin_get("/openapi.json").body;
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &serde_json::Value)| {
        let path = path.replace("{name}", "crash").replace("{id}", "none");
        let methods = item.as_object().unwrap().keys();
        let all = methods.map(|method| (method.to_uppercase(), path.clone()));
        all.collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// The whole answer without its date.
fn answer(to: SocketAddr, method: &str, path: &str, headers: &str) -> String {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n{headers}\r\n");
    let answer = send_raw(to, head.as_bytes());
    let lines = answer.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

// === The listeners ===

#[test]
fn a_path_of_the_api_is_answered_as_any_unknown_path_byte_by_byte() {
    let daemon = blind("");
    let unknown = answer(daemon.service, "GET", "/no/such/path", "");
    assert_eq!(
        unknown,
        "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{\"error\":\"not found\"}"
    );
    let is_served = |path: &str| PROBES.contains(&path) || ORDINARY.contains(&path);
    let routes = routes(&daemon);
    let hidden = routes.iter().filter(|(_, path)| !is_served(path));
    assert!(hidden.clone().count() > 15, "{routes:?}");
    for (_, path) in hidden {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "BREW"] {
            for headers in [
                "",
                "Origin: http://evil.example\r\n",
                "Content-Length: 0\r\n",
            ] {
                let expected = answer(daemon.service, method, "/no/such/path", headers);
                let given = answer(daemon.service, method, path, headers);
                assert_eq!(given, expected, "{method} {path} {headers:?}");
            }
        }
    }
    for path in PROBES.iter().chain(&ORDINARY) {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    assert_eq!(others_may(&daemon.folder.path().join("data/ledger")), 0);
    let version = serde_json::json!({ "name": "orders", "version": "1.1.0" });
    assert_eq!(daemon.get("/version").body, version);
}

#[test]
fn every_error_of_the_service_listener_is_plain() {
    let daemon = blind("");
    let long = "a".repeat(20_000);
    for (request, status, reason) in [
        (
            "POST /health HTTP/1.1\r\nHost: a",
            405,
            "method not allowed",
        ),
        ("GET /%zz HTTP/1.1\r\nHost: a", 400, "bad request"),
        ("GET /health HTTP/1.1", 400, "bad request"),
        (
            "GET /health HTTP/1.1\r\nHost: a\r\nx y: z",
            400,
            "bad request",
        ),
        (
            "GET /health HTTP/3.0\r\nHost: a",
            505,
            "http version not supported",
        ),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1", 404, "not found"),
        ("OPTIONS * HTTP/1.1\r\nHost: a", 404, "not found"),
        ("\u{16}\u{3}\u{1}", 400, "bad request"),
        (
            "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: *;q=0",
            406,
            "not acceptable",
        ),
        (
            &format!("GET /{long} HTTP/1.1\r\nHost: a"),
            431,
            "request header fields too large",
        ),
    ] {
        let request = format!("{request}\r\nConnection: close\r\n\r\n");
        let answer = send_raw(daemon.service, request.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        let body = format!("\r\n\r\n{{\"error\":\"{reason}\"}}");
        assert!(answer.ends_with(&body), "{request}: {answer}");
        assert!(
            answer.contains("\r\ncontent-type: application/json\r\n"),
            "{request}: {answer}"
        );
    }
}

#[test]
fn on_the_admin_listener_a_stranger_without_the_token_finds_nothing_but_probes() {
    let daemon = blind("Auth: {Token: open-sesame}\n");
    let unknown = answer(daemon.admin, "GET", "/no/such/path", "");
    assert!(unknown.starts_with("HTTP/1.1 401 "), "{unknown}");
    assert!(
        unknown.ends_with("{\"error\":\"unauthorized\"}"),
        "{unknown}"
    );
    let document = request("GET", daemon.admin, "/openapi.json", "", &[TOKEN]).body;
    for path in document["paths"].as_object().unwrap().keys() {
        let is_probe = PROBES.contains(&path.as_str());
        for method in ["GET", "POST", "DELETE"] {
            let given = answer(daemon.admin, method, path, "");
            match is_probe {
                true => assert!(!given.contains("401"), "{method} {path}: {given}"),
                false => assert_eq!(given, unknown, "{method} {path}"),
            }
        }
    }
    let halted = request("POST", daemon.admin, "/api/v1/halt", "", &[TOKEN]);
    assert_eq!(halted.status, 200, "{halted:?}");
}

#[test]
fn the_example_is_accepted() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/etc/blind/orders.yaml");
    let output = run(&["--check", "-f", file], &[]);
    assert!(output.status.success(), "{output:?}");
}

// === The log ===

/// What the permissions of a file allow to other users.
fn others_may(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o077
}

/// The lines of all files of the daemon's own log.
fn admin_lines(daemon: &Daemon) -> Vec<Value> {
    let files = std::fs::read_dir(daemon.folder.path().join("own")).unwrap();
    let mut lines = Vec::new();
    for file in files {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with("admin.20") && name.ends_with(".log"),
            "{name}"
        );
        assert_eq!(others_may(&path), 0, "{name}");
        let text = std::fs::read_to_string(&path).unwrap();
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
    }
    lines
}

fn messages(lines: &[Value]) -> Vec<&str> {
    let messages = lines.iter().map(|line| line["message"].as_str().unwrap());
    messages.collect()
}

#[test]
fn the_log_has_the_lines_of_the_service_and_the_file_of_the_admin_all_others() {
    let own = "Log: {Admin: own/admin.log, Level: debug}\n";
    for yaml in [own, &format!("Name: orders\nBlind: true\n{own}")] {
        let mut daemon = Daemon::start_with(yaml, &[]);
        let start = daemon.admin_post("/api/v1/scenarios/crash/start", "");
        assert_eq!(start.status, 200, "{start:?}");
        assert_eq!(daemon.get("/no/such/path").status, 404);
        let lines = daemon.whole_log();
        let (of_service, of_admin) = (messages(&lines), admin_lines(&daemon));
        assert_eq!(
            of_service,
            ["Request served.", "Signal received: shutting down."]
        );
        let of_admin = messages(&of_admin);
        for line in [
            "Configuration read.",
            "Listening.",
            "Scenario started.",
            "Request served.",
            "Scenario ended.",
            "All faults stopped.",
        ] {
            assert!(
                of_admin.contains(&line),
                "{line} is missing in {of_admin:?}"
            );
        }
        for line in ["Starting.", "Ready.", "Signal received: shutting down."] {
            assert!(!of_admin.contains(&line), "{line} is in {of_admin:?}");
        }
    }
}

#[test]
fn without_a_file_for_them_a_blind_service_has_no_line_of_the_daemon() {
    let yaml = "Name: orders\nBlind: true\nLog: {Mode: file, Level: debug, Format: json}\n";
    let (folder, port, admin) = (with_file(yaml), free_port(), free_port());
    let (flag, admin_flag) = (port.to_string(), admin.to_string());
    let flags = ["-f", "a.yaml", "--port", &flag, "--admin-port", &admin_flag];
    let mut child = ChildGuard(command(&folder, &flags).spawn().unwrap());
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    eventually("the admin listener listens", || {
        TcpStream::connect(admin).ok()
    });
    let start = request("POST", admin, "/api/v1/scenarios/crash/start", "", &[]);
    assert_eq!(start.status, 200, "{start:?}");
    child.signal(Signal::TERM);
    child.ended();
    let file = std::fs::read_dir(folder.path().join("logs")).unwrap();
    let file = file.map(|file| file.unwrap()).next().unwrap();
    let name = file.file_name().into_string().unwrap();
    assert!(name.starts_with("orders.20"), "{name}");
    let text = std::fs::read_to_string(file.path()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = [
        "Starting.",
        "Listening.",
        "Ready.",
        "Signal received: shutting down.",
    ];
    assert_eq!(messages(&lines), expected);
    assert_eq!(lines[0]["service"], "orders");
    assert_eq!(lines[0]["mockserver"], Value::Null);
}

#[test]
fn a_failure_of_a_blind_service_says_what_kind_it_is_and_no_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder =
        with_file("Name: orders\nBlind: true\nAdmin: {Port: 1}\nLog: {Admin: own/admin.log}\n");
    let output = command(
        &folder,
        &[
            "-f",
            "a.yaml",
            "--port",
            &port.to_string(),
            "--admin-port",
            &free_port().to_string(),
        ],
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(stderr(&output), "mockserver: address in use\n");
}

// === Under each scenario ===

#[test]
fn nothing_that_others_can_read_names_a_fault_or_this_program() {
    let all = patient::all();
    assert!(all.len() > scenario_names().count(), "{}", all.len());
    let mut wrong = Vec::new();
    for found in all {
        for (place, text) in &found.texts {
            for word in words::found_in(text) {
                wrong.push(format!("{}: {place}: {word} in {text}", found.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_that_others_can_read_names_a_drill_or_its_faults() {
    let presets = [
        "control_quiet",
        "latency_regression_p50",
        "readiness_never_true",
        "bad_config_errors",
        "cpu_regression",
    ];
    for found in patient::under_drills(&presets) {
        for (place, text) in &found.texts {
            let words = words::found_in(text);
            assert!(
                words.is_empty(),
                "{}: {place}: {words:?} in {text}",
                found.what
            );
        }
    }
}

#[test]
fn a_fault_changes_figures_and_the_shapes_that_it_changes_by_nature() {
    let all = patient::all();
    let quiet = all
        .iter()
        .find(|found| found.scenario.is_none() && !found.is_text);
    let quiet = &quiet.unwrap().shapes;
    let found = all.iter().filter(|found| !found.is_text);
    let named = found.map(|found| (found.scenario.unwrap_or_default(), &found.shapes));
    assert_eq!(
        shapes::declared_in_vain(&named.collect::<Vec<_>>(), quiet),
        [""; 0]
    );
    let mut wrong = Vec::new();
    for found in all.iter().filter(|found| !found.is_text) {
        let scenario = found.scenario.unwrap_or_default();
        for difference in shapes::differences(scenario, &found.shapes, quiet) {
            wrong.push(format!("{}: {difference}", found.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
