//! One line of the log for each request: at level `info` for the service's own work where a workload is on, otherwise
//! at `debug`; a warning for an answer with a 5xx status.
//!
//! Not `tower_http::trace::TraceLayer`: it opens a span for each request and wraps each body, at level `info` too, and
//! its line could name method and path only through a span, which the log's format does not have.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::Either;
use http::{Method, Request, Response, StatusCode};
use opentelemetry::trace::TraceId;
use tower::{Layer, Service};
use tracing::field::display;
use tracing::{debug, error, info, warn};

use crate::fault::Cause;
use crate::lifecycle::SERVICE;
use crate::traces::context::TraceContext;

/// Adds the log to a service.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestLogLayer(Kind);

/// Whose lines there are, and how many.
#[derive(Debug, Clone, Default)]
enum Kind {
    /// The daemon's own, at level `debug`: of its API, and of all that the admin listener serves.
    #[default]
    Own,
    /// The service's, at level `debug`.
    Service,
    /// The service's, at level `info`.
    Route(Arc<RouteLog>),
}

/// How the requests of one route are logged at level `info`.
#[derive(Debug)]
struct RouteLog {
    /// The path as the configuration has it: the one of a request may hold anything.
    route: String,
    /// Of the requests that do not fail.
    share: f64,
}

impl RequestLogLayer {
    /// For a route of the service, `-` where none matches. `share` of the requests that do not fail have a line, drawn for each.
    pub(super) fn of(route: &str, share: f64) -> Self {
        let route = route.to_owned();
        Self(Kind::Route(Arc::new(RouteLog { route, share })))
    }

    /// For any route of the service, at level `debug`.
    pub(super) fn of_service() -> Self {
        Self(Kind::Service)
    }
}

impl<S> Layer<S> for RequestLogLayer {
    type Service = RequestLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let kind = self.0.clone();
        RequestLog { inner, kind }
    }
}

/// The service made by [`RequestLogLayer`].
#[derive(Debug, Clone)]
pub(super) struct RequestLog<S> {
    inner: S,
    kind: Kind,
}

type Logged<R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for RequestLog<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Logged<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_logged = match self.kind {
            Kind::Own => tracing::enabled!(tracing::Level::DEBUG),
            Kind::Service => tracing::enabled!(target: SERVICE, tracing::Level::DEBUG),
            Kind::Route(_) => true,
        };
        if !is_logged {
            return Either::Left(self.inner.call(request));
        }
        let entry = Entry {
            kind: self.kind.clone(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            trace_id: request.extensions().get().map(TraceContext::trace_id),
            start: Instant::now(),
        };
        let inner = self.inner.call(request);
        let mut open = OpenEntry(Some(entry));
        Either::Right(Box::pin(async move {
            let response = inner.await?;
            if let Some(entry) = open.0.take() {
                entry.write_cause(response.extensions().get());
                entry.write(response.status());
            }
            Ok(response)
        }))
    }
}

/// What a line says.
struct Entry {
    kind: Kind,
    method: Method,
    path: String,
    /// Where there is a workload.
    trace_id: Option<TraceId>,
    start: Instant,
}

/// The entry of a request that is not answered yet. Dropped with the request when its client goes away.
struct OpenEntry(Option<Entry>);

impl Drop for OpenEntry {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            entry.write_abandoned();
        }
    }
}

impl Entry {
    /// Only of the service's work: a client that gives up is a symptom there.
    fn write_abandoned(self) {
        let Kind::Route(log) = &self.kind else { return };
        let (method, route) = (&self.method, log.route.as_str());
        let (duration_ms, trace_id) = (
            milliseconds(self.start.elapsed()),
            self.trace_id.map(display),
        );
        info!(target: SERVICE, %method, route, duration_ms, trace_id, "Connection closed before the answer.");
    }

    /// Only of a route of the workload, whose handler logs its own errors just so.
    fn write_cause(&self, cause: Option<&Cause>) {
        if let (Kind::Route(log), Some(trace_id), Some(Cause(cause))) =
            (&self.kind, self.trace_id, cause)
        {
            let (route, trace_id) = (log.route.as_str(), display(trace_id));
            error!(target: SERVICE, route, trace_id, "{cause}");
        }
    }

    fn write(self, status: StatusCode) {
        let Self { method, path, .. } = &self;
        let took = self.start.elapsed();
        let (status, failed) = (status.as_u16(), status.is_server_error());
        if let Kind::Route(log) = &self.kind {
            let (route, duration_ms) = (log.route.as_str(), milliseconds(took));
            let trace_id = self.trace_id.map(display);
            if failed {
                warn!(target: SERVICE, %method, route, status, duration_ms, trace_id, "Request failed.");
            } else if log.share >= 1.0 || rand::random::<f64>() < log.share {
                info!(target: SERVICE, %method, route, status, duration_ms, trace_id, "Request served.");
            }
            return;
        }
        // JSON has no number wider than 64 bits.
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match (&self.kind, failed) {
            (Kind::Own, true) => warn!(%method, path, status, took_us, "Request failed."),
            (Kind::Own, false) => debug!(%method, path, status, took_us, "Request served."),
            (_, true) => {
                warn!(target: SERVICE, %method, path, status, took_us, "Request failed.");
            }
            (_, false) => {
                debug!(target: SERVICE, %method, path, status, took_us, "Request served.");
            }
        }
    }
}

/// To the microsecond.
fn milliseconds(took: Duration) -> f64 {
    took.as_micros() as f64 / 1000.0
}
