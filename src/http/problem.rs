//! Errors as `application/problem+json` (RFC 9457), on every path.
//!
//! What went wrong inside is mapped to an answer here and nowhere else.

use std::any::Any;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde::Serialize;
use tracing::error;

use crate::fields::FieldError;
use crate::manager::ManagerError;
use crate::manager::session::SessionError;
use crate::manager::view::Detail;
use crate::plugin::guard::panic_text;

/// An answer that tells what went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Names the kind of problem for machines.
    pub r#type: String,
    /// The kind in words.
    pub title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    pub status: StatusCode,
    /// What happened this time.
    pub detail: String,
    /// Every bad value of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The outcome of each scenario, where none could start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Detail>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of the kind `name`, which is also the end of its type.
    #[must_use]
    pub fn new(
        status: StatusCode,
        name: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let r#type = format!("urn:mockserver:problem:{name}");
        let detail = detail.into();
        Self {
            r#type,
            title,
            status,
            detail,
            errors: Vec::new(),
            details: Vec::new(),
        }
    }

    /// Some values of the request are bad; all of them are listed, up to a number that no honest
    /// mistake reaches.
    #[must_use]
    pub fn invalid(mut errors: Vec<FieldError>) -> Self {
        const MOST: usize = 100;
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many if many.len() > MOST => {
                format!(
                    "{} values are bad, the first {MOST} are told; nothing was changed.",
                    many.len()
                )
            }
            many => format!("{} values are bad; nothing was changed.", many.len()),
        };
        errors.truncate(MOST);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let title = "The request has bad values.";
        Self {
            errors,
            ..Self::new(status, "invalid-params", title, detail)
        }
    }

    /// The body is not JSON.
    #[must_use]
    pub fn malformed(error: &serde_json::Error) -> Self {
        let title = "The body is not valid JSON.";
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed-body",
            title,
            error.to_string(),
        )
    }
}

impl From<ManagerError> for Problem {
    fn from(error: ManagerError) -> Self {
        match error {
            ManagerError::UnknownScenario(name, known) => Self::new(
                StatusCode::NOT_FOUND,
                "unknown-scenario",
                "There is no such scenario.",
                format!("{name:?} is not known; known: {}", known.join(", ")),
            ),
            ManagerError::Invalid(errors) => Self::invalid(errors),
            ManagerError::Session(SessionError::NothingStarted(report)) => {
                let reasons: Vec<String> = report
                    .details
                    .iter()
                    .map(|d| format!("{}: {}", d.name, d.error.as_deref().unwrap_or("failed")))
                    .collect();
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let title = "No scenario could start.";
                let problem = Self::new(status, "start-failed", title, reasons.join("; "));
                Self {
                    details: report.details,
                    ..problem
                }
            }
            ManagerError::Session(SessionError::Closed) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting-down",
                "The daemon is shutting down.",
                "All faults are being stopped; nothing can be started or stopped any more.",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of texts and numbers cannot fail to serialise.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

/// The answer on a path that is no route.
pub async fn not_found(uri: Uri) -> Problem {
    let detail = format!("Nothing is served at {}.", uri.path());
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-route",
        "There is no such route.",
        detail,
    )
}

/// The answer to a method that a route does not take. The router adds what it does take.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} does not take {method}; see the Allow header.",
        uri.path()
    );
    let title = "The route does not take this method.";
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        title,
        detail,
    )
}

/// The answer where a handler panicked; the text goes to the log, not to the client.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    error!(panic = panic_text(&*panic), "A handler panicked.");
    let detail = "The daemon's log tells more.";
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, "internal", "Internal error.", detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::view::StartReport;

    #[test]
    fn each_error_has_its_status_and_type() {
        let report = StartReport::new("session-1".into(), Vec::new());
        let table = [
            (
                ManagerError::UnknownScenario("x".into(), vec!["a"]),
                404,
                "unknown-scenario",
            ),
            (
                ManagerError::Invalid(vec![FieldError::new("/p", "bad")]),
                422,
                "invalid-params",
            ),
            (
                ManagerError::Session(SessionError::NothingStarted(report)),
                500,
                "start-failed",
            ),
            (
                ManagerError::Session(SessionError::Closed),
                503,
                "shutting-down",
            ),
        ];
        for (error, status, kind) in table {
            let problem = Problem::from(error);
            assert_eq!(problem.status.as_u16(), status);
            assert_eq!(problem.r#type, format!("urn:mockserver:problem:{kind}"));
            assert_eq!(problem.errors.is_empty(), status != 422);
        }
    }
}
