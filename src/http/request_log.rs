//! One line of the log for each request where the level is `debug`; a warning for an answer with a 5xx status.
//!
//! Not `tower_http::trace::TraceLayer`: it opens a span for each request and wraps each body, at level `info` too, and
//! its line could name method and path only through a span, which the log's format does not have.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::future::Either;
use http::{Request, Response};
use tower::{Layer, Service};
use tracing::{debug, warn};

/// Adds the log to a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestLogLayer;

impl<S> Layer<S> for RequestLogLayer {
    type Service = RequestLog<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestLog { inner }
    }
}

/// The service made by [`RequestLogLayer`].
#[derive(Debug, Clone)]
pub(super) struct RequestLog<S> {
    inner: S,
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
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Either::Left(self.inner.call(request));
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let start = Instant::now();
        let inner = self.inner.call(request);
        Either::Right(Box::pin(async move {
            let response = inner.await?;
            let status = response.status().as_u16();
            // JSON has no number wider than 64 bits.
            let took_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            if response.status().is_server_error() {
                warn!(%method, path, status, took_us, "Request failed.");
            } else {
                debug!(%method, path, status, took_us, "Request served.");
            }
            Ok(response)
        }))
    }
}
