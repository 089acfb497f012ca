//! The router as hyper's service: it records when a request is being answered, and announces the end of a connection
//! whose request body was not read.
//!
//! When a handler answers without reading the whole body, hyper drains at most one more chunk and then closes the
//! connection (<https://github.com/hyperium/hyper/issues/3241>), without `Connection: close` in the response. A client
//! that does not expect that sends its next request into a closing connection.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use futures_util::future::Either;
use http::{HeaderValue, Request, Response, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::Service;

use super::ending;
use super::state::{ConnPhase, ConnState};
use crate::http::plain::PlainErrors;
use crate::http::{Client, edge};

#[derive(Debug)]
pub(super) struct RouterService {
    router: Router,
    client: Client,
    state: Arc<ConnState>,
    plain: PlainErrors,
}

impl RouterService {
    pub(super) fn new(
        router: Router,
        client: Client,
        state: &Arc<ConnState>,
        plain: PlainErrors,
    ) -> Self {
        Self {
            router,
            client,
            state: Arc::clone(state),
            plain,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for RouterService {
    type Response = Response<ObservedBody<Body, InProgress>>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        self.state.begin_answer();
        let in_progress = InProgress(Arc::clone(&self.state));
        let (head, body) = request.into_parts();
        let (body, progress) = BodyProgress::of(body);
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(self.client);
        let response = match edge::admit(&mut request) {
            // A router is always ready.
            Ok(()) => Either::Left(self.router.clone().call(request)),
            Err(problem) => Either::Right(ready(Ok(edge::refusal(problem, self.plain)))),
        };
        ResponseFuture {
            response,
            in_progress: Some(in_progress),
            progress,
            plain: self.plain,
            state: Arc::clone(&self.state),
            is_over: false,
        }
    }
}

/// A request in progress, until its response has been handed over completely.
#[derive(Debug)]
pub(super) struct InProgress(Arc<ConnState>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.enter(ConnPhase::Idle);
    }
}

type Routed = <Router as Service<Request<Body>>>::Future;

pin_project! {
    pub(super) struct ResponseFuture {
        #[pin]
        response: Either<Routed, Ready<Result<Response<Body>, Infallible>>>,
        in_progress: Option<InProgress>,
        progress: Option<BodyProgress>,
        plain: PlainErrors,
        state: Arc<ConnState>,
        // Whether the connection is about to end without an answer.
        is_over: bool,
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<ObservedBody<Body, InProgress>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if *this.is_over {
            return Poll::Pending;
        }
        let Ok(response) = task::ready!(this.response.poll(cx));
        let Some(mut response) = ending::of(response, this.state) else {
            // The connection ends with its next flush, which follows.
            *this.is_over = true;
            return Poll::Pending;
        };
        edge::complete(&mut response, *this.plain);
        let observer = this.in_progress.take();
        if this.progress.as_ref().is_some_and(|body| !body.is_read()) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        Poll::Ready(Ok(response.map(|body| ObservedBody { body, observer })))
    }
}

/// Whether a request body has been read to its end.
#[derive(Debug, Clone)]
pub(super) struct BodyProgress(Arc<AtomicBool>);

impl BodyProgress {
    /// The same body, and its progress if there is anything to read.
    fn of(body: Incoming) -> (Body, Option<Self>) {
        if body.is_end_stream() {
            return (Body::new(body), None);
        }
        let progress = Self(Arc::default());
        let observer = Some(progress.clone());
        (Body::new(ObservedBody { body, observer }), Some(progress))
    }

    fn is_read(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What learns of the end of a body. Dropping it earlier means that the rest of the body was given up.
pub(super) trait BodyObserver: Unpin {
    fn ended(self);
}

impl BodyObserver for BodyProgress {
    fn ended(self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl BodyObserver for InProgress {
    fn ended(self) {}
}

#[derive(Debug)]
pub(super) struct ObservedBody<B, O> {
    body: B,
    observer: Option<O>,
}

impl<B: HttpBody + Unpin, O: BodyObserver> HttpBody for ObservedBody<B, O> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none()
            && let Some(observer) = self.observer.take()
        {
            observer.ended();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
