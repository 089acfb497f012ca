//! The tower layer that puts the live faults before a group of routes.
//!
//! With no fault in effect it adds one wait-free load to a request: no box, no timer, no lock. Only a request that a
//! fault touches pays for one.

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
    /// What is called behind this layer.
    upstream: Option<&'static str>,
    counted: bool,
}

impl FaultLayer {
    pub(crate) fn new(table: FaultTable, timer: FineTimer, surface: Surface) -> Self {
        Self {
            table,
            timer,
            surface,
            upstream: None,
            counted: true,
        }
    }

    /// For calls to `upstream`.
    pub(crate) fn calling(self, upstream: &'static str) -> Self {
        Self {
            upstream: Some(upstream),
            ..self
        }
    }

    /// For the daemon's own requests: the faults act on them, but count none and keep their seeded sequences.
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
        // `oneshot` polls the clone for readiness; the readiness polled above stays with `self`.
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

/// What all live faults together do to one request or call.
#[derive(Debug)]
pub(crate) struct Impact {
    arrived: Instant,
    counted: bool,
    delays: Vec<(Arc<ArmedFault>, Duration)>,
    reply: Option<(Arc<ArmedFault>, Reply)>,
}

impl FaultLayer {
    fn impact_on<B>(&self, request: &Request<B>) -> Option<Impact> {
        let table = self.table.load();
        if table.is_empty() {
            return None;
        }
        let exchange = Exchange::new(self.surface, request).calling(self.upstream);
        Impact::of(&table, &exchange, self.counted)
    }
}

impl Impact {
    /// What the live faults do to a call of the service.
    pub(crate) fn on_call(table: &FaultTable, call: &Exchange<'_>) -> Option<Self> {
        Self::of(&table.load(), call, true)
    }

    /// Asks every fault once; `None` when all leave the request alone.
    fn of(faults: &[Arc<ArmedFault>], exchange: &Exchange<'_>, counted: bool) -> Option<Self> {
        let mut impact = Self {
            arrived: Instant::now(),
            counted,
            delays: Vec::new(),
            reply: None,
        };
        for armed in faults {
            match armed.decide(exchange, impact.arrived, counted) {
                Action::Delay(delay) => impact.delays.push((Arc::clone(armed), delay)),
                Action::Reply(reply) if impact.reply.is_none() => {
                    impact.reply = Some((Arc::clone(armed), reply));
                }
                Action::Reply(_) | Action::Pass => {}
            }
        }
        (!impact.delays.is_empty() || impact.reply.is_some()).then_some(impact)
    }

    /// Waits out the delays, one after the other, then gives the reply if there is one.
    ///
    /// A fault that is stopped meanwhile lets the request go on at once, as if it had never been armed.
    pub(crate) async fn carry_out(self, timer: &FineTimer) -> Option<Reply> {
        let mut since = self.arrived;
        for (armed, delay) in &self.delays {
            let until = since + *delay;
            tokio::select! {
                () = timer.sleep_until(until) => {
                    if self.counted {
                        armed.tally().note_waited(since.elapsed());
                    }
                    // Not the time now: a late wake-up must not postpone the end of the next delay.
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
