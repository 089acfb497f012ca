//! The only list of routes. The router serves it, and the description of the API is made of it.

use super::describe::{Body, docs, openapi};
use super::handlers::{drills, events, history, metrics, probes, scenarios, session, traffic};
use super::live::live;
use super::problem::ProblemKind as Kind;
use super::route::{Route, get, post};
use crate::fault::Surface;

/// A group of routes that belong together for a reader.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) routes: Vec<Route>,
}

/// Every route.
#[rustfmt::skip]
pub(super) fn sections() -> Vec<Section> {
    let section = |name, about, routes| Section { name, about, routes };
    vec![
        section("Scenarios", "One fault at a time, beside what runs.", of_scenarios()),
        section("Sets", "Several faults as one session, started and stopped together.", of_sets()),
        section("Guard rails", "The emergency stop.", of_guard_rails()),
        section("Drills", "The exam: blind drills that mark a diagnosis.", of_drills()),
        section("Ledger", "What really happened, kept over restarts.", of_ledger()),
        section("Live", "What happens now, for the console at /.", of_live()),
        section("Probes", "For load balancers and orchestrators.", of_probes()),
        section("Traffic", "Routes that represent the service's own work.", of_traffic()),
        section("Metrics", "For Prometheus and what understands its formats.", of_metrics()),
        section("Description", "The API, described by itself.", of_description()),
    ]
}

#[rustfmt::skip]
fn of_scenarios() -> Vec<Route> {
    vec![
        get("/api/v1/scenarios", "list", "Lists all scenarios", scenarios::list).control(),
        get("/api/v1/scenarios/{name}", "describe", "Describes a scenario and its parameters", scenarios::describe)
            .control().problems(&[Kind::UnknownScenario]),
        get("/api/v1/scenarios/{name}/status", "status", "Shows what it does now, or did last", scenarios::status)
            .control().problems(&[Kind::UnknownScenario]),
        post("/api/v1/scenarios/{name}/start", "start", "Starts a scenario beside what runs", scenarios::start)
            .takes(Body::Parameters)
            .problems(&[
                Kind::ScenarioNotAllowed, Kind::TooManyScenarios, Kind::Conflict, Kind::Halted, Kind::StartFailed,
            ]),
        post("/api/v1/scenarios/{name}/stop", "stop", "Stops it, answers when its effect is gone", scenarios::stop)
            .problems(&[Kind::UnknownScenario]),
    ]
}

#[rustfmt::skip]
fn of_sets() -> Vec<Route> {
    vec![
        post("/api/v1/composite/start", "start_set", "Replaces all that runs by a set of scenarios", session::start)
            .takes(Body::Set).problems(&[Kind::Halted, Kind::StartFailed]),
        post("/api/v1/composite/stop", "stop_all", "Stops all, answers when all effects are gone", session::stop),
        post("/api/v1/composite/renew", "renew", "Extends the lease of what runs", session::renew)
            .problems(&[Kind::NoLease]),
        get("/api/v1/composite/status", "session", "Shows what runs now", session::status).control(),
    ]
}

#[rustfmt::skip]
fn of_guard_rails() -> Vec<Route> {
    vec![
        post("/api/v1/halt", "halt", "Stops everything and refuses every start until a rearm", session::halt),
        post("/api/v1/rearm", "rearm", "Accepts starts again", session::rearm),
    ]
}

