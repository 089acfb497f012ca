//! The routes that represent the service's own work: two of a known duration, one that pretends to call a dependency,
//! and the version.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::{Api, Parts};

/// The answer of a call that went well.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct Called {
    status: &'static str,
}

/// The answer of a call that did not; a fault gives it in the handler's place.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct FailedCall {
    status: String,
    error: String,
}

/// The answer of a route that takes its time.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct Slept {
    message: String,
    /// How long the route took, in ms.
    sleep_ms: u64,
}

/// `GET /api/v1/mock-service`
pub(in crate::http) async fn mock_service() -> Json<Called> {
    Json(Called { status: "ok" })
}

/// `GET /api/v1/test/sleep10ms`
pub(in crate::http) async fn sleep_10_ms(State(api): State<Api>) -> Json<Slept> {
    sleep(&api, 10).await
}

/// `GET /api/v1/test/sleep30ms`
pub(in crate::http) async fn sleep_30_ms(State(api): State<Api>) -> Json<Slept> {
    sleep(&api, 30).await
}

async fn sleep(api: &Api, sleep_ms: u64) -> Json<Slept> {
    api.timer
        .sleep_until(Instant::now() + Duration::from_millis(sleep_ms))
        .await;
    let message = format!("slept for {sleep_ms} ms");
    Json(Slept { message, sleep_ms })
}

/// The answer of `GET /version`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct Version {
    /// The service's name, from the configuration.
    name: String,
    /// The service's version, from the configuration.
    version: String,
    /// The version of the program; a blind service listener does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mockserver: Option<&'static str>,
}

/// `GET /version`
pub(in crate::http) async fn version(State(api): State<Api>) -> Json<Version> {
    Json(Version::of(&api, !api.blind))
}

/// The same on the admin listener.
pub(in crate::http) async fn version_of_program(State(api): State<Api>) -> Json<Version> {
    Json(Version::of(&api, true))
}

impl Version {
    fn of(api: &Parts, with_program: bool) -> Self {
        Self {
            name: api.name.clone(),
            version: api.version.clone(),
            mockserver: with_program.then_some(env!("CARGO_PKG_VERSION")),
        }
    }
}
