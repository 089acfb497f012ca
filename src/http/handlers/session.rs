//! The routes of the set that runs as one session, and the emergency stop.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Api;
use crate::http::extract::{Caller, JsonObject, NoParameters};
use crate::http::problem::Problem;
use crate::manager::Started;
use crate::manager::report::Detail;
use crate::manager::session::{self, Renewed};
use crate::manager::view::SessionStatus;
use crate::run::Timestamp;

/// The answer to a stop of everything.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct AllStopped {
    status: &'static str,
    /// The scenarios that ran.
    stopped: Vec<&'static str>,
}

/// What runs now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(in crate::http) enum Session {
    /// The session.
    Live(SessionStatus),
    /// Nothing runs.
    None(NoSession),
}

/// The answer where nothing runs: the keys of a session without its values.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct NoSession {
    /// Empty.
    session_id: &'static str,
    /// Empty.
    #[schemars(length(max = 0))]
    scenarios: Vec<&'static str>,
    /// Says that there is none.
    status: &'static str,
    /// Empty.
    #[schemars(length(max = 0))]
    details: Vec<Detail>,
    /// Since when no start is taken; not there when starts are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    halted_since: Option<Timestamp>,
}

/// `POST /api/v1/composite/start`
pub(in crate::http) async fn start(
    State(api): State<Api>,
    Caller(by): Caller,
    JsonObject(body): JsonObject,
) -> Result<Json<Started>, Problem> {
    Ok(Json(api.manager.start_set(body, by).await?))
}

/// `POST /api/v1/composite/stop`
pub(in crate::http) async fn stop(
    State(api): State<Api>,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<AllStopped>, Problem> {
    let stopped = api.manager.sessions.stop_all(by).await?;
    Ok(Json(AllStopped {
        status: "all scenarios stopped",
        stopped,
    }))
}

/// `POST /api/v1/composite/renew`
pub(in crate::http) async fn renew(
    State(api): State<Api>,
    NoParameters: NoParameters,
) -> Result<Json<Renewed>, Problem> {
    Ok(Json(api.manager.sessions.renew()?))
}

/// `GET /api/v1/composite/status`
pub(in crate::http) async fn status(State(api): State<Api>) -> Json<Session> {
    let view = api.manager.sessions.view();
    Json(match view.session_now() {
        Some(session) => Session::Live(session),
        None => Session::None(NoSession {
            session_id: "",
            scenarios: Vec::new(),
            status: "no active session",
            details: Vec::new(),
            halted_since: view.halted_since,
        }),
    })
}

/// The answer to a halt: everything is off.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct Halted {
    status: &'static str,
    /// Since when no start is taken; a second halt changes nothing.
    halted_since: Timestamp,
    /// The scenarios that ran.
    stopped: Vec<&'static str>,
}

/// The answer to a rearm: starts are taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct Rearmed {
    status: &'static str,
}

/// `POST /api/v1/halt`
pub(in crate::http) async fn halt(
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
pub(in crate::http) async fn rearm(
    State(api): State<Api>,
    Caller(by): Caller,
    NoParameters: NoParameters,
) -> Result<Json<Rearmed>, Problem> {
    api.manager.sessions.rearm(by).await?;
    Ok(Json(Rearmed { status: "armed" }))
}
