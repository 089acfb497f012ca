//! Durations and counts of the service listener's requests.
//!
//! All series exist at zero from the start: `rate()` misses the first step of a series that appears with it. A request
//! finds its series with two comparisons and no lock.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::histogram::{Histogram, Resolution};
use super::measure::{OTHER, RequestMeter};
use super::page;
use super::totals::Totals;
use crate::fault::arrivals::Arrivals;

const OK: StatusCode = StatusCode::OK;
const FAILED: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
/// The status under which a request of the service's work counts whose client went away before the answer, as nginx has
/// it.
const CLIENT_CLOSED: u16 = 499;
/// Those of bodies that never end: a client's mistakes must not use up the extra series.
const MISTAKES: [u16; 2] = [408, 413];
const UNAVAILABLE: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
/// The routes that count separately, and the statuses with which they succeed and fail by contract: a probe is 200 or
/// 503, and a route that calls another service fails with 500. Any other status, whatever scenario causes it, takes an
/// [`ExtraSeries`] or counts as [`OTHER_ROUTE`], so a new scenario needs no entry here.
const ROUTES: [(&str, &[StatusCode]); 6] = [
    ("/health", &[OK, UNAVAILABLE]),
    ("/ready", &[OK, UNAVAILABLE]),
    ("/api/v1/mock-service", &[OK, FAILED]),
    ("/api/v1/test/sleep10ms", &[OK]),
    ("/api/v1/test/sleep30ms", &[OK]),
    (OTHER_ROUTE, &[]),
];
/// How the routes begin that a blind service does not have.
const OF_API: &str = "/api/v1/";
/// How many other statuses get a histogram, of all routes together. Each costs 20 series on the service page and 12 on
/// the admin page.
const EXTRA: usize = 2;
/// The control API, the metrics, unknown paths.
pub(crate) const OTHER_ROUTE: &str = "other";

/// The counters of all requests; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    arrivals: Arrivals,
    /// As in [`ROUTES`].
    /// Those of the workload follow.
    routes: Vec<RouteCounters>,
    extra: Vec<ExtraSeries>,
    /// All requests without a series of their route.
    rest: Histogram,
}

/// A route of the workload and what it answers.
#[derive(Debug, Clone)]
pub(crate) struct ServedRoute {
    pub(crate) method: &'static str,
    pub(crate) route: String,
    pub(crate) statuses: Vec<StatusCode>,
}

#[derive(Debug)]
struct RouteCounters {
    method: &'static str,
    route: String,
    /// Whether it is a route of the workload.
    is_work: bool,
    active: AtomicI64,
    /// Answers with a 5xx status, whatever their method.
    failed: AtomicU64,
    /// Answers to `method` by status.
    answers: Vec<(StatusCode, Histogram)>,
}

/// Answers with a status that is not listed; the first such route, by its index, and status keep it.
#[derive(Debug, Default)]
struct ExtraSeries {
    answer: OnceLock<(usize, StatusCode)>,
    times: Histogram,
}

impl Requests {
    /// Counters at zero that also note each request in `arrivals`, for the routes of `workload` too. A blind service has no
    /// series of routes that it does not have.
    pub(crate) fn new(arrivals: Arrivals, workload: Vec<ServedRoute>, is_blind: bool) -> Self {
        let extra = EXTRA * (1 + workload.len());
        let own = ROUTES.map(|(route, statuses)| ServedRoute {
            method: "GET",
            route: route.to_owned(),
            statuses: statuses.to_vec(),
        });
        let own = own.into_iter();
        let own = own.filter(|own| !is_blind || !own.route.starts_with(OF_API));
        let own = own.map(|own| RouteCounters::new(own, false));
        let work = workload
            .into_iter()
            .map(|work| RouteCounters::new(work, true));
        let routes = own.chain(work);
        Self(Arc::new(Counters {
            arrivals,
            routes: routes.collect(),
            extra: std::iter::repeat_with(ExtraSeries::default)
                .take(extra)
                .collect(),
            rest: Histogram::default(),
        }))
    }

    /// The meter of `route`, or of [`OTHER_ROUTE`] if that does not count separately.
    pub(crate) fn route(&self, route: &str) -> RouteMeter {
        self.meter_of("GET", route)
    }

    /// The meter of a route of the workload.
    pub(crate) fn workload_route(&self, method: &str, route: &str) -> RouteMeter {
        self.meter_of(method, route)
    }

