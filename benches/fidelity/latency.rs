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
