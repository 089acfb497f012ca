//! Which service this is, in which version.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;

/// The answer of `GET /version`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    /// The service's name, from the configuration.
    name: String,
    /// The service's version, from the configuration.
    version: String,
    /// The version of the program.
    mockserver: &'static str,
}

/// `GET /version`
pub(super) async fn version(State(api): State<Api>) -> Json<Version> {
    Json(Version {
        name: api.name.clone(),
        version: api.version.clone(),
        mockserver: env!("CARGO_PKG_VERSION"),
    })
}
