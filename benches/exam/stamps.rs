//! Times of the ledger beside an outside clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::patient::Patient;
use crate::row::Row;
use crate::support::send;
use crate::table::Table;

/// How exact a stamp is.
const BAR_MS: f64 = 10.0;

pub(crate) fn measure(table: &mut Table) {
    let mut patient = Patient::start(&[]);
    // No other request than that of this clock may be the first.
    let body = json!({
        "preset": "latency_regression_p50", "time_scale": 0.02, "onset_s": [0.2, 0.2], "duration_s": 8,
        "traffic_rps": 0,
    });
    let drill = patient.open(body, Duration::from_secs(4)).unwrap();
    let path = format!("/api/v1/drills/{}/answers", drill.id);
    let started = wait_for(&mut patient, |event| {
        event["kind"] == "started" && event["scenario"] == "network_latency"
    });
    assert!(started["time"].is_string());
    let service = patient.daemon.service;
    let before = now_ms();
    send(
        &crate::support::agent(),
        "GET",
        service,
        "/api/products",
        b"",
        &[],
    );
    let first = wait_for(&mut patient, |event| {
        event["kind"] == "drill_measured" && first_touch(event).is_some()
    });
    row(
        table,
        "the first request touched",
        before,
        first_touch(&first).unwrap(),
    );
    let before = now_ms();
    let answer = patient.ask(
        "POST",
        &path,
        &json!({ "detected": true, "decision": "rollback" }),
    );
    row(
        table,
        "the receipt of an answer",
        before,
        ms_of(&answer.body["received_at"]),
    );
    patient.close(&drill);
}

fn first_touch(event: &Value) -> Option<f64> {
    let runs = event["drill"]["runs"].as_array()?;
    let at = runs.iter().map(|run| &run["first_touched_at"]);
    at.filter(|at| at.is_string()).map(ms_of).next()
}

/// The first event that `matches`.
fn wait_for(patient: &mut Patient, matches: impl Fn(&Value) -> bool) -> Value {
    crate::support::eventually("the event is in the ledger", || {
        patient.daemon.events().into_iter().find(&matches)
    })
}

fn now_ms() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
        * 1000.0
}

fn ms_of(time: &Value) -> f64 {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(time.as_str().unwrap(), format).unwrap();
    time.unix_timestamp_nanos() as f64 / 1e6
}

fn row(table: &mut Table, what: &str, before_ms: f64, stamp_ms: f64) {
    let late = stamp_ms - before_ms;
    table.row(Row {
        what: &format!("stamp of {what}, after the clock of its client"),
        asked: "0 ms".to_owned(),
        achieved: format!("{late:.1} ms"),
        error: String::new(),
        bar: "10 ms",
        held: (-1.0..=BAR_MS).contains(&late),
    });
}
