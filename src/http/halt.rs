//! The emergency stop: everything off, and nothing on again until somebody says so.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::Api;
use super::body::NoParameters;
use super::caller::Caller;
use super::problem::Problem;
use crate::manager::session;
use crate::run::Timestamp;

/// The answer to a halt: everything is off.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Halted {
    status: &'static str,
    /// Since when no start is taken; a second halt changes nothing.
    halted_since: Timestamp,
    /// The scenarios that ran.
    stopped: Vec<&'static str>,
}

/// The answer to a rearm: starts are taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Rearmed {
    status: &'static str,
}

/// `POST /api/v1/halt`
pub(super) async fn halt(
    State(api): State<Api>,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<Halted>, Problem> {
    let session::Halted { since, stopped } = api.manager.sessions.halt(by).await?;
    Ok(Json(Halted {
        status: "halted",
        halted_since: since,
        stopped,
    }))
}

/// `POST /api/v1/rearm`
pub(super) async fn rearm(
    State(api): State<Api>,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<Rearmed>, Problem> {
    api.manager.sessions.rearm(by).await?;
    Ok(Json(Rearmed { status: "armed" }))
}