    fn meter_of(&self, method: &str, route: &str) -> RouteMeter {
        let at = |method, route| {
            let mut routes = self.0.routes.iter();
            routes.position(|known| known.method == method && known.route == route)
        };
        RouteMeter {
            counters: Arc::clone(&self.0),
            // The list always has the route of all others.
            route: at(method, route)
                .or_else(|| at("GET", OTHER_ROUTE))
                .unwrap_or_default(),
        }
    }

    pub(crate) fn has_own_series(route: &str) -> bool {
        route != OTHER_ROUTE && ROUTES.iter().any(|(known, _)| *known == route)
    }

    /// All of them together.
    pub(crate) fn totals(&self) -> Totals {
        let Counters {
            routes,
            extra,
            rest,
            ..
        } = &*self.0;
        let listed = routes.iter().flat_map(|route| &route.answers);
        let listed = listed.map(|(_, times)| times);
        let extra = extra.iter().map(|extra| &extra.times);
        let mut buckets = rest.buckets(Resolution::Fine);
        for times in listed.chain(extra) {
            let more = times.buckets(Resolution::Fine);
            for ((_, sum), (_, count)) in buckets.iter_mut().zip(more) {
                *sum += count;
            }
        }
        let failed = routes
            .iter()
            .map(|route| route.failed.load(Ordering::Relaxed));
        Totals {
            failed: failed.sum(),
            buckets,
        }
    }

    /// How many requests each route has answered with a 5xx status.
    pub(crate) fn failed(&self) -> Vec<(&str, u64)> {
        let routes = self.0.routes.iter();
        routes
            .map(|route| (route.route.as_str(), route.failed.load(Ordering::Relaxed)))
            .collect()
    }
}

impl RouteCounters {
    fn new(served: ServedRoute, is_work: bool) -> Self {
        let statuses = served.statuses.into_iter();
        Self {
            method: served.method,
            route: served.route,
            is_work,
            active: AtomicI64::new(0),
            failed: AtomicU64::new(0),
            answers: statuses
                .map(|status| (status, Histogram::default()))
                .collect(),
        }
    }
}

/// Measures the requests of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMeter {
    counters: Arc<Counters>,
    route: usize,
}

impl RequestMeter for RouteMeter {
    fn started(&self) {
        let route = &self.counters.routes[self.route];
        route.active.fetch_add(1, Ordering::Relaxed);
        self.counters.arrivals.note();
    }

    fn finished(&self, method: &'static str, status: Option<StatusCode>, took: Duration) {
        let route = &self.counters.routes[self.route];
        route.active.fetch_sub(1, Ordering::Relaxed);
        if status.is_some_and(|status| status.is_server_error()) {
            route.failed.fetch_add(1, Ordering::Relaxed);
        }
        let closed = || {
            StatusCode::from_u16(CLIENT_CLOSED)
                .ok()
                .filter(|_| route.is_work)
        };
        let status = status.or_else(closed);
        let own = status.and_then(|status| self.counters.series(self.route, method, status));
        own.unwrap_or(&self.counters.rest).record(took);
    }
}

impl Counters {
    /// The histogram of an answer on `route`, if it has one or can still get one.
    fn series(&self, at: usize, method: &str, status: StatusCode) -> Option<&Histogram> {
        let route = &self.routes[at];
        let is_mistake = method != route.method || MISTAKES.contains(&status.as_u16());
        if is_mistake || route.answers.is_empty() {
            return None;
        }
        let mut answers = route.answers.iter();
        if let Some((_, times)) = answers.find(|(known, _)| *known == status) {
            return Some(times);
        }
        let answer = (at, status);
        let mut extra = self.extra.iter();
        let own = extra.find(|extra| *extra.answer.get_or_init(|| answer) == answer);
        own.map(|extra| &extra.times)
    }
}

impl Counters {
    /// Requests that are being served by route, of all its methods together.
    fn active(&self) -> Vec<(&str, i64)> {
        let mut active: Vec<(&str, i64)> = Vec::with_capacity(self.routes.len());
        for route in &self.routes {
            let now = route.active.load(Ordering::Relaxed);
            match active.iter_mut().find(|(known, _)| *known == route.route) {
                Some((_, sum)) => *sum += now,
                None => active.push((&route.route, now)),
            }
        }
        active
    }
}

/// The counters as one page shows them.
#[derive(Debug)]
pub(super) struct RequestMetrics {
    pub(super) requests: Requests,
    pub(super) resolution: Resolution,
}

impl Collector for RequestMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let e = &mut encoder;
        self.encode_requests(e)?;
        let active = self.requests.0.active();
        let active = active
            .iter()
            .map(|(route, active)| ([("http_route", *route)], *active as f64));
        let help = "Requests that are being served";
        page::gauges(e, "http_server_active_requests", help, active)
    }
}

