//! The HTTP side: the router, made of the list of routes, and the layers before them.
//!
//! Both listeners serve the same routes; the service listener's have the faults before them.

mod console;
mod describe;
pub(crate) mod edge;
mod extract;
mod guard;
mod handlers;
mod live;
pub(crate) mod own_probe;
mod page;
pub(crate) mod plain;
pub(crate) mod problem;
mod request_log;
mod route;
mod routes;
mod unrouted;
mod validators;
mod workload;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::FromRef;
use axum::middleware::from_fn_with_state;
use axum::routing::MethodRouter;
use http::{HeaderValue, Method};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use self::describe::docs;
use self::extract::LargeBodies;
use self::guard::{auth, browser, roles};
use self::live::Live;
use self::own_probe::OwnProbe;
use self::page::Page;
use self::request_log::RequestLogLayer;
use self::route::{Access, Route};
use crate::exam::drill::Exam;
use crate::fault::Surface;
use crate::fault::layer::FaultLayer;
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::ledger::Ledger;
use crate::lifecycle::readiness::Readiness;
use crate::manager::ScenarioManager;
use crate::metrics::Metrics;
use crate::metrics::calls::{Calls, DEPENDENCY, DependencyMeter};
use crate::metrics::measure::MeasureLayer;
use crate::metrics::requests::{OTHER_ROUTE, Requests, RouteMeter};
use crate::plugin::Scrapes;
use crate::traces::layer::TraceLayer;
use crate::workload::WorkloadRoute;

pub(crate) use self::extract::Client;
pub(crate) use self::guard::auth::Tokens;

/// Every route for the reference: method, path and summary.
pub(crate) fn routes() -> Vec<(Method, &'static str, &'static str)> {
    let routes = routes::sections().into_iter().flat_map(|s| s.routes);
    let listed = routes.map(|route| (route.method, route.path, route.summary));
    listed.collect()
}

/// The API description as JSON text.
pub(crate) use self::describe::openapi::describe as openapi;
pub(crate) use self::problem::kinds as problem_kinds;

/// What the handlers work with.
pub(crate) type Api = Arc<Parts>;

/// The parts of an [`Api`].
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) manager: ScenarioManager,
    pub(crate) exam: Exam,
    pub(crate) metrics: Metrics,
    /// The faults of the service listener's page of metrics.
    pub(crate) scrapes: Scrapes,
    /// The timer of the test routes.
    pub(crate) timer: FineTimer,
    pub(crate) ledger: Ledger,
    /// What viewers of the console see.
    pub(crate) live: Live,
    /// Cancelled when the daemon ends, so that streams end too.
    pub(crate) end: CancellationToken,
    /// The service's name and version.
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) readiness: Readiness,
    /// The address of the admin listener, where there is one.
    pub(crate) admin: Option<SocketAddr>,
    /// The token that every change must carry; none leaves the API open. Beside it, those of the roles.
    pub(crate) tokens: Tokens,
    /// Whether reads of the control API and of the faults' metrics must carry it too.
    pub(crate) protect_reads: bool,
    /// Names under which people's browsers may know the daemon, beside addresses and localhost.
    pub(crate) allowed_hosts: Vec<String>,
    /// Share of the requests to the service that have a line in the log at level `info`; none where they have it at
    /// `debug`.
    pub(crate) logs_requests: Option<f64>,
    /// Whether requests to the service are traced.
    pub(crate) traced: bool,
    /// Whether the service listener has what any service has and nothing else.
    pub(crate) blind: bool,
    /// Where the daemon asks for its own health.
    pub(crate) own_probe: OwnProbe,
    /// The routes of the workload.
    pub(crate) workload: Vec<Arc<WorkloadRoute>>,
    /// The API description without and with a token, each made at the first request for it.
    pub(crate) description: [OnceLock<Description>; 2],
}

/// The API description for programs and for people, with the validator of both.
#[derive(Debug)]
pub(crate) struct Description {
    json: Bytes,
    page: Page,
    etag: HeaderValue,
}

impl Parts {
    fn description(&self) -> &Description {
        let needs_token = self.tokens.admin.is_required();
        self.description[usize::from(needs_token)].get_or_init(|| {
            let document = openapi(self.manager.registry());
            let page = docs::page_of(&document, needs_token);
            let json = document.to_string();
            let etag = validators::etag_of((&json, &page));
            let json = json.into();
            Description { json, page, etag }
        })
    }
}

