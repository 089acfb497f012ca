//! The HTTP side: the router, made of the list of routes, and the layers before them.
//!
//! Both listeners serve the same routes; the service listener's have the faults before them.

mod auth;
mod body;
mod browser;
pub(crate) mod caller;
mod composite;
mod docs;
mod events;
mod halt;
mod metrics;
mod openapi;
pub(crate) mod own_probe;
mod probes;
pub(crate) mod problem;
mod query;
mod request_log;
mod route;
mod routes;
mod scenarios;
mod testing;
mod version;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use self::body::LargeBodies;
use self::own_probe::OwnProbe;
use self::route::Access;
use crate::fault::Surface;
use crate::fault::layer::FaultLayer;
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::ledger::Ledger;
use crate::lifecycle::readiness::Readiness;
use crate::manager::ScenarioManager;
use crate::metrics::Metrics;
use crate::metrics::measure::MeasureLayer;
use crate::metrics::requests::{CallMeter, Requests, RouteMeter};
use crate::traces::layer::TraceLayer;

/// What the handlers work with. Every request clones it, so it is two pointers.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    parts: Arc<Parts>,
    /// Each listener has its own.
    large_bodies: LargeBodies,
}

impl Api {
    /// Puts `parts` into reach of the handlers.
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
            large_bodies: LargeBodies::default(),
        }
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// The parts of an [`Api`].
#[derive(Debug)]
pub(crate) struct Parts {
    /// Scenarios and the session.
    pub manager: ScenarioManager,
    /// The metrics of the process.
    pub metrics: Metrics,
    /// The timer of the test routes.
    pub timer: FineTimer,
    /// What happened.
    pub ledger: Ledger,
    /// Cancelled when the daemon ends, so that streams end too.
    pub end: CancellationToken,
    /// The service's name.
    pub name: String,
    /// The service's version.
    pub version: String,
    /// Whether the service may get traffic.
    pub readiness: Readiness,
    /// The token that every change must carry; none leaves the API open.
    pub token: Option<Arc<str>>,
    /// Whether the control API's reads must carry it too.
    pub protect_reads: bool,
    /// Names by which the browsers of people may know the daemon, beside addresses and localhost.
    pub allowed_hosts: Vec<String>,
    /// Whether requests to the service are traced.
    pub traced: bool,
    /// Where the daemon asks after its own health.
    pub own_probe: OwnProbe,
}

/// The routes of the admin listener: no fault ever applies.
pub(crate) fn admin_router(api: Api) -> Router {
    router(api, None)
}

/// The routes of the service listener, with the faults of `table` before them.
pub(crate) fn service_router(api: Api, table: &FaultTable) -> Router {
    let front = Front {
        table: table.clone(),
        timer: api.timer.clone(),
        requests: api.metrics.requests().clone(),
        traced: api.traced,
    };
    router(api, Some(&front))
}

/// What stands before the routes of the service listener only.
struct Front {
    table: FaultTable,
    timer: FineTimer,
    requests: Requests,
    traced: bool,
}

impl Front {
    /// Only before the service's own work: the other paths name faults.
    fn traced(&self, path: &'static str, counts_as: &str) -> Option<TraceLayer> {
        let is_own_work = Requests::has_own_series(counts_as);
        (self.traced && is_own_work).then(|| TraceLayer::server(path))
    }

    fn measured(&self, route: &str) -> MeasureLayer<RouteMeter> {
        MeasureLayer::new(self.requests.route(route))
    }

    fn faults(&self, surface: Surface) -> FaultLayer {
        FaultLayer::new(self.table.clone(), self.timer.clone(), surface)
    }

    /// Before the call to the dependency, which is a call of this service and is measured as such.
    fn call(&self) -> (MeasureLayer<CallMeter>, FaultLayer) {
        let faults = self.faults(Surface::DependencyCall);
        (MeasureLayer::new(self.requests.calls()), faults)
    }

    fn traced_call(&self) -> Option<TraceLayer> {
        self.traced.then(TraceLayer::client)
    }
}

/// All routes, each with what `front` puts before its surface.
fn router(api: Api, front: Option<&Front>) -> Router {
    let api = Api {
        large_bodies: LargeBodies::default(),
        ..api
    };
    let behind_layers = |routes: Router<Api>, surface: Option<Surface>, path, counts_as| {
        // One stack and not a layer after the other: each `layer` call would box every request anew.
        // Outermost first: the log and the metrics see what a caught panic was answered with, and they
        // see what a fault does as any service would.
        let layers = ServiceBuilder::new()
            .layer(request_log::RequestLogLayer)
            .option_layer(front.and_then(|front| front.traced(path, counts_as)))
            .option_layer(front.map(|front| front.measured(counts_as)))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .option_layer(front.and_then(|front| Some(front.faults(surface?))));
        routes
            .method_not_allowed_fallback(problem::method_not_allowed)
            .layer(layers)
    };
    let no_route = Router::new().fallback(problem::not_found);
    let mut router = behind_layers(no_route, Some(Surface::Traffic), "", "other");
    if let Some(front) = front {
        router = router.merge(own_probe::route(&api, &front.table));
    }
    for route in routes::sections().into_iter().flat_map(|s| s.routes) {
        let mut handler = match route.on_admin {
            Some(handler) if front.is_none() => handler,
            _ => route.handler,
        };
        if route.access == Access::Change || route.access == Access::Read && api.protect_reads {
            let token = from_fn_with_state(api.clone(), auth::require_token);
            handler = handler.route_layer(token);
        }
        if route.access != Access::Open {
            let no_page = from_fn_with_state(api.clone(), browser::refuse_foreign_pages);
            handler = handler.route_layer(no_page);
        }
        if route.calls_dependency {
            // Not before the refusal of another method: then nothing is called.
            let call = ServiceBuilder::new()
                .option_layer(front.and_then(Front::traced_call))
                .option_layer(front.map(Front::call));
            handler = handler.route_layer(call);
        }
        let alone = Router::new().route(route.path, handler);
        router = router.merge(behind_layers(
            alone,
            route.surface,
            route.path,
            route.counts_as,
        ));
    }
    router.with_state(api)
}
