//! The probe routes. The handlers report the process's own state; a fault answers before they run.
//!
//! A service that answers has started, so its start-up probe succeeds from the first answer on; a start delay shows as
//! refused connections. What delays readiness leaves the other probes alone, or an orchestrator would restart a service
//! that is merely not ready.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Api;
use crate::http::describe::{Describe, Form, Operation};

/// The body of a probe's answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct Health {
    /// `healthy`, or what a fault says.
    status: &'static str,
}

/// The answer of a service that must not get traffic. It looks like that of a fault, which the description shows.
#[derive(Debug)]
pub(in crate::http) struct Unready;

impl IntoResponse for Unready {
    fn into_response(self) -> Response {
        let body = Json(Health {
            status: "unhealthy",
        });
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

impl Describe for Unready {
    fn describe(_: &mut Operation) {}
}

/// `GET /health`, `GET /startup` and their other names; `GET /ready` on the admin listener too, which
/// neither a fault nor the boot profile touches.
pub(in crate::http) async fn healthy() -> Json<Health> {
    Json(Health { status: "healthy" })
}

/// `GET /ready` and its other name: not before the boot profile allows it, nor after a signal to end.
pub(in crate::http) async fn ready(State(api): State<Api>) -> Form<Json<Health>, Unready> {
    if api.readiness.is_ready() {
        Form::Usual(healthy().await)
    } else {
        Form::Other(Unready)
    }
}
