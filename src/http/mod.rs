//! The only list of routes, and the layers before them.
//!
//! Both listeners serve the same routes; the service listener's have the faults before them.

mod auth;
mod body;
pub mod caller;
mod composite;
mod events;
mod probes;
pub mod problem;
mod query;
mod request_log;
mod scenarios;
mod testing;

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

/// What the handlers work with; cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    /// Scenarios and the session.
    pub manager: ScenarioManager,
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
    router(api, |_| None)
}

/// The routes of the service listener, with the faults of `table` before them.
pub fn service_router(api: Api, table: &FaultTable) -> Router {
    let timer = api.timer.clone();
    router(api, |surface| {
        Some(FaultLayer::new(table.clone(), timer.clone(), surface))
    })
}

/// All routes, each group with the faults that `faults` gives for its surface.
fn router(api: Api, faults: impl Fn(Surface) -> Option<FaultLayer>) -> Router {
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
    let dependency = Router::new().route("/api/v1/mock-service", get(testing::mock_service));
    let other = Router::new()
        .route("/api/v1/scenarios", get(scenarios::list))
        .route("/api/v1/scenarios/{name}", get(scenarios::describe))
        .route("/api/v1/scenarios/{name}/status", get(scenarios::status))
        .route("/api/v1/composite/status", get(composite::status))
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/stream", get(events::stream))
        .route("/api/v1/sessions", get(events::sessions))
        .route("/api/v1/sessions/{id}", get(events::session))
        .route("/api/v1/test/sleep10ms", get(testing::sleep_10_ms))
        .route("/api/v1/test/sleep30ms", get(testing::sleep_30_ms))
        .fallback(problem::not_found);

    let group = |routes: Router<Api>, surface| {
        // One stack and not a layer after the other: each `layer` call would box every request anew.
        // Outermost first: the log sees what a caught panic was answered with.
        let layers = ServiceBuilder::new()
            .layer(request_log::RequestLogLayer)
            .layer(CatchPanicLayer::custom(problem::panicked))
            .option_layer(faults(surface));
        routes
            .method_not_allowed_fallback(problem::method_not_allowed)
            .layer(layers)
    };
    Router::new()
        .merge(group(control, Surface::Control))
        .merge(group(health, Surface::Health))
        .merge(group(ready, Surface::Ready))
        .merge(group(dependency, Surface::Dependency))
        .merge(group(other, Surface::Other))
        .with_state(api)
}
