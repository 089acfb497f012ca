//! The routes of the workload, on the service listener.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodFilter, on};

use super::{Front, Layers, Served};
use crate::fault::Surface;
use crate::metrics::measure::MeasureLayer;
use crate::traces::layer::TraceLayer;
use crate::workload::WorkloadRoute;

/// All of them, each with the faults of business routes before it.
pub(super) fn routes(workload: &[Arc<WorkloadRoute>], front: &Front) -> Router<Served> {
    let routes = workload.iter().map(|route| one(route, front));
    routes.fold(Router::new(), Router::merge)
}

fn one(route: &Arc<WorkloadRoute>, front: &Front) -> Router<Served> {
    let spec = route.spec();
    let route = Arc::clone(route);
    let handler = async move |request: Request| route.serve(request).await;
    let alone = Router::new().route(&spec.path.for_router(), on(filter(spec.method), handler));
    let meter = front
        .requests
        .workload_route(spec.method, spec.path.as_str());
    let layers = Layers {
        trace: Some(TraceLayer::carrying(
            spec.path.as_str().into(),
            front.traced,
        )),
        log: front.logged(spec.path.as_str()),
        measure: Some(MeasureLayer::new(meter)),
        faults: Some(front.faults(Surface::Traffic)),
    };
    layers.before(alone)
}

/// GET takes HEAD too.
fn filter(method: &str) -> MethodFilter {
    match method {
        "POST" => MethodFilter::POST,
        "PUT" => MethodFilter::PUT,
        "PATCH" => MethodFilter::PATCH,
        "DELETE" => MethodFilter::DELETE,
        _ => MethodFilter::GET,
    }
}
