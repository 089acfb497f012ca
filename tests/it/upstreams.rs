//! Calls to upstreams: what becomes of them when the upstream, the caller or the service itself goes away, and how they
//! count.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Daemon, agent, connect_and_write, eventually, free_port};

/// A service with one route of no work.
const STOCK: &str = "Workload: {Routes: [{Path: '/api/stock/{id}'}]}\n";

/// A service whose route `/api/orders/{id}` makes `calls`, and whose route `/plain` makes none.
fn orders(calls: &str) -> Daemon {
    let workload = format!(
        "Workload: {{Routes: [{{Path: '/api/orders/{{id}}', Calls: [{calls}]}}, {{Path: /plain}}]}}\n"
    );
    Daemon::builder().file(&workload).start()
}

/// The value of the sample on the service page.
fn sample(daemon: &Daemon, name: &str) -> f64 {
    let page = daemon.get("/metrics").body;
    let page = page.as_str().expect("a text");
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    let value = value.unwrap_or_else(|| panic!("no {name} in {page}"));
    value.trim().parse().expect("a number")
}

/// How many calls to `upstream` have ended so.
fn calls(daemon: &Daemon, upstream: &str, ending: &str) -> f64 {
    let name = "http_client_request_duration_seconds_count";
    let labels = format!("server_address=\"{upstream}\",http_request_method=\"GET\",{ending}");
    sample(daemon, &format!("{name}{{{labels}}}"))
}

const OK: &str = "http_response_status_code=\"200\"";
const FAILED: &str = "http_response_status_code=\"500\"";
const TIMEOUT: &str = "error_type=\"timeout\"";

#[test]
fn an_upstream_that_restarts_fails_no_call_that_comes_after_it_is_back() {
    let port = free_port().to_string();
    let env = [("MOCKSERVER_PORT", port.as_str())];
    let mut inventory = Daemon::start_with(STOCK, &env);
    let url = format!("http://{}/api/stock/{{id}}", inventory.service);
    let orders = orders(&format!("{{Name: inventory, Url: '{url}', Pool: 4}}"));
    for _ in 0..3 {
        assert_eq!(orders.get("/api/orders/1").status, 200);
    }
    let idle = "db_client_connections_usage{pool_name=\"inventory\",state=\"idle\"}";
    assert_eq!(sample(&orders, idle), 1.0);
    inventory.signal(Signal::KILL);
    inventory.ended();
    let again = Daemon::builder().folder(&inventory.folder);
    let _back = again.envs(&env).start();
    for _ in 0..3 {
        assert_eq!(orders.get("/api/orders/1").status, 200);
    }
    assert_eq!(calls(&orders, "inventory", OK), 6.0);
    assert_eq!(
        calls(&orders, "inventory", "error_type=\"connection_reset\""),
        0.0
    );
}

#[test]
fn a_client_that_leaves_ends_the_call_made_for_it() {
    let inventory = Daemon::builder().file(STOCK).start();
    inventory.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    let url = format!("http://{}/api/stock/{{id}}", inventory.service);
    let orders = orders(&format!(
        "{{Name: inventory, Url: '{url}', Pool: 1, TimeoutMs: 600000}}"
    ));
    let used = "db_client_connections_usage{pool_name=\"inventory\",state=\"used\"}";
    for _ in 0..2 {
        let request = b"GET /api/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let client = connect_and_write(orders.service, request);
        eventually("the call is made", || {
            (sample(&orders, used) == 1.0).then_some(())
        });
        drop(client);
        eventually("the call is given up", || {
            (sample(&orders, used) == 0.0).then_some(())
        });
    }
    // What this side gave up says nothing about the upstream.
    assert_eq!(calls(&orders, "inventory", TIMEOUT), 0.0);
    inventory.stop_all();
    assert_eq!(orders.get("/api/orders/1").status, 200);
}

