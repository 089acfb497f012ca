//! Parameters that change while a fault runs: the mean of each second against the curve.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

/// How far a mean may be off, as a share of the range of the curve.
const BAR: f64 = 0.03;
/// A mean is that of the curve at this many moments.
const MOMENTS: u32 = 1000;

/// A curve: what is asked at a time in seconds.
type Curve = fn(f64) -> f64;
/// What has been used up, or is there, in the unit of the curve times seconds.
type Total<'a> = &'a dyn Fn() -> f64;

/// One parameter with a shape, and the same shape as a curve.
struct Shaped {
    what: &'static str,
    scenario: &'static str,
    params: Value,
    curve: Curve,
    /// The least and the most of it.
    range: (f64, f64),
    unit: &'static str,
    seconds: u64,
    /// When it jumps; the second around a jump is left out.
    jumps: &'static [f64],
}

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let process = daemon.process();
    let cores = proc::machine_cores();
    let cpu = || process.live_cpu().as_secs_f64() / cores * 100.0;
    follow(table, &daemon, cpu_ramp(), &cpu);
    follow(table, &daemon, cpu_square(), &cpu);
    let resident = || proc::resident_mb_quickly(daemon.pid());
    follow(table, &daemon, memory_steps(), &resident);
    let tasks = || {
        let status = daemon.status("goroutine_leak");
        status["metrics"]["current_goroutines"].as_f64().unwrap()
    };
    follow(table, &daemon, tasks_sine(), &tasks);
}

fn cpu_ramp() -> Shaped {
    Shaped {
        what: "cpu ramp",
        scenario: "cpu_burner",
        params: json!({ "target_percent": { "ramp": { "from": 0, "to": 80, "over_s": 12 } } }),
        curve: |s| (s / 12.0).min(1.0) * 80.0,
        range: (0.0, 80.0),
        unit: "%",
        seconds: 15,
        jumps: &[],
    }
}

fn cpu_square() -> Shaped {
    let square = json!({ "low": 5, "high": 75, "period_s": 7, "duty": 0.5 });
    Shaped {
        what: "cpu square",
        scenario: "cpu_burner",
        params: json!({ "target_percent": { "square": square } }),
        curve: |s| if s % 7.0 < 3.5 { 75.0 } else { 5.0 },
        range: (5.0, 75.0),
        unit: "%",
        seconds: 14,
        jumps: &[3.5, 7.0, 10.5],
    }
}

fn memory_steps() -> Shaped {
    Shaped {
        what: "memory growth in steps",
        scenario: "memory_leaker",
        params: json!({ "target_mb": 4096, "leak_rate_mb": { "steps": [[0, 20], [3.5, 100], [7.5, 0]] } }),
        curve: |s| match s {
            s if s < 3.5 => 20.0,
            s if s < 7.5 => 100.0,
            _ => 0.0,
        },
        range: (0.0, 100.0),
        unit: "MiB/s",
        seconds: 10,
        jumps: &[3.5, 7.5],
    }
}

fn tasks_sine() -> Shaped {
    Shaped {
        what: "tasks as a sine",
        scenario: "goroutine_leak",
        params: json!({ "goroutines_per_second": { "sine": { "low": 1000, "high": 9000, "period_s": 5 } } }),
        curve: |s| 5000.0 + 4000.0 * (std::f64::consts::TAU * s / 5.0).sin(),
        range: (1000.0, 9000.0),
        unit: "tasks/s",
        seconds: 10,
        jumps: &[],
    }
}

/// Measures `total` each second while the scenario runs.
fn follow(table: &mut Table, daemon: &Daemon, shaped: Shaped, total: Total<'_>) {
    daemon.start_scenario(shaped.scenario, shaped.params);
    let started = Instant::now();
    let sample = || {
        let at = started.elapsed().as_secs_f64();
        (at, total())
    };
    let mut before = sample();
    let (mut worst, mut asked_then, mut windows) = (0.0_f64, 0.0, 0);
    for second in 1..=shaped.seconds {
        proc::sleep_until(started + Duration::from_secs(second));
        let after = sample();
        let (from, to) = (before.0, after.0);
        let mean = (after.1 - before.1) / (to - from);
        before = after;
        if shaped
            .jumps
            .iter()
            .any(|jump| (from - 0.5..to + 0.5).contains(jump))
        {
            continue;
        }
        let moments = (0..MOMENTS).map(|i| f64::from(i) / f64::from(MOMENTS));
        let asked = moments.map(|share| (shaped.curve)(from + (to - from) * share));
        let asked = asked.sum::<f64>() / f64::from(MOMENTS);
        windows += 1;
        if (mean - asked).abs() >= worst.abs() {
            (worst, asked_then) = (mean - asked, asked);
        }
    }
    daemon.stop_all();
    let (unit, range) = (shaped.unit, shaped.range.1 - shaped.range.0);
    let share = worst / range;
    table.row(Row {
        what: &format!("{}: worst of {windows} means of 1 s", shaped.what),
        asked: format!("{asked_then:.1} {unit}"),
        achieved: format!("{:.1} {unit}", asked_then + worst),
        error: format!("{:+.2} % of the range", share * 100.0),
        bar: "3 % of the range",
        held: share.abs() <= BAR,
    });
}
