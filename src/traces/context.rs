//! Which trace a request belongs to, whether or not its spans are exported.

use http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The trace of a request or of a call, as its `traceparent` says it.
#[derive(Debug, Clone)]
pub(crate) struct TraceContext {
    /// The span that is exported; a disabled one where none is.
    span: Span,
    context: SpanContext,
}

impl TraceContext {
    /// The context of a request with `headers` whose span is `span`: that of the span, if it is exported, else that of
    /// the caller, else a new one.
    pub(super) fn of_request(span: &Span, headers: &HeaderMap) -> Self {
        let own = span.context().span().span_context().clone();
        let context = match own.is_valid() {
            true => own,
            false => {
                let caller = caller(headers).span().span_context().clone();
                Some(caller)
                    .filter(SpanContext::is_valid)
                    .unwrap_or_else(beginning)
            }
        };
        Self {
            span: span.clone(),
            context,
        }
    }

    /// The context of a call below `self` whose span is `span`.
    pub(super) fn of_call(&self, span: Span) -> Self {
        let own = span.context().span().span_context().clone();
        let context = match own.is_valid() {
            true => own,
            false => SpanContext::new(
                self.context.trace_id(),
                SpanId::from(rand::random::<u64>()),
                self.context.trace_flags(),
                false,
                self.context.trace_state().clone(),
            ),
        };
        Self { span, context }
    }

    /// The id of the trace, for the log.
    pub(crate) fn trace_id(&self) -> TraceId {
        self.context.trace_id()
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// Adds an event to the exported span.
    pub(super) fn add_event(&self, name: &'static str, attributes: Vec<KeyValue>) {
        self.span.add_event(name, attributes);
    }

    /// Adds `traceparent` and, where there is one, `tracestate` to the headers of a request.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        let context = Context::new().with_remote_span_context(self.context.clone());
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
    }
}

/// The span of the caller, from the headers of its request.
pub(super) fn caller(headers: &HeaderMap) -> Context {
    // Of two there is none to trust: https://www.w3.org/TR/trace-context/#traceparent-header
    if headers.get_all("traceparent").iter().nth(1).is_some() {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
}

/// A new trace. It is sampled, so that those services further down that export spans do.
fn beginning() -> SpanContext {
    SpanContext::new(
        TraceId::from(rand::random::<u128>()),
        SpanId::from(rand::random::<u64>()),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    )
}

#[cfg(test)]
impl TraceContext {
    /// As a request without a `traceparent` has it where nothing is exported.
    pub(crate) fn for_tests() -> Self {
        Self::of_request(&Span::none(), &HeaderMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn headers_of(context: &TraceContext) -> HeaderMap {
        let mut headers = HeaderMap::new();
        context.inject(&mut headers);
        headers
    }

    #[test]
    fn without_export_the_trace_is_the_callers_and_each_call_has_a_span_of_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", CALLER.parse().expect("a value"));
        headers.insert("tracestate", "vendor=1".parse().expect("a value"));
        let request = TraceContext::of_request(&Span::none(), &headers);
        assert_eq!(request.trace_id().to_string(), &CALLER[3..35]);
        let calls = [1, 2].map(|_| headers_of(&request.of_call(Span::none())));
        for call in &calls {
            let parent = call["traceparent"].to_str().expect("ASCII");
            // The trace and the decision not to sample are the caller's.
            assert_eq!((&parent[..36], &parent[52..]), (&CALLER[..36], "-00"));
            assert_ne!(parent, CALLER);
            assert_eq!(call["tracestate"], "vendor=1");
        }
        assert_ne!(calls[0], calls[1]);
    }

    #[test]
    fn without_a_caller_a_trace_begins() {
        let [one, other] = [1, 2].map(|_| TraceContext::for_tests());
        assert_ne!(one.trace_id(), other.trace_id());
        let parent = headers_of(&one.of_call(Span::none()));
        let parent = parent["traceparent"].to_str().expect("ASCII");
        assert_eq!(&parent[3..35], one.trace_id().to_string());
        assert!(parent.ends_with("-01"));
    }
}
