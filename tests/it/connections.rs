//! Clients that hold connections and send nothing, and what they cost all others.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, eventually, exclusive, request, send_raw};

/// How long the request of another client may take while connections are held: what a busy machine may need, and far
/// less than any timeout that closes a connection.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The daemon gives up an incomplete head or body within this time, on a busy machine too.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(16);
/// The memory that a connection may take while a request arrives.
const MOST_MB: f64 = 32.0 / 1024.0;
const GET: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// Opens connections that send `bytes` and nothing else.
fn held(to: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    // The test needs as many descriptors as the daemon.
    raise_file_limit(count as u64 + 500);
    (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            // A connection that is closed already shows that when it is read.
            stream.write_all(bytes).ok();
            stream
        })
        .collect()
}

/// Everything that arrives until the daemon closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the daemon did not close the connection: {error}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Sends a request over a new connection and checks that the answer comes at once.
fn assert_prompt(method: &str, to: SocketAddr, path: &str, body: &str) -> Value {
    let begin = Instant::now();
    let answer = request(method, to, path, body, &[]);
    let took = begin.elapsed();
    assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
    assert!(took < AT_ONCE, "{method} {path} took {took:?}");
    answer.body
}

/// Checks that probes and control answer at once, over new connections.
fn assert_others_are_served(daemon: &Daemon) {
    for to in [daemon.service, daemon.admin] {
        assert_prompt("GET", to, "/health", "");
        assert_prompt("POST", to, "/api/v1/scenarios/dependency/start", "{}");
        let status = assert_prompt("GET", to, "/api/v1/scenarios/dependency/status", "");
        assert_eq!(status["running"], true);
        assert_prompt("POST", to, "/api/v1/scenarios/dependency/stop", "");
    }
}

// === Incomplete requests ===

#[test]
fn a_thousand_incomplete_requests_disturb_no_other_client_and_time_out() {
    let turn = exclusive();
    let daemon = Daemon::start();
    assert_others_are_served(&daemon);
    // Opens the connections of the test itself, which stay open.
    daemon.get("/health");
    daemon.admin_get("/health");
    let process = daemon.process();
    let (files, resident) = (process.open_files(), process.resident_mb());
    // A request that waits for its answer must not time out.
    daemon.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    let mut waiting = held(daemon.service, 1, GET);
    daemon.wait_for_delayed_requests(1);

    let begin = Instant::now();
    let head = format!("GET /health HTTP/1.1\r\nX: {}", "x".repeat(10_000));
    let mut heads = held(daemon.service, 1_000, head.as_bytes());
    heads.append(&mut held(daemon.service, 200, b""));
    heads.append(&mut held(daemon.admin, 100, &head.as_bytes()[..30]));
    daemon.stop_scenario("network_latency");
    let mut first = [0; 12];
    waiting[0].read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_others_are_served(&daemon);
    let more = process.resident_mb() - resident;
    assert!(
        more < MOST_MB * heads.len() as f64,
        "{} connections take {more} MiB",
        heads.len()
    );
    // The rest is waiting, which disturbs no other test.
    drop(turn);
    for stream in &mut heads {
        assert_eq!(rest(stream), "");
    }
    assert!(begin.elapsed() < GIVEN_UP_WITHIN, "{:?}", begin.elapsed());
    drop((heads, waiting));
    eventually("the files are closed", || {
        (process.open_files() <= files).then_some(())
    });
}

#[test]
fn a_body_that_does_not_arrive_is_answered_with_408() {
    let daemon = Daemon::start();
    let begin = Instant::now();
    let request =
        "POST /api/v1/composite/start HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    let text = send_raw(daemon.service, request.as_bytes());
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(
        text.contains("urn:mockserver:problem:body-too-slow"),
        "{text}"
    );
    assert!(begin.elapsed() < GIVEN_UP_WITHIN, "{:?}", begin.elapsed());
}

