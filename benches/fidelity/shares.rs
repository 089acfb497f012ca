//! `health_check` intermittent: the share of failed probes over ten thousand.

use serde_json::json;

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
}
