//! The tower layer that puts the live faults before a group of routes.
//!
//! With no fault in effect it adds one wait-free load to a request and nothing else: no box, no timer, no lock. Only
//! a request that a fault touches pays for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::Request;
use tower::{Layer, Service, ServiceExt};

use super::table::{ArmedFault, FaultTable};
use super::timer::FineTimer;
use super::{Action, Exchange, Reply, Surface};

/// Puts the faults of a table before the routes of one surface.
#[derive(Debug, Clone)]
pub(crate) struct FaultLayer {
    table: FaultTable,
    timer: FineTimer,
    surface: Surface,
    counted: bool,
}

impl FaultLayer {
    /// The faults of `table` that select requests on `surface`.
    pub(crate) fn new(table: FaultTable, timer: FineTimer, surface: Surface) -> Self {
        Self {
            table,
            timer,
            surface,
            counted: true,
        }
    }

    /// For requests that are no traffic: the faults count none of them, and their seeded sequences stay as they are.
    pub(crate) fn uncounted(self) -> Self {
        Self {
            counted: false,
            ..self
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
pub(crate) struct FaultService<S> {
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
        let Some(impact) = self.layer.impact_on(&request) else {
            return Either::Left(self.inner.call(request));
        };
        // The clone takes a readiness of its own; the one polled above stays with `self`.
        let inner = self.inner.clone();
        let timer = self.layer.timer.clone();
        Either::Right(Box::pin(async move {
            match impact.carry_out(&timer).await {
                Some(reply) => Ok(reply.into_response()),
                None => inner.oneshot(request).await,
            }
        }))
    }
}

type Faulted<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

/// What all live faults together do to one request.
struct Impact {
    arrived: Instant,
    counted: bool,
    delays: Vec<(Arc<ArmedFault>, Duration)>,
    reply: Option<(Arc<ArmedFault>, Reply)>,
}

impl FaultLayer {
    /// Asks every live fault once; none when the request is left alone.
    fn impact_on<B>(&self, request: &Request<B>) -> Option<Impact> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let exchange = Exchange::new(self.surface, request);
        let mut impact = Impact {
            arrived: Instant::now(),
            counted: self.counted,
            delays: Vec::new(),
            reply: None,
        };
        for armed in table.iter() {
            match armed.decide(&exchange, impact.arrived, self.counted) {
                Some(Action::Delay(delay)) if !delay.is_zero() => {
                    impact.delays.push((Arc::clone(armed), delay));
                }
                Some(Action::Reply(reply)) if impact.reply.is_none() => {
                    impact.reply = Some((Arc::clone(armed), reply));
                }
                Some(Action::Delay(_) | Action::Reply(_) | Action::Pass) | None => {}
            }
        }
        (!impact.delays.is_empty() || impact.reply.is_some()).then_some(impact)
    }
}

impl Impact {
    /// Waits out the delays, one after the other, then gives the reply if there is one.
    ///
    /// A fault that is stopped meanwhile lets the request go on at once, as if it had never been there.
    async fn carry_out(self, timer: &FineTimer) -> Option<Reply> {
        let mut since = self.arrived;
        for (armed, delay) in &self.delays {
            let until = since + *delay;
            tokio::select! {
                () = timer.sleep_until(until) => {
                    if self.counted {
                        armed.tally().note_waited(since.elapsed());
                    }
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

#[cfg(test)]
mod tests;