#[test]
fn a_flood_of_large_bodies_takes_no_more_than_its_share_of_memory() {
    const FLOOD: usize = 400;
    const LARGE_BODIES_MB: f64 = 8.0;
    let _turn = exclusive();
    let daemon = Daemon::start();
    assert_others_are_served(&daemon);
    let base = daemon.process().resident_mb();
    let path = "/api/v1/composite/start";
    let mut half = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n");
    half += &" ".repeat(60_000);
    let flood = held(daemon.service, FLOOD, half.as_bytes());
    let refused = |stream: &TcpStream| {
        let mut text = [0; 12];
        stream.set_nonblocking(true).unwrap();
        stream.peek(&mut text).is_ok() && &text == b"HTTP/1.1 503"
    };
    eventually("half of the flood is refused", || {
        (flood.iter().filter(|stream| refused(stream)).count() >= FLOOD / 2).then_some(())
    });
    let most = base + FLOOD as f64 * MOST_MB + LARGE_BODIES_MB;
    let resident = daemon.process().resident_mb();
    assert!(resident <= most, "{resident} MiB where {most} are the most");
    // Small bodies are still read, and large ones again later.
    assert_others_are_served(&daemon);
    let mut refusal = flood.iter().find(|stream| refused(stream)).unwrap();
    refusal.set_nonblocking(false).unwrap();
    let mut text = [0; 1024];
    let length = refusal.read(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text[..length]);
    assert!(
        text.contains("urn:mockserver:problem:too-many-bodies"),
        "{text}"
    );
    // The other listener has its own share.
    let large = format!("{{\"latency_ms\": 1{}}}", " ".repeat(5_000));
    let start = "/api/v1/scenarios/network_latency/start";
    assert_eq!(daemon.admin_post(start, &large).status, 200);
    daemon.stop_all();
    drop(flood);
    eventually("a large body is read again", || {
        (daemon.post(start, &large).status == 200).then_some(())
    });
}

#[test]
fn an_answer_to_an_unread_body_announces_that_the_connection_closes() {
    let daemon = Daemon::start();
    for (path, status) in [("/nothing", 404), ("/health", 405)] {
        let half = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n");
        let answer = send_raw(daemon.service, half.as_bytes());
        let head = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&head), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
    // After a body that was read the connection stays open.
    let two = b"POST /api/v1/rearm HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}\
        GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = send_raw(daemon.service, two);
    let (first, second) = answers.split_once("HTTP/1.1 404 ").expect("two answers");
    assert!(first.starts_with("HTTP/1.1 200 "), "{answers}");
    assert!(!first.contains("connection: close"), "{answers}");
    assert!(second.contains("connection: close"), "{answers}");
}

#[test]
fn a_head_that_cannot_be_read_is_refused_with_a_problem() {
    let daemon = Daemon::start();
    let refused = |request: &str, status: u16, kind: &str| {
        let mut stream = held(daemon.service, 1, request.as_bytes());
        let text = rest(&mut stream[0]);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("content-type: application/problem+json"),
            "{head}"
        );
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:mockserver:problem:{kind}"));
    };
    for head in [
        format!("X: {}\r\n", "x".repeat(20_000)),
        "X: x\r\n".repeat(101),
    ] {
        let request = format!("GET /health HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        refused(&request, 431, "head-too-large");
    }
    refused(
        &format!("GET /{}", "x".repeat(20_000)),
        431,
        "head-too-large",
    );
    for request in [
        "no request\r\n\r\n",
        "GET /health HTTP/1.1\r\nno header\r\n\r\n",
        "GET /health HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ] {
        refused(request, 400, "malformed-request");
    }
    assert_others_are_served(&daemon);
}

#[test]
fn pipelined_garbage_is_refused_and_disturbs_no_other_client() {
    let daemon = Daemon::start();
    let mut garbage = GET.to_vec();
    garbage.extend(b"\0\xff garbage ".repeat(2_000));
    let mut all = held(daemon.service, 100, &garbage);
    assert_others_are_served(&daemon);
    for stream in &mut all {
        let text = rest(stream);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 200 "),
            "{text}"
        );
    }
}

// === Clients that end their side ===

/// Sends `bytes`, ends this side of the connection, and returns all that comes back.
fn half_closed(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = held(to, 1, bytes).remove(0);
    stream.shutdown(Shutdown::Write).unwrap();
    rest(&mut stream)
}

#[test]
fn a_request_is_answered_after_its_client_has_ended_its_side() {
    let daemon = Daemon::start();
    for to in [daemon.service, daemon.admin] {
        let slow = b"GET /api/v1/test/sleep30ms HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = half_closed(to, slow);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("slept for 30 ms"), "{answer}");
        let old = b"GET /api/v1/test/sleep30ms HTTP/1.0\r\n\r\n";
        let answer = half_closed(to, old);
        assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
        let answers = half_closed(to, &[slow.as_slice(), GET, slow].concat());
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 3, "{answers}");
        for path in ["scenarios/dependency/start", "composite/stop"] {
            let request =
                format!("POST /api/v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}");
            let answer = half_closed(to, request.as_bytes());
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        }
        assert_eq!(
            daemon.events_of("cleared").len(),
            1 + usize::from(to == daemon.admin)
        );
    }
}

