//! The probe routes. They are always healthy; a fault answers in their place.

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;

/// The body of a probe's answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    /// `healthy`, or what a fault says.
    status: &'static str,
}

/// `GET /health`, `GET /ready` and their other names.
pub(super) async fn healthy() -> Json<Health> {
    Json(Health { status: "healthy" })
}
