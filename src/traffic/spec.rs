//! Which requests the traffic sends, how often and where to, as the configuration has it.

use std::time::Duration;

use http::Uri;

use super::TrafficMeter;
use crate::client;
use crate::input::{Fields, Shape};
use crate::workload::{METHODS, PATH_RULE, PathTemplate, WorkloadSpec};

/// The most requests a second.
const MOST_RPS: f64 = 20_000.0;
const DEFAULT_RPS: f64 = 8.0;
/// The longest that a client waits, in ms: ten minutes.
const LONGEST_MS: f64 = 600_000.0;
const DEFAULT_TIMEOUT_MS: f64 = 10_000.0;
/// The largest weight of a route.
const MOST_WEIGHT: f64 = 1000.0;
const TARGET_RULE: &str = "must be self, or a URL of the form http://host:port";

/// What clients ask of a service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrafficSpec {
    /// Requests a second over time, without those of the probes.
    pub(super) rate: Shape,
    pub(super) target: Target,
    /// None where there are no requests but those of the probes.
    pub(super) routes: Vec<RequestSpec>,
    /// Makes the sequence of requests repeatable.
    pub(super) seed: Option<u32>,
    /// How long a client waits for a whole answer.
    pub(super) timeout: Duration,
    /// Whether `/health` and `/ready` are called as an orchestrator does.
    pub(super) probes: bool,
}

/// The service that is asked.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    /// This one.
    Own,
    /// The one at `host:port`.
    At(String),
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RequestSpec {
    pub(super) method: &'static str,
    pub(super) path: PathTemplate,
    /// Share of the requests, relative to the others.
    pub(super) weight: f64,
}

impl TrafficSpec {
    /// Reads the member `Traffic`; none where it is absent. Without routes of its own it takes those of `workload`.
    pub(crate) fn read(fields: &mut Fields, workload: Option<&WorkloadSpec>) -> Option<Self> {
        let about = "Requests of clients that do not wait for each other. Absent: none.";
        fields.optional_section("Traffic", about, |traffic| {
            let rate = read_rate(traffic);
            let about = "The service that is asked: self, from readiness on, or a URL.";
            let target = traffic.field("Target", about);
            let target = target.text(TARGET_RULE, (Target::Own, "self"), target_of);
            let about = "The requests. Empty: those that the routes of the Workload take.";
            let routes = traffic.objects("Routes", about, RequestSpec::read);
            let mut routes: Vec<_> = routes.into_iter().flatten().collect();
            if routes.is_empty() {
                routes.extend(workload.into_iter().flat_map(routes_of));
            }
            check_routes(traffic, &rate, &routes);
            let about = "Makes the sequence of requests repeatable: their times, routes and names.";
            let seed = traffic.field("Seed", about).optional();
            let seed = seed.integer(0..=u32::MAX);
            let about = "How long a client waits for a whole answer.";
            let timeout = traffic.field("TimeoutMs", about);
            let timeout = timeout.milliseconds(1.0..=LONGEST_MS, DEFAULT_TIMEOUT_MS);
            let about = "Whether GET /health and /ready are called every 10 s with a time-out of 1 s, as by a kubelet.";
            let probes = traffic.field("Probes", about).flag(false);
            Self {
                rate,
                target,
                routes,
                seed,
                timeout,
                probes,
            }
        })
    }

    /// Requests to the routes that this service has for `workload`, where the configuration has no traffic.
    pub(crate) fn of_own(workload: Option<&WorkloadSpec>) -> Self {
        let routes = workload.map(routes_of).unwrap_or_default();
        let rps = if routes.is_empty() { 0.0 } else { DEFAULT_RPS };
        Self {
            rate: Shape::constant(rps),
            target: Target::Own,
            routes,
            seed: None,
            timeout: Duration::from_secs_f64(DEFAULT_TIMEOUT_MS / 1000.0),
            probes: false,
        }
    }

    /// Whether any request could be sent.
    pub(crate) fn has_routes(&self) -> bool {
        self.routes.iter().any(|route| route.weight > 0.0)
    }

    /// Counters at zero.
    pub(crate) fn meter(&self) -> TrafficMeter {
        TrafficMeter::new(self.rate.clone())
    }

    /// The seed that was given, or a new one.
    pub(crate) fn draw_seed(&mut self) -> u32 {
        *self.seed.get_or_insert_with(rand::random)
    }
}

/// `Shape` wins where both are given: `Rps` is then the figure that people know it by.
fn read_rate(fields: &mut Fields) -> Shape {
    let about = "Requests a second.";
    let field = fields.field("Rps", about).unit("1/s");
    let rate = field.shape(0.0..=MOST_RPS, DEFAULT_RPS);
    let about = "Requests a second over time, in the place of Rps.";
    let field = fields.field("Shape", about).unit("1/s").optional();
    match field.shape(0.0..=MOST_RPS) {
        Some(shape) => {
            fields.withdraw("Rps");
            shape
        }
        None => rate,
    }
}

/// Those that the routes of `workload` take.
fn routes_of(workload: &WorkloadSpec) -> Vec<RequestSpec> {
    let served = workload.routes.iter();
    let requests = served.map(|route| RequestSpec {
        method: route.method,
        path: route.path.clone(),
        weight: route.weight,
    });
    requests.collect()
}

fn check_routes(fields: &mut Fields, rate: &Shape, routes: &[RequestSpec]) {
    if rate.largest() <= 0.0 {
        return;
    }
    if routes.is_empty() {
        let detail = "is missing, and there is no Workload whose routes could be requested";
        fields.reject("Routes", detail);
    } else if routes.iter().all(|route| route.weight <= 0.0) {
        fields.reject("Routes", "must have a route with a Weight above 0");
    }
}

/// A password is refused, because the URL is shown; so is a path, since those are the routes'.
fn target_of(text: &str) -> Option<Target> {
    if text.eq_ignore_ascii_case("self") {
        return Some(Target::Own);
    }
    let uri: Uri = text.parse().ok()?;
    let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let has_user = uri.authority()?.as_str().contains('@');
    let address = client::address_of(&uri).filter(|_| is_bare && !has_user)?;
    Some(Target::At(address))
}

impl RequestSpec {
    /// None where it has no good path, which is reported.
    fn read(fields: &mut Fields) -> Option<Self> {
        let about =
            "The path; a name in braces takes a number that is drawn, as in /api/orders/{id}.";
        fields.require("Path");
        let path = fields.field("Path", about).optional();
        let path = path.text(PATH_RULE, PathTemplate::parse);
        let method = fields.field("Method", "The method.");
        let method = method.choice(&METHODS.map(|method| (method, method)));
        let about = "Share of the requests, relative to the others.";
        let weight = fields.field("Weight", about);
        let weight = weight.number(0.0..=MOST_WEIGHT, 1.0);
        Some(Self {
            method,
            path: path?,
            weight,
        })
    }
}
