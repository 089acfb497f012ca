//! `network_latency`: the time added to a request, against the same requests without the fault.

use std::time::Duration;

use serde_json::json;

use crate::load::{Load, LoadResult};
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const LATENCIES_MS: &[u32] = &[1, 5, 20, 100, 500];
const WINDOW: Duration = Duration::from_secs(4);

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    for latency in LATENCIES_MS {
        // At half a second an answer, 200 connections cannot carry 1,000 requests a second.
        let connections = if *latency >= 200 { 600 } else { 200 };
        let load = Load {
            address: daemon.service,
            path: "/health",
            connections,
            per_second: 1000,
        };
        let quiet = load.run(WINDOW);
        daemon.start_scenario("network_latency", json!({ "latency_ms": latency }));
        let late = load.run(WINDOW);
        daemon.stop_all();
        row(table, f64::from(*latency), &quiet, &late);
    }
}

/// Laws, over ten thousand requests each.
pub(crate) fn measure_laws(table: &mut Table) {
    const REQUESTS: f64 = 10_000.0;
    /// Standard deviations on both sides of the mean that hold 99.9 % of a normal distribution.
    const SIGMAS: f64 = 3.291;
    let daemon = Daemon::start();
    let load = Load {
        address: daemon.service,
        path: "/health",
        connections: 400,
        per_second: 1000,
    };
    for (p50, p99) in [(5.0_f64, 40.0_f64), (20.0, 150.0), (50.0, 80.0)] {
        let params = json!({ "p50_ms": p50, "p99_ms": p99 });
        daemon.start_scenario("network_latency", params);
        let late = load.run(Duration::from_secs(10));
        daemon.stop_all();
        let error = late.at(0.5) - p50;
        let bound = (p50 * 0.02).max(1.0);
        table.row(Row {
            what: &format!("p50 of a law, {} requests", late.count()),
            asked: format!("{p50} ms"),
            achieved: format!("{:.2} ms", late.at(0.5)),
            error: format!("{error:+.2} ms"),
            bar: "1 ms or 2 %",
            held: error.abs() <= bound,
        });
        // The share of the sample that may lie below the quantile differs by so much, and the quantile with it: the
        // density of a log-normal law is known.
        let share = SIGMAS * (0.99_f64 * 0.01 / REQUESTS).sqrt();
        let (z, sigma) = (2.326, (p99 / p50).ln() / 2.326);
        let density = (-z * z / 2.0_f64).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let sampling = p99 * ((share / density * sigma).exp() - 1.0);
        let error = late.at(0.99) - p99;
        table.row(Row {
            what: "p99 of the same",
            asked: format!("{p99} ms"),
            achieved: format!("{:.1} ms", late.at(0.99)),
            error: format!("{error:+.1} ms"),
            bar: &format!(
                "{:.1} ms: 5 % or the 99.9 % interval",
                sampling.max(p99 * 0.05)
            ),
            held: error.abs() <= sampling.max(p99 * 0.05),
        });
    }
}

fn row(table: &mut Table, asked: f64, quiet: &LoadResult, late: &LoadResult) {
    let above = |share: f64| late.at(share) - quiet.at(share) - asked;
    let (least, median, tail) = (late.at(0.0), above(0.5), above(0.99));
    table.row(Row {
        what: &format!(
            "latency at {:.0} requests/s: least; above at p50; at p99",
            late.per_second()
        ),
        asked: format!("{asked} ms"),
        achieved: format!("{least:.2} ms"),
        error: format!("{median:+.2}; {tail:+.2} ms"),
        bar: "never less; 0.3; 1",
        held: least >= asked && median <= 0.3 && tail <= 1.0,
    });
}