#[test]
fn a_stream_goes_on_after_its_client_has_ended_its_side() {
    let daemon = Daemon::start();
    let request = b"GET /api/v1/events/stream?since=0 HTTP/1.1\r\nHost: x\r\n\r\n";
    let stream = held(daemon.admin, 1, request).remove(0);
    stream.shutdown(Shutdown::Write).unwrap();
    daemon.start_scenario("dependency", json!({}));
    let mut text = String::new();
    let mut lines = BufReader::new(stream);
    while !text.contains("started") {
        assert!(lines.read_line(&mut text).unwrap() > 0, "{text}");
    }
}

#[test]
fn a_delayed_request_is_dropped_once_its_client_is_gone_and_not_while_it_waits() {
    let daemon = Daemon::start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    // Opens the connection of the test itself.
    daemon.session();
    let files = daemon.process().open_files();
    let mut gone = held(daemon.service, 20, &GET.repeat(2));
    gone.append(&mut held(daemon.service, 20, GET));
    let mut waiting = held(daemon.service, 2, &GET.repeat(2));
    waiting.append(&mut held(daemon.service, 2, GET));
    daemon.wait_for_delayed_requests(44);
    for one_of_each in [1, 3] {
        waiting[one_of_each].shutdown(Shutdown::Write).unwrap();
    }
    drop(gone);
    let process = daemon.process();
    eventually("the connections are closed", || {
        (process.open_files() <= files + waiting.len()).then_some(())
    });
    daemon.stop_scenario("network_latency");
    for stream in &mut waiting {
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
    }
    let rest_of_the_one_that_ended = rest(&mut waiting[3]);
    assert!(
        rest_of_the_one_that_ended.ends_with("healthy\"}"),
        "{rest_of_the_one_that_ended}"
    );
}

// === More connections than there are descriptors ===

#[test]
fn with_every_descriptor_taken_both_listeners_answer_at_once() {
    for admin in [false, true] {
        let daemon = Daemon::builder()
            .wrapper(&["prlimit", "--nofile=64"])
            .start();
        let to = if admin { daemon.admin } else { daemon.service };
        let _idle = held(to, 200, b"");
        for _ in 0..3 {
            assert_others_are_served(&daemon);
        }
        // Faults and the ledger can still open files.
        daemon.start_scenario("disk_io", json!({ "write_rate_mb": 1 }));
        daemon.start_scenario("goroutine_leak", json!({}));
        let events = daemon.admin_get("/api/v1/events").body;
        assert_eq!(events["durable"], true, "{events}");
        assert_eq!(daemon.stop_all().status, 200);
    }
}

#[test]
fn a_stop_gets_through_while_all_other_connections_are_delayed() {
    let daemon = Daemon::builder()
        .wrapper(&["prlimit", "--nofile=64"])
        .start();
    daemon.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    let _waiting = held(daemon.service, 100, GET);
    daemon.wait_for_metric("network_latency", "delayed_requests", |n| n >= 24.0);
    assert_prompt("POST", daemon.service, "/api/v1/composite/stop", "");
}

#[test]
fn the_admin_listener_answers_after_the_file_limit_falls_below_the_open_files() {
    let daemon = Daemon::start();
    // Each listener opens what it needs with its first connection.
    for to in [daemon.service, daemon.admin] {
        assert_prompt("GET", to, "/health", "");
    }
    let mut last = 0;
    let files = eventually("the connections are closed", || {
        let now = daemon.process().open_files();
        (std::mem::replace(&mut last, now) == now).then_some(now)
    });
    let _idle = held(daemon.service, 50, b"");
    eventually("all are accepted", || {
        (daemon.process().open_files() >= files + 50).then_some(())
    });
    daemon.process().limit("nofile", files as u64);
    let used = daemon.process().live_cpu();
    let begin = Instant::now();
    for _ in 0..5 {
        assert_prompt("GET", daemon.admin, "/api/v1/composite/status", "");
    }
    // A connection that cannot be accepted must not keep a thread busy.
    let _more = held(daemon.service, 20, b"");
    while begin.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(100));
    }
    let used = daemon.process().live_cpu() - used;
    assert!(used < Duration::from_millis(500), "{used:?} of CPU");
}

/// Raises the file limit of the test itself.
fn raise_file_limit(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    assert!(
        limit.maximum.is_none_or(|most| most >= files),
        "`ulimit -Hn` must be at least {files}"
    );
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit up to the hard one");
}
