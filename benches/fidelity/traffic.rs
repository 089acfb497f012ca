//! `Traffic`: its rate and its lag, and a CPU fault beside it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const WINDOW: Duration = Duration::from_secs(30);
const LAG: &str = "mockserver_traffic_lag_seconds_bucket";

pub(crate) fn measure(table: &mut Table) {
    rate_and_lag(table, 500);
    beside_a_burn(table, 100, 60);
}

fn start(per_second: u32) -> Daemon {
    let workload = "Workload: {Routes: [{Path: '/work/{id}'}]}\nLog: {Requests: never}\n";
    let daemon = Daemon::start_with(
        &format!("{workload}Traffic: {{Rps: {per_second}, Seed: 7}}\n"),
        &[],
    );
    // Past the opening of the first connections.
    proc::sleep_until(Instant::now() + Duration::from_secs(1));
    daemon
}

/// The counters of the traffic at one moment.
struct Counters {
    sent: f64,
    answered: f64,
    cpu: f64,
    /// The upper bounds of the lag in seconds, each with how many requests had no more.
    lag: Vec<(f64, f64)>,
}

impl Counters {
    fn of(daemon: &Daemon) -> Self {
        let text = daemon.admin_get("/metrics").body;
        let text = text.as_str().unwrap();
        let value = |line: &str| line.rsplit_once(' ')?.1.parse::<f64>().ok();
        let one = |series: &str| {
            let mut lines = text.lines().filter(|line| line.starts_with(series));
            lines.next().and_then(value).unwrap()
        };
        let buckets = text.lines().filter(|line| line.starts_with(LAG));
        let bound = |line: &str| {
            let bound = line.split('"').nth(1)?;
            bound.replace("+Inf", "inf").parse::<f64>().ok()
        };
        Self {
            sent: one("mockserver_traffic_sent_total "),
            answered: one("mockserver_traffic_requests_total{status=\"200\"} "),
            cpu: one("mockserver_traffic_cpu_seconds_total "),
            lag: buckets
                .map(|line| (bound(line).unwrap(), value(line).unwrap()))
                .collect(),
        }
    }

    /// Milliseconds that this share of the requests since `before` did not exceed: the end of its bucket.
    fn lag_at(&self, share: f64, before: &Self) -> f64 {
        let pairs = self.lag.iter().zip(&before.lag);
        let counts: Vec<_> = pairs
            .map(|((bound, now), (_, before))| (bound, now - before))
            .collect();
        let all = counts.last().map_or(0.0, |(_, count)| *count);
        let bucket = counts.iter().find(|(_, count)| *count >= share * all);
        bucket.map_or(f64::NAN, |(bound, _)| **bound * 1000.0)
    }
}

fn rate_and_lag(table: &mut Table, per_second: u32) {
    let daemon = start(per_second);
    let (from, before) = (Instant::now(), Counters::of(&daemon));
    proc::sleep_until(from + WINDOW);
    let (after, took) = (Counters::of(&daemon), from.elapsed().as_secs_f64());
    let rate = (after.sent - before.sent) / took;
    let asked = f64::from(per_second);
    // Holds 99.9 % of all windows of a Poisson process.
    let interval = 3.29 * (asked / took).sqrt();
    table.row(Row {
        what: "traffic: requests sent each second, in 30 s",
        asked: format!("{asked}/s"),
        achieved: format!("{rate:.1}/s"),
        error: format!("{:+.1}", rate - asked),
        bar: "99.9 % of a Poisson process",
        held: (rate - asked).abs() <= interval,
    });
    let unanswered = after.sent - after.answered;
    let (median, tail) = (after.lag_at(0.5, &before), after.lag_at(0.99, &before));
    let cpu = (after.cpu - before.cpu) / took * 100.0;
    table.row(Row {
        what: &format!(
            "traffic at {rate:.0}/s: lag at p99; {cpu:.1} % of a core; not answered yet"
        ),
        asked: "0 ms".to_owned(),
        achieved: format!("≤ {tail} ms; p50 ≤ {median} ms; {unanswered}"),
        error: format!("{tail:+}"),
        bar: "5 ms",
        held: tail <= 5.0 && unanswered <= asked / 10.0,
    });
}

fn beside_a_burn(table: &mut Table, per_second: u32, percent: u32) {
    let daemon = start(per_second);
    daemon.start_scenario("cpu_burner", json!({ "target_percent": percent }));
    let (from, before) = (Instant::now(), daemon.process().live_cpu());
    let counters = Counters::of(&daemon);
    proc::sleep_until(from + Duration::from_secs(10));
    let used = (daemon.process().live_cpu() - before).as_secs_f64();
    let mean = used / from.elapsed().as_secs_f64() / proc::machine_cores() * 100.0;
    let tail = Counters::of(&daemon).lag_at(0.99, &counters);
    let off = mean - f64::from(percent);
    table.row(Row {
        what: &format!("CPU beside traffic at {per_second}/s: mean of 10 s; lag at p99"),
        asked: format!("{percent} %"),
        achieved: format!("{mean:.2} %; ≤ {tail} ms"),
        error: format!("{off:+.2}"),
        bar: "±0.5",
        held: off.abs() <= 0.5,
    });
}
