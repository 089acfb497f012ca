//! The routes of single scenarios.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Api;
use crate::http::extract::{Caller, JsonObject, Name, NoParameters};
use crate::http::problem::Problem;
use crate::manager::view::ScenarioStatus;
use crate::manager::{ScenarioSummary, Started};

/// All scenarios.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct ScenarioList {
    /// Always in the same order.
    scenarios: Vec<ScenarioSummary>,
}

/// `GET /api/v1/scenarios`
pub(in crate::http) async fn list(State(api): State<Api>) -> Json<ScenarioList> {
    let scenarios = api.manager.list();
    Json(ScenarioList { scenarios })
}

/// `GET /api/v1/scenarios/{name}`
pub(in crate::http) async fn describe(
    State(api): State<Api>,
    Name(name): Name,
) -> Result<Json<ScenarioSummary>, Problem> {
    Ok(Json(api.manager.describe(&name)?))
}

/// `GET /api/v1/scenarios/{name}/status`
pub(in crate::http) async fn status(
    State(api): State<Api>,
    Name(name): Name,
) -> Result<Json<ScenarioStatus>, Problem> {
    Ok(Json(api.manager.status(&name)?))
}

/// `POST /api/v1/scenarios/{name}/start`
pub(in crate::http) async fn start(
    State(api): State<Api>,
    Name(name): Name,
    Caller(by): Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<Started>, Problem> {
    Ok(Json(api.manager.start_one(&name, body, by).await?))
}

/// `POST /api/v1/scenarios/{name}/stop`
pub(in crate::http) async fn stop(
    State(api): State<Api>,
    Name(name): Name,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<ScenarioStatus>, Problem> {
    Ok(Json(api.manager.stop_one(&name, by).await?))
}
