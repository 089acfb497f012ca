//! The tower layer that measures requests: how many there are, how long each takes, how it ends.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// What the label says of a request that has no series of its own.
pub(crate) const OTHER: &str = "_OTHER";

/// What a measured request is told to.
pub(crate) trait Meter: Clone {
    /// A request has come.
    fn begun(&self);

    /// It is over. Without a status it ended without an answer: whoever asked has gone.
    fn ended(&self, method: &'static str, status: Option<StatusCode>, took: Duration);
}

/// Measures the requests of a service.
#[derive(Debug, Clone)]
pub(crate) struct MeasureLayer<M>(M);

impl<M: Meter> MeasureLayer<M> {
    /// Tells `meter` of every request.
    pub(crate) fn new(meter: M) -> Self {
        Self(meter)
    }
}

impl<S, M: Meter> Layer<S> for MeasureLayer<M> {
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
    M: Meter,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Measured<S::Future, M>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let running = Running::begin(self.meter.clone(), method_label(request.method()));
        Measured {
            inner: self.inner.call(request),
            running,
        }
    }
}

pin_project! {
    /// A request under way.
    #[derive(Debug)]
    pub struct Measured<F, M: Meter> {
        #[pin]
        inner: F,
        running: Running<M>,
    }
}

impl<F, M, R, E> Future for Measured<F, M>
where
    F: Future<Output = Result<Response<R>, E>>,
    M: Meter,
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

/// Ends when it is told to, or else when it is dropped: a client that hangs up is counted too.
#[derive(Debug)]
struct Running<M: Meter> {
    meter: M,
    method: &'static str,
    since: Instant,
    is_over: bool,
}

impl<M: Meter> Running<M> {
    fn begin(meter: M, method: &'static str) -> Self {
        meter.begun();
        Self {
            meter,
            method,
            since: Instant::now(),
            is_over: false,
        }
    }

    fn end(&mut self, status: Option<StatusCode>) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.meter.ended(self.method, status, self.since.elapsed());
        }
    }
}

impl<M: Meter> Drop for Running<M> {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// The name of a method in labels, as OpenTelemetry has it: one that HTTP does not know has none.
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

    /// What was told, in order: no status stands for a begin, then each end's.
    #[derive(Debug, Clone, Default)]
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Notes {
        fn add(&self, note: String) {
            self.0.lock().expect("no panic").push(note);
        }
        fn told(&self) -> Vec<String> {
            self.0.lock().expect("no panic").clone()
        }
    }

    impl Meter for Notes {
        fn begun(&self) {
            self.add("begun".to_owned());
        }
        fn ended(&self, method: &'static str, status: Option<StatusCode>, _: Duration) {
            self.add(format!("{method} {:?}", status.map(|s| s.as_u16())));
        }
    }

    #[tokio::test]
    async fn an_answer_is_told_once_with_its_status() {
        let notes = Notes::default();
        let teapot = service_fn(|_: Request<()>| async {
            let answer = Response::builder().status(StatusCode::IM_A_TEAPOT).body(());
            Ok::<_, Infallible>(answer.expect("an answer"))
        });
        let measured = MeasureLayer::new(notes.clone()).layer(teapot);
        let Ok(answer) = measured.oneshot(Request::new(())).await;
        assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(notes.told(), ["begun", "GET Some(418)"]);
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
            .expect("a request");
        drop(measured.call(strange));
        assert_eq!(notes.told(), ["begun", "_OTHER None"]);
    }
}
