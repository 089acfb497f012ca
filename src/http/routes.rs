//! The only list of routes. The router serves it, and the description of the API is made of it.

use serde_json::json;

use super::probes::Health;
use super::problem::ProblemKind;
use super::route::{Body, Route};
use super::testing::FailedCall;
use super::{composite, docs, events, halt, metrics, openapi, probes, scenarios, testing, version};
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
    vec![
        Section {
            name: "Scenarios",
            about: "One fault at a time, beside what runs.",
            routes: of_scenarios(),
        },
        Section {
            name: "Sets",
            about: "Several faults as one session, started and stopped together.",
            routes: of_sets(),
        },
        Section {
            name: "Guard rails",
            about: "The emergency stop.",
            routes: of_guard_rails(),
        },
        Section {
            name: "Ledger",
            about: "What really happened, kept over restarts.",
            routes: of_ledger(),
        },
        Section {
            name: "Probes",
            about: "What a load balancer or an orchestrator asks.",
            routes: of_probes(),
        },
        Section {
            name: "Traffic",
            about: "Routes that stand for the service's own work.",
            routes: of_traffic(),
        },
        Section {
            name: "Metrics",
            about: "For Prometheus and what understands its formats.",
            routes: vec![of_metrics()],
        },
        Section {
            name: "Description",
            about: "The API, told by itself.",
            routes: of_description(),
        },
    ]
}

fn of_scenarios() -> Vec<Route> {
    let idle = json!({
        "name": "network_latency",
        "running": false,
        "session_id": "session-1764000000000",
        "start_time": "2026-01-01T12:00:00.125Z",
        "expires_at": null,
        "params": { "latency_ms": 100 },
        "metrics": { "delayed_requests": 2, "mean_added_ms": 100.1 },
        "effect": null,
        "warning": null,
        "end": {
            "reason": "stopped",
            "at": "2026-01-01T12:01:00.25Z",
            "effect": {
                "asked": 100.0,
                "achieved": 100.1,
                "unit": "ms",
                "shortfall": null,
                "effective_since": "2026-01-01T12:00:01.25Z",
            },
        },
    });
    let running = json!({
        "name": "cpu_burner",
        "running": true,
        "session_id": "session-1764000000000",
        "start_time": "2026-01-01T12:00:00.125Z",
        "expires_at": "2026-01-01T12:05:00.125Z",
        "params": { "target_percent": 30 },
        "metrics": { "current_cpu_percent": 30.02, "limit_cores": 2.0 },
        "effect": {
            "asked": 30.0,
            "achieved": 30.02,
            "unit": "percent of the CPU limit",
            "shortfall": null,
            "effective_since": "2026-01-01T12:00:01.25Z",
        },
        "warning": null,
        "end": null,
    });
    let latency = json!({
        "name": "network_latency",
        "description": "Adds latency to all HTTP requests",
        "running": false,
    });
    let mut described = latency.clone();
    described["params_schema"] = json!({
        "type": "object",
        "properties": { "latency_ms": { "type": "integer", "minimum": 0, "maximum": 600_000 } },
    });
    vec![
        Route::get(
            "/api/v1/scenarios",
            "list",
            "Lists all scenarios",
            scenarios::list,
        )
        .control()
        .example(json!({ "scenarios": [latency] })),
        Route::get(
            "/api/v1/scenarios/{name}",
            "describe",
            "Tells what a scenario does and takes",
            scenarios::describe,
        )
        .control()
        .problem(ProblemKind::UnknownScenario)
        .example(described),
        Route::get(
            "/api/v1/scenarios/{name}/status",
            "status",
            "Tells what a scenario does now, or did last",
            scenarios::status,
        )
        .control()
        .problem(ProblemKind::UnknownScenario)
        .example(running),
        Route::post(
            "/api/v1/scenarios/{name}/start",
            "start",
            "Starts a scenario beside what runs",
            scenarios::start,
        )
        .takes(Body::Parameters)
        .problem(ProblemKind::ScenarioNotAllowed)
        .problem(ProblemKind::TooManyScenarios)
        .problem(ProblemKind::Halted)
        .problem(ProblemKind::StartFailed)
        .example(json!({
            "session_id": "session-1764000000000",
            "scenarios": ["cpu_burner"],
            "status": "success",
            "details": [{ "name": "cpu_burner", "success": true }],
        })),
        Route::post(
            "/api/v1/scenarios/{name}/stop",
            "stop",
            "Stops a scenario, answers when its effect is gone",
            scenarios::stop,
        )
        .problem(ProblemKind::UnknownScenario)
        .example(idle),
    ]
}

