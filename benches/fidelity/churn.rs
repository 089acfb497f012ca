//! `memory_churn` and `lock_contention`: what they cost, as the kernel counts it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

/// `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used so far: page faults, and seconds in user mode and in the system.
#[derive(Clone, Copy)]
struct Used {
    at: Instant,
    faults: f64,
    user_s: f64,
    system_s: f64,
}

impl Used {
    fn by(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the name, which may have spaces: field 3 of proc(5) comes first.
        let rest = stat.rsplit_once(')').unwrap().1;
        let fields: Vec<f64> = rest
            .split_whitespace()
            .map(|field| field.parse().unwrap_or(0.0))
            .collect();
        Self {
            at: Instant::now(),
            faults: fields[7],
            user_s: fields[11] / TICKS_PER_SECOND,
            system_s: fields[12] / TICKS_PER_SECOND,
        }
    }

    /// In each second since `before`.
    fn rates_since(self, before: Self) -> Self {
        let seconds = (self.at - before.at).as_secs_f64();
        Self {
            at: self.at,
            faults: (self.faults - before.faults) / seconds,
            user_s: (self.user_s - before.user_s) / seconds,
            system_s: (self.system_s - before.system_s) / seconds,
        }
    }
}

fn rates(daemon: &Daemon, over: Duration) -> Used {
    let before = Used::by(daemon.pid());
    proc::sleep_until(before.at + over);
    Used::by(daemon.pid()).rates_since(before)
}

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    daemon.start_scenario("memory_churn", json!({ "mb": 1, "per_second": 1 }));
    daemon.stop_all();
    let base = daemon.process().resident_mb();
    daemon.start_scenario("memory_churn", json!({ "mb": 64, "per_second": 5 }));
    proc::sleep_until(Instant::now() + Duration::from_millis(500));
    let rates = rates(&daemon, Duration::from_secs(6));
    daemon.stop_all();
    let left = daemon.process().resident_mb() - base;
    let asked = 5.0 * 64.0 * 256.0;
    let off = (rates.faults / asked - 1.0) * 100.0;
    table.row(Row {
        what: "churn: page faults at 64 MiB, 5 times a second",
        asked: format!("{asked:.0}/s"),
        achieved: format!(
            "{:.0}/s, {:.0} % of a core",
            rates.faults,
            (rates.user_s + rates.system_s) * 100.0
        ),
        error: format!("{off:+.1} %"),
        bar: "10 %",
        held: off.abs() <= 10.0,
    });
    table.row(Row {
        what: "churn: resident memory when stop answers",
        asked: "0 MiB".to_owned(),
        achieved: format!("{left:+.2} MiB"),
        error: String::new(),
        bar: "2 MiB",
        held: left <= 2.0,
    });
}

pub(crate) fn measure_locks(table: &mut Table) {
    let daemon = Daemon::start();
    let mut alone = None;
    for threads in [1, 16] {
        let params = json!({ "threads": threads, "hold_us": 2 });
        daemon.start_scenario("lock_contention", params);
        let metric = "locks_per_second";
        proc::sleep_until(Instant::now() + Duration::from_millis(500));
        let rates = rates(&daemon, Duration::from_secs(4));
        let locks = daemon.wait_for_metric("lock_contention", metric, |n| n > 0.0);
        daemon.stop_all();
        let Some((locks_alone, system_alone)) = alone else {
            alone = Some((locks, rates.system_s));
            continue;
        };
        table.row(Row {
            what: "locks: taken by 16 threads, and by one",
            asked: "fewer".to_owned(),
            achieved: format!("{locks:.0}/s, {locks_alone:.0}/s"),
            error: format!("x{:.2}", locks / locks_alone),
            bar: "at most x0.8",
            held: locks <= locks_alone * 0.8,
        });
        table.row(Row {
            what: "locks: CPU time in the system, and of one thread",
            asked: "more".to_owned(),
            achieved: format!("{:.2}, {system_alone:.2} cores", rates.system_s),
            error: String::new(),
            bar: "at least 0.1 more",
            held: rates.system_s >= system_alone + 0.1,
        });
    }
}
