//! The span of one attempt of a call, and the event that a retry leaves on the span of the request.

use http::{Method, StatusCode};
use opentelemetry::KeyValue;
use tracing::field::Empty;
use tracing::{Span, info_span};

use super::TARGET;
use super::context::TraceContext;
use crate::metrics::measure::method_label;

/// What the span of an attempt says from its beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) method: &'a Method,
    /// The name of the upstream.
    pub(crate) upstream: &'a str,
    pub(crate) port: u16,
    pub(crate) url: &'a str,
    /// From 1.
    pub(crate) number: u32,
}

/// An attempt in progress. Its span ends when this is dropped, without a status if the call is given up.
#[derive(Debug)]
pub(crate) struct AttemptSpan(TraceContext);

impl AttemptSpan {
    /// Begins an attempt for the request of `parent`; `attempt` describes it, where its span is exported.
    pub(crate) fn begin(parent: &TraceContext, attempt: Option<&Attempt<'_>>) -> Self {
        let span = attempt.map_or_else(Span::none, |attempt| span_of(attempt, parent.span()));
        Self(parent.of_call(span))
    }

    /// The context that the upstream gets.
    pub(crate) fn context(&self) -> &TraceContext {
        &self.0
    }

    /// Ends the span with the answer.
    pub(crate) fn answered(self, status: StatusCode) {
        let span = self.0.span();
        span.record("http.response.status_code", i64::from(status.as_u16()));
        // A client whose call is refused has failed.
        if status >= StatusCode::BAD_REQUEST {
            self.failed(status.as_str());
        }
    }

    /// Ends the span without one; `error` is the value of `error.type`.
    pub(crate) fn failed(self, error: &str) {
        let span = self.0.span();
        span.record("error.type", error);
        span.record("otel.status_code", "ERROR");
    }
}

/// Names and attributes follow OpenTelemetry's semantic conventions for HTTP.
fn span_of(attempt: &Attempt<'_>, parent: &Span) -> Span {
    let method = method_label(attempt.method);
    let span = info_span!(
        target: TARGET,
        parent: parent,
        "call",
        "otel.name" = method,
        "otel.kind" = "client",
        "http.request.method" = method,
        "server.address" = attempt.upstream,
        "server.port" = i64::from(attempt.port),
        "url.full" = attempt.url,
        "http.request.resend_count" = Empty,
        "http.response.status_code" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    );
    if attempt.number > 1 {
        let resent = i64::from(attempt.number - 1);
        span.record("http.request.resend_count", resent);
    }
    span
}

/// Notes on the span of the request that an attempt failed and another one follows.
pub(crate) fn note_retry(request: &TraceContext, upstream: &str, attempt: u32, error: &str) {
    let attributes = vec![
        KeyValue::new("server.address", upstream.to_owned()),
        KeyValue::new("http.request.resend_count", i64::from(attempt)),
        KeyValue::new("error.type", error.to_owned()),
    ];
    request.add_event("retry", attributes);
}