fn of_sets() -> Vec<Route> {
    let report = json!({
        "session_id": "session-1764000000000",
        "scenarios": ["cpu_burner"],
        "status": "partial",
        "details": [
            { "name": "cpu_burner", "success": true },
            { "name": "disk_io", "success": false, "error": "no file to write: read-only" },
        ],
    });
    let mut session = report.clone();
    session["started_at"] = json!("2026-01-01T12:00:00.125Z");
    session["expires_at"] = json!("2026-01-01T12:05:00.125Z");
    vec![
        Route::post(
            "/api/v1/composite/start",
            "start_set",
            "Replaces all that runs by a set of scenarios",
            composite::start,
        )
        .takes(Body::Set)
        .problem(ProblemKind::Halted)
        .problem(ProblemKind::StartFailed)
        .example(report),
        Route::post(
            "/api/v1/composite/stop",
            "stop_all",
            "Stops everything, answers when all effects are gone",
            composite::stop,
        )
        .example(json!({ "status": "all scenarios stopped", "stopped": ["cpu_burner"] })),
        Route::post(
            "/api/v1/composite/renew",
            "renew",
            "Prolongs the lease of what runs",
            composite::renew,
        )
        .problem(ProblemKind::NoLease)
        .example(json!({
            "session_id": "session-1764000000000",
            "lease_s": 30.0,
            "lease_expires_at": "2026-01-01T12:00:30.125Z",
        })),
        Route::get(
            "/api/v1/composite/status",
            "session",
            "Tells what runs now",
            composite::status,
        )
        .control()
        .example(session),
    ]
}

fn of_guard_rails() -> Vec<Route> {
    vec![
        Route::post(
            "/api/v1/halt",
            "halt",
            "Stops everything and refuses every start until a rearm",
            halt::halt,
        )
        .example(json!({
            "status": "halted",
            "halted_since": "2026-01-01T12:00:00.125Z",
            "stopped": ["cpu_burner"],
        })),
        Route::post("/api/v1/rearm", "rearm", "Takes starts again", halt::rearm)
            .example(json!({ "status": "armed" })),
    ]
}

fn of_ledger() -> Vec<Route> {
    let event = json!({
        "seq": 2,
        "time": "2026-01-01T12:00:00.125487Z",
        "monotonic_ns": 4_031_877_203_u64,
        "boot_id": "9c1f0e5b7a2d4c38",
        "kind": "accepted",
        "session_id": "session-1764000000000",
        "run_id": 2,
        "scenario": "network_latency",
        "by": "127.0.0.1:53412",
        "params": { "latency_ms": 100 },
        "duration_s": 60.0,
    });
    let interval = json!({
        "from": "2026-01-01T12:00:00.125487Z",
        "to": "2026-01-01T12:01:00.125487Z",
    });
    let session = json!({
        "session_id": "session-1764000000000",
        "boot_id": "9c1f0e5b7a2d4c38",
        "started_at": "2026-01-01T12:00:00.125487Z",
        "ended_at": "2026-01-01T12:01:00.125913Z",
        "running": false,
        "runs": [{
            "run_id": 2,
            "scenario": "network_latency",
            "params": { "latency_ms": 100 },
            "by": "127.0.0.1:53412",
            "planned": interval,
            "started_at": "2026-01-01T12:00:00.125702Z",
            "measured": [interval],
            "target_reached_at": "2026-01-01T12:00:00.375487Z",
            "ended_at": "2026-01-01T12:01:00.125913Z",
            "ended_before": null,
            "end": "expired",
            "because": null,
            "error": null,
            "asked": 100.0,
            "achieved": 100.1,
            "target": null,
            "unit": "ms",
        }],
    });
    vec![
        Route::get(
            "/api/v1/events",
            "events",
            "Tells what happened, page by page",
            events::list,
        )
        .control()
        .example(json!({
            "events": [event],
            "next": 2,
            "gap": false,
            "durable": true,
            "not_durable_because": null,
        })),
        Route::get(
            "/api/v1/events/stream",
            "event_stream",
            "Tells what happens as it happens",
            events::stream,
        )
        .control(),
        Route::get(
            "/api/v1/sessions",
            "past_sessions",
            "Tells of past and present sessions, planned and measured",
            events::sessions,
        )
        .control()
        .example(json!({ "sessions": [session] })),
        Route::get(
            "/api/v1/sessions/{id}",
            "past_session",
            "Tells of one of them",
            events::session,
        )
        .control()
        .problem(ProblemKind::UnknownSession)
        .example(session),
    ]
}

