//! The only list of routes, and the layers before them.
//!
//! Both listeners serve the same routes; the service listener's have the faults before them.

mod auth;
mod body;
pub mod caller;
mod composite;
mod events;
mod metrics;
mod probes;
pub mod problem;
mod query;
mod request_log;
mod scenarios;
mod testing;

use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

use crate::fault::Surface;
use crate::fault::layer::FaultLayer;
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::ledger::Ledger;
use crate::manager::ScenarioManager;
use crate::metrics::Metrics;
use crate::metrics::measure::MeasureLayer;
use crate::metrics::requests::{CallMeter, Requests, RouteMeter};

/// What the handlers work with. Every request clones it, so it is one pointer.
#[derive(Debug, Clone)]
pub struct Api(Arc<Parts>);

impl Api {
    /// Puts `parts` into reach of the handlers.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Api {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The parts of an [`Api`].
#[derive(Debug)]
pub struct Parts {
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
    /// The token that every change must carry; none leaves the API open.
    pub token: Option<Arc<str>>,
}

/// The routes of the admin listener: no fault ever applies.
pub fn admin_router(api: Api) -> Router {
    router(api, None)
}

/// The routes of the service listener, with the faults of `table` before them.
pub fn service_router(api: Api, table: &FaultTable) -> Router {
    let front = Front {
        table: table.clone(),
        timer: api.timer.clone(),
        requests: api.metrics.requests().clone(),
    };
    router(api, Some(&front))
}

/// What stands before the routes of the service listener only.
struct Front {
    table: FaultTable,
    timer: FineTimer,
    requests: Requests,
}

impl Front {
    fn measured(&self, route: &str) -> MeasureLayer<RouteMeter> {
        MeasureLayer::new(self.requests.route(route))
    }

    fn faults(&self, surface: Surface) -> FaultLayer {
        FaultLayer::new(self.table.clone(), self.timer.clone(), surface)
    }

    /// Before the call to the dependency, which is a call of this service and is measured as such.
    fn call(&self) -> (MeasureLayer<CallMeter>, FaultLayer) {
        let faults = self.faults(Surface::Dependency).in_dependency();
        (MeasureLayer::new(self.requests.calls()), faults)
    }
}

/// All routes, each group with what `front` puts before its surface.
fn router(api: Api, front: Option<&Front>) -> Router {
    let change = |handler: MethodRouter<Api>| {
        handler.route_layer(from_fn_with_state(api.clone(), auth::require_token))
    };
    let control = Router::new()
        .route(
            "/api/v1/scenarios/{name}/start",
            change(post(scenarios::start)),
        )
        .route(
            "/api/v1/scenarios/{name}/stop",
            change(post(scenarios::stop)),
        )
        .route("/api/v1/composite/start", change(post(composite::start)))
        .route("/api/v1/composite/stop", change(post(composite::stop)));
    let health = Router::new()
        .route("/health", get(probes::healthy))
        .route("/healthz", get(probes::healthy))
        .route("/livez", get(probes::healthy));
    let ready = Router::new()
        .route("/ready", get(probes::healthy))
        .route("/readyz", get(probes::healthy));
    // Not before the refusal of another method: then nothing is called.
    let call = ServiceBuilder::new().option_layer(front.map(Front::call));
    let dependency = Router::new().route(
        "/api/v1/mock-service",
        get(testing::mock_service).route_layer(call),
    );
    let sleep_10 = Router::new().route("/api/v1/test/sleep10ms", get(testing::sleep_10_ms));
    let sleep_30 = Router::new().route("/api/v1/test/sleep30ms", get(testing::sleep_30_ms));
    let metrics = match front {
        Some(_) => get(metrics::service),
        None => get(metrics::admin),
    };
    let other = Router::new()
        .route("/api/v1/scenarios", get(scenarios::list))
        .route("/api/v1/scenarios/{name}", get(scenarios::describe))
        .route("/api/v1/scenarios/{name}/status", get(scenarios::status))
        .route("/api/v1/composite/status", get(composite::status))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/stream", get(events::stream))
        .route("/api/v1/sessions", get(events::sessions))
        .route("/api/v1/sessions/{id}", get(events::session))
        .route("/metrics", metrics)
        .fallback(problem::not_found);

    // The path is the one that the metrics tell; other names of a route count as the route.
    let group = |routes: Router<Api>, surface, path| {
        // One stack and not a layer after the other: each `layer` call would box every request anew.
        // Outermost first: the log and the metrics see what a caught panic was answered with, and they
        // see what a fault does as any service would.
        let layers = ServiceBuilder::new()
            .layer(request_log::RequestLogLayer)
            .option_layer(front.map(|front| front.measured(path)))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .option_layer(front.map(|front| front.faults(surface)));
        routes
            .method_not_allowed_fallback(problem::method_not_allowed)
            .layer(layers)
    };
    Router::new()
        .merge(group(control, Surface::Control, "other"))
        .merge(group(health, Surface::Health, "/health"))
        .merge(group(ready, Surface::Ready, "/ready"))
        .merge(group(
            dependency,
            Surface::Dependency,
            "/api/v1/mock-service",
        ))
        .merge(group(sleep_10, Surface::Other, "/api/v1/test/sleep10ms"))
        .merge(group(sleep_30, Surface::Other, "/api/v1/test/sleep30ms"))
        .merge(group(other, Surface::Other, "other"))
        .with_state(api)
}
