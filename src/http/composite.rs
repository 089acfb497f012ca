//! The routes of the set that runs as one session.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Api;
use super::body::{JsonObject, NoParameters};
use super::caller::Caller;
use super::problem::Problem;
use crate::manager::view::StartReport;

/// `POST /api/v1/composite/start`
pub(super) async fn start(
    State(api): State<Api>,
    Caller(by): Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<StartReport>, Problem> {
    Ok(Json(api.manager.start_set(body, by).await?))
}

/// `POST /api/v1/composite/stop`
pub(super) async fn stop(
    State(api): State<Api>,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<Value>, Problem> {
    let stopped = api.manager.stop_all(by).await?;
    Ok(Json(
        json!({ "status": "all scenarios stopped", "stopped": stopped }),
    ))
}

/// `GET /api/v1/composite/status`
pub(super) async fn status(State(api): State<Api>) -> Response {
    match api.manager.session() {
        Some(session) => Json(session).into_response(),
        None => Json(json!({
            "session_id": "",
            "scenarios": [],
            "status": "no active session",
            "details": [],
        }))
        .into_response(),
    }
}
