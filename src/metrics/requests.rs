//! What is known of the service listener's requests, and of the calls to the pretended dependency.
//!
//! Every label set stands before the first request, because a rate cannot see the first step of a
//! series that was not there before. A request finds its own by two comparisons; it takes no lock.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::histogram::{Histogram, Resolution};
use super::measure::{Meter, OTHER};
use super::page;
use crate::fault::arrivals::Arrivals;

/// The routes that have series of their own, and the statuses of a GET that are there from the start:
/// what the route answers, and what a fault makes of it by default.
const ROUTES: [(&str, &[u16]); 5] = [
    ("/health", &[200, 503]),
    ("/ready", &[200, 503]),
    ("/api/v1/mock-service", &[200, 500]),
    ("/api/v1/test/sleep10ms", &[200]),
    ("/api/v1/test/sleep30ms", &[200]),
];
/// How many more statuses these routes may bring about, all together. Each costs twenty series, twelve on
/// the admin page.
const SPARE: usize = 2;
/// The route of all other requests: the control API, the metrics, unknown paths.
const OTHER_ROUTE: &str = "other";
/// What the service pretends to call.
pub(crate) const DEPENDENCY: &str = "inventory";
/// The statuses of its answers: as it should be, and as it fails.
const CALLS: [&str; 2] = ["200", "500"];

/// The counters of all requests; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    arrivals: Arrivals,
    /// As in [`ROUTES`], then the other route.
    routes: Vec<RouteCounters>,
    spare: [Spare; SPARE],
    /// All requests that have no series of their own.
    rest: Histogram,
    /// As in [`CALLS`].
    calls: [Histogram; CALLS.len()],
}

#[derive(Debug)]
struct RouteCounters {
    route: &'static str,
    active: AtomicI64,
    /// The answers to GET by status; there from the start.
    answers: Vec<(StatusCode, Histogram)>,
}

/// A place for an answer to GET that was not foreseen, by route and status; the first takes it for good.
#[derive(Debug, Default)]
struct Spare {
    answer: OnceLock<(&'static str, StatusCode)>,
    times: Histogram,
}

impl Requests {
    /// Counters at zero; each request is noted in `arrivals` too.
    pub(crate) fn new(arrivals: Arrivals) -> Self {
        let answers = |statuses: &[u16]| {
            let known = statuses
                .iter()
                .filter_map(|n| StatusCode::from_u16(*n).ok());
            known.map(|status| (status, Histogram::default())).collect()
        };
        let others: (&'static str, &[u16]) = (OTHER_ROUTE, &[]);
        let routes = ROUTES.into_iter().chain([others]);
        Self(Arc::new(Counters {
            arrivals,
            routes: routes
                .map(|(route, statuses)| RouteCounters {
                    route,
                    active: AtomicI64::new(0),
                    answers: answers(statuses),
                })
                .collect(),
            spare: Default::default(),
            rest: Histogram::default(),
            calls: Default::default(),
        }))
    }
}

impl Requests {
    /// Measures the requests of `route`, or all others together if it has no series of its own.
    pub(crate) fn route(&self, route: &str) -> RouteMeter {
        let routes = &self.0.routes;
        let at = routes.iter().position(|known| known.route == route);
        RouteMeter {
            counters: Arc::clone(&self.0),
            route: at.unwrap_or(routes.len() - 1),
        }
    }

    /// Whether the requests of `route` have series of their own.
    pub(crate) fn has_own_series(route: &str) -> bool {
        ROUTES.iter().any(|(known, _)| *known == route)
    }

    /// Measures the calls to the pretended dependency.
    pub(crate) fn calls(&self) -> CallMeter {
        CallMeter(Arc::clone(&self.0))
    }
}

/// Measures the requests of one route.
#[derive(Debug, Clone)]
pub(crate) struct RouteMeter {
    counters: Arc<Counters>,
    route: usize,
}

impl Meter for RouteMeter {
    fn begun(&self) {
        let route = &self.counters.routes[self.route];
        route.active.fetch_add(1, Ordering::Relaxed);
        self.counters.arrivals.note();
    }

    fn ended(&self, method: &'static str, status: Option<StatusCode>, took: Duration) {
        let route = &self.counters.routes[self.route];
        route.active.fetch_sub(1, Ordering::Relaxed);
        let own = status.and_then(|status| self.counters.series(route, method, status));
        own.unwrap_or(&self.counters.rest).record(took);
    }
}

impl Counters {
    /// The series of an answer on `route`, if it has one or can still get one.
    fn series<'a>(
        &'a self,
        route: &'a RouteCounters,
        method: &'static str,
        status: StatusCode,
    ) -> Option<&'a Histogram> {
        // The routes take no other method but HEAD; what a client does wrong must not use up the spare.
        if method != "GET" || route.answers.is_empty() {
            return None;
        }
        let mut answers = route.answers.iter();
        if let Some((_, times)) = answers.find(|(known, _)| *known == status) {
            return Some(times);
        }
        let answer = (route.route, status);
        let mut spare = self.spare.iter();
        let own = spare.find(|spare| *spare.answer.get_or_init(|| answer) == answer);
        own.map(|spare| &spare.times)
    }
}

/// Measures the calls to the pretended dependency.
#[derive(Debug, Clone)]
pub(crate) struct CallMeter(Arc<Counters>);

impl Meter for CallMeter {
    fn begun(&self) {}

