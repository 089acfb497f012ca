//! What a request fault does to one request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::pool::Pool;

/// What a request fault does to one request. The layer carries it out, in the order of the variants.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Leaves the request alone.
    Pass,
    /// Waits before anything else; delays of several faults add up.
    Delay(Duration),
    /// Waits until the fault is stopped; then the request goes on as if there had been none.
    Hang,
    /// Waits for a place in the pool and holds it until the request is answered, at least for the pool's time; answers
    /// 503 where no place comes in time.
    Occupy(Arc<Pool>),
    /// Makes a call of the service fail, after a wait; of several faults, the first failure wins.
    Call(CallFault),
    /// Replies instead of the route; of several faults, the first reply wins.
    Reply(Reply),
    /// Changes the answer.
    Edit(Edit),
}

impl Action {
    /// Whether it leaves the request alone, as a wait of nothing does.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Pass | Self::Delay(Duration::ZERO) => true,
            Self::Call(call) => call.wait.is_zero() && call.failure.is_none(),
            _ => false,
        }
    }
}

/// A change of an answer. Only an answer of a known length is changed: what has none is a stream. A request counts as
/// touched only when its answer has been changed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Edit {
    /// Gives a JSON answer that says success another body.
    Rewrite(Rewrite),
    /// Sends the body at so many bytes a second, above 0.
    Drip(f64),
    /// Ends the connection instead of the answer, or within it.
    End(Ending),
}

/// How a connection ends instead of an answer. It travels with the answer, as one of its extensions, to the listener,
/// which owns the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// With a TCP reset.
    Reset,
    /// Without a byte.
    Close,
    /// After bytes that are not HTTP: a TLS alert, as a port gives it that speaks TLS.
    Garbage,
    /// After so many bytes of the body, half of it where none are given; the head promises all of it.
    Truncate(Option<u64>),
}

/// What another body an answer gets.
#[derive(Clone)]
pub struct Rewrite(Arc<Other>);

type Other = dyn Fn(&Bytes) -> Option<Bytes> + Send + Sync;

impl Rewrite {
    /// `other` makes the new body; none leaves the answer alone.
    pub fn new(other: impl Fn(&Bytes) -> Option<Bytes> + Send + Sync + 'static) -> Self {
        Self(Arc::new(other))
    }

    pub(super) fn of(&self, body: &Bytes) -> Option<Bytes> {
        (self.0)(body)
    }
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rewrite(…)")
    }
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// What happens to one call of the service to another.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CallFault {
    wait: Duration,
    failure: Option<CallFailure>,
    retries: u32,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallFailure {
    /// The answer is an error.
    Status(StatusCode),
    /// Nothing listens at the address.
    Refused,
    /// The name has no address.
    Unresolved,
    /// The certificate of the other side has expired.
    CertificateExpired,
    /// The connection ends before the answer.
    Reset,
}

impl CallFault {
    /// Waits so long before the call is made, or fails.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Waits so much longer.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        Self {
            wait: self.wait.saturating_add(by),
            ..self
        }
    }

    /// Fails so instead of being made.
    #[must_use]
    pub fn failing(self, failure: CallFailure) -> Self {
        Self {
            failure: Some(failure),
            ..self
        }
    }

    /// Has the caller repeat the call at once so often while it fails.
    #[must_use]
    pub fn repeated(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// The wait, the failure, and the repetitions of a call that fails.
    pub(crate) fn parts(self) -> (Duration, Option<CallFailure>, u32) {
        (self.wait, self.failure, self.retries)
    }
}

impl CallFailure {
    /// What the simulated dependency's route answers when its call fails so.
    pub(super) fn reply(self) -> Reply {
        let why = match self {
            Self::Status(_) => "",
            Self::Refused => ": connection refused",
            Self::Unresolved => ": name not resolved",
            Self::CertificateExpired => ": certificate has expired",
            Self::Reset => ": connection reset",
        };
        let body = json!({ "status": "error", "error": format!("dependency call failed{why}") });
        let status = match self {
            Self::Status(status) => status,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Reply::json(status, body)
    }
}

/// A response that replaces the route's.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
    cause: Option<Cause>,
}

/// Why a request failed, as the handler of its route would log it. It travels with the answer, as one of its extensions,
/// to the log of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cause(pub(crate) &'static str);

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
            cause: None,
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

    /// Says why the request failed, for the service's log: where a workload has the route, and its requests are logged.
    #[must_use]
    pub fn because(self, cause: &'static str) -> Self {
        Self {
            cause: Some(Cause(cause)),
            ..self
        }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.headers, Json(self.body)).into_response();
        if let Some(cause) = self.cause {
            response.extensions_mut().insert(cause);
        }
        response
    }
}
