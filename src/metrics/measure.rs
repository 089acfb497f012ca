//! The tower layer that measures requests: how many there are, how long each takes, how it ends.
//!
//! `axum-prometheus` would replace it, but looks the series up by its labels for each request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// The label of a request without a series of its route.
pub(crate) const OTHER: &str = "_OTHER";

/// What counts the requests of a service.
pub(crate) trait RequestMeter: Clone {
    fn started(&self);

    /// Without a status the request ended unanswered: the client has gone.
    fn finished(&self, method: &'static str, status: Option<StatusCode>, took: Duration);
}

/// Measures the requests of a service.
#[derive(Debug, Clone)]
pub(crate) struct MeasureLayer<M>(M);

impl<M: RequestMeter> MeasureLayer<M> {
    pub(crate) fn new(meter: M) -> Self {
        Self(meter)
    }
}

impl<S, M: RequestMeter> Layer<S> for MeasureLayer<M> {
    type Service = Measure<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        Measure {
            inner,
            meter: self.0.clone(),
        }
    }
}

/// The service made by [`MeasureLayer`].
#[derive(Debug, Clone)]
pub(crate) struct Measure<S, M> {
    inner: S,
    meter: M,
}

impl<S, M, B, R> Service<Request<B>> for Measure<S, M>
where
    S: Service<Request<B>, Response = Response<R>>,
    M: RequestMeter,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = MeasureFuture<S::Future, M>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let running = Running::begin(self.meter.clone(), method_label(request.method()));
        MeasureFuture {
            inner: self.inner.call(request),
            running,
        }
    }
}

pin_project! {
    /// A request in progress.
    #[derive(Debug)]
    pub(crate) struct MeasureFuture<F, M: RequestMeter> {
        #[pin]
        inner: F,
        running: Running<M>,
    }
}

impl<F, M, R, E> Future for MeasureFuture<F, M>
where
    F: Future<Output = Result<Response<R>, E>>,
    M: RequestMeter,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.inner.poll(cx));
        this.running
            .end(outcome.as_ref().ok().map(Response::status));
        Poll::Ready(outcome)
    }
}

/// Reports the end of its request, when it is dropped at the latest: a client that hangs up is counted too.
#[derive(Debug)]
struct Running<M: RequestMeter> {
    meter: M,
    method: &'static str,
    since: Instant,
    is_over: bool,
}

impl<M: RequestMeter> Running<M> {
    fn begin(meter: M, method: &'static str) -> Self {
        meter.started();
        Self {
            meter,
            method,
            since: Instant::now(),
            is_over: false,
        }
    }

    fn end(&mut self, status: Option<StatusCode>) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.meter
                .finished(self.method, status, self.since.elapsed());
        }
    }
}

impl<M: RequestMeter> Drop for Running<M> {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// The name of a method in labels; [`OTHER`] for one that HTTP does not define.
///
/// Source: `http.request.method` in OpenTelemetry's semantic conventions.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use tower::{ServiceExt, service_fn};

    use super::*;

    /// The reports, in order.
    #[derive(Debug, Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn add(&self, note: String) {
            self.0.lock().expect("no panic").push(note);
        }
        fn all(&self) -> Vec<String> {
            self.0.lock().expect("no panic").clone()
        }
    }

    impl RequestMeter for Notes {
        fn started(&self) {
            self.add("started".to_owned());
        }
        fn finished(&self, method: &'static str, status: Option<StatusCode>, _: Duration) {
            self.add(format!("{method} {:?}", status.map(|s| s.as_u16())));
        }
    }

    #[tokio::test]
    async fn an_answer_is_reported_once_with_its_status() {
        let notes = Notes::default();
        let teapot = service_fn(|_: Request<()>| async {
            let answer = Response::builder().status(StatusCode::IM_A_TEAPOT).body(());
            Ok::<_, Infallible>(answer.expect("a valid response"))
        });
        let measured = MeasureLayer::new(notes.clone()).layer(teapot);
        let Ok(answer) = measured.oneshot(Request::new(())).await;
        assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(notes.all(), ["started", "GET Some(418)"]);
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_ends_without_a_status() {
        let notes = Notes::default();
        let endless =
            service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
        let mut measured = MeasureLayer::new(notes.clone()).layer(endless);
        let strange = Request::builder()
            .method("BREW")
            .body(())
            .expect("a valid request");
        drop(measured.call(strange));
        assert_eq!(notes.all(), ["started", "_OTHER None"]);
    }
}