/// The state of one listener's router.
#[derive(Debug, Clone)]
struct Served {
    api: Api,
    /// Each listener has its own room.
    large_bodies: LargeBodies,
}

impl FromRef<Served> for Api {
    fn from_ref(served: &Served) -> Self {
        Self::clone(&served.api)
    }
}

impl FromRef<Served> for LargeBodies {
    fn from_ref(served: &Served) -> Self {
        served.large_bodies.clone()
    }
}

/// The routes of the admin listener: no fault ever applies.
pub(crate) fn admin_router(api: Api) -> Router {
    let roles = from_fn_with_state(Arc::clone(&api), roles::confine);
    // Around the router and not within: what it adds to an answer would differ from path to path.
    let confined = ServiceBuilder::new()
        .layer(roles)
        .service(admin_routes(api));
    Router::new().fallback_service(confined)
}

fn admin_routes(api: Api) -> Router {
    if !api.blind {
        return router(api, None, |_| true);
    }
    // Without the token a stranger finds nothing but probes.
    let probes = router(Arc::clone(&api), None, Route::is_probe);
    let plain = ServiceBuilder::new().map_response(plain::instead_of_documents);
    let rest = router(Arc::clone(&api), None, |route| !route.is_probe());
    let token = from_fn_with_state(api, auth::require_token);
    let guarded = ServiceBuilder::new().layer(token).service(rest);
    probes.layer(plain).fallback_service(guarded)
}

/// The routes of the service listener, with the faults of `table` before them.
pub(crate) fn service_router(api: Api, table: &FaultTable) -> Router {
    let front = Front {
        table: table.clone(),
        timer: api.timer.clone(),
        requests: api.metrics.requests().clone(),
        calls: api.metrics.calls().clone(),
        traced: api.traced,
        logged: api.logs_requests,
        is_blind: api.blind,
    };
    match front.is_blind {
        true => router(api, Some(&front), |route| route.is_ordinary),
        false => router(api, Some(&front), |_| true),
    }
}

/// The layers of the service listener alone.
struct Front {
    table: FaultTable,
    timer: FineTimer,
    requests: Requests,
    calls: Calls,
    traced: bool,
    /// Share of the requests that have a line in the log at level `info`; none where they have it at `debug`.
    logged: Option<f64>,
    /// Whether it has ordinary routes alone.
    is_blind: bool,
}

impl Front {
    fn layers(&self, route: &Route) -> Layers {
        // Only of the service's own work: the other paths name faults.
        let is_traced = self.traced && Requests::has_own_series(route.counts_as);
        let is_logged = matches!(route.access, Access::Open | Access::AdminRead);
        Layers {
            trace: is_traced.then(|| TraceLayer::server(route.path)),
            log: match is_logged {
                true => self.logged(route.path),
                false => RequestLogLayer::default(),
            },
            measure: Some(MeasureLayer::new(self.requests.route(route.counts_as))),
            faults: route.surface.map(|surface| self.faults(surface)),
        }
    }

    /// Where no route is.
    fn layers_of_nothing(&self) -> Layers {
        Layers {
            trace: None,
            log: self.logged("-"),
            measure: Some(MeasureLayer::new(self.requests.route(OTHER_ROUTE))),
            faults: Some(self.faults(Surface::Traffic)),
        }
    }

    fn logged(&self, route: &str) -> RequestLogLayer {
        let log = self.logged.map(|share| RequestLogLayer::of(route, share));
        log.unwrap_or_else(RequestLogLayer::of_service)
    }

    fn faults(&self, surface: Surface) -> FaultLayer {
        FaultLayer::new(self.table.clone(), self.timer.clone(), surface)
    }

    /// Before the call to the dependency, which is a call of this service and is measured as such.
    fn call(&self) -> Option<(MeasureLayer<DependencyMeter>, FaultLayer)> {
        let faults = self.faults(Surface::DependencyCall).calling(DEPENDENCY);
        Some((MeasureLayer::new(self.calls.dependency()?), faults))
    }

    fn traced_call(&self) -> Option<TraceLayer> {
        self.traced.then(TraceLayer::client)
    }
}

