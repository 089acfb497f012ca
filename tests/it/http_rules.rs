//! What HTTP demands of every request and every answer, on both listeners: targets, hosts, versions, framing, caches and
//! compression.

use std::io::{Read, Write};
use std::net::SocketAddr;

use http::HeaderMap;
use serde_json::{Value, json};

use crate::support::{
    Answer, Daemon, PROBES, agent, assert_problem, connect_and_write, header_of, send, send_raw,
    start_path,
};

/// Sends a request that closes the connection, with `lines` after the request line.
fn raw(to: SocketAddr, request_line: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("{request_line}\r\n{lines}Connection: close\r\n\r\n");
    send_raw(to, request.as_bytes())
}

/// The status of a raw answer, and its problem where it is one.
fn outcome(answer: &str) -> (u16, Value) {
    let status = answer.get(9..12).and_then(|text| text.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let body = serde_json::from_str(body).unwrap_or_default();
    (
        status.unwrap_or_else(|| panic!("no answer: {answer:?}")),
        body,
    )
}

fn assert_refused(answer: &str, status: u16, kind: &str, context: &str) {
    let (found, problem) = outcome(answer);
    assert_eq!(found, status, "{context}: {answer}");
    assert_eq!(
        problem["type"],
        format!("urn:mockserver:problem:{kind}"),
        "{context}"
    );
    assert!(
        answer.contains("\r\ncache-control: no-store\r\n"),
        "{context}: {answer}"
    );
}

// === Hosts ===

#[test]
fn a_request_names_one_valid_host() {
    let daemon = Daemon::start();
    for to in [daemon.service, daemon.admin] {
        for path in ["/health", "/api/v1/scenarios", "/nothing"] {
            let line = format!("GET {path} HTTP/1.1");
            for hosts in [
                &[][..],
                &["Host: a", "Host: a"],
                &["Host: a", "host: b"],
                &["Host: a b"],
                &["Host: a/b"],
                &["Host: user@a"],
                &["Host: a:port"],
                &["Host: [::1"],
                &["Host: \u{fc}"],
            ] {
                let answer = raw(to, &line, hosts);
                assert_refused(&answer, 400, "malformed-request", &format!("{hosts:?}"));
                assert!(answer.contains("Host"), "{answer}");
            }
        }
        for host in [
            "Host: a",
            "Host:",
            "Host: [::1]:80",
            "Host: a_b.svc:1",
            "HOST: A",
        ] {
            assert_eq!(
                outcome(&raw(to, "GET /health HTTP/1.1", &[host])).0,
                200,
                "{host}"
            );
        }
        // HTTP/1.0 has no such rule, but two hosts are two there too.
        assert_eq!(outcome(&raw(to, "GET /health HTTP/1.0", &[])).0, 200);
        let two = raw(to, "GET /health HTTP/1.0", &["Host: a", "Host: b"]);
        assert_refused(&two, 400, "malformed-request", "HTTP/1.0");
    }
}

#[test]
fn a_start_without_a_host_starts_nothing() {
    let daemon = Daemon::start();
    let line = format!("POST {} HTTP/1.1", start_path("dependency"));
    let answer = raw(daemon.service, &line, &["Content-Length: 0"]);
    assert_refused(&answer, 400, "malformed-request", "a start");
    assert!(daemon.running().is_empty());
}

// === Targets ===

#[test]
fn equivalent_paths_are_the_same_route() {
    let daemon = Daemon::start();
    daemon.start_scenario("health_check", json!({ "status_code": 599 }));
    for path in [
        "/health",
        "/health/",
        "/%68ealth",
        "/%68%65alth/",
        "/health?a=%zz",
    ] {
        // The fault does not miss it either.
        assert_eq!(daemon.get(path).status, 599, "{path}");
        assert_eq!(daemon.admin_get(path).status, 200, "{path}");
    }
    for path in [
        "/api/v1/scenarios/cpu%5Fburner/status",
        "/api/v1/scenarios/cpu%5fburner/status/",
        "/%61pi/v1/scenarios/",
        "/api/v1/events/?limit=1",
        "/metrics/",
        "/docs/",
    ] {
        assert_eq!(daemon.admin_get(path).status, 200, "{path}");
    }
    for path in PROBES {
        assert_eq!(daemon.admin_get(&format!("{path}/")).status, 200, "{path}");
    }
    let start = daemon.post("/api/v1/scenarios/dependency/start/", "{}");
    assert_eq!(start.status, 200);
    // What is data stays data, and nothing is decoded twice.
    for (path, status, kind) in [
        ("/api%2Fv1/scenarios", 404, "unknown-route"),
        ("/api/v1/scenarios/cpu%2Fburner", 404, "unknown-scenario"),
        ("/%2568ealth", 404, "unknown-route"),
        ("/./health", 404, "unknown-route"),
        ("/x/%2e%2e/health", 404, "unknown-route"),
        ("//health", 404, "unknown-route"),
        ("/%", 400, "malformed-path"),
        ("/%6", 400, "malformed-path"),
        ("/health%zz", 400, "malformed-path"),
        ("/api/v1/scenarios/%ff", 400, "malformed-path"),
    ] {
        for to in [daemon.service, daemon.admin] {
            let answer = raw(to, &format!("GET {path} HTTP/1.1"), &["Host: a"]);
            assert_refused(&answer, status, kind, path);
        }
    }
}

#[test]
fn a_target_is_a_path_or_a_url() {
    let daemon = Daemon::start();
    for to in [daemon.service, daemon.admin] {
        for (line, status) in [
            ("GET http://a:1/health HTTP/1.1", 200),
            ("GET https://a/%68ealth/ HTTP/1.1", 200),
            ("GET http://a HTTP/1.1", 200),
            ("GET ftp://a/health HTTP/1.1", 400),
            ("GET http://user@a/health HTTP/1.1", 400),
            ("GET health HTTP/1.1", 400),
            ("GET a:80 HTTP/1.1", 400),
            ("GET * HTTP/1.1", 400),
            ("OPTIONS * HTTP/1.1", 404),
            ("CONNECT a:80 HTTP/1.1", 404),
        ] {
            assert_eq!(outcome(&raw(to, line, &["Host: b"])).0, status, "{line}");
        }
        // The host of the target counts, not that of the header.
        let browser = "Sec-Fetch-Site: same-origin";
        for (target, host, status) in [
            (
                "http://evil.example/api/v1/scenarios",
                "Host: localhost",
                403,
            ),
            (
                "http://localhost/api/v1/scenarios",
                "Host: evil.example",
                200,
            ),
        ] {
            let answer = raw(to, &format!("GET {target} HTTP/1.1"), &[host, browser]);
            assert_eq!(outcome(&answer).0, status, "{target}");
        }
        assert_eq!(
            outcome(&raw(to, "GET http://a/health HTTP/1.1", &[])).0,
            400
        );
    }
}

// === Versions and framing ===

#[test]
fn other_protocols_get_an_answer_that_says_http_1_1_only() {
    let daemon = Daemon::start();
    for to in [daemon.service, daemon.admin] {
        for version in ["HTTP/2.0", "HTTP/2", "HTTP/3.0", "HTTP/0.9", "HTTP/9.9"] {
            let answer = raw(to, &format!("GET /health {version}"), &["Host: a"]);
            assert_refused(&answer, 505, "unsupported-version", version);
        }
        // Frames of HTTP/2: no settings, and GOAWAY with its reason.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let answer = send_raw(to, preface);
        assert!(answer.starts_with("\0\0\0\x04\0\0\0\0\0\0\0"), "{answer:?}");
        assert!(answer.ends_with("HTTP/1.1 only."), "{answer:?}");
        let answer = send_raw(to, b"\x16\x03\x01\0\x05\x01\0\0\x01\0");
        assert_refused(&answer, 400, "malformed-request", "TLS");
        assert!(answer.contains("http://"), "{answer}");
        // After a request that was answered, on the same connection.
        let two = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/2.0\r\n\r\n";
        assert!(send_raw(to, two).starts_with("HTTP/1.1 200 "));
    }
    daemon.wait_for_log("a warning of TLS", |line| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("TLS"))
    });
}

