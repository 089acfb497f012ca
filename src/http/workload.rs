//! The routes of the workload, on the service listener.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodFilter, on};
use http::Method;

use super::{Front, Layers, Served, unrouted};
use crate::fault::Surface;
use crate::metrics::measure::MeasureLayer;
use crate::traces::layer::TraceLayer;
use crate::workload::WorkloadRoute;

/// All of them, each with the faults of business routes before it.
pub(super) fn routes(workload: &[Arc<WorkloadRoute>], front: &Front) -> Router<Served> {
    let mut all = Router::new();
    for (i, route) in workload.iter().enumerate() {
        let path = route.spec().path.for_router();
        let on_path = |other: &Arc<WorkloadRoute>| other.spec().path.for_router() == path;
        let mut alone = one(route);
        // A router takes one answer to other methods for each path.
        if !workload[..i].iter().any(on_path) {
            let others = workload[i + 1..].iter().filter(|other| on_path(other));
            let others: Vec<_> = others.map(|other| method(other)).collect();
            let wrong_method = unrouted::wrong_method(method(route), &others);
            alone = alone.method_not_allowed_fallback(wrong_method);
        }
        all = all.merge(layers(route, front).before(alone));
    }
    all
}

fn method(route: &WorkloadRoute) -> Method {
    // The configuration takes none that cannot be read.
    route.spec().method.parse().unwrap_or_default()
}

fn one(route: &Arc<WorkloadRoute>) -> Router<Served> {
    let spec = route.spec();
    let path = spec.path.for_router();
    // GET takes HEAD too.
    let filter = MethodFilter::try_from(method(route)).unwrap_or(MethodFilter::GET);
    let route = Arc::clone(route);
    let handler = async move |request: Request| route.serve(request).await;
    Router::new().route(&path, on(filter, handler))
}

/// What is before a route.
fn layers(route: &WorkloadRoute, front: &Front) -> Layers {
    let spec = route.spec();
    let meter = front
        .requests
        .workload_route(spec.method, spec.path.as_str());
    Layers {
        trace: Some(TraceLayer::carrying(
            spec.path.as_str().into(),
            front.traced,
        )),
        log: front.logged(spec.path.as_str()),
        measure: Some(MeasureLayer::new(meter)),
        faults: Some(front.faults(Surface::Traffic)),
    }
}
