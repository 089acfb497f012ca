//! The tower layer that puts the live faults before a group of routes.
//!
//! With no fault in effect it adds one wait-free load to a request: no box, no timer, no lock. Only a request that a
//! fault touches pays for one.

mod edit;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::{Request, StatusCode};
use tower::{Layer, Service, ServiceExt};

use super::pool::{Place, Pool};
use super::table::{ArmedFault, FaultTable};
use super::timer::FineTimer;
use super::{Action, CallFailure, Edit, Exchange, Reply, Surface};

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
            let mut impact = impact;
            let response = match impact.carry_out(&timer).await {
                Outcome::Reply(reply) => reply.into_response(),
                // Of the simulated dependency; an incoming request cannot fail so.
                Outcome::Failure(failure) => failure.reply().into_response(),
                Outcome::GoOn => inner.oneshot(request).await?,
            };
            Ok(impact.edit(response, &timer).await)
        }))
    }
}

type Faulted<E> = Pin<Box<dyn Future<Output = Result<Response, E>> + Send>>;

/// What all live faults together do to one request or call.
#[derive(Debug)]
pub(crate) struct Impact {
    arrived: Instant,
    counted: bool,
    waits: Vec<(Arc<ArmedFault>, Wait)>,
    failure: Option<(Arc<ArmedFault>, CallFailure)>,
    /// How often the caller repeats a call that fails.
    retries: u32,
    reply: Option<(Arc<ArmedFault>, Reply)>,
    edits: Vec<(Arc<ArmedFault>, Edit)>,
    /// Held until the request is answered.
    places: Vec<Place>,
}

/// A wait that the stop of its fault ends.
#[derive(Debug)]
enum Wait {
    For(Duration),
    Forever,
    /// For a place in a pool.
    Place(Arc<Pool>),
}

/// What becomes of a request or a call once it has waited.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It goes on.
    GoOn,
    /// This is the answer.
    Reply(Reply),
    /// The call fails so.
    Failure(CallFailure),
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

    /// How often the caller repeats the call while it fails.
    pub(crate) fn retries(&self) -> u32 {
        self.retries
    }

    /// Asks every fault once; `None` when all leave the request alone.
    fn of(faults: &[Arc<ArmedFault>], exchange: &Exchange<'_>, counted: bool) -> Option<Self> {
        let mut impact = Self {
            arrived: Instant::now(),
            counted,
            waits: Vec::new(),
            failure: None,
            retries: 0,
            reply: None,
            edits: Vec::new(),
            places: Vec::new(),
        };
        let mut is_touched = false;
        for armed in faults {
            let action = armed.decide(exchange, impact.arrived, counted);
            is_touched |= !action.is_idle();
            impact.add(armed, action);
        }
        is_touched.then_some(impact)
    }

    fn add(&mut self, armed: &Arc<ArmedFault>, action: Action) {
        let mut wait = |wait| self.waits.push((Arc::clone(armed), wait));
        match action {
            Action::Pass => {}
            Action::Delay(delay) => wait(Wait::For(delay)),
            Action::Hang => wait(Wait::Forever),
            // The daemon's own requests take no place from others.
            Action::Occupy(pool) if self.counted => wait(Wait::Place(pool)),
            Action::Occupy(_) => {}
            Action::Call(call) => {
                let (delay, failure, retries) = call.parts();
                if !delay.is_zero() {
                    wait(Wait::For(delay));
                }
                if let Some(failure) = failure.filter(|_| self.failure.is_none()) {
                    self.failure = Some((Arc::clone(armed), failure));
                }
                self.retries = self.retries.max(retries);
            }
            Action::Reply(reply) if self.reply.is_none() => {
                self.reply = Some((Arc::clone(armed), reply));
            }
            Action::Reply(_) => {}
            Action::Edit(edit) => self.edits.push((Arc::clone(armed), edit)),
        }
    }

    /// Waits out the delays, one after the other, then says what becomes of the request.
    ///
    /// A fault that is stopped meanwhile lets the request go on at once, as if it had never been armed.
    pub(crate) async fn carry_out(&mut self, timer: &FineTimer) -> Outcome {
        let mut since = self.arrived;
        for (armed, wait) in std::mem::take(&mut self.waits) {
            match wait {
                Wait::For(delay) => {
                    let until = since + delay;
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
                Wait::Forever => {
                    armed.stop.cancelled().await;
                    since = Instant::now();
                }
                Wait::Place(pool) => {
                    tokio::select! {
                        place = pool.place(timer) => match place {
                            Some((place, waited)) => {
                                armed.tally().note_waited(waited);
                                self.places.push(place);
                            }
                            None => return Outcome::Reply(Reply::error(StatusCode::SERVICE_UNAVAILABLE)),
                        },
                        () = armed.stop.cancelled() => {}
                    }
                    since = Instant::now();
                }
            }
        }
        if let Some((_, failure)) = live(self.failure.take()) {
            return Outcome::Failure(failure);
        }
        match live(self.reply.take()) {
            Some((_, reply)) => Outcome::Reply(reply),
            None => Outcome::GoOn,
        }
    }

    /// The answer as the client gets it.
    async fn edit(self, mut response: Response, timer: &FineTimer) -> Response {
        for (armed, edit) in self.edits {
            if !armed.stop.is_cancelled() {
                let touch = || !self.counted || armed.tally().touch();
                response = edit::apply(&edit, response, (timer, &armed.stop), touch).await;
            }
        }
        response
    }
}

/// What a fault does, unless it was stopped meanwhile.
fn live<T>(of: Option<(Arc<ArmedFault>, T)>) -> Option<(Arc<ArmedFault>, T)> {
    of.filter(|(armed, _)| !armed.stop.is_cancelled())
}

#[cfg(test)]
mod tests;