/// Only what a connection begins with can be another protocol.
#[test]
fn a_later_line_that_names_another_version_is_no_request() {
    let daemon = Daemon::start();
    for to in [daemon.service, daemon.admin] {
        let begun = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /version HTTP/1.1\r\n";
        let mut stream = connect_and_write(to, begun);
        // The first answer shows that all of that was read.
        let mut first = [0; 4];
        stream.read_exact(&mut first).unwrap();
        let rest = b"Upgrade: HTTP/2.0\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(rest).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert!(answers.contains("HTTP/1.1 200 "), "{answers}");
        assert!(!answers.contains(" 505 "), "{answers}");
    }
}

#[test]
fn a_head_that_two_readers_could_read_in_two_ways_is_refused() {
    let daemon = Daemon::start();
    for to in [daemon.service, daemon.admin] {
        for lines in [
            &["Host : a"][..],
            &["Host: a", "X: a", " folded"],
            &["Host: a", "\tX: a"],
            &["Host: a", "X\0: a"],
            &["Host: a", "X: a\rY: b"],
            &["Host: a", ": a"],
            &["Host: a", "Content-Length: 1", "Content-Length: 2"],
            &["Host: a", "Content-Length: +1"],
            &["Host: a", "Content-Length: 1, 2"],
            &["Host: a", "Content-Length: -1"],
            &["Host: a", "Transfer-Encoding: gzip"],
            &["Host: a", "Transfer-Encoding: chunked, gzip"],
            &["Host: a", "Transfer-Encoding: xchunked"],
            &["Host: a", "Transfer-Encoding: gzip, chunked"],
            &[
                "Host: a",
                "Transfer-Encoding: gzip",
                "Transfer-Encoding: chunked",
            ],
        ] {
            let answer = raw(
                to,
                &format!("POST {} HTTP/1.1", start_path("dependency")),
                lines,
            );
            assert_refused(&answer, 400, "malformed-request", &format!("{lines:?}"));
        }
        // Chunks go before a length, and the connection ends, as RFC 9112, section 6.1, demands.
        let both = b"POST /api/v1/rearm HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
            Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = send_raw(to, both);
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 1, "{answer}");
        let old = raw(
            to,
            "POST /api/v1/rearm HTTP/1.0",
            &["Transfer-Encoding: chunked"],
        );
        assert_refused(&old, 400, "malformed-request", "chunks in HTTP/1.0");
    }
    assert!(daemon.running().is_empty());
}

