//! What faults on requests do, as a client's socket sees it, and to which requests.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Answer, Daemon, agent, connect_and_write, eventually, exclusive, header_of, send,
};

/// A service with a route that answers with some JSON.
const ORDERS: &str =
    "Workload: {Seed: 7, Routes: [{Path: '/api/orders/{id}', ResponseBytes: 300}]}\n";
/// Requests with this header are touched, where a test matches it.
const BLUE: &str = "x-tenant: blue\r\n";

fn orders() -> Daemon {
    Daemon::builder().file(ORDERS).start()
}

/// A match of the requests that have the header [`BLUE`].
fn blue() -> Value {
    json!({ "headers": { "x-tenant": "blue" } })
}

fn request(headers: &str) -> String {
    format!("GET /api/orders/7 HTTP/1.1\r\nHost: orders\r\n{headers}\r\n")
}

/// The bytes that come until the end of the connection, and whether that is a reset.
fn until_the_end(mut stream: TcpStream) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let mut some = [0; 4096];
    loop {
        match stream.read(&mut some) {
            Ok(0) => return (all, false),
            Ok(n) => all.extend(&some[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return (all, true),
            Err(error) => panic!("neither the end nor a reset: {error}"),
        }
    }
}

/// Reads one whole answer and leaves the connection open: its head and its body.
fn one_answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut body = vec![0; promised(&head)];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

/// The `Content-Length` of a head.
fn promised(head: &str) -> usize {
    let mut lines = head.lines();
    let length = lines.find_map(|line| line.strip_prefix("content-length: "));
    length.unwrap().parse().unwrap()
}

/// A matched request on a new connection, and one after another request on the same.
fn first_and_later(daemon: &Daemon) -> [TcpStream; 2] {
    let first = connect_and_write(daemon.service, request(BLUE).as_bytes());
    let mut later = connect_and_write(daemon.service, request("").as_bytes());
    assert!(one_answer(&mut later).0.starts_with("HTTP/1.1 200 "));
    later.write_all(request(BLUE).as_bytes()).unwrap();
    [first, later]
}

fn abort(daemon: &Daemon, mode: &str, more: Value) {
    let mut params = json!({ "mode": mode, "match": blue() });
    let more = more.as_object().cloned().unwrap_or_default();
    params.as_object_mut().unwrap().extend(more);
    daemon.start_scenario("connection_abort", params);
}

// === connection_abort ===

#[test]
fn a_reset_and_a_close_leave_no_byte_and_end_the_connection_in_their_way() {
    let daemon = orders();
    for (mode, is_reset) in [("reset", true), ("close", false)] {
        abort(&daemon, mode, json!({}));
        for stream in first_and_later(&daemon) {
            assert_eq!(until_the_end(stream), (Vec::new(), is_reset), "{mode}");
        }
        let metrics = daemon.status("connection_abort")["metrics"].clone();
        assert_eq!(metrics["aborted_requests"], 2, "{metrics}");
    }
}

#[test]
fn garbage_is_not_http_and_ends_the_connection() {
    let daemon = orders();
    abort(&daemon, "garbage", json!({}));
    for stream in first_and_later(&daemon) {
        let alert = vec![0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x50];
        assert_eq!(until_the_end(stream), (alert, false));
    }
}

#[test]
fn a_truncated_body_ends_at_its_byte_under_a_head_that_promises_all() {
    let daemon = orders();
    for (more, sent) in [
        (json!({}), 150),
        (json!({ "after_bytes": 7 }), 7),
        (json!({ "after_bytes": 0 }), 0),
    ] {
        abort(&daemon, "truncate", more);
        for stream in first_and_later(&daemon) {
            let (bytes, is_reset) = until_the_end(stream);
            let text = String::from_utf8(bytes).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!((promised(head), body.len(), is_reset), (300, sent, false));
        }
    }
    // What is not longer stays.
    abort(&daemon, "truncate", json!({ "after_bytes": 300 }));
    for mut stream in first_and_later(&daemon) {
        assert_eq!(one_answer(&mut stream).1.len(), 300);
    }
    let metrics = daemon.status("connection_abort")["metrics"].clone();
    assert_eq!(
        (&metrics["matched_requests"], &metrics["aborted_requests"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn a_large_body_is_cut_at_its_byte_too() {
    let large = ORDERS.replace("300", "1000000");
    let daemon = Daemon::builder().file(&large).start();
    abort(&daemon, "truncate", json!({ "after_bytes": 700_000 }));
    let [first, _] = first_and_later(&daemon);
    let (bytes, is_reset) = until_the_end(first);
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    assert_eq!(
        (bytes.len() - head.unwrap() - 4, is_reset),
        (700_000, false)
    );
}

#[test]
fn a_body_drips_at_its_rate_and_a_stop_sends_the_rest() {
    let daemon = orders();
    abort(&daemon, "drip", json!({ "bytes_per_second": 400 }));
    let start = Instant::now();
    for mut stream in first_and_later(&daemon) {
        let (head, body) = one_answer(&mut stream);
        assert_eq!((promised(&head), body.len()), (300, 300));
    }
    // Both at once, three quarters of a second each.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(740), "{took:?}");
    abort(&daemon, "drip", json!({ "bytes_per_second": 0.1 }));
    let [mut first, _] = first_and_later(&daemon);
    let head = eventually_head(&mut first);
    assert_eq!(promised(&head), 300);
    daemon.stop_all();
    let mut body = vec![0; 300];
    first.read_exact(&mut body).unwrap();
    let whole: Value = serde_json::from_slice(&body).unwrap();
    assert!(whole["items"].is_array());
}

/// Reads a head byte by byte.
fn eventually_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn a_stop_frees_every_hung_request_and_each_is_served() {
    const HUNG: usize = 1000;
    let _turn = exclusive();
    let daemon = orders();
    abort(&daemon, "hang", json!({}));
    let hung: Vec<_> = (0..HUNG)
        .map(|_| connect_and_write(daemon.service, request(BLUE).as_bytes()))
        .collect();
    daemon.wait_for_metric("connection_abort", "aborted_requests", |hung| {
        hung == HUNG as f64
    });
    // The others are served meanwhile.
    assert_eq!(daemon.get("/api/orders/8").status, 200);
    let start = Instant::now();
    daemon.stop_all();
    for mut stream in hung {
        let (head, body) = one_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body.len(), 300);
    }
    let took = start.elapsed();
    // The benchmark has the bar of one second.
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_hung_request_whose_client_leaves_gives_its_connection_back() {
    let daemon = orders();
    abort(&daemon, "hang", json!({}));
    // Opens the connection of the test itself.
    daemon.session();
    let before = daemon.process().open_files();
    let hung = connect_and_write(daemon.service, request(BLUE).as_bytes());
    daemon.wait_for_metric("connection_abort", "aborted_requests", |hung| hung == 1.0);
    drop(hung);
    eventually("the connection is closed", || {
        (daemon.process().open_files() <= before).then_some(())
    });
}

#[test]
fn connections_that_a_fault_ends_free_their_slots() {
    let daemon = Daemon::builder()
        .wrapper(&["prlimit", "--nofile=64"])
        .file(ORDERS)
        .start();
    for mode in ["reset", "close", "truncate", "garbage"] {
        abort(&daemon, mode, json!({}));
        // More than the listener may have at once.
        for _ in 0..40 {
            let stream = connect_and_write(daemon.service, request(BLUE).as_bytes());
            until_the_end(stream);
        }
        assert_eq!(daemon.get("/api/orders/8").status, 200, "{mode}");
    }
}

#[test]
fn a_request_body_that_nothing_reads_turns_no_close_into_a_reset() {
    let daemon = orders();
    daemon.start_scenario("connection_abort", json!({ "mode": "close" }));
    let body = "x".repeat(50_000);
    let length = body.len();
    let post =
        format!("POST /api/orders/7 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let stream = connect_and_write(daemon.service, (post + &body).as_bytes());
    assert_eq!(until_the_end(stream), (Vec::new(), false));
}

#[test]
fn curl_names_each_end_by_its_exit_code() {
    let daemon = orders();
    let url = format!("http://{}/api/orders/7", daemon.service);
    for (mode, expected) in [
        ("reset", 56),
        ("close", 52),
        ("truncate", 18),
        ("hang", 28),
        ("garbage", 1),
    ] {
        abort(&daemon, mode, json!({}));
        let curl = Command::new("curl")
            .args([
                "-s",
                "-o",
                "/dev/null",
                "--max-time",
                "1",
                "-H",
                BLUE.trim(),
            ])
            .arg(&url)
            .status();
        let code = curl.expect("curl").code().unwrap();
        assert_eq!(code, expected, "{mode}");
        daemon.stop_all();
    }
}

// === network_latency ===

fn took(daemon: &Daemon, headers: &str) -> Duration {
    let start = Instant::now();
    let mut stream = connect_and_write(daemon.service, request(headers).as_bytes());
    one_answer(&mut stream);
    start.elapsed()
}

#[test]
fn only_matched_requests_wait_and_matched_and_touched_are_counted_apart() {
    let daemon = orders();
    let mut selection = blue();
    selection["every"] = json!(2);
    let params = json!({ "latency_ms": 400, "match": selection });
    daemon.start_scenario("network_latency", params);
    let waits: Vec<bool> = (0..4)
        .map(|_| took(&daemon, BLUE) >= Duration::from_millis(400))
        .collect();
    assert_eq!(waits, [false, true, false, true]);
    let start = Instant::now();
    for _ in 0..20 {
        took(&daemon, "");
    }
    assert!(start.elapsed() < Duration::from_secs(8));
    let status = daemon.status("network_latency");
    let metrics = &status["metrics"];
    assert_eq!(
        (&metrics["matched_requests"], &metrics["delayed_requests"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(status["effect"]["asked"], 400.0);
}

#[test]
fn uniform_jitter_stays_in_its_range_and_a_seed_repeats_it() {
    let daemon = orders();
    let run = || {
        let params = json!({ "latency_ms": 40, "jitter_ms": 30, "seed": 5, "match": blue() });
        daemon.start_scenario("network_latency", params);
        for _ in 0..20 {
            assert!(took(&daemon, BLUE) >= Duration::from_millis(10));
        }
        let mean = daemon.status("network_latency")["metrics"]["mean_added_ms"].as_f64();
        mean.unwrap()
    };
    let (first, second) = (run(), run());
    assert!(first >= 10.0, "{first}");
    // The waits are the same; what the machine adds is not.
    assert!((first - second).abs() < 20.0, "{first} {second}");
}

#[test]
fn a_law_by_quantiles_is_spread_and_its_status_has_the_mean() {
    let daemon = orders();
    let params = json!({ "p50_ms": 20, "p99_ms": 200, "seed": 1 });
    let started = daemon.start_scenario("network_latency", params.clone());
    assert_eq!(started["details"][0]["params"], params);
    let times: BTreeSet<u128> = (0..20).map(|_| took(&daemon, "").as_millis()).collect();
    assert!(times.len() > 5, "{times:?}");
    // 20 ms times the exponential of half the variance of the logarithms.
    let asked = daemon.status("network_latency")["effect"]["asked"].as_f64();
    assert!((asked.unwrap() - 32.6).abs() < 0.1, "{asked:?}");
    for wrong in [
        json!({ "p50_ms": 20, "p99_ms": 10 }),
        json!({ "p50_ms": 20, "p99_ms": 30, "latency_ms": 5 }),
        json!({ "p50_ms": 20 }),
        json!({ "distribution": "pareto" }),
        json!({ "distribution": "fixed", "jitter_ms": 3 }),
    ] {
        let answer = daemon.try_start("network_latency", wrong.clone());
        assert_eq!(answer.status, 422, "{wrong}: {answer:?}");
    }
    assert_eq!(daemon.status("network_latency")["running"], true);
}

#[test]
fn what_is_asked_of_a_shape_is_its_value_now() {
    let daemon = orders();
    let ramp = |from: f64, to: f64| json!({ "ramp": { "from": from, "to": to, "over_s": 3600 } });
    let steps = json!({ "steps": [[0, 0], [0.5, 80]] });
    daemon.start_set(json!([
        { "name": "network_latency", "params": { "latency_ms": steps } },
        { "name": "http_error", "params": { "match": { "share": ramp(0.0, 1.0), "routes": ["/no"] } } },
    ]));
    let asked = |name: &str| daemon.status(name)["effect"]["asked"].as_f64().unwrap();
    eventually("the step has come", || {
        (asked("network_latency") == 80.0).then_some(())
    });
    assert!(took(&daemon, "") >= Duration::from_millis(80));
    let share = asked("http_error");
    assert!(share > 0.0 && share < 0.5, "{share}");
    eventually("the share grows", || {
        (asked("http_error") > share).then_some(())
    });
}

// === rate_limit ===

#[test]
fn above_the_rate_requests_get_429_that_says_when_to_come_back() {
    let daemon = orders();
    let params = json!({ "rps": 0.05, "burst": 3, "match": { "routes": ["/api/orders/*"] } });
    daemon.start_scenario("rate_limit", params);
    let answers: Vec<_> = (0..6)
        .map(|_| send(&agent(), "GET", daemon.service, "/api/orders/7", b"", &[]))
        .collect();
    let statuses: Vec<u16> = answers.iter().map(|a| a.status().as_u16()).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    for answer in &answers[3..] {
        let after: u32 = header_of(answer, "retry-after").parse().unwrap();
        assert!((10..=20).contains(&after), "{after}");
    }
    assert_eq!(daemon.get("/health").status, 200);
    let status = daemon.status("rate_limit");
    assert_eq!(status["metrics"]["matched_requests"], 6, "{status}");
    assert_eq!(status["metrics"]["limited_requests"], 3, "{status}");
    assert_eq!(status["effect"]["asked"], 0.05);
    daemon.stop_all();
    assert_eq!(daemon.get("/api/orders/7").status, 200);
}

// === pool_exhaustion ===

/// The samples of pools on the service page.
fn pools(daemon: &Daemon) -> Vec<String> {
    let page = daemon.get("/metrics").body;
    let lines = page.as_str().unwrap().lines();
    let pools = lines.filter(|line| line.starts_with("db_client_connections_"));
    pools.map(str::to_owned).collect()
}

#[test]
fn without_a_place_in_time_or_in_the_queue_a_request_gets_503() {
    let daemon = orders();
    assert_eq!(pools(&daemon), [""; 0]);
    let params = json!({
        "size": 1, "hold_ms": 600_000, "queue": 1, "acquire_timeout_ms": 300, "match": blue(),
    });
    daemon.start_scenario("pool_exhaustion", params);
    let ask = || connect_and_write(daemon.service, request(BLUE).as_bytes());
    let metric = |name: &'static str, value: f64| {
        daemon.wait_for_metric("pool_exhaustion", name, |now| now == value);
    };
    let mut holder = ask();
    metric("used_places", 1.0);
    let start = Instant::now();
    let mut waiting = ask();
    metric("waiting_requests", 1.0);
    let mut refused = ask();
    assert!(one_answer(&mut refused).0.starts_with("HTTP/1.1 503 "));
    assert!(one_answer(&mut waiting).0.starts_with("HTTP/1.1 503 "));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let page = pools(&daemon);
    for sample in [
        "db_client_connections_usage{pool_name=\"main-db\",state=\"used\"} 1",
        "db_client_connections_usage{pool_name=\"main-db\",state=\"idle\"} 0",
        "db_client_connections_max{pool_name=\"main-db\"} 1",
        "db_client_connections_timeouts_total{pool_name=\"main-db\"} 2",
        "db_client_connections_wait_time_seconds_count{pool_name=\"main-db\"} 1",
    ] {
        let has = |line: &String| line.strip_suffix(".0").unwrap_or(line) == sample;
        assert!(page.iter().any(has), "{sample}: {page:#?}");
    }
    // A stop frees the holder and those that wait.
    let mut last = ask();
    metric("waiting_requests", 1.0);
    daemon.stop_all();
    for stream in [&mut holder, &mut last] {
        assert!(one_answer(stream).0.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(pools(&daemon), [""; 0]);
}

#[test]
fn requests_go_through_the_pool_one_after_the_other() {
    let daemon = orders();
    let params = json!({ "size": 2, "hold_ms": 200, "acquire_timeout_ms": 60_000 });
    daemon.start_scenario("pool_exhaustion", params);
    let start = Instant::now();
    let asked: Vec<_> = (0..6)
        .map(|_| connect_and_write(daemon.service, request("").as_bytes()))
        .collect();
    for mut stream in asked {
        assert!(one_answer(&mut stream).0.starts_with("HTTP/1.1 200 "));
    }
    // Three rounds of two.
    assert!(start.elapsed() >= Duration::from_millis(600));
}

// === bad_payload ===

#[test]
fn bad_payloads_say_200_and_have_the_right_length_and_the_wrong_content() {
    let daemon = orders();
    let good = daemon.get("/api/orders/7").body;
    assert!(good["items"].is_array(), "{good}");
    let answer = |mode: &str| {
        daemon.start_scenario("bad_payload", json!({ "mode": mode, "match": blue() }));
        let mut stream = connect_and_write(daemon.service, request(BLUE).as_bytes());
        let (head, body) = one_answer(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        // The connection goes on: the length was right.
        stream.write_all(request("").as_bytes()).unwrap();
        assert_eq!(one_answer(&mut stream).1.len(), 300);
        String::from_utf8(body).unwrap()
    };
    let cut = answer("truncated_json");
    assert_eq!(cut.len(), 150);
    assert!(cut.starts_with("{\"items\":["), "{cut}");
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    assert!(json(answer("wrong_type"))["items"].is_object());
    let missing = json(answer("missing_field"));
    assert_eq!(missing.get("items"), None);
    assert!(missing["next"].is_string());
    assert_eq!(answer("empty"), "");
}

/// The answers of a workload never change, so that a stale one is the right one; the unit tests have the others.
#[test]
fn a_stale_answer_that_is_still_right_touches_nothing() {
    let daemon = orders();
    daemon.start_scenario("bad_payload", json!({ "mode": "stale" }));
    let first = daemon.get("/api/orders/1").body;
    assert_eq!(daemon.get("/api/orders/1").body, first);
    let metrics = daemon.status("bad_payload")["metrics"].clone();
    assert_eq!(
        (&metrics["matched_requests"], &metrics["changed_answers"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn an_answer_that_is_no_json_or_no_success_stays() {
    let daemon = orders();
    daemon.start_scenario("bad_payload", json!({ "mode": "empty" }));
    let nothing = daemon.get("/no/such/route");
    assert_eq!(
        (nothing.status, nothing.body["status"].as_u64()),
        (404, Some(404))
    );
    let metrics = daemon.status("bad_payload")["metrics"].clone();
    assert_eq!(
        (&metrics["matched_requests"], &metrics["changed_answers"]),
        (&json!(1), &json!(0))
    );
}

// === dependency ===

/// A service that calls a pretended and a real upstream; at the real one nothing listens.
fn callers() -> Daemon {
    let yaml = "Workload: {Routes: [\
        {Path: /pretended, Calls: [{Name: postgres, Latency: {p50_ms: 1}, TimeoutMs: 200}]}, \
        {Path: /real, Calls: [{Name: stock, Url: 'http://127.0.0.1:1/'}]}]}\n";
    Daemon::builder().file(yaml).start()
}

/// The values of the samples of calls to `upstream` that are not zero, by their last label.
fn calls(daemon: &Daemon, upstream: &str) -> Vec<(String, f64)> {
    let page = daemon.get("/metrics").body;
    let begin = format!(
        "http_client_request_duration_seconds_count{{server_address=\"{upstream}\",http_request_method=\"GET\","
    );
    let lines = page.as_str().unwrap().lines();
    let samples = lines.filter_map(|line| line.strip_prefix(&begin)?.split_once("} "));
    let samples = samples.map(|(label, value)| (label.to_owned(), value.parse().unwrap()));
    samples.filter(|(_, value)| *value > 0.0).collect()
}

/// The messages of the log about failed calls.
fn failures(lines: &[Value]) -> Vec<String> {
    let messages = lines.iter().filter_map(|line| line["message"].as_str());
    let failures = messages.filter(|message| message.contains("upstream "));
    failures.map(str::to_owned).collect()
}

#[test]
fn a_refused_call_looks_like_one_that_is_really_refused() {
    let mut daemon = callers();
    let real = daemon.get("/real");
    let fault = json!({ "failure_type": "refused", "upstream": "postgres" });
    daemon.start_scenario("dependency", fault);
    let pretended = daemon.get("/pretended");
    let same = |answer: Answer| (answer.status, answer.body);
    assert_eq!(same(pretended), same(real));
    // No series of its own for a pretended upstream.
    assert_eq!(
        calls(&daemon, "stock"),
        [("error_type=\"connection_refused\"".to_owned(), 1.0)]
    );
    let lines = failures(&daemon.whole_log());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0].replace("stock", "postgres"), lines[1]);
}

#[test]
fn each_failure_of_a_call_is_logged_as_what_it_is() {
    let mut daemon = callers();
    for failure in ["dns", "tls_expired", "reset", "refused", "error"] {
        let params = json!({ "failure_type": failure, "match": { "routes": ["/pretended"] } });
        daemon.start_scenario("dependency", params);
        assert_eq!(daemon.get("/pretended").status, 502, "{failure}");
        assert_eq!(daemon.get("/real").status, 502);
        let metrics = daemon.status("dependency")["metrics"].clone();
        assert_eq!(metrics["matched_calls"], 1, "{metrics}");
    }
    daemon.stop_all();
    assert_eq!(daemon.get("/pretended").status, 200);
    let lines = failures(&daemon.whole_log());
    let of_fault: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("postgres"))
        .collect();
    for (line, part) in of_fault.iter().zip([
        "could not be found",
        "certificate has expired",
        "closed the connection before it answered",
        "refused the connection",
        "answered 500",
    ]) {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(of_fault.len(), 5, "{of_fault:?}");
}

#[test]
fn a_retry_storm_repeats_a_failed_call_so_often() {
    let daemon = callers();
    let params = json!({
        "failure_type": "error", "retries": 7, "latency_ms": 20, "upstream": "postgres",
    });
    daemon.start_scenario("dependency", params);
    let start = Instant::now();
    assert_eq!(daemon.get("/pretended").status, 502);
    // The first call and seven repetitions, each with its latency.
    assert!(start.elapsed() >= Duration::from_millis(8 * 20));
    let failed = "http_response_status_code=\"500\"";
    assert_eq!(calls(&daemon, "postgres"), [(failed.to_owned(), 8.0)]);
    let params = json!({ "failure_type": "timeout", "retries": 1, "upstream": "postgres" });
    daemon.start_scenario("dependency", params);
    assert_eq!(daemon.get("/pretended").status, 504);
    let timeout = "error_type=\"timeout\"";
    assert_eq!(
        calls(&daemon, "postgres"),
        [(failed.to_owned(), 8.0), (timeout.to_owned(), 2.0)]
    );
    daemon.signal(Signal::TERM);
}

#[test]
fn a_share_of_the_calls_fails() {
    let daemon = callers();
    let params = json!({ "failure_type": "reset", "match": { "share": 0.3 }, "seed": 4 });
    daemon.start_scenario("dependency", params);
    let failed = (0..300).filter(|_| daemon.get("/pretended").status == 502);
    // 99.9 % of a binomial count; the seed makes it certain.
    let failed = failed.count() as f64;
    let deviation = (300.0_f64 * 0.3 * 0.7).sqrt();
    assert!((failed - 90.0).abs() <= 3.29 * deviation, "{failed}");
}
