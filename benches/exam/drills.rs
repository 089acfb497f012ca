//! Two hundred drills, one after the other in several patients at once.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::patient::Patient;
use crate::row::Row;
use crate::table::Table;

/// How many, unless the variable says otherwise.
const DRILLS: u32 = 200;
const VARIABLE: &str = "EXAM_DRILLS";
const PATIENTS: u32 = 3;
/// The share of controls.
const CONTROLS: f64 = 0.25;
/// Standard deviations of a 99.9 % interval.
const SIGMAS: f64 = 3.29;

#[derive(Debug, Default)]
struct Counts {
    without_report: AtomicU32,
    marked_otherwise: AtomicU32,
    still_on: AtomicU32,
    controls: AtomicU32,
}

pub(crate) fn measure(table: &mut Table) {
    let drills = std::env::var(VARIABLE).map_or(DRILLS, |count| count.parse().unwrap());
    let (counts, next) = (Counts::default(), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..PATIENTS {
            scope.spawn(|| {
                let mut patient = Patient::start(&[]);
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= drills {
                        break;
                    }
                    sit(&mut patient, n, &counts);
                }
            });
        }
    });
    for (what, count) in [
        ("without a report", &counts.without_report),
        ("with another mark offline", &counts.marked_otherwise),
        ("with a fault on after the close", &counts.still_on),
    ] {
        let count = count.load(Ordering::Relaxed);
        table.row(Row {
            what: &format!("drills of {drills} {what}"),
            asked: "0".to_owned(),
            achieved: count.to_string(),
            error: String::new(),
            bar: "none",
            held: count == 0,
        });
    }
    let share = f64::from(counts.controls.load(Ordering::Relaxed)) / f64::from(drills);
    let interval = SIGMAS * (CONTROLS * (1.0 - CONTROLS) / f64::from(drills)).sqrt();
    table.row(Row {
        what: "share of controls",
        asked: CONTROLS.to_string(),
        achieved: format!("{share:.3}"),
        error: format!("{:+.3}", share - CONTROLS),
        bar: &format!("±{interval:.3}, the 99.9 % interval"),
        held: (share - CONTROLS).abs() <= interval,
    });
}

/// One drill, answered as one of several candidates would.
fn sit(patient: &mut Patient, n: u32, counts: &Counts) {
    let body = json!({
        "seed": format!("bench {n}"), "time_scale": 0.01, "onset_s": [0.2, 0.6], "duration_s": 2,
    });
    let drill = patient.open(body, Duration::from_secs(3));
    let drill = drill.unwrap_or_else(|answer| panic!("drill {n} was refused: {answer:?}"));
    let path = format!("/api/v1/drills/{}/answers", drill.id);
    patient.live_until(drill.deadline - Duration::from_secs(1));
    let answer = patient.ask("POST", &path, &answer_of(n));
    assert_eq!(answer.status, 202, "drill {n}: {answer:?}");
    patient.live_until(drill.deadline);
    let closed = patient.close(&drill);
    let count = |counter: &AtomicU32, happened: bool| {
        counter.fetch_add(u32::from(happened), Ordering::Relaxed);
    };
    let running = patient.running();
    if running.as_array().is_none_or(|running| !running.is_empty()) {
        eprintln!("drill {n} ({}): still on: {running}", drill.id);
    }
    count(
        &counts.still_on,
        running.as_array().is_none_or(|running| !running.is_empty()),
    );
    if closed.status != 200 || closed.body["drill_id"] != drill.id.as_str() {
        eprintln!("drill {n}: no report: {closed:?}");
        return count(&counts.without_report, true);
    }
    let recomputed: Value = serde_json::from_str(&patient.recomputed(&drill)).unwrap_or_default();
    if recomputed != closed.body {
        eprintln!("drill {n}: {} and {recomputed}", closed.body);
    }
    count(&counts.marked_otherwise, recomputed != closed.body);
    let causes = &closed.body["expected"]["causes"];
    count(
        &counts.controls,
        causes.as_array().is_some_and(Vec::is_empty),
    );
}

/// What one of three candidates says, whatever it sees.
fn answer_of(n: u32) -> Value {
    match n % 3 {
        0 => json!({ "detected": false, "decision": "promote" }),
        1 => json!({
            "detected": true, "decision": "rollback",
            "findings": [{ "scenario": "memory_leaker", "confidence": 0.7, "params": { "leak_rate_mb": 2 } }],
        }),
        _ => json!({
            "detected": true, "decision": "hold",
            "findings": [{ "scenario": "network_latency" }, { "scenario": "dependency", "role": "symptom" }],
        }),
    }
}