// === Caches ===

/// An answer of `path` on `to`: its status and headers.
fn headers_of(
    method: &str,
    to: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> (u16, HeaderMap) {
    let response = send(&agent(), method, to, path, b"", headers);
    (response.status().as_u16(), response.headers().clone())
}

#[test]
fn every_answer_says_whether_a_cache_may_keep_it() {
    let daemon = Daemon::start();
    let document = daemon.admin_get("/openapi.json").body;
    let described = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str);
    let paths = described.chain(["/", "/nothing", "/%zz", "/health/"]);
    for path in paths.filter(|path| !["/api/v1/events/stream", "/api/v1/live"].contains(path)) {
        let path = path.replace("{name}", "crash").replace("{id}", "none");
        let is_fixed = ["/docs", "/openapi.json"].contains(&path.as_str());
        for to in [daemon.service, daemon.admin] {
            for method in ["GET", "HEAD", "DELETE"] {
                let (status, headers) = headers_of(method, to, &path, &[]);
                let expected = if is_fixed && status == 200 {
                    "no-cache"
                } else {
                    "no-store"
                };
                assert_eq!(headers["cache-control"], expected, "{method} {path}");
                assert_eq!(
                    headers.contains_key("etag"),
                    expected == "no-cache",
                    "{method} {path}"
                );
            }
        }
    }
    let stop = send(
        &agent(),
        "POST",
        daemon.service,
        "/api/v1/composite/stop",
        b"",
        &[],
    );
    assert_eq!(header_of(&stop, "cache-control"), "no-store");
    daemon.start_scenario("health_check", json!({}));
    let (status, headers) = headers_of("GET", daemon.service, "/health", &[]);
    assert_eq!(
        (status, headers["cache-control"].as_bytes()),
        (503, &b"no-store"[..])
    );
}

