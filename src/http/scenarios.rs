//! The routes of single scenarios.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::body::{JsonObject, Name, NoParameters};
use super::caller::Caller;
use super::problem::Problem;
use crate::manager::view::ScenarioStatus;
use crate::manager::{ScenarioSummary, Started};

/// All scenarios.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ScenarioList {
    /// Always in the same order.
    scenarios: Vec<ScenarioSummary>,
}

/// `GET /api/v1/scenarios`
pub(super) async fn list(State(api): State<Api>) -> Json<ScenarioList> {
    let scenarios = api.manager.list();
    Json(ScenarioList { scenarios })
}

/// `GET /api/v1/scenarios/{name}`
pub(super) async fn describe(
    State(api): State<Api>,
    Name(name): Name,
) -> Result<Json<ScenarioSummary>, Problem> {
    Ok(Json(api.manager.describe(&name)?))
}

/// `GET /api/v1/scenarios/{name}/status`
pub(super) async fn status(
    State(api): State<Api>,
    Name(name): Name,
) -> Result<Json<ScenarioStatus>, Problem> {
    Ok(Json(api.manager.status(&name)?))
}

/// `POST /api/v1/scenarios/{name}/start`
pub(super) async fn start(
    State(api): State<Api>,
    Name(name): Name,
    Caller(by): Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<Started>, Problem> {
    Ok(Json(api.manager.start_one(&name, body, by).await?))
}

/// `POST /api/v1/scenarios/{name}/stop`
pub(super) async fn stop(
    State(api): State<Api>,
    Name(name): Name,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<ScenarioStatus>, Problem> {
    Ok(Json(api.manager.stop_one(&name, by).await?))
}