fn of_probes() -> Vec<Route> {
    let probe = |route: Route, surface, same_as| {
        let about = "What the health_check fault answers, with the status that it was given.";
        let unhealthy = json!({ "status": "unhealthy" });
        route
            .on(surface)
            .counts_as(same_as)
            .example(json!({ "status": "healthy" }))
            .or_json::<Health>("4XX", about, unhealthy.clone())
            .or_json::<Health>("5XX", about, unhealthy)
    };
    let health = |path, id, summary| {
        let route = Route::get(path, id, summary, probes::healthy);
        probe(route, Surface::Health, "/health")
    };
    let ready = |path, id, summary| {
        let route = Route::get(path, id, summary, probes::ready).on_admin(probes::healthy);
        probe(route, Surface::Ready, "/ready")
    };
    let startup = |path, id, summary| {
        let route = Route::get(path, id, summary, probes::healthy);
        probe(route, Surface::Startup, "/startup")
    };
    vec![
        health("/health", "health", "Tells whether the service lives"),
        health("/healthz", "healthz", "Another name of /health"),
        health("/livez", "livez", "Another name of /health"),
        ready("/ready", "ready", "Tells whether it may get traffic"),
        ready("/readyz", "readyz", "Another name of /ready"),
        startup("/startup", "startup", "Tells whether it has started"),
        startup("/startupz", "startupz", "Another name of /startup"),
    ]
}

fn of_traffic() -> Vec<Route> {
    vec![
        Route::get(
            "/api/v1/mock-service",
            "mock_service",
            "Pretends to call a dependency",
            testing::mock_service,
        )
        .calls_dependency()
        .example(json!({ "status": "ok" }))
        .or_json::<FailedCall>(
            "500",
            "What the dependency fault answers in its mode `error`.",
            json!({ "status": "error", "error": "dependency call failed" }),
        ),
        Route::get(
            "/api/v1/test/sleep10ms",
            "sleep_10_ms",
            "Takes 10 ms",
            testing::sleep_10_ms,
        )
        .example(json!({ "message": "slept for 10 ms", "sleep_ms": 10 })),
        Route::get(
            "/api/v1/test/sleep30ms",
            "sleep_30_ms",
            "Takes 30 ms",
            testing::sleep_30_ms,
        )
        .example(json!({ "message": "slept for 30 ms", "sleep_ms": 30 })),
    ]
}

fn of_metrics() -> Route {
    Route::get(
        "/metrics",
        "metrics",
        "Tells what the process and its requests measure",
        metrics::service,
    )
    .control()
    .on_admin(metrics::admin)
}

fn of_description() -> Vec<Route> {
    vec![
        Route::get(
            "/openapi.json",
            "openapi",
            "This description, for programs",
            openapi::document,
        )
        .on(Surface::ControlRead)
        .example(json!({ "openapi": "3.1.0", "info": {}, "paths": {} })),
        Route::get("/docs", "docs", "This description, for people", docs::page)
            .on(Surface::ControlRead),
        Route::get(
            "/version",
            "version",
            "Tells which service this is, in which version",
            version::version,
        )
        .example(json!({ "name": "checkout", "version": "1.4.2-canary", "mockserver": "0.1.0" })),
    ]
}