#[test]
fn the_description_is_sent_again_only_if_it_has_changed() {
    let daemon = Daemon::start();
    for path in ["/docs", "/openapi.json"] {
        let (_, headers) = headers_of("GET", daemon.service, path, &[]);
        let etag = headers["etag"].to_str().unwrap();
        let any = format!("\"x\", {etag}");
        for method in ["GET", "HEAD"] {
            for (list, status) in [
                (etag, 304),
                (&any, 304),
                ("*", 304),
                ("\"x\"", 200),
                ("", 200),
            ] {
                let asked = [("if-none-match", list)];
                let (found, headers) = headers_of(method, daemon.service, path, &asked);
                assert_eq!(found, status, "{method} {path} {list}");
                assert_eq!(headers["etag"], etag);
                let has_length = headers.contains_key("content-length");
                assert!(status == 200 || !has_length, "{method} {path} {list}");
                assert_eq!(headers["cache-control"], "no-cache");
                assert_eq!(headers["vary"], "accept-encoding");
                // A page that is kept has its own nonce.
                let has_policy = headers.contains_key("content-security-policy");
                assert_eq!(has_policy, path == "/docs" && status == 200);
            }
        }
    }
}

// === Compression ===

#[test]
fn reads_of_the_api_are_compressed_where_asked_for_and_nothing_else_is() {
    let daemon = Daemon::start();
    let coding = |to, path: &str, accepted: &str| {
        let (status, headers) = headers_of("GET", to, path, &[("accept-encoding", accepted)]);
        assert_eq!(status, 200, "{path}");
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        (text("content-encoding"), text("vary"))
    };
    let (gzip, vary) = (Some("gzip".to_owned()), Some("accept-encoding".to_owned()));
    for to in [daemon.service, daemon.admin] {
        for path in [
            "/metrics",
            "/openapi.json",
            "/docs",
            "/api/v1/events",
            "/api/v1/scenarios",
        ] {
            for accepted in ["gzip", "br, GZIP;q=0.5", "*;q=0, gzip"] {
                assert_eq!(
                    coding(to, path, accepted),
                    (gzip.clone(), vary.clone()),
                    "{path}"
                );
            }
            for accepted in ["identity", "br", "gzip;q=0", ""] {
                assert_eq!(
                    coding(to, path, accepted),
                    (None, vary.clone()),
                    "{path} {accepted}"
                );
            }
            let nothing = [("accept-encoding", "*;q=0")];
            let refused = send(&agent(), "GET", to, path, b"", &nothing);
            assert_problem(Answer::read(refused), 406, "not-acceptable", path);
        }
        for path in ["/health", "/api/v1/mock-service", "/version"] {
            assert_eq!(coding(to, path, "gzip"), (None, None), "{path}");
        }
    }
    let stream =
        "GET /api/v1/events/stream?since=0 HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
    let mut head = [0; 100];
    let mut connection = connect_and_write(daemon.admin, stream.as_bytes());
    std::io::Read::read_exact(&mut connection, &mut head).unwrap();
    assert!(!String::from_utf8_lossy(&head).contains("gzip"));
}

// === Bodies ===

