//! The service's own work: its routes, what they take, what is logged and counted of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::program::{run_in, stderr, with_file};
use crate::support::{Daemon, agent, connect_and_write, eventually, header_of, send_raw};

/// Two routes on one path, and one that always fails.
const ORDERS: &str = "
Workload:
  Seed: 7
  Routes:
    - {Path: '/api/orders/{id}', ResponseBytes: 700, Latency: {p50_ms: 20}}
    - {Path: '/api/orders/{number}', Method: DELETE, ResponseBytes: 0}
    - {Path: /api/broken, Method: POST, ErrorShare: 1}
";

fn status_of(daemon: &Daemon, method: &str, path: &str) -> u16 {
    let url = format!("http://{}{path}", daemon.service);
    let request = http::Request::builder().method(method).uri(url);
    let answer = agent().run(request.body(()).unwrap()).unwrap();
    answer.status().as_u16()
}

#[test]
fn routes_answer_as_the_configuration_has_it() {
    let daemon = Daemon::builder().file(ORDERS).start();
    let url = format!("http://{}/api/orders/17", daemon.service);
    let sent = Instant::now();
    let mut answer = agent().get(&url).call().unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(20));
    let body = answer.body_mut().read_to_string().unwrap();
    assert_eq!((answer.status().as_u16(), body.len()), (200, 700));
    assert_eq!(header_of(&answer, "content-type"), "application/json");
    assert!(serde_json::from_str::<Value>(&body).unwrap().is_object());
    assert_eq!(status_of(&daemon, "HEAD", "/api/orders/17"), 200);
    assert_eq!(status_of(&daemon, "DELETE", "/api/orders/17"), 200);
    assert_eq!(status_of(&daemon, "POST", "/api/broken"), 500);
    assert_eq!(status_of(&daemon, "POST", "/api/orders/17"), 405);
    let refused = daemon.post("/api/orders/17", "");
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains(" takes GET or DELETE, not POST. Use GET: curl http"),
        "{detail}"
    );
    assert_eq!(status_of(&daemon, "GET", "/api/orders"), 404);
    assert_eq!(status_of(&daemon, "GET", "/api/orders/17/items"), 404);
    let on_admin = format!("http://{}/api/orders/17", daemon.admin);
    assert_eq!(agent().get(on_admin).call().unwrap().status(), 404);
}

#[test]
fn a_body_is_read_before_the_answer_and_one_that_is_too_large_is_refused() {
    let daemon = Daemon::builder().file(ORDERS).start();
    let broken = |length: usize| {
        let head = format!(
            "POST /api/broken HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        send_raw(
            daemon.service,
            &[head.as_bytes(), &vec![b'x'; length]].concat(),
        )
    };
    assert!(broken(1 << 20).starts_with("HTTP/1.1 500 "));
    assert!(broken((1 << 20) + 1).starts_with("HTTP/1.1 413 "));
}

#[test]
fn a_request_is_counted_and_logged_by_its_route_and_never_by_its_path() {
    let mut daemon = Daemon::builder().file(ORDERS).start();
    let page = || {
        let url = format!("http://{}/metrics", daemon.service);
        agent()
            .get(url)
            .call()
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap()
    };
    let count = |page: &str, method: &str, route: &str, status: u16| -> u64 {
        let series = format!(
            "http_server_request_duration_seconds_count{{http_request_method=\"{method}\",\
             http_route=\"{route}\",http_response_status_code=\"{status}\"}} "
        );
        let mut lines = page.lines();
        let value = lines.find_map(|line| line.strip_prefix(&series));
        value
            .unwrap_or_else(|| panic!("no {series}in {page}"))
            .parse()
            .unwrap()
    };
    let (get, post) = ("/api/orders/{id}", "/api/broken");
    let before = page();
    for status in [200, 500, 503] {
        assert_eq!(count(&before, "GET", get, status), 0);
    }
    assert_eq!(status_of(&daemon, "GET", "/api/orders/secret"), 200);
    assert_eq!(status_of(&daemon, "POST", "/api/broken"), 500);
    assert_eq!(status_of(&daemon, "GET", "/api/v1/composite/status"), 200);
    assert_eq!(status_of(&daemon, "GET", "/unknown/secret"), 404);
    let after = page();
    assert_eq!(count(&after, "GET", get, 200), 1);
    assert_eq!(count(&after, "POST", post, 500), 1);
    assert!(!after.contains("secret"));

    let lines = daemon.whole_log();
    let of_requests = lines.iter().filter(|line| line.get("route").is_some());
    let shown: Vec<Value> = of_requests
        .map(|line| json!([line["level"], line["method"], line["route"], line["status"]]))
        .collect();
    let expected = json!([
        ["INFO", "GET", "/metrics", 200],
        ["INFO", "GET", get, 200],
        ["ERROR", null, post, null],
        ["WARN", "POST", post, 500],
        ["INFO", "GET", "-", 404],
        ["INFO", "GET", "/metrics", 200],
    ]);
    assert_eq!(Value::from(shown), expected);
    let whole = lines.iter().map(Value::to_string).collect::<String>();
    assert!(!whole.contains("secret"), "{whole}");
}

