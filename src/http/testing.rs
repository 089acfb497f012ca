//! The routes that stand for the service's own work: two of a known duration, and one that pretends to
//! call a dependency.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;

/// `GET /api/v1/mock-service`
pub(super) async fn mock_service() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /api/v1/test/sleep10ms`
pub(super) async fn sleep_10_ms(State(api): State<Api>) -> Json<Value> {
    sleep(&api, 10).await
}

/// `GET /api/v1/test/sleep30ms`
pub(super) async fn sleep_30_ms(State(api): State<Api>) -> Json<Value> {
    sleep(&api, 30).await
}

async fn sleep(api: &Api, sleep_ms: u64) -> Json<Value> {
    api.timer
        .sleep_until(Instant::now() + Duration::from_millis(sleep_ms))
        .await;
    Json(json!({ "message": format!("slept for {sleep_ms} ms"), "sleep_ms": sleep_ms }))
}