#[test]
fn a_body_is_read_with_a_byte_order_mark_and_under_any_type() {
    let daemon = Daemon::start();
    let path = start_path("network_latency");
    let post = |body: &[u8], headers: &[(&str, &str)]| {
        Answer::read(send(&agent(), "POST", daemon.service, &path, body, headers))
    };
    for (body, headers) in [
        (&b"\xef\xbb\xbf{\"latency_ms\": 1}"[..], &[][..]),
        (b"\xef\xbb\xbf", &[]),
        (
            b"{}",
            &[("content-type", "application/x-www-form-urlencoded")],
        ),
        (b"{}", &[("content-type", "text/plain; charset=\"UTF-8\"")]),
        (b"{}", &[("content-encoding", "identity")]),
        // There is nothing that could be compressed.
        (
            b"",
            &[
                ("content-encoding", "gzip"),
                ("content-type", "a/b; charset=latin1"),
            ],
        ),
    ] {
        assert_eq!(post(body, headers).status, 200, "{headers:?}");
    }
}

#[test]
fn a_body_that_is_not_plain_utf_8_is_415_in_words() {
    let daemon = Daemon::start();
    let refused = |path: &str, body: &[u8], headers: &[(&str, &str)], coding: bool, word: &str| {
        for to in [daemon.service, daemon.admin] {
            let response = send(&agent(), "POST", to, path, body, headers);
            let accepted = header_of(&response, "accept-encoding");
            assert_eq!(
                accepted,
                if coding { "identity" } else { "" },
                "{headers:?}"
            );
            let problem =
                assert_problem(Answer::read(response), 415, "unsupported-media-type", word);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(word), "{word}: {detail}");
        }
    };
    for path in [
        "/api/v1/composite/start",
        "/api/v1/scenarios/crash/start",
        "/api/v1/halt",
    ] {
        for coding in ["gzip", "br", "deflate", "zstd", "x-gzip", "identity, gzip"] {
            refused(
                path,
                b"{}",
                &[("content-encoding", coding)],
                true,
                "compressed",
            );
        }
        refused(path, b"\x1f\x8b\x08\0\0\0\0\0", &[], true, "gzip");
        refused(path, b"\x28\xb5\x2f\xfd\0", &[], true, "zstd");
        refused(path, b"\x78\x9c\xab\xae", &[], true, "deflate");
        for charset in ["ISO-8859-1", "utf-16", "\"windows-1252\""] {
            let of = format!("application/json; charset={charset}");
            refused(path, b"{}", &[("content-type", &of)], false, "send UTF-8");
        }
        refused(path, b"\xff\xfe{\0}\0", &[], false, "UTF-16");
        refused(path, b"\0{\0}", &[], false, "UTF-16");
    }
    assert!(daemon.running().is_empty());
}

// === Hints ===

#[test]
fn a_body_of_another_form_is_named_and_the_json_is_shown() {
    let daemon = Daemon::start();
    for (body, looks_like, json) in [
        ("target_percent=80", "form", r#"{"target_percent":80}"#),
        (
            "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--b--",
            "multipart",
            r#"{"a":1}"#,
        ),
        (
            "{'target_percent': 80}",
            "double quotes",
            r#"{"target_percent":80}"#,
        ),
        (
            "{target_percent: 80}",
            "double quotes",
            r#"{"target_percent":80}"#,
        ),
        ("target_percent: 80", "YAML", r#"{"target_percent":80}"#),
        (
            "<target_percent>80</target_percent>",
            "XML",
            "Send JSON, such as {",
        ),
        ("<!DOCTYPE html>", "HTML", "Send JSON, such as {"),
        ("'{target_percent:", "cmd.exe", "Send JSON, such as {"),
        ("@params.json", "name of a file", "Send JSON, such as {"),
    ] {
        for path in [
            &start_path("cpu_burner"),
            "/api/v1/composite/start",
            "/api/v1/composite/stop",
        ] {
            let problem = assert_problem(daemon.post(path, body), 400, "malformed-body", body);
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains(looks_like) && detail.contains(json),
                "{body}: {detail}"
            );
        }
    }
    assert!(daemon.running().is_empty());
}

#[test]
fn a_wrong_method_is_answered_with_the_command_that_works() {
    let daemon = Daemon::start();
    let document = daemon.admin_get("/openapi.json").body;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{name}", "crash").replace("{id}", "session-1");
        let posts = format!("curl -X POST http://{}{path}", daemon.service);
        let (wrong, command) = match (methods.get("post"), methods.get("get")) {
            (Some(_), Some(_)) => ("PUT", posts),
            (Some(_), None) => ("GET", posts),
            (None, _) => ("POST", format!("curl http://{}{path}", daemon.service)),
        };
        let answer = daemon.ask(wrong, daemon.service, &path, b"");
        let problem = assert_problem(answer, 405, "method-not-allowed", &path);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.ends_with(&command), "{detail}");
    }
}