#[rustfmt::skip]
fn of_drills() -> Vec<Route> {
    vec![
        post("/api/v1/drills", "open_drill", "Opens a drill", drills::open)
            .takes(Body::Drill).problems(&[
                Kind::DrillOpen, Kind::NotBlind, Kind::NeedsLimit, Kind::NoDrill, Kind::Halted, Kind::StartFailed,
            ]),
        get("/api/v1/drills", "past_drills", "Lists closed drills with their marks", drills::history).control(),
        get("/api/v1/drills/current", "current_drill", "Shows the open drill as a candidate sees it", drills::current)
            .control().problems(&[Kind::UnknownDrill]),
        post("/api/v1/drills/{id}/answers", "answer_drill", "Answers the open drill", drills::answer)
            .takes(Body::DrillAnswer).problems(&[Kind::UnknownDrill, Kind::DrillClosed, Kind::NoAnswersLeft]),
        post("/api/v1/drills/{id}/events", "drill_event", "Takes down what a release system did", drills::release_event)
            .takes(Body::ReleaseEvent).problems(&[Kind::UnknownDrill, Kind::DrillClosed]),
        post("/api/v1/drills/{id}/close", "close_drill", "Closes the open drill and marks it", drills::close)
            .problems(&[Kind::UnknownDrill]),
        get("/api/v1/drills/{id}/report", "drill_report", "Shows the mark of a closed drill", drills::report)
            .control().problems(&[Kind::UnknownDrill, Kind::DrillOpen]),
        get("/api/v1/presets", "presets", "Lists what a drill can be", drills::presets).control(),
    ]
}

#[rustfmt::skip]
fn of_ledger() -> Vec<Route> {
    vec![
        get("/api/v1/events", "events", "Lists what happened, page by page", events::list).control(),
        get("/api/v1/events/stream", "event_stream", "Streams what happens as it happens", events::stream).control(),
        get("/api/v1/sessions", "past_sessions", "Lists sessions, planned and measured", history::sessions)
            .control(),
        get("/api/v1/sessions/{id}", "past_session", "Shows one of them", history::session)
            .control().problems(&[Kind::UnknownSession]),
    ]
}

#[rustfmt::skip]
fn of_live() -> Vec<Route> {
    vec![get("/api/v1/live", "live", "Streams what runs and what it does, four samples a second", live).control()]
}

#[rustfmt::skip]
fn of_probes() -> Vec<Route> {
    let of = |surface, counts_as| move |route: Route| {
        let about = "What a fault of the probes answers, with the status that it was given.";
        route.ordinary().on(surface).counts_as(counts_as).or::<probes::Health>("4XX", about).or::<probes::Health>("5XX", about)
    };
    let live = of(Surface::Health, "/health");
    let ready = of(Surface::Ready, "/ready");
    let started = of(Surface::Startup, "/startup");
    vec![
        live(get("/health", "health", "Whether the service lives", probes::healthy)),
        live(get("/healthz", "healthz", "Another name of /health", probes::healthy)),
        live(get("/livez", "livez", "Another name of /health", probes::healthy)),
        ready(get("/ready", "ready", "Whether it may get traffic", probes::ready).on_admin(probes::healthy)),
        ready(get("/readyz", "readyz", "Another name of /ready", probes::ready).on_admin(probes::healthy)),
        started(get("/startup", "startup", "Whether it has started", probes::healthy)),
        started(get("/startupz", "startupz", "Another name of /startup", probes::healthy)),
    ]
}

#[rustfmt::skip]
fn of_traffic() -> Vec<Route> {
    vec![
        get("/api/v1/mock-service", "mock_service", "Pretends to call a dependency", traffic::mock_service)
            .calls_dependency().or::<traffic::FailedCall>("500", "What a fault of the dependency answers."),
        get("/api/v1/test/sleep10ms", "sleep_10_ms", "Takes 10 ms", traffic::sleep_10_ms),
        get("/api/v1/test/sleep30ms", "sleep_30_ms", "Takes 30 ms", traffic::sleep_30_ms),
    ]
}

#[rustfmt::skip]
fn of_metrics() -> Vec<Route> {
    vec![
        get("/metrics", "metrics", "What the process and its requests measure", metrics::service)
            .ordinary().control_on_admin().on_admin(metrics::admin),
    ]
}

#[rustfmt::skip]
fn of_description() -> Vec<Route> {
    vec![
        get("/openapi.json", "openapi", "This description, for programs", openapi::document)
            .on(Surface::ControlRead).fixed(),
        get("/docs", "docs", "This description, for people", docs::docs)
            .on(Surface::ControlRead).fixed(),
        get("/version", "version", "Name and version of the service", traffic::version)
            .ordinary().on_admin(traffic::version_of_program),
    ]
}