#[test]
fn only_a_share_of_the_good_requests_is_logged_and_every_failure() {
    let config = format!("{ORDERS}Log: {{RequestShare: 0}}\n");
    let mut daemon = Daemon::builder().file(&config).start();
    assert_eq!(status_of(&daemon, "GET", "/api/orders/1"), 200);
    assert_eq!(status_of(&daemon, "POST", "/api/broken"), 500);
    let lines = daemon.whole_log();
    let statuses: Vec<&Value> = lines.iter().filter_map(|line| line.get("status")).collect();
    assert_eq!(statuses, [500]);
}

#[test]
fn requests_are_logged_without_a_workload_where_that_is_asked_for() {
    let mut daemon = Daemon::builder().file("Log: {Requests: always}\n").start();
    assert_eq!(status_of(&daemon, "GET", "/api/v1/test/sleep10ms"), 200);
    let lines = daemon.whole_log();
    let routes: Vec<&Value> = lines.iter().filter_map(|line| line.get("route")).collect();
    assert_eq!(routes, ["/api/v1/test/sleep10ms"]);
}

#[test]
fn a_fault_finds_the_routes_by_their_paths() {
    let daemon = Daemon::builder().file(ORDERS).start();
    let body = json!({ "match": { "routes": ["/api/orders/*"], "methods": ["GET"] } });
    daemon.start_scenario("http_error", body);
    assert_eq!(status_of(&daemon, "GET", "/api/orders/1"), 503);
    assert_eq!(status_of(&daemon, "DELETE", "/api/orders/1"), 200);
}

#[test]
fn a_request_that_fails_by_a_fault_is_logged_as_one_whose_handler_failed() {
    let mut daemon = Daemon::builder().file(ORDERS).start();
    let body = json!({ "statuses": { "500": 1 }, "match": { "methods": ["GET"] } });
    daemon.start_scenario("http_error", body);
    assert_eq!(status_of(&daemon, "GET", "/api/orders/1"), 500);
    assert_eq!(status_of(&daemon, "GET", "/health"), 500);
    let body = json!({ "statuses": { "404": 1 }, "match": { "methods": ["DELETE"] } });
    daemon.start_scenario("http_error", body);
    assert_eq!(status_of(&daemon, "DELETE", "/api/orders/1"), 404);
    daemon.stop_all();
    assert_eq!(status_of(&daemon, "POST", "/api/broken"), 500);
    let lines = daemon.whole_log();
    let errors: Vec<&Value> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    let routes: Vec<&Value> = errors.iter().map(|line| &line["route"]).collect();
    assert_eq!(routes, ["/api/orders/{id}", "/api/broken"]);
    let keys = |line: &Value| {
        line.as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(errors[0]), keys(errors[1]));
    let of_request = |line: &&Value| line["trace_id"] == errors[0]["trace_id"];
    let levels: Vec<&Value> = lines
        .iter()
        .filter(of_request)
        .map(|line| &line["level"])
        .collect();
    assert_eq!(levels, ["ERROR", "WARN"]);
}

#[test]
fn without_a_workload_a_request_that_fails_by_a_fault_has_no_line_of_its_cause() {
    let mut daemon = Daemon::builder().file("Log: {Requests: always}\n").start();
    daemon.start_scenario("http_error", json!({ "statuses": { "500": 1 } }));
    assert_eq!(status_of(&daemon, "GET", "/api/v1/test/sleep10ms"), 500);
    let lines = daemon.whole_log();
    assert!(
        lines.iter().all(|line| line["level"] != "ERROR"),
        "{lines:?}"
    );
}

#[test]
fn each_request_uses_its_cpu_time() {
    let workload = "Workload: {Routes: [{Path: /work, CpuMs: 10}]}\n";
    let daemon = Daemon::builder().file(workload).start();
    let before = daemon.process().live_cpu();
    for _ in 0..50 {
        assert_eq!(status_of(&daemon, "GET", "/work"), 200);
    }
    let used = daemon.process().live_cpu() - before;
    // Other work only adds to it. The clock of /proc ticks every 10 ms.
    assert!(used >= Duration::from_millis(490), "{used:?}");
}

