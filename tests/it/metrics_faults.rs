//! Faults of the service's own metrics. The admin listener's page never has any.

use std::io::Read;
use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, Daemon, connect_and_write, eventually, request};

const OPEN_METRICS: (&str, &str) = ("accept", "application/openmetrics-text");

fn text_of(answer: &Answer) -> String {
    answer.body.as_str().unwrap().to_owned()
}

/// The text of the service's page.
fn page(daemon: &Daemon) -> String {
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    text_of(&answer)
}

/// The values of a page's samples whose series begins so.
fn values(page: &str, series: &str) -> Vec<f64> {
    let samples = page.lines().filter(|line| line.starts_with(series));
    let values = samples.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap());
    values.collect()
}

fn start(daemon: &Daemon, mode: &str) {
    daemon.start_scenario("metrics_fault", json!({ "mode": mode }));
}

fn touched(daemon: &Daemon) -> f64 {
    daemon.wait_for_metric("metrics_fault", "touched_scrapes", |_| true)
}

#[test]
fn in_a_gap_a_scrape_has_no_answer_before_the_stop() {
    let daemon = Daemon::start();
    start(&daemon, "gap");
    let shortfall = daemon.status("metrics_fault")["effect"]["shortfall"].take();
    assert_eq!(shortfall, "no_traffic");
    let head = b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut scrapes = [0, 1].map(|_| connect_and_write(daemon.service, head));
    daemon.wait_for_metric("metrics_fault", "touched_scrapes", |scrapes| scrapes == 2.0);
    scrapes[0]
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let answer = scrapes[0].read(&mut [0; 16]);
    assert!(answer.is_err(), "{answer:?}");
    // All else is served.
    assert_eq!(daemon.get("/health").status, 200);
    assert_eq!(daemon.admin_get("/metrics").status, 200);
    // A client that gives up costs nothing.
    drop(scrapes.into_iter().next());
    let mut waits = connect_and_write(daemon.service, head);
    daemon.wait_for_metric("metrics_fault", "touched_scrapes", |scrapes| scrapes == 3.0);
    daemon.stop_scenario("metrics_fault");
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("process_threads"),
        "{answer}"
    );
}

#[test]
fn an_error_is_that_of_a_page_that_cannot_be_written() {
    let daemon = Daemon::start();
    start(&daemon, "error");
    assert_eq!(daemon.get("/metrics").status, 500);
    assert_eq!(daemon.admin_get("/metrics").status, 200);
    assert_eq!(touched(&daemon), 1.0);
    daemon.stop_scenario("metrics_fault");
    page(&daemon);
}

#[test]
fn a_stale_page_stays_as_it_was_in_both_formats() {
    let daemon = Daemon::start();
    let open = || {
        text_of(&request(
            "GET",
            daemon.service,
            "/metrics",
            "",
            &[OPEN_METRICS],
        ))
    };
    start(&daemon, "stale");
    let (stale, open_stale) = (page(&daemon), open());
    assert!(open_stale.ends_with("# EOF\n") && !stale.contains("# EOF"));
    for _ in 0..3 {
        daemon.get("/health");
    }
    assert_eq!((page(&daemon), open()), (stale, open_stale));
    let admin = text_of(&daemon.admin_get("/metrics"));
    let of_health = "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/health\"";
    assert!(values(&admin, of_health).contains(&3.0), "{admin}");
    daemon.stop_scenario("metrics_fault");
    assert!(values(&page(&daemon), of_health).contains(&3.0));
}

#[test]
fn counters_begin_anew_and_are_true_again_after_the_stop() {
    let daemon = Daemon::start();
    let of_health = "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/health\"";
    for _ in 0..5 {
        daemon.get("/health");
    }
    let before = page(&daemon);
    let began = values(&before, "process_start_time_seconds");
    assert!(values(&before, of_health).contains(&5.0), "{before}");
    start(&daemon, "counter_reset");
    for _ in 0..2 {
        daemon.get("/health");
    }
    let reset = page(&daemon);
    assert!(values(&reset, of_health).contains(&2.0), "{reset}");
    assert!(values(&reset, "process_start_time_seconds") >= began);
    assert!(
        values(&reset, "process_cpu_seconds_total") < values(&before, "process_cpu_seconds_total")
    );
    let names = |page: &str| -> Vec<String> {
        let lines = page
            .lines()
            .map(|line| line.rsplit_once(' ').unwrap_or((line, "")).0.to_owned());
        lines.collect()
    };
    assert_eq!(names(&reset), names(&before));
    assert!(values(&text_of(&daemon.admin_get("/metrics")), of_health).contains(&7.0));
    daemon.stop_scenario("metrics_fault");
    let after = page(&daemon);
    assert!(values(&after, of_health).contains(&7.0), "{after}");
    assert_eq!(values(&after, "process_start_time_seconds"), began);
}

#[test]
fn series_come_up_to_the_most_and_go_with_their_memory() {
    let daemon = Daemon::start();
    page(&daemon);
    let base = daemon.process().resident_mb();
    let params =
        json!({ "mode": "cardinality", "series_per_minute": 1_000_000, "max_series": 20_000 });
    daemon.start_scenario("metrics_fault", params);
    let users = |page: &str| values(page, "user_requests_total{user_id=").len();
    let growing = users(&page(&daemon));
    assert!(growing < 20_000, "{growing}");
    eventually("all series are there", || {
        (users(&page(&daemon)) == 20_000).then_some(())
    });
    let open = text_of(&request(
        "GET",
        daemon.service,
        "/metrics",
        "",
        &[OPEN_METRICS],
    ));
    assert!(users(&open) == 20_000 && open.ends_with("# EOF\n"));
    let effect = daemon.status("metrics_fault")["effect"].take();
    assert_eq!(
        (&effect["asked"], &effect["achieved"]),
        (&json!(20_000.0), &json!(20_000.0))
    );
    assert_eq!(users(&text_of(&daemon.admin_get("/metrics"))), 0);
    daemon.stop_scenario("metrics_fault");
    assert_eq!(users(&page(&daemon)), 0);
    eventually("the memory is back", || {
        (daemon.process().resident_mb() <= base + 4.0).then_some(())
    });
}