impl RequestMetrics {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "http_server_request_duration_seconds",
            "Time from a request's arrival to its answer",
            None,
            MetricType::Histogram,
        )?;
        let Counters {
            routes,
            extra,
            rest,
            ..
        } = &*self.requests.0;
        let listed = routes.iter().flat_map(|route| {
            let answers = route.answers.iter();
            answers
                .map(|(status, times)| (route.method, route.route.as_str(), status.as_str(), times))
        });
        let extra = extra.iter().filter_map(|extra| {
            let (at, status) = extra.answer.get()?;
            let route = &routes[*at];
            Some((
                route.method,
                route.route.as_str(),
                status.as_str(),
                &extra.times,
            ))
        });
        let all = listed
            .chain(extra)
            .chain([(OTHER, OTHER_ROUTE, OTHER, rest)]);
        for (method, route, status, times) in all {
            let labels = [
                ("http_request_method", method),
                ("http_route", route),
                ("http_response_status_code", status),
            ];
            times.encode(&mut family, &labels, self.resolution)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> Option<StatusCode> {
        Some(StatusCode::from_u16(code).expect("a valid status"))
    }

    fn answer(meter: &impl RequestMeter, method: &'static str, code: u16) {
        meter.started();
        meter.finished(method, status(code), Duration::from_millis(1));
    }

    /// The counts of listed answers route by route, of extra series, and of the rest.
    fn counts(requests: &Requests) -> (Vec<u64>, Vec<u64>, u64) {
        let counters = &requests.0;
        let known = counters.routes.iter().flat_map(|route| &route.answers);
        (
            known.map(|(_, times)| times.count()).collect(),
            counters.extra.iter().map(|s| s.times.count()).collect(),
            counters.rest.count(),
        )
    }

    #[test]
    fn a_listed_answer_has_its_series_from_the_start() {
        let requests = Requests::new(Arrivals::default(), Vec::new(), false);
        for (route, statuses) in ROUTES {
            for status in statuses {
                answer(&requests.route(route), "GET", status.as_u16());
            }
        }
        assert_eq!(counts(&requests), (vec![1; 8], vec![0; 2], 0));
    }

    #[test]
    fn the_first_two_other_statuses_get_series_and_the_next_count_as_other() {
        let requests = Requests::new(Arrivals::default(), Vec::new(), false);
        let health = requests.route("/health");
        for code in [500, 500, 429, 502, 500] {
            answer(&health, "GET", code);
        }
        assert_eq!(counts(&requests), (vec![0; 8], vec![3, 1], 1));
    }

    #[test]
    fn other_routes_and_unanswered_requests_count_as_other() {
        let requests = Requests::new(Arrivals::default(), Vec::new(), false);
        answer(&requests.route("/api/v1/scenarios"), "GET", 200);
        answer(&requests.route("/no/such/path"), "GET", 404);
        let ready = requests.route("/ready");
        ready.started();
        ready.finished("GET", None, Duration::from_secs(1));
        answer(&ready, "POST", 405);
        answer(&ready, "HEAD", 200);
        assert_eq!(counts(&requests), (vec![0; 8], vec![0; 2], 5));
    }

    #[test]
    fn a_request_is_active_from_its_start_to_its_end() {
        let requests = Requests::new(Arrivals::default(), Vec::new(), false);
        let (ready, other) = (requests.route("/ready"), requests.route("/"));
        let active = || -> Vec<i64> {
            let routes = requests.0.routes.iter();
            routes.map(|r| r.active.load(Ordering::Relaxed)).collect()
        };
        ready.started();
        other.started();
        assert_eq!(active(), [0, 1, 0, 0, 0, 1]);
        ready.finished("GET", status(200), Duration::ZERO);
        other.finished("GET", None, Duration::ZERO);
        assert_eq!(active(), [0; 6]);
    }

    #[test]
    fn every_5xx_counts_as_failed_on_its_route() {
        let requests = Requests::new(Arrivals::default(), Vec::new(), false);
        let (health, other) = (requests.route("/health"), requests.route("/nowhere"));
        for (method, code) in [("GET", 503), ("HEAD", 500), ("GET", 599), ("GET", 404)] {
            answer(&health, method, code);
        }
        answer(&other, "POST", 500);
        health.finished("GET", None, Duration::ZERO);
        let failed = requests.failed();
        assert_eq!((failed[0], failed[5]), (("/health", 3), ("other", 1)));
    }
}
