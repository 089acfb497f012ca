//! How many series the pages have.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio_util::sync::CancellationToken;

use super::measure::RequestMeter;
use super::*;
use crate::fault::arrivals::Arrivals;
use crate::fault::table::FaultTable;
use crate::input::limits::Limits;
use crate::manager::session::{Onsets, SessionManager};
use crate::plugin::{Plugin, Services};
use crate::scenarios;

/// The most series of each page without scenarios, and of each scenario; the documentation of the module counts them.
const SERVICE_SERIES: usize = 290;
const ADMIN_SERIES: usize = 190;
const SERIES_PER_SCENARIO: usize = 10;

/// Metrics of a daemon with the scenarios of `registry`.
fn metrics(registry: &'static [&'static dyn Plugin]) -> Metrics {
    let services = Arc::new(Services::for_tests("/nowhere"));
    let (table, root) = (FaultTable::default(), CancellationToken::new());
    let (sessions, _actor) = SessionManager::spawn(services, table, root, Onsets::new());
    let cgroup = Cgroup::at("/nowhere", "/nowhere");
    let manager = ScenarioManager::new(registry, sessions, Limits::default(), cgroup);
    let requests = Requests::new(Arrivals::default(), Vec::new(), false);
    let (names, calls) = (("checkout", "1.0"), Calls::default());
    Metrics::new(names, &Runtimes::default(), manager, requests, calls)
}

fn series(metrics: &Metrics, page: MetricsPage) -> usize {
    let text = metrics
        .write(page, Format::OpenMetrics)
        .expect("the page is written");
    text.lines().filter(|line| !line.starts_with('#')).count()
}

/// Answers requests on every kind of route with every status of a server's error.
fn answer_with_every_error(requests: &Requests) {
    for route in [
        "/health",
        "/ready",
        "/api/v1/mock-service",
        "/no/such/route",
    ] {
        let meter = requests.route(route);
        for status in 500..600 {
            meter.started();
            let status = StatusCode::from_u16(status).ok();
            meter.finished("GET", status, Duration::ZERO);
        }
    }
}

#[tokio::test]
async fn the_pages_have_as_many_series_as_documented_for_any_length_of_the_registry() {
    for count in 0..=scenarios::ALL.len() {
        let metrics = metrics(&scenarios::ALL[..count]);
        answer_with_every_error(metrics.requests());
        let most = ADMIN_SERIES + SERIES_PER_SCENARIO * count;
        assert_eq!(
            series(&metrics, MetricsPage::Admin),
            most,
            "{count} scenarios"
        );
        assert_eq!(series(&metrics, MetricsPage::Service), SERVICE_SERIES);
    }
}