#[test]
fn a_path_near_a_route_is_answered_with_the_route() {
    let daemon = Daemon::start();
    for (path, meant) in [
        ("/api/v1/scenario", "/api/v1/scenarios?"),
        (
            "/scenarios/cpu_burner/start",
            "/api/v1/scenarios/cpu_burner/start?",
        ),
        (
            "/api/v1/scenarios/cpu-burner/strat",
            "/api/v1/scenarios/cpu_burner/start?",
        ),
        ("/API/v1/composite/status", "/api/v1/composite/status?"),
        ("/Health", "/health?"),
        ("/api", "GET /docs"),
        ("/favicon.ico", "GET /docs"),
    ] {
        for to in [daemon.service, daemon.admin] {
            let problem = assert_problem(
                daemon.ask("POST", to, path, b""),
                404,
                "unknown-route",
                path,
            );
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(meant), "{detail}");
        }
    }
}

// === Browsers ===

/// What a browser sends with a request of a page.
const PAGE: (&str, &str) = ("sec-fetch-site", "same-origin");
/// What it sends where it does not say who made the request.
const BROWSER: [(&str, &str); 2] = [
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", "en"),
];

#[test]
fn no_page_of_a_rebound_name_reads_the_control_api() {
    let daemon = Daemon::start_with("Auth: {AllowedHosts: [mock.example]}\n", &[]);
    let document = daemon.admin_get("/openapi.json").body;
    let paths = document["paths"].as_object().unwrap();
    let guarded = paths.iter().flat_map(|(path, methods)| {
        methods
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, operation)| operation["security"].is_array())
            .map(move |(m, _)| (path, m))
    });
    let guarded: Vec<_> = guarded.collect();
    assert!(guarded.iter().any(|(_, method)| *method == "get"));
    let status = |to, method: &str, path: &str, headers: &[(&str, &str)]| {
        let path = path
            .replace("{name}", "dependency")
            .replace("{id}", "session-1");
        send(&agent(), &method.to_uppercase(), to, &path, b"", headers)
            .status()
            .as_u16()
    };
    let evil = ("host", "evil.example");
    for to in [daemon.service, daemon.admin] {
        for (path, method) in &guarded {
            for headers in [&[evil, PAGE][..], &[evil, BROWSER[0], BROWSER[1]]] {
                assert_eq!(status(to, method, path, headers), 403, "{method} {path}");
            }
        }
        for headers in [
            &[evil][..],
            &[evil, ("sec-fetch-site", "none")],
            &[("host", "mock.example:80"), PAGE],
            &[("host", "localhost"), PAGE],
            &[PAGE],
            &BROWSER,
        ] {
            for path in [
                "/api/v1/sessions",
                "/api/v1/scenarios",
                "/metrics",
                "/api/v1/events",
            ] {
                assert_eq!(status(to, "get", path, headers), 200, "{headers:?} {path}");
            }
        }
        for path in [
            "/health",
            "/ready",
            "/api/v1/mock-service",
            "/version",
            "/docs",
            "/openapi.json",
        ] {
            assert_eq!(status(to, "get", path, &[evil, PAGE]), 200, "{path}");
        }
    }
}
