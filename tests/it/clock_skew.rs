//! A service whose clock is wrong: what it shows of the time, and what stays true.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::support::{Daemon, events_on_disk, send_raw};

fn seconds_now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}

/// How far the header `Date` of the answer to `request` is ahead.
fn date_ahead(to: SocketAddr, request: &str) -> f64 {
    let answer = send_raw(to, request.as_bytes());
    let date = answer.lines().find_map(|line| line.strip_prefix("date: "));
    let date = date.unwrap_or_else(|| panic!("no date in {answer}"));
    let date = OffsetDateTime::parse(&date.replace("GMT", "+0000"), &Rfc2822);
    date.unwrap().unix_timestamp() as f64 - seconds_now()
}

/// How far a time of the log or the ledger is ahead.
fn ahead(time: &Value) -> f64 {
    let time = OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap();
    time.unix_timestamp_nanos() as f64 / 1e9 - seconds_now()
}

/// Within a minute, which no machine takes here.
fn assert_about(ahead: f64, expected: f64) {
    assert!(
        (ahead - expected).abs() < 60.0,
        "{ahead} s, not {expected} s"
    );
}

const GOOD: &str = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const MALFORMED: &str = "GET /health HTTP/1.1\r\nHost: a\r\nx y: z\r\n\r\n";

#[test]
fn the_date_and_the_log_of_the_service_are_wrong_and_all_else_is_right() {
    let mut daemon = Daemon::start_with("Log: {Requests: always}\n", &[]);
    for offset in [3600.0, -7200.0] {
        daemon.start_scenario("clock_skew", json!({ "offset_s": offset }));
        for request in [GOOD, MALFORMED] {
            assert_about(date_ahead(daemon.service, request), offset);
            assert_about(date_ahead(daemon.admin, request), 0.0);
        }
        let line = daemon.wait_for_log("the request", |line| line["message"] == "Request served.");
        assert_about(ahead(&line["timestamp"]), offset);
        assert!(line["duration_ms"].as_f64() < Some(10_000.0), "{line}");
        let status = daemon.status("clock_skew");
        assert_about(ahead(&status["start_time"]), 0.0);
        assert_eq!(status["effect"]["asked"], offset.abs());
        let achieved = status["effect"]["achieved"].as_f64().unwrap();
        assert!((achieved - offset.abs()).abs() < 0.1, "{status}");
    }
    daemon.stop_scenario("clock_skew");
    for request in [GOOD, MALFORMED] {
        assert_about(date_ahead(daemon.service, request), 0.0);
    }
    daemon.whole_log();
    for event in events_on_disk(daemon.folder.path()) {
        assert_about(ahead(&event["time"]), 0.0);
    }
}

#[test]
fn a_clock_that_goes_wrong_is_ever_further_off() {
    let daemon = Daemon::start();
    let steps = json!({ "steps": [[0, 1000], [0.2, 5000]] });
    let params = json!({ "offset_s": steps, "drift_ppm": 100_000 });
    daemon.start_scenario("clock_skew", params);
    let first = daemon.wait_for_metric("clock_skew", "current_offset_s", |s| s > 4000.0);
    assert!(first >= 5000.02, "{first}");
    daemon.wait_for_metric("clock_skew", "current_offset_s", |s| s >= first + 0.1);
}