/// The routes that are served, each with what `front` puts before its surface.
fn router(api: Api, front: Option<&Front>, is_served: fn(&Route) -> bool) -> Router {
    let served = Served {
        api: Arc::clone(&api),
        large_bodies: LargeBodies::default(),
    };
    let no_route = Router::new().fallback(unrouted::not_found);
    let layers = front.map_or_else(Layers::default, Front::layers_of_nothing);
    let mut router = layers.before(no_route);
    if let Some(front) = front {
        router = router.merge(own_probe::route(&api, &front.table));
        router = router.merge(workload::routes(&api.workload, front));
    }
    let routes = routes::sections().into_iter().flat_map(|s| s.routes);
    // On both listeners, but on a blind service's and before its token it would name the program.
    if !api.blind {
        let layers = front.map_or_else(Layers::default, |front| Layers {
            log: RequestLogLayer::default(),
            faults: Some(front.faults(Surface::ControlRead)),
            ..front.layers_of_nothing()
        });
        router = router.merge(layers.before(console::routes()));
    }
    let mut methods: BTreeMap<&str, Vec<Method>> = BTreeMap::new();
    let routes: Vec<_> = routes.filter(is_served).collect();
    for route in &routes {
        let of_path = methods.entry(route.path).or_default();
        of_path.push(route.method.clone());
    }
    for route in routes {
        let layers = front.map_or_else(Layers::default, |front| front.layers(&route));
        // A router takes one answer to other methods for each path.
        let wrong_method = methods.remove(route.path).map(|all| {
            let (first, others) = (all[0].clone(), &all[1..]);
            unrouted::wrong_method(first, others)
        });
        let mut alone = Router::new().route(route.path, handler_of(route, &api, front));
        if let Some(wrong_method) = wrong_method {
            alone = alone.method_not_allowed_fallback(wrong_method);
        }
        router = router.merge(layers.before(alone));
    }
    router.with_state(served)
}

/// The handler of `route` with what applies to its own method only.
fn handler_of(route: Route, api: &Api, front: Option<&Front>) -> MethodRouter<Served> {
    let on_admin = front.is_none();
    let mut handler = match route.on_admin {
        Some(handler) if on_admin => handler,
        _ => route.handler,
    };
    let needs_token = match route.access {
        Access::Open => false,
        Access::AdminRead => api.protect_reads && on_admin,
        Access::Read => api.protect_reads,
        Access::Change => true,
    };
    if needs_token {
        let token = from_fn_with_state(Arc::clone(api), auth::require_token);
        handler = handler.route_layer(token);
    }
    // A blind service has nothing that a page might misuse.
    if route.access != Access::Open && !front.is_some_and(|front| front.is_blind) {
        let no_page = from_fn_with_state(Arc::clone(api), browser::refuse_foreign_pages);
        handler = handler.route_layer(no_page);
    }
    if route.surface == Some(Surface::ControlRead) {
        let compression = ServiceBuilder::new()
            .map_response(problem::instead_of_406)
            .layer(CompressionLayer::new());
        handler = handler.route_layer(compression);
    }
    if route.is_fixed {
        let validate = from_fn_with_state(Arc::clone(api), validators::validate);
        handler = handler.route_layer(validate);
    }
    if route.calls_dependency {
        // A `route_layer`: nothing is called where the method is refused.
        let call = ServiceBuilder::new()
            .option_layer(front.and_then(Front::traced_call))
            .option_layer(front.and_then(Front::call));
        handler = handler.route_layer(call);
    }
    handler
}

/// What is before the handlers of one route.
#[derive(Debug, Default)]
struct Layers {
    trace: Option<TraceLayer>,
    log: RequestLogLayer,
    measure: Option<MeasureLayer<RouteMeter>>,
    faults: Option<FaultLayer>,
}

impl Layers {
    /// One stack and not a layer after the other: each `layer` call would box every request anew. Outermost first: the
    /// log and the metrics see what a caught panic was answered with, and what a fault does as any service would.
    fn before(self, routes: Router<Served>) -> Router<Served> {
        let layers = ServiceBuilder::new()
            .option_layer(self.trace)
            .layer(self.log)
            .option_layer(self.measure)
            .layer(CatchPanicLayer::custom(problem::panicked))
            .option_layer(self.faults);
        routes.layer(layers)
    }
}
