//! The tower layer that puts the live faults before a group of routes.
//!
//! With no fault in effect it adds one wait-free load to a request and nothing else: no box, no timer,
//! no lock. Only a request that a fault touches pays for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Json;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::Request;
use tower::{Layer, Service, ServiceExt};

use super::table::{Armed, FaultTable};
use super::timer::FineTimer;
use super::{Reply, Surface};

/// Puts the faults of a table before the routes of one surface.
#[derive(Debug, Clone)]
pub struct FaultLayer {
    table: FaultTable,
    timer: FineTimer,
    surface: Surface,
}

impl FaultLayer {
    /// Faults from `table`, as they concern `surface`.
    #[must_use]
    pub fn new(table: FaultTable, timer: FineTimer, surface: Surface) -> Self {
        Self {
            table,
            timer,
            surface,
        }
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FaultService {
            layer: self.clone(),
            inner,
        }
    }
}

/// The service made by [`FaultLayer`].
#[derive(Debug, Clone)]
pub struct FaultService<S> {
    layer: FaultLayer,
    inner: S,
}

impl<S, B> Service<Request<B>> for FaultService<S>
where
    S: Service<Request<B>, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Either<S::Future, Faulted<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(sentence) = self.layer.sentence() else {
            return Either::Left(self.inner.call(request));
        };
        // The clone takes a readiness of its own; the one polled above stays with `self`.
        let inner = self.inner.clone();
        let timer = self.layer.timer.clone();
        Either::Right(Box::pin(async move {
            match sentence.serve(&timer).await {
                Some(reply) => Ok((reply.status, Json(reply.body)).into_response()),
                None => inner.oneshot(request).await,
            }
        }))
    }
}

type Faulted<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

/// What all live faults together do to one request.
struct Sentence {
    arrived: Instant,
    delays: Vec<(Arc<Armed>, Duration)>,
    reply: Option<(Arc<Armed>, Reply)>,
}

impl FaultLayer {
    /// Asks every live fault once; none when the request is left alone.
    fn sentence(&self) -> Option<Sentence> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let mut sentence = Sentence {
            arrived: Instant::now(),
            delays: Vec::new(),
            reply: None,
        };
        for armed in table
            .iter()
            .filter(|armed| armed.fault.concerns(self.surface))
        {
            armed.tally.note_concerned();
            let verdict = armed.fault.judge(armed.roll());
            if verdict.is_clean() {
                continue;
            }
            armed.tally.note_touched();
            if !verdict.delay.is_zero() {
                sentence.delays.push((Arc::clone(armed), verdict.delay));
            }
            if let (None, Some(reply)) = (&sentence.reply, verdict.reply) {
                sentence.reply = Some((Arc::clone(armed), reply));
            }
        }
        (!sentence.delays.is_empty() || sentence.reply.is_some()).then_some(sentence)
    }
}

impl Sentence {
    /// Waits out the delays, one after the other, then gives the reply if there is one.
    ///
    /// A fault that is stopped meanwhile lets the request go on at once, as if it had never been.
    async fn serve(self, timer: &FineTimer) -> Option<Reply> {
        let mut since = self.arrived;
        for (armed, delay) in &self.delays {
            let until = since + *delay;
            tokio::select! {
                () = timer.sleep_until(until) => {
                    armed.tally.note_waited(since.elapsed());
                    // Not the time now: that this wait came late must not make the next one later.
                    since = until;
                }
                () = armed.stop.cancelled() => since = Instant::now(),
            }
        }
        self.reply
            .filter(|(armed, _)| !armed.stop.is_cancelled())
            .map(|(_, reply)| reply)
    }
}
