//! The tower layer that makes a span of each request, or of each call to the simulated dependency.
//!
//! `axum-tracing-opentelemetry` would replace the server side only: calls to the dependency would still need this
//! layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode};
use opentelemetry::trace::TraceContextExt;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::TARGET;
use super::context::{TraceContext, caller};
use crate::metrics::calls::DEPENDENCY;
use crate::metrics::measure::{OTHER, method_label};

/// Names and attributes follow OpenTelemetry's semantic conventions for HTTP.
#[derive(Debug, Clone)]
pub(crate) struct TraceLayer(Side);

#[derive(Debug, Clone)]
enum Side {
    Server {
        route: Arc<str>,
    },
    /// A server whose requests carry their [`TraceContext`], and have a span only where it `is_exported`.
    Carrying {
        route: Arc<str>,
        is_exported: bool,
    },
    Client,
}

impl TraceLayer {
    /// Spans of requests to `route`, as children of the span in their `traceparent`.
    pub(crate) fn server(route: &str) -> Self {
        Self(Side::Server {
            route: route.into(),
        })
    }

    /// The same for a route that calls upstreams: its requests carry a [`TraceContext`] among their extensions, whether
    /// or not spans are exported.
    pub(crate) fn carrying(route: Arc<str>, is_exported: bool) -> Self {
        Self(Side::Carrying { route, is_exported })
    }

    /// Spans of calls to the simulated dependency, as children of the span of the request.
    pub(crate) fn client() -> Self {
        Self(Side::Client)
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Trace {
            inner,
            side: self.0.clone(),
        }
    }
}

/// The service made by [`TraceLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    side: Side,
}

impl<S, B, R> Service<Request<B>> for Trace<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Traced<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let span = match &self.side {
            Side::Server { route } => server_span(&request, route),
            Side::Carrying { route, is_exported } => {
                let span = match is_exported {
                    true => server_span(&request, route),
                    false => Span::none(),
                };
                let context = TraceContext::of_request(&span, request.headers());
                request.extensions_mut().insert(context);
                span
            }
            Side::Client => client_span(),
        };
        let inner = span.in_scope(|| self.inner.call(request));
        let errors_from = match self.side {
            // A server that refuses a bad request has not failed; a client whose call is refused has.
            Side::Server { .. } | Side::Carrying { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Side::Client => StatusCode::BAD_REQUEST,
        };
        Traced {
            inner,
            span,
            errors_from,
        }
    }
}

fn server_span<B>(request: &Request<B>, route: &str) -> Span {
    let method = method_label(request.method());
    let shown = if method == OTHER { "HTTP" } else { method };
    let span = info_span!(
        target: TARGET,
        "request",
        "otel.name" = format!("{shown} {route}"),
        "otel.kind" = "server",
        "http.request.method" = method,
        "http.route" = route,
        "url.path" = request.uri().path(),
        "url.query" = request.uri().query(),
        "url.scheme" = "http",
        "http.response.status_code" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    );
    let parent = caller(request.headers());
    if parent.has_active_span() {
        // Fails only for a span that is not recorded.
        span.set_parent(parent).ok();
    }
    span
}

fn client_span() -> Span {
    info_span!(
        target: TARGET,
        "call",
        "otel.name" = "GET",
        "otel.kind" = "client",
        "http.request.method" = "GET",
        "server.address" = DEPENDENCY,
        "server.port" = 80,
        "url.full" = format!("http://{DEPENDENCY}/"),
        "http.response.status_code" = Empty,
        "error.type" = Empty,
        "otel.status_code" = Empty,
    )
}

pin_project! {
    /// A request in progress. Its span ends with it, without a status if the client hangs up.
    #[derive(Debug)]
    pub(crate) struct Traced<F> {
        #[pin]
        inner: F,
        span: Span,
        errors_from: StatusCode,
    }
}

impl<F, R, E> Future for Traced<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.span.in_scope(|| this.inner.poll(cx)));
        if let Ok(response) = &outcome {
            let status = response.status();
            let code = i64::from(status.as_u16());
            this.span.record("http.response.status_code", code);
            if status >= *this.errors_from {
                this.span.record("error.type", status.as_str());
                this.span.record("otel.status_code", "ERROR");
            }
        }
        Poll::Ready(outcome)
    }
}
