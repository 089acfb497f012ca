//! What the service does, as the configuration has it.

use std::time::Duration;

use http::StatusCode;

use super::path::{PATH_RULE, PathTemplate};
use super::shop::shop;
use crate::fault::Law;
use crate::input::Fields;
use crate::metrics::requests::ServedRoute;
use crate::upstream::spec::{CallSpec, clash};

/// The most routes: each has up to 5 histograms in the metrics.
const MOST_ROUTES: usize = 32;
/// The most calls of a route, and the most upstreams: each has up to 9 histograms in the metrics.
const MOST_CALLS: usize = 8;
const MOST_UPSTREAMS: usize = 16;
/// The methods that a route may take.
pub(crate) const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
/// The longest CPU time of a request, in ms.
const MOST_CPU_MS: f64 = 1000.0;
/// The largest answer: 1 MiB.
const MOST_BYTES: u32 = 1024 * 1024;

/// The work of the service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkloadSpec {
    /// Makes the random choices repeatable.
    pub(crate) seed: Option<u32>,
    pub(crate) routes: Vec<RouteSpec>,
}

/// One route and what a request to it takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RouteSpec {
    pub(crate) path: PathTemplate,
    pub(crate) method: &'static str,
    /// The time of the handler itself, without its calls.
    pub(crate) latency: Option<Law>,
    /// CPU time of each request, a part of `latency`.
    pub(crate) cpu: Duration,
    /// Of each answer.
    pub(crate) response_bytes: u32,
    /// Share of the requests that fail with status 500.
    pub(crate) error_share: f64,
    /// Share of the traffic, relative to the other routes.
    pub(crate) weight: f64,
    /// Made one after the other, after the handler's own time.
    pub(crate) calls: Vec<CallSpec>,
}

impl WorkloadSpec {
    /// Reads the member `Workload`; none where it is absent.
    pub(crate) fn read(fields: &mut Fields) -> Option<Self> {
        let about = "The service's own work: routes with latency, CPU time, errors and calls to other services. \
                     A set by its name, or a description. Absent: none.";
        fields.optional_section_or("Workload", about, &[("shop", shop)], |workload| {
            let about = "Makes the sequence of random choices repeatable.";
            let seed = workload.field("Seed", about).optional();
            let seed = seed.integer(0..=u32::MAX);
            let about = "The routes; at most 32.";
            let routes = workload.objects("Routes", about, RouteSpec::read);
            let routes: Vec<_> = routes.into_iter().flatten().collect();
            let spec = Self { seed, routes };
            // A bad route is missing here, and the others then have other numbers.
            match workload.is_good() {
                true => spec.checked(workload),
                false => spec,
            }
        })
    }

    /// The calls of all routes.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &CallSpec> {
        self.routes.iter().flat_map(|route| &route.calls)
    }

    /// Refuses routes that serve the same requests, too many, and none.
    fn checked(self, fields: &mut Fields) -> Self {
        if self.routes.is_empty() {
            fields.reject("Routes", "must have at least one route");
        }
        if self.routes.len() > MOST_ROUTES {
            fields.reject("Routes", format!("must have at most {MOST_ROUTES} routes"));
        }
        let mut upstreams: Vec<&str> = self.calls().map(|call| call.name.as_str()).collect();
        upstreams.sort_unstable();
        upstreams.dedup();
        if upstreams.len() > MOST_UPSTREAMS {
            let detail = format!("must call at most {MOST_UPSTREAMS} upstreams in all");
            fields.reject("Routes", detail);
        }
        self.refuse_clashes(fields);
        for (i, route) in self.routes.iter().enumerate() {
            let same = |other: &RouteSpec| {
                other.method == route.method && other.path.for_router() == route.path.for_router()
            };
            if let Some(first) = self.routes[..i].iter().position(same) {
                let detail = format!("serves the same requests as Routes.{first}");
                fields.reject_at(&format!("/Routes/{i}/Path"), detail);
            }
        }
        self
    }

    /// Refuses calls to an upstream that differ in what is the upstream's own.
    fn refuse_clashes(&self, fields: &mut Fields) {
        let mut seen: Vec<&CallSpec> = Vec::new();
        for (i, route) in self.routes.iter().enumerate() {
            for (n, call) in route.calls.iter().enumerate() {
                let clash = seen.iter().find_map(|before| clash(before, call));
                if let Some(detail) = clash {
                    fields.reject_at(&format!("/Routes/{i}/Calls/{n}"), detail);
                }
                seen.push(call);
            }
        }
    }
}

impl RouteSpec {
    /// What the metrics count.
    pub(crate) fn served(&self) -> ServedRoute {
        const STATUSES: [StatusCode; 5] = [
            StatusCode::OK,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::BAD_GATEWAY,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        // The last two are those of a failed call.
        let own = if self.calls.is_empty() { 3 } else { 5 };
        ServedRoute {
            method: self.method,
            route: self.path.as_str().to_owned(),
            statuses: STATUSES[..own].to_vec(),
        }
    }

    /// None where it has no good path, which is reported.
    fn read(fields: &mut Fields) -> Option<Self> {
        let about = "The path; a name in braces takes any one segment, as in /api/orders/{id}.";
        fields.require("Path");
        let path = fields.field("Path", about).optional();
        let path = path.text(PATH_RULE, PathTemplate::parse);
        let method = fields.field("Method", "The method that it takes.");
        let method = method.choice(&METHODS.map(|method| (method, method)));
        let about = "The handler's own time, a log-normal distribution. Absent: none.";
        let latency = Law::read(fields, "Latency", about);
        let about = "CPU time of each request, a part of Latency.";
        let cpu = fields.field("CpuMs", about);
        let cpu = cpu.milliseconds(0.0..=MOST_CPU_MS, 0.0);
        if latency.is_some_and(|law| cpu > law.median()) {
            fields.reject(
                "CpuMs",
                "must not be above Latency.p50_ms, of which it is a part",
            );
        }
        let about = "Length of each answer's body.";
        let response_bytes = fields.field("ResponseBytes", about);
        let response_bytes = response_bytes.integer(0..=MOST_BYTES, 256);
        let about =
            "Share of the requests that fail with status 500: no healthy service is perfect.";
        let error_share = fields.field("ErrorShare", about).number(0.0..=1.0, 0.0);
        let about = "Share of the traffic, relative to the other routes.";
        let weight = fields.field("Weight", about).number(0.0..=1000.0, 1.0);
        let about = "Calls to other services, one after the other; at most 8.";
        let params = path.as_ref().map_or(Vec::new(), PathTemplate::names);
        let calls = fields.objects("Calls", about, |call| CallSpec::read(call, &params));
        if calls.len() > MOST_CALLS {
            fields.reject("Calls", format!("must be at most {MOST_CALLS}"));
        }
        Some(Self {
            path: path?,
            method,
            latency,
            cpu,
            response_bytes,
            error_share,
            weight,
            calls,
        })
    }
}
