//! A blind service: what others can see of it is an ordinary service.

use std::net::SocketAddr;

use crate::support::{Daemon, PROBES, request, send_raw};

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
