//! The only list of routes. The router serves it, and the description of the API is made of it.

use super::describe::{Body, openapi, page};
use super::handlers::{events, history, metrics, probes, scenarios, session, traffic};
use super::problem::ProblemKind as Kind;
use super::route::Route;
use crate::fault::Surface;

/// A group of routes that belong together for a reader.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) routes: Vec<Route>,
}

/// Every route.
pub(super) fn sections() -> Vec<Section> {
    let section = |name, about, routes| Section {
        name,
        about,
        routes,
    };
    vec![
        section(
            "Scenarios",
            "One fault at a time, beside what runs.",
            of_scenarios(),
        ),
        section(
            "Sets",
            "Several faults as one session, started and stopped together.",
            of_sets(),
        ),
        section("Guard rails", "The emergency stop.", of_guard_rails()),
        section(
            "Ledger",
            "What really happened, kept over restarts.",
            of_ledger(),
        ),
        section(
            "Probes",
            "For load balancers and orchestrators.",
            of_probes(),
        ),
        section(
            "Traffic",
            "Routes that represent the service's own work.",
            of_traffic(),
        ),
        section(
            "Metrics",
            "For Prometheus and what understands its formats.",
            of_metrics(),
        ),
        section(
            "Description",
            "The API, described by itself.",
            of_description(),
        ),
    ]
}

fn of_scenarios() -> Vec<Route> {
    let at = "/api/v1/scenarios";
    vec![
        Route::get(at, "list", "Lists all scenarios", scenarios::list).control(),
        Route::get(
            "/api/v1/scenarios/{name}",
            "describe",
            "Describes a scenario and its parameters",
            scenarios::describe,
        )
        .control()
        .problem(Kind::UnknownScenario),
        Route::get(
            "/api/v1/scenarios/{name}/status",
            "status",
            "Shows what a scenario does now, or did last",
            scenarios::status,
        )
        .control()
        .problem(Kind::UnknownScenario),
        Route::post(
            "/api/v1/scenarios/{name}/start",
            "start",
            "Starts a scenario beside what runs",
            scenarios::start,
        )
        .takes(Body::Parameters)
        .problems(&[
            Kind::ScenarioNotAllowed,
            Kind::TooManyScenarios,
            Kind::Halted,
            Kind::StartFailed,
        ]),
        Route::post(
            "/api/v1/scenarios/{name}/stop",
            "stop",
            "Stops a scenario, answers when its effect is gone",
            scenarios::stop,
        )
        .problem(Kind::UnknownScenario),
    ]
}

fn of_sets() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/composite/start",
            "start_set",
            "Replaces all that runs by a set of scenarios",
            session::start,
        )
        .takes(Body::Set)
        .problems(&[Kind::Halted, Kind::StartFailed]),
        Route::post(
            "/api/v1/composite/stop",
            "stop_all",
            "Stops everything, answers when all effects are gone",
            session::stop,
        ),
        Route::post(
            "/api/v1/composite/renew",
            "renew",
            "Prolongs the lease of what runs",
            session::renew,
        )
        .problem(Kind::NoLease),
        Route::get(
            "/api/v1/composite/status",
            "session",
            "Shows what runs now",
            session::status,
        )
        .control(),
    ]
}

fn of_guard_rails() -> Vec<Route> {
    let about = "Stops everything and refuses every start until a rearm";
    vec![
        Route::post("/api/v1/halt", "halt", about, session::halt),
        Route::post(
            "/api/v1/rearm",
            "rearm",
            "Accepts starts again",
            session::rearm,
        ),
    ]
}

fn of_ledger() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/events",
            "events",
            "Lists what happened, page by page",
            events::list,
        )
        .control(),
        Route::get(
            "/api/v1/events/stream",
            "event_stream",
            "Streams what happens as it happens",
            events::stream,
        )
        .control(),
        Route::get(
            "/api/v1/sessions",
            "past_sessions",
            "Lists past and present sessions, planned and measured",
            history::sessions,
        )
        .control(),
        Route::get(
            "/api/v1/sessions/{id}",
            "past_session",
            "Shows one of them",
            history::session,
        )
        .control()
        .problem(Kind::UnknownSession),
    ]
}

fn of_probes() -> Vec<Route> {
    let probe = |route: Route, surface, counts_as| {
        let about = "What a fault of the probes answers, with the status that it was given.";
        let route = route.on(surface).counts_as(counts_as);
        route
            .or::<probes::Health>("4XX", about)
            .or::<probes::Health>("5XX", about)
    };
    let health = |path, id, summary| {
        probe(
            Route::get(path, id, summary, probes::healthy),
            Surface::Health,
            "/health",
        )
    };
    let ready = |path, id, summary| {
        let route = Route::get(path, id, summary, probes::ready).on_admin(probes::healthy);
        probe(route, Surface::Ready, "/ready")
    };
    let startup = |path, id, summary| {
        probe(
            Route::get(path, id, summary, probes::healthy),
            Surface::Startup,
            "/startup",
        )
    };
    vec![
        health("/health", "health", "Whether the service lives"),
        health("/healthz", "healthz", "Another name of /health"),
        health("/livez", "livez", "Another name of /health"),
        ready("/ready", "ready", "Whether it may get traffic"),
        ready("/readyz", "readyz", "Another name of /ready"),
        startup("/startup", "startup", "Whether it has started"),
        startup("/startupz", "startupz", "Another name of /startup"),
    ]
}

fn of_traffic() -> Vec<Route> {
    let about = "What a fault of the dependency answers.";
    vec![
        Route::get(
            "/api/v1/mock-service",
            "mock_service",
            "Pretends to call a dependency",
            traffic::mock_service,
        )
        .calls_dependency()
        .or::<traffic::FailedCall>("500", about),
        Route::get(
            "/api/v1/test/sleep10ms",
            "sleep_10_ms",
            "Takes 10 ms",
            traffic::sleep_10_ms,
        ),
        Route::get(
            "/api/v1/test/sleep30ms",
            "sleep_30_ms",
            "Takes 30 ms",
            traffic::sleep_30_ms,
        ),
    ]
}

fn of_metrics() -> Vec<Route> {
    let about = "What the process and its requests measure";
    let metrics = Route::get("/metrics", "metrics", about, metrics::service);
    vec![metrics.control().on_admin(metrics::admin)]
}

fn of_description() -> Vec<Route> {
    let about = "This description, for programs";
    vec![
        Route::get("/openapi.json", "openapi", about, openapi::document).on(Surface::ControlRead),
        Route::get("/docs", "docs", "This description, for people", page::page)
            .on(Surface::ControlRead),
        Route::get(
            "/version",
            "version",
            "Which service this is, in which version",
            traffic::version,
        ),
    ]
}
