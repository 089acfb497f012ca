//! `goroutine_leak`: a million tasks, their memory, and what is left of it.

use std::time::Instant;

use serde_json::json;

use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const MILLION: f64 = 1_000_000.0;

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let base = daemon.process().resident_mb();
    daemon.start_scenario(
        "goroutine_leak",
        json!({ "goroutines_per_second": 1_000_000 }),
    );
    let count = daemon.wait_for_metric("goroutine_leak", "current_goroutines", |n| n >= MILLION);
    let grown = daemon.process().resident_mb() - base;
    let count_after = daemon.status("goroutine_leak")["metrics"]["current_goroutines"].as_f64();
    let bytes = grown * 1_048_576.0 / count_after.unwrap_or(count);
    table.row(Row {
        what: "tasks: memory of each of a million",
        asked: format!("{:.0}", MILLION),
        achieved: format!("{count:.0}, {bytes:.0} bytes each"),
        error: String::new(),
        bar: "at most 400 bytes",
        held: bytes <= 400.0,
    });
    let from = Instant::now();
    daemon.stop_all();
    let answered = from.elapsed();
    let share = (1.0 - (daemon.process().resident_mb() - base) / grown) * 100.0;
    table.row(Row {
        what: "tasks: memory back when stop answers",
        asked: "95 % in 1 s".to_owned(),
        achieved: format!("{share:.1} % in {:.2} s", answered.as_secs_f64()),
        error: String::new(),
        bar: "both",
        held: share >= 95.0 && answered.as_secs_f64() <= 1.0,
    });
    steady(table, &daemon);
}

/// The count against the schedule at a moderate rate.
fn steady(table: &mut Table, daemon: &Daemon) {
    let from = Instant::now();
    daemon.start_scenario("goroutine_leak", json!({ "goroutines_per_second": 1000 }));
    let started = Instant::now();
    proc::sleep_until(started + std::time::Duration::from_secs(3));
    let asked_at = Instant::now();
    let count = daemon.status("goroutine_leak")["metrics"]["current_goroutines"].as_f64();
    let (most, least) = (
        from.elapsed().as_secs_f64(),
        (asked_at - started).as_secs_f64(),
    );
    let count = count.unwrap_or(f64::NAN);
    daemon.stop_all();
    // One step of ten milliseconds may be outstanding.
    let held = count <= most * 1000.0 && count >= (least - 0.02) * 1000.0;
    table.row(Row {
        what: "tasks: count after 3 s at 1,000/s",
        asked: format!("{:.0} to {:.0}", least * 1000.0, most * 1000.0),
        achieved: format!("{count:.0}"),
        error: String::new(),
        bar: "the schedule, a step of 10 ms behind at most",
        held,
    });
}
