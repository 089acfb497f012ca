//! What a request fault does to one request.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// What a request fault does to one request. The layer carries it out; another kind of fault, such as one that edits
/// bodies or aborts connections, becomes another variant.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Leaves the request alone.
    Pass,
    /// Waits before anything else; delays of several faults add up.
    Delay(Duration),
    /// Replies instead of the route; of several faults, the first reply wins.
    Reply(Reply),
}

/// A response that replaces the route's.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

/// The body of an error that says nothing but its status, as many services answer.
pub(crate) fn plain_error(status: StatusCode) -> Value {
    let reason = status.canonical_reason().unwrap_or("error");
    json!({ "error": reason.to_ascii_lowercase() })
}

impl Reply {
    /// An error with a body that says nothing but its status.
    #[must_use]
    pub fn error(status: StatusCode) -> Self {
        Self::json(status, plain_error(status))
    }

    /// A response with a JSON body.
    #[must_use]
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body,
        }
    }

    /// The status of the response.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.insert(name, value.into());
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, self.headers, Json(self.body)).into_response()
    }
}
