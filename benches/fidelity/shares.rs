//! Shares of touched requests over ten thousand.

use serde_json::{Value, json};

use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const PROBES: u32 = 10_000;
/// Standard deviations on both sides of the mean that hold 99.9 % of a normal distribution.
const SIGMAS: f64 = 3.291;

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    for rate in [0.05, 0.3, 0.5] {
        let body = json!({ "failure_mode": "intermittent", "fail_rate": rate });
        daemon.start_scenario("health_check", body);
        let failed = (0..PROBES)
            .filter(|_| daemon.get("/health").status == 503)
            .count();
        let share = failed as f64 / f64::from(PROBES);
        let bound = SIGMAS * (rate * (1.0 - rate) / f64::from(PROBES)).sqrt();
        table.row(Row {
            what: "probes failed of 10,000",
            asked: format!("{rate}"),
            achieved: format!("{share:.4}"),
            error: format!("{:+.4}", share - rate),
            bar: &format!("±{bound:.4}, the 99.9 % interval"),
            held: (share - rate).abs() <= bound,
        });
    }
    daemon.stop_all();
    for share in [0.02, 0.3] {
        matched(table, &daemon, json!({ "share": share }), share, true);
    }
    matched(table, &daemon, json!({ "every": 50 }), 0.02, false);
}

/// Requests that `http_error` touches under a `match`; exactly the share where it is not `drawn`.
fn matched(table: &mut Table, daemon: &Daemon, selection: Value, asked: f64, drawn: bool) {
    let what = format!("requests failed of 10,000, match {selection}");
    daemon.start_scenario("http_error", json!({ "match": selection }));
    let failed = (0..PROBES).filter(|_| daemon.get("/health").status == 503);
    let share = failed.count() as f64 / f64::from(PROBES);
    daemon.stop_all();
    let bound = match drawn {
        true => SIGMAS * (asked * (1.0 - asked) / f64::from(PROBES)).sqrt(),
        false => 0.0,
    };
    table.row(Row {
        what: &what,
        asked: format!("{asked}"),
        achieved: format!("{share:.4}"),
        error: format!("{:+.4}", share - asked),
        bar: &match drawn {
            true => format!("±{bound:.4}, the 99.9 % interval"),
            false => "exact".to_owned(),
        },
        held: (share - asked).abs() <= bound + 1e-12,
    });
}