    fn ended(&self, _: &'static str, status: Option<StatusCode>, took: Duration) {
        // Without an answer the call was called off by this side: that says nothing of the dependency.
        let Some(status) = status else { return };
        let failed = status.is_client_error() || status.is_server_error();
        self.0.calls[usize::from(failed)].record(took);
    }
}

/// The counters as one page shows them.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) requests: Requests,
    pub(super) resolution: Resolution,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let resolution = self.resolution;
        let Counters {
            routes,
            spare,
            rest,
            calls,
            ..
        } = &*self.requests.0;
        let mut family = encoder.encode_descriptor(
            "http_server_request_duration_seconds",
            "Time from a request's arrival to its answer",
            None,
            MetricType::Histogram,
        )?;
        let labels = |method, route, status| {
            [
                ("http_request_method", method),
                ("http_route", route),
                ("http_response_status_code", status),
            ]
        };
        for RouteCounters { route, answers, .. } in routes {
            for (status, times) in answers {
                let labels = labels("GET", route, status.as_str());
                times.encode(&mut family, &labels, resolution)?;
            }
        }
        for Spare { answer, times } in spare {
            if let Some((route, status)) = answer.get() {
                let labels = labels("GET", route, status.as_str());
                times.encode(&mut family, &labels, resolution)?;
            }
        }
        let rest_labels = labels(OTHER, OTHER_ROUTE, OTHER);
        rest.encode(&mut family, &rest_labels, resolution)?;

        let active = routes
            .iter()
            .map(|route| ([("http_route", route.route)], &route.active));
        page::gauges(
            &mut encoder,
            "http_server_active_requests",
            "Requests that are being served",
            active.map(|(labels, active)| (labels, active.load(Ordering::Relaxed) as f64)),
        )?;

        let mut family = encoder.encode_descriptor(
            "http_client_request_duration_seconds",
            "Time from a call to another service to its answer",
            None,
            MetricType::Histogram,
        )?;
        for (status, times) in CALLS.into_iter().zip(calls) {
            let labels = [
                ("server_address", DEPENDENCY),
                ("http_request_method", "GET"),
                ("http_response_status_code", status),
            ];
            times.encode(&mut family, &labels, resolution)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16) -> Option<StatusCode> {
        Some(StatusCode::from_u16(code).expect("a status"))
    }

    fn answer(meter: &impl Meter, method: &'static str, code: u16) {
        meter.begun();
        meter.ended(method, status(code), Duration::from_millis(1));
    }

    /// Route by route: statuses and counts; then the spare ones; then the rest.
    fn counts(requests: &Requests) -> (Vec<u64>, Vec<u64>, u64) {
        let counters = &requests.0;
        let known = counters.routes.iter().flat_map(|route| &route.answers);
        (
            known.map(|(_, times)| times.count()).collect(),
            counters.spare.iter().map(|s| s.times.count()).collect(),
            counters.rest.count(),
        )
    }

    #[test]
    fn a_foreseen_answer_has_its_series_from_the_start() {
        let requests = Requests::new(Arrivals::default());
        for (route, statuses) in ROUTES {
            for code in statuses {
                answer(&requests.route(route), "GET", *code);
            }
        }
        assert_eq!(counts(&requests), (vec![1; 8], vec![0; 2], 0));
    }

    #[test]
    fn the_first_two_unforeseen_answers_get_series_and_the_next_are_counted_together() {
        let requests = Requests::new(Arrivals::default());
        let health = requests.route("/health");
        for code in [500, 500, 429, 502, 500] {
            answer(&health, "GET", code);
        }
        assert_eq!(counts(&requests), (vec![0; 8], vec![3, 1], 1));
    }

    #[test]
    fn other_routes_and_requests_without_an_answer_are_counted_together() {
        let requests = Requests::new(Arrivals::default());
        answer(&requests.route("/api/v1/scenarios"), "GET", 200);
        answer(&requests.route("/no/such/path"), "GET", 404);
        let ready = requests.route("/ready");
        ready.begun();
        ready.ended("GET", None, Duration::from_secs(1));
        answer(&ready, "POST", 405);
        answer(&ready, "HEAD", 200);
        assert_eq!(counts(&requests), (vec![0; 8], vec![0; 2], 5));
    }

    #[test]
    fn a_request_is_active_from_its_begin_to_its_end() {
        let requests = Requests::new(Arrivals::default());
        let (ready, other) = (requests.route("/ready"), requests.route("/"));
        let active = || -> Vec<i64> {
            let routes = requests.0.routes.iter();
            routes.map(|r| r.active.load(Ordering::Relaxed)).collect()
        };
        ready.begun();
        other.begun();
        assert_eq!(active(), [0, 1, 0, 0, 0, 1]);
        ready.ended("GET", status(200), Duration::ZERO);
        other.ended("GET", None, Duration::ZERO);
        assert_eq!(active(), [0; 6]);
    }

    #[test]
    fn a_call_is_counted_by_its_outcome() {
        let requests = Requests::new(Arrivals::default());
        let calls = requests.calls();
        for code in [200, 204, 500, 404] {
            answer(&calls, "GET", code);
        }
        calls.ended("GET", None, Duration::ZERO);
        let counted: Vec<u64> = requests.0.calls.iter().map(Histogram::count).collect();
        assert_eq!(counted, [2, 2]);
    }
}