#[test]
fn the_shop_is_there_by_its_name() {
    for daemon in [
        Daemon::builder().file("Workload: shop\n").start(),
        Daemon::builder().env("MOCKSERVER_WORKLOAD", "Shop").start(),
    ] {
        assert_eq!(status_of(&daemon, "GET", "/api/products"), 200);
        assert_eq!(status_of(&daemon, "GET", "/api/products/4711"), 200);
    }
    let workload = r#"{"Routes": [{"Path": "/only"}]}"#;
    let daemon = Daemon::builder()
        .env("MOCKSERVER_WORKLOAD", workload)
        .start();
    assert_eq!(status_of(&daemon, "GET", "/only"), 200);
}

/// What the program says of a workload that it refuses.
fn refusal_of(workload: &str) -> String {
    let folder = with_file(&format!("Workload: {workload}\n"));
    let output = run_in(&folder, &["--check", "-f", "a.yaml"], &[]);
    assert_eq!(output.status.code(), Some(64), "{workload}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn routes_that_call_themselves_are_refused() {
    for (workload, expected) in [
        (
            "{Routes: [{Path: '/a/{id}', Calls: [{Name: me, Url: 'http://localhost:8888/a/{id}'}]}]}",
            "Workload.Routes.0.Calls.0.Url: leads back to its own route: one request",
        ),
        (
            "{Routes: [{Path: /a, Calls: [{Name: me, Url: 'http://127.0.0.1:8888/b'}]}, \
             {Path: /b, Calls: [{Name: me, Url: 'http://127.0.0.1:8888/a'}]}]}",
            "Workload.Routes.0.Calls.0.Url: leads back to its own route by Routes.1",
        ),
    ] {
        let said = refusal_of(workload);
        assert!(said.contains(expected), "{workload}: {said}");
    }
}

#[test]
fn a_bad_description_is_refused_with_every_error() {
    let many = "{Path: /a, Method: GET}, ".repeat(40);
    for (workload, expected) in [
        (
            "shpo",
            "must be an object or one of shop, not \"shpo\"; did you mean \"shop\"?",
        ),
        ("{}", "Workload.Routes: must have at least one route"),
        ("{Routes: [{}]}", "Workload.Routes.0.Path: is missing"),
        (
            "{Routes: [7]}",
            "Workload.Routes.0: must be an object, not 7",
        ),
        (
            "{Routes: [{Path: orders}]}",
            "Workload.Routes.0.Path: must be a path that begins with /",
        ),
        (
            "{Routes: [{Path: /a, Metod: PUT}]}",
            "did you mean \"Method\"?",
        ),
        (
            "{Routes: [{Path: /a, Method: BREW}]}",
            "Workload.Routes.0.Method: must be one of",
        ),
        (
            "{Routes: [{Path: '/a/{x}'}, {Path: '/a/{y}'}]}",
            "Workload.Routes.1.Path: serves the same requests as Routes.0",
        ),
        (
            "{Routes: [{Path: '/api/v1/scenarios/{x}'}]}",
            "would take requests to /api/v1/scenarios/{name}, which has a route already",
        ),
        ("{Routes: [{Path: '/{x}'}]}", "which has a route already"),
        (
            "{Routes: [{Path: /a, Latency: {p50_ms: 9, p99_ms: 8}}]}",
            "must not be below p50_ms",
        ),
        (
            "{Routes: [{Path: /a, Calls: [{Name: a, Url: 'http://a/'}]}, {Path: /b, Calls: [{Name: a}]}]}",
            "Workload.Routes.1.Calls.0: a has a Url in one call and none in another",
        ),
        (
            &format!("{{Routes: [{many}]}}"),
            "must have at most 32 routes",
        ),
    ] {
        let said = refusal_of(workload);
        assert!(said.contains(expected), "{workload}: {said}");
    }
}

/// A service whose one route calls the route of `inventory`.
fn caller_of(inventory: &str) -> Daemon {
    let workload = format!(
        "Workload:\n  Routes:\n    - Path: '/api/orders/{{id}}'\n      Calls:\n        - {{Name: inventory, Url: \
         'http://{inventory}/api/stock/{{id}}', TimeoutMs: 150, Retries: 1}}\n        \
         - {{Name: postgres, Latency: {{p50_ms: 1}}, Pool: 4}}\n"
    );
    Daemon::builder().file(&workload).start()
}

/// Level and text of each line about an upstream.
fn said(lines: &[Value]) -> Vec<(&str, &str)> {
    let lines = lines.iter().map(|line| {
        let text = |key: &str| line[key].as_str().unwrap();
        (text("level"), text("message"))
    });
    lines
        .filter(|(_, text)| text.starts_with("upstream "))
        .collect()
}

#[test]
fn a_real_call_reaches_the_other_service_in_the_same_trace() {
    let stock = "Workload: {Routes: [{Path: '/api/stock/{number}'}]}\n";
    let mut inventory = Daemon::builder().file(stock).start();
    let mut orders = caller_of(&inventory.service.to_string());
    assert_eq!(status_of(&orders, "GET", "/api/orders/17"), 200);
    let trace_of = |lines: Vec<Value>, route: &str| {
        let mut lines = lines.into_iter();
        let line = lines.find(|line| line["route"] == route).expect("its line");
        assert_eq!(line["status"], 200);
        line["trace_id"].as_str().unwrap().to_owned()
    };
    let caller = trace_of(orders.whole_log(), "/api/orders/{id}");
    let called = trace_of(inventory.whole_log(), "/api/stock/{number}");
    assert_eq!((caller.len(), &caller), (32, &called));
}

#[test]
fn a_call_that_fails_fails_the_request_and_is_logged_as_it_was() {
    let stock = "Workload: {Routes: [{Path: '/api/stock/{id}'}]}\n";
    let mut inventory = Daemon::builder().file(stock).start();
    let mut orders = caller_of(&inventory.service.to_string());
    let order = |expected| assert_eq!(status_of(&orders, "GET", "/api/orders/17"), expected);
    let fail = |upstream: &str, failure: &str| {
        let params = json!({ "upstream": upstream, "failure_type": failure });
        orders.start_scenario("dependency", params);
    };
    fail("inventory", "error");
    order(502);
    fail("inventory", "timeout");
    order(504);
    fail("postgres", "error");
    order(502);
    orders.stop_all();
    inventory.start_scenario("network_latency", json!({ "latency_ms": 400 }));
    order(504);
    inventory.stop_all();
    order(200);
    drop(inventory.whole_log());
    order(502);
    let lines = orders.whole_log();
    assert_eq!(
        said(&lines),
        [
            ("WARN", "upstream inventory answered 500, attempt 1 of 2"),
            ("ERROR", "upstream inventory answered 500, attempt 2 of 2"),
            (
                "WARN",
                "upstream inventory timed out after 150 ms, attempt 1 of 2"
            ),
            (
                "ERROR",
                "upstream inventory timed out after 150 ms, attempt 2 of 2"
            ),
            ("ERROR", "upstream postgres answered 500"),
            (
                "WARN",
                "upstream inventory timed out after 150 ms, attempt 1 of 2"
            ),
            (
                "ERROR",
                "upstream inventory timed out after 150 ms, attempt 2 of 2"
            ),
            (
                "WARN",
                "upstream inventory refused the connection, attempt 1 of 2"
            ),
            (
                "ERROR",
                "upstream inventory refused the connection, attempt 2 of 2"
            ),
        ]
    );
}

#[test]
fn a_request_whose_client_went_away_is_logged_and_counted() {
    let workload = "Workload: {Routes: [{Path: /slow, Latency: {p50_ms: 60000}}]}\n";
    let daemon = Daemon::builder().file(workload).start();
    let client = connect_and_write(daemon.service, b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is served", || {
        let active = "http_server_active_requests{http_route=\"/slow\"} 1";
        let page = daemon.get("/metrics").body;
        page.as_str().unwrap().contains(active).then_some(())
    });
    drop(client);
    let line = daemon.wait_for_log("the request that was given up", |line| {
        line["message"] == "Connection closed before the answer."
    });
    assert_eq!(
        (&line["route"], &line["method"]),
        (&json!("/slow"), &json!("GET"))
    );
    let series = "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
                  http_route=\"/slow\",http_response_status_code=\"499\"} 1";
    let page = daemon.get("/metrics").body;
    assert!(page.as_str().unwrap().contains(series), "{page}");
}

#[test]
fn a_body_that_is_broken_is_a_bad_request() {
    let daemon = Daemon::builder().file(ORDERS).start();
    let answer = send_raw(
        daemon.service,
        b"POST /api/broken HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nabcdeXX\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[test]
fn each_mistake_in_a_workload_is_reported_once() {
    for (route, expected) in [
        (
            "{Path: /a, Latency: {p50_ms: 10, p99_ms: 5}}",
            "must not be below p50_ms",
        ),
        (
            "{Path: /a, Latency: {p50_ms: 1}, CpuMs: 30}",
            "CpuMs: must not be above Latency.p50_ms",
        ),
        (
            "{Path: /a, Calls: [{Name: b, Url: 'http://a:99999/'}]}",
            "http://host[:port]/path",
        ),
    ] {
        let folder = with_file(&format!("Workload: {{Routes: [{route}]}}\n"));
        let output = run_in(&folder, &["--check", "-f", "a.yaml"], &[]);
        assert_eq!(output.status.code(), Some(64), "{route}");
        let said = stderr(&output);
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("at least one route"), "{said}");
    }
}