#[test]
fn a_daemon_that_ends_waits_for_no_call() {
    let inventory = Daemon::builder().file(STOCK).start();
    inventory.start_scenario("network_latency", json!({ "latency_ms": 600_000 }));
    let url = format!("http://{}/api/stock/{{id}}", inventory.service);
    let mut orders = orders(&format!(
        "{{Name: inventory, Url: '{url}', TimeoutMs: 600000}}, {{Name: postgres, Latency: {{p50_ms: 1}}}}"
    ));
    let request = b"GET /api/orders/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let _client = connect_and_write(orders.service, request);
    inventory.wait_for_delayed_requests(1);
    let start = Instant::now();
    orders.signal(Signal::TERM);
    assert_eq!(orders.ended().code(), Some(0));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_dependency_fault_acts_on_its_upstream_in_real_and_pretended_calls() {
    let inventory = Daemon::builder().file(STOCK).start();
    let url = format!("http://{}/api/stock/{{id}}", inventory.service);
    let orders = orders(&format!(
        "{{Name: inventory, Url: '{url}', TimeoutMs: 200}}, {{Name: postgres, Latency: {{p50_ms: 1}}, TimeoutMs: 200}}"
    ));
    let order = || {
        let start = Instant::now();
        (orders.get("/api/orders/7").status, start.elapsed())
    };
    assert_eq!(order().0, 200);
    for failed in ["inventory", "postgres"] {
        let fault = json!({ "upstream": failed, "failure_type": "timeout" });
        orders.start_scenario("dependency", fault);
        let (status, took) = order();
        assert_eq!(status, 504);
        // The time-out of the call, and not the 30 s of the fault.
        assert!(took >= Duration::from_millis(200), "{took:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        assert_eq!(calls(&orders, failed, TIMEOUT), 1.0);
        let fault = json!({ "upstream": failed, "failure_type": "error" });
        orders.start_scenario("dependency", fault);
        assert_eq!(order().0, 502);
        assert_eq!(calls(&orders, failed, FAILED), 1.0);
        orders.stop_all();
    }
    assert_eq!(calls(&orders, "inventory", OK), 3.0);
    assert_eq!(calls(&orders, "postgres", OK), 1.0);
    // The route without calls never failed, nor did the upstream.
    assert_eq!(orders.get("/plain").status, 200);
    assert_eq!(inventory.get("/api/stock/7").status, 200);
    // A call to the simulated dependency is one to inventory, too.
    let fault = json!({ "upstream": "postgres", "failure_type": "error" });
    orders.start_scenario("dependency", fault);
    assert_eq!(orders.get("/api/v1/mock-service").status, 200);
}

#[test]
fn a_call_that_an_upstream_answers_with_an_error_takes_the_time_of_an_answer() {
    let inventory = Daemon::builder().file(STOCK).start();
    let url = format!("http://{}/api/stock/{{id}}", inventory.service);
    let orders = orders(&format!(
        "{{Name: inventory, Url: '{url}'}}, {{Name: postgres, Latency: {{p50_ms: 60}}}}"
    ));
    // The mean time of the calls that failed, in ms.
    let mean_of_failed = |upstream: &str, requests: u32| {
        let fault = json!({ "upstream": upstream, "failure_type": "error" });
        orders.start_scenario("dependency", fault);
        for _ in 0..requests {
            assert_eq!(orders.get("/api/orders/7").status, 502);
        }
        orders.stop_all();
        let sum = format!(
            "http_client_request_duration_seconds_sum{{server_address=\"{upstream}\",\
             http_request_method=\"GET\",{FAILED}}}"
        );
        sample(&orders, &sum) * 1000.0 / f64::from(requests)
    };
    let pretended = mean_of_failed("postgres", 5);
    assert!(pretended >= 55.0, "{pretended} ms");
    // Half of the round trips take 0.8 ms; what fails without one takes a tenth of that.
    let real = mean_of_failed("inventory", 50);
    assert!(real >= 0.5, "{real} ms");
    assert_eq!(calls(&orders, "inventory", OK), 5.0);
}

#[test]
fn the_series_of_all_endings_exist_before_the_first_call() {
    let orders = orders(
        "{Name: inventory, Url: 'http://127.0.0.1:1/', Retries: 1}, {Name: postgres, Pool: 10}, \
         {Name: inventory, Url: 'http://127.0.0.1:1/other'}",
    );
    for (upstream, endings) in [("inventory", 9), ("postgres", 4)] {
        let page = orders.get("/metrics").body;
        let page = page.as_str().expect("a text");
        let name = "http_client_request_duration_seconds_count";
        let begin = format!("{name}{{server_address=\"{upstream}\",");
        let series: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with(&begin))
            .collect();
        assert_eq!(series.len(), endings, "{series:#?}");
        assert!(
            series.iter().all(|line| line.ends_with(" 0")),
            "{series:#?}"
        );
    }
    let pool = |name: &str| sample(&orders, &format!("db_client_connections_{name}"));
    assert_eq!(pool("usage{pool_name=\"postgres\",state=\"idle\"}"), 10.0);
    assert_eq!(pool("max{pool_name=\"postgres\"}"), 10.0);
    assert_eq!(pool("pending_requests{pool_name=\"postgres\"}"), 0.0);
    assert_eq!(orders.get("/api/orders/7").status, 502);
    assert_eq!(
        calls(&orders, "inventory", "error_type=\"connection_refused\""),
        2.0
    );
    assert_eq!(calls(&orders, "postgres", OK), 0.0);
}

#[test]
fn a_call_without_a_place_in_the_pool_says_so_and_is_never_sent() {
    let calls_to = "{Name: sink, Latency: {p50_ms: 50}, TimeoutMs: 400, Pool: 1}";
    let mut daemon = orders(calls_to);
    let address = daemon.service;
    let ask = move || {
        let url = format!("http://{address}/api/orders/1");
        agent().get(url).call().unwrap().status().as_u16()
    };
    let asked: Vec<_> = (0..40).map(|_| std::thread::spawn(ask)).collect();
    let statuses: Vec<u16> = asked.into_iter().map(|one| one.join().unwrap()).collect();
    let failed = statuses.iter().filter(|status| **status == 504).count();
    // Seven or eight have their turn in the time.
    assert!(failed >= 30, "{statuses:?}");
    let counted = sample(
        &daemon,
        "db_client_connections_timeouts_total{pool_name=\"sink\"}",
    );
    let log = daemon.whole_log();
    let said = |words: &str| {
        let messages = log.iter().filter_map(|line| line["message"].as_str());
        messages.filter(|message| message.contains(words)).count()
    };
    assert_eq!(said("no free connection") as f64, counted);
    // Those that had the place as their time ended.
    let timed_out = said("sink timed out");
    assert!((timed_out as f64) < counted, "{timed_out} and {counted}");
}

#[test]
fn calls_in_a_row_take_the_sum_of_their_times() {
    let one = |n| format!("{{Name: upstream-{n}, Latency: {{p50_ms: 0.9}}}}");
    let calls: Vec<String> = (0..8).map(one).collect();
    let daemon = orders(&calls.join(", "));
    for _ in 0..20 {
        let sent = Instant::now();
        assert_eq!(daemon.get("/api/orders/1").status, 200);
        assert!(sent.elapsed() >= Duration::from_micros(8 * 900));
    }
}

#[test]
fn a_name_without_address_is_looked_up_by_one_call_at_a_time() {
    let calls_to = "{Name: nowhere, Url: 'http://no-such-host.invalid/', TimeoutMs: 5000}";
    let daemon = orders(calls_to);
    let address = daemon.service;
    let ask = move || {
        let url = format!("http://{address}/api/orders/1");
        agent().get(url).call().unwrap().status().as_u16()
    };
    let asked: Vec<_> = (0..50).map(|_| std::thread::spawn(ask)).collect();
    for one in asked {
        assert_eq!(one.join().unwrap(), 502);
    }
    // One for each lookup that ran at once.
    assert!(sample(&daemon, "tokio_num_blocking_threads ") <= 2.0);
}
