//! `memory_leaker`: resident memory against its schedule, and what is left after the stop.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::container::{self, Container};
use crate::proc;
use crate::row::Row;
use crate::support::{Daemon, eventually};
use crate::table::Table;

/// Rates in MiB/s, with the target that gives a few seconds of growth.
const RATES: &[(f64, u32)] = &[(0.5, 4), (10.0, 80), (100.0, 500), (300.0, 1024)];

pub(crate) fn measure(table: &mut Table) {
    for (rate, target) in RATES {
        growth(table, *rate, f64::from(*target));
    }
    let huge = Duration::from_secs(1);
    given_back(table, 1024, Duration::from_millis(150));
    given_back(table, 4096, huge);
}

fn growth(table: &mut Table, rate: f64, target: f64) {
    let daemon = warm_daemon();
    let base = daemon.process().resident_mb();
    let from = Instant::now();
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": target, "leak_rate_mb": rate }),
    );
    // The run began between the request and the answer.
    let (earliest, latest) = (from, Instant::now());
    let mut worst = 0.0_f64;
    let mut held = true;
    let mut sample_at = latest;
    loop {
        sample_at += Duration::from_millis(200);
        proc::sleep_until(sample_at);
        let now = Instant::now();
        let grown = proc::resident_mb_quickly(daemon.pid()) - base;
        let due = |start: Instant| (rate * (now - start).as_secs_f64()).min(target);
        let error = (grown - due(earliest)).min(0.0) + (grown - due(latest)).max(0.0);
        let error = if grown >= due(latest) && grown <= due(earliest) {
            0.0
        } else {
            error
        };
        if error.abs() > worst.abs() {
            worst = error;
        }
        held &= error.abs() <= (0.02 * due(earliest)).max(2.0);
        if due(latest) >= target {
            break;
        }
    }
    table.row(Row {
        what: &format!("memory at {rate} MiB/s: furthest from the line, 5 samples a second"),
        asked: format!("{target} MiB"),
        achieved: "a line".to_owned(),
        error: format!("{worst:+.2} MiB"),
        bar: "2 % or 2 MiB",
        held,
    });
    proc::sleep_until(Instant::now() + Duration::from_millis(300));
    let level = daemon.process().resident_mb() - base;
    table.row(Row {
        what: &format!("memory at {rate} MiB/s: final level"),
        asked: format!("{target} MiB"),
        achieved: format!("{level:.2} MiB"),
        error: format!("{:+.2} MiB", level - target),
        bar: "1 MiB",
        held: (level - target).abs() <= 1.0,
    });
}

/// A daemon that has leaked before: a first run loads code and buffers, which are not part of the leak.
fn warm_daemon() -> Daemon {
    let daemon = Daemon::start();
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": 1, "leak_rate_mb": 1000 }),
    );
    daemon.wait_for_metric("memory_leaker", "current_mb", |mb| mb >= 1.0);
    daemon.stop_all();
    daemon
}

fn given_back(table: &mut Table, mb: u32, within: Duration) {
    let daemon = Daemon::start();
    let base = daemon.process().resident_mb();
    daemon.start_scenario(
        "memory_leaker",
        json!({ "target_mb": mb, "leak_rate_mb": 65536 }),
    );
    daemon.wait_for_metric("memory_leaker", "current_mb", |now| now >= f64::from(mb));
    let peak = daemon.process().resident_mb() - base;
    let from = Instant::now();
    daemon.stop_all();
    let answered = from.elapsed();
    let share = (1.0 - (daemon.process().resident_mb() - base) / peak) * 100.0;
    table.row(Row {
        what: &format!("memory, {mb} MiB: back when stop answers"),
        asked: format!("99 % in {} ms", within.as_millis()),
        achieved: format!("{share:.1} % in {:.0} ms", answered.as_secs_f64() * 1000.0),
        error: String::new(),
        bar: "both",
        held: share >= 99.0 && answered <= within,
    });
}

/// A leak beyond the container's limit ends as a real one does, at the second it should.
pub(crate) fn measure_oom(table: &mut Table) {
    if let Some(why) = container::missing() {
        table.note(format!("the out-of-memory kill: {why}"));
        return;
    }
    let container = Container::start(&["--memory=256m", "--memory-swap=256m"]);
    let base = container.process.resident_mb();
    let body = json!({ "target_mb": 512, "leak_rate_mb": 50 });
    let from = Instant::now();
    let answer = container.post("/api/v1/scenarios/memory_leaker/start", &body);
    let warned = answer.body["details"][0]["warning"].is_string();
    let (code, oom) = eventually("the container ends", || container.ended());
    let after = from.elapsed().as_secs_f64();
    let planned = (256.0 - base) / 50.0;
    table.row(Row {
        what: "memory, 256 MiB container, leak to 512 at 50 MiB/s: killed",
        asked: format!("at {planned:.1} s, exit 137"),
        achieved: format!("at {after:.1} s, exit {code}, oom {oom}, warned {warned}"),
        error: format!("{:+.1} s", after - planned),
        bar: "±1 s",
        held: (after - planned).abs() <= 1.0 && code == 137 && warned,
    });
}
