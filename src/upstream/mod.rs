//! Calls of the service to other services, its upstreams: over HTTP, or pretended where there is no server behind them.
//!
//! A call that is dropped is cancelled: it has no task of its own, and gives its connection back.

mod addresses;
pub(crate) mod connections;
mod failure;
pub(crate) mod lateness;
mod pool;
mod pretended;
pub(crate) mod spec;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::timeout_at;
use tracing::warn;

use self::connections::{Bare, Connections};
use self::pool::Pool;
use self::pretended::Pretended;
use self::spec::{CallSpec, Peer, Target};
use crate::fault::layer::{Impact, Outcome};
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::fault::{CallFailure, Draw, Exchange, Law, Surface};
use crate::lifecycle::SERVICE;
use crate::metrics::calls::{CallMeter, Calls, Ending, MeasuredCall};
use crate::metrics::measure::method_label;
use crate::traces::call::{Attempt, AttemptSpan, note_retry};
use crate::traces::context::TraceContext;

pub(crate) use self::failure::{CallFailed, Failure};

/// The first wait before a retry, which doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Median and 99 % quantile of how long a server of the same data centre takes that answers at once with an error.
const ROUND_TRIP: (Duration, Duration) = (Duration::from_micros(800), Duration::from_millis(4));

/// The counters of the calls that `specs` describe, and of the simulated dependency where that `is_served`.
pub(crate) fn calls_of<'s>(
    is_served: bool,
    specs: impl IntoIterator<Item = &'s CallSpec>,
) -> Calls {
    let measured = specs.into_iter().map(|spec| MeasuredCall {
        upstream: &spec.name,
        method: method_label(&spec.method),
        is_real: matches!(spec.peer, Peer::Real(_)),
        pool: spec.pool,
    });
    Calls::new(is_served, measured)
}

/// What calls work with.
#[derive(Debug, Clone)]
pub(crate) struct CallServices {
    pub(crate) table: FaultTable,
    pub(crate) timer: FineTimer,
    /// As [`calls_of`] has made them of the same specs.
    pub(crate) calls: Calls,
    /// Whether spans are exported.
    pub(crate) traced: bool,
    /// Makes the sequences of pretended answers repeatable.
    pub(crate) seed: u32,
}

/// Makes the calls of all routes, so that those to one upstream share its connections.
#[derive(Debug)]
pub(crate) struct Upstreams {
    services: Arc<CallServices>,
    known: Vec<Arc<Upstream>>,
    made: u32,
}

/// Another service.
#[derive(Debug)]
struct Upstream {
    name: String,
    pool: Pool,
    /// Of real calls.
    connections: Connections,
}

impl Upstreams {
    /// None yet.
    pub(crate) fn new(services: CallServices) -> Self {
        Self {
            services: Arc::new(services),
            known: Vec::new(),
            made: 0,
        }
    }

    /// The call that `spec` describes.
    pub(crate) fn call(&mut self, spec: &CallSpec) -> Call {
        let services = Arc::clone(&self.services);
        let known = self.known.iter().find(|known| known.name == spec.name);
        let upstream = known.cloned().unwrap_or_else(|| {
            let upstream = Arc::new(Upstream::new(spec, &services.calls));
            self.known.push(Arc::clone(&upstream));
            upstream
        });
        let way = match &spec.peer {
            Peer::Real(target) => Way::Real(target.clone()),
            Peer::Pretended {
                latency,
                error_share,
            } => {
                self.made += 1;
                let seed = u64::from(services.seed) << 32 ^ u64::from(self.made) << 24;
                Way::Pretended(Pretended::new(*latency, *error_share, seed))
            }
        };
        let meter = services.calls.meter(&spec.name, method_label(&spec.method));
        Call(Arc::new(Parts {
            method: spec.method.clone(),
            timeout: spec.timeout,
            attempts: spec.retries + 1,
            upstream,
            way,
            meter,
            services,
        }))
    }
}

impl Upstream {
    fn new(spec: &CallSpec, calls: &Calls) -> Self {
        let meter = calls.pool(&spec.name);
        let is_pretended = matches!(spec.peer, Peer::Pretended { .. });
        Self {
            name: spec.name.clone(),
            pool: Pool::new(spec.pool.zip(meter.clone()), is_pretended),
            connections: Connections::new(meter),
        }
    }
}

/// The request that a call is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming<'r> {
    pub(crate) method: &'r Method,
    /// Without the query, percent-encoded as it came.
    pub(crate) path: &'r str,
    pub(crate) headers: &'r HeaderMap,
    /// The parameters of its path, percent-encoded as they came.
    pub(crate) params: &'r [(&'r str, &'r str)],
    pub(crate) trace: &'r TraceContext,
    /// When the call is due: the first one where the route's own work ends by plan.
    pub(crate) call_due: Instant,
}

/// A call that a route makes; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Call(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    method: Method,
    /// How long one attempt may take.
    timeout: Duration,
    attempts: u32,
    upstream: Arc<Upstream>,
    way: Way,
    /// None where the services have no counters of it.
    meter: Option<CallMeter>,
    services: Arc<CallServices>,
}

/// How an answer comes about.
#[derive(Debug)]
enum Way {
    Real(Target),
    Pretended(Pretended),
}

impl Call {
    /// The upstream that it calls.
    pub(crate) fn upstream(&self) -> &str {
        &self.0.upstream.name
    }

    /// Makes the call, with as many attempts as it may have; logs each that is followed by another.
    ///
    /// # Errors
    /// How the last attempt has failed; to be logged by the caller.
    pub(crate) async fn send(&self, incoming: &Incoming<'_>) -> Result<(), CallFailed> {
        let mut attempt = 1;
        let storm = AtomicU32::new(0);
        loop {
            let Err(failure) = self.0.attempt(incoming, attempt, &storm).await else {
                return Ok(());
            };
            let is_storm = storm.load(Ordering::Relaxed) > 0;
            let attempts = self.0.attempts.max(storm.load(Ordering::Relaxed) + 1);
            let is_last = attempt >= attempts || !failure.is_worth_a_retry();
            let failed = CallFailed {
                upstream: self.upstream().to_owned(),
                failure,
                attempt,
                attempts,
            };
            if is_last {
                return Err(failed);
            }
            warn!(target: SERVICE, trace_id = %incoming.trace.trace_id(), "{failed}");
            let error = failed.failure.error_type();
            note_retry(incoming.trace, self.upstream(), attempt, &error);
            if !is_storm {
                tokio::time::sleep(wait_before_retry(attempt)).await;
            }
            attempt += 1;
        }
    }
}

/// A wait that doubles with each retry, and differs by half, so that callers that failed together do not come again
/// together.
fn wait_before_retry(attempt: u32) -> Duration {
    let wait = FIRST_WAIT * 2_u32.saturating_pow(attempt - 1);
    wait.min(LONGEST_WAIT).mul_f64(0.5 + rand::random::<f64>())
}

impl Parts {
    /// `storm` takes how often a fault has the call repeated.
    async fn attempt(
        &self,
        incoming: &Incoming<'_>,
        number: u32,
        storm: &AtomicU32,
    ) -> Result<(), Failure> {
        let path = match &self.way {
            Way::Real(target) => target.path(incoming.params),
            Way::Pretended(_) => "/".to_owned(),
        };
        let span = self.span(incoming.trace, &path, number);
        let start = Instant::now();
        let to = (path.as_str(), span.context());
        let answer = self.answer_in_time(incoming, to, storm).await;
        if let Some(meter) = &self.meter {
            let ending = match &answer {
                Ok(status) => Ending::Status(status.as_u16()),
                Err(failure) => failure.ending(),
            };
            meter.note(ending, start.elapsed());
        }
        match &answer {
            Ok(status) => span.answered(*status),
            Err(failure) => span.failed(&failure.error_type()),
        }
        match answer? {
            status if status.is_client_error() || status.is_server_error() => {
                Err(Failure::Status(status))
            }
            _ => Ok(()),
        }
    }

    fn span(&self, trace: &TraceContext, path: &str, number: u32) -> AttemptSpan {
        if !self.services.traced {
            return AttemptSpan::begin(trace, None);
        }
        let upstream = self.upstream.name.as_str();
        let (authority, port) = match &self.way {
            Way::Real(target) => (target.authority(), target.port),
            Way::Pretended(_) => (upstream, 80),
        };
        let attempt = Attempt {
            method: &self.method,
            upstream,
            port,
            url: &format!("http://{authority}{path}"),
            number,
        };
        AttemptSpan::begin(trace, Some(&attempt))
    }

    /// The answer within the time of one attempt, the wait for a place in the pool included.
    async fn answer_in_time(
        &self,
        incoming: &Incoming<'_>,
        to: (&str, &TraceContext),
        storm: &AtomicU32,
    ) -> Result<StatusCode, Failure> {
        let after = self.timeout;
        let end = tokio::time::Instant::now() + after;
        // Held to the end of the attempt, however that comes.
        let place = timeout_at(end, self.upstream.pool.place()).await;
        let _place = place.map_err(|_| {
            self.upstream.pool.note_timeout();
            Failure::NoConnection { after }
        })?;
        // One that is freed as the time ends is of no use: a request would be sent only to be dropped.
        if tokio::time::Instant::now() >= end {
            self.upstream.pool.note_timeout();
            return Err(Failure::NoConnection { after });
        }
        let answer = timeout_at(end, self.answer(incoming, to, storm)).await;
        answer.unwrap_or(Err(Failure::Timeout { after }))
    }

    async fn answer(
        &self,
        incoming: &Incoming<'_>,
        (path, trace): (&str, &TraceContext),
        storm: &AtomicU32,
    ) -> Result<StatusCode, Failure> {
        let CallServices { table, timer, .. } = &*self.services;
        let exchange = Exchange {
            surface: Surface::DependencyCall,
            method: incoming.method,
            path: incoming.path,
            headers: incoming.headers,
            upstream: Some(&self.upstream.name),
            age: Duration::ZERO,
            counted: true,
        };
        if let Some(mut impact) = Impact::on_call(table, &exchange) {
            storm.fetch_max(impact.retries(), Ordering::Relaxed);
            match impact.carry_out(timer).await {
                Outcome::GoOn => {}
                Outcome::Reply(reply) => return Ok(reply.status()),
                Outcome::Failure(failure) => {
                    if let CallFailure::Status(_) = failure {
                        self.take_time_of_answer(incoming).await;
                    }
                    return Failure::of_fault(failure);
                }
            }
        }
        match &self.way {
            Way::Real(target) => {
                let request = || self.request(target, path, trace);
                let connections = &self.upstream.connections;
                connections.send(&target.address, request).await
            }
            Way::Pretended(pretended) => Ok(pretended.answer(incoming.call_due, timer).await),
        }
    }

    /// Waits as long as an upstream takes that answers, be it with an error: nothing is sent.
    async fn take_time_of_answer(&self, incoming: &Incoming<'_>) {
        let timer = &self.services.timer;
        match &self.way {
            Way::Real(_) => {
                let (p50, p99) = ROUND_TRIP;
                let mut draw = Draw::seeded(rand::random());
                let until = Instant::now() + Law::of(p50, p99).sample(&mut draw);
                timer.sleep_until(until).await;
            }
            Way::Pretended(pretended) => {
                pretended.answer(incoming.call_due, timer).await;
            }
        }
    }

    fn request(&self, target: &Target, path: &str, trace: &TraceContext) -> Bare {
        let mut request = Bare::default();
        *request.method_mut() = self.method.clone();
        // Both were checked when the configuration was read; a path from a client is encoded.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, target.host.clone());
        trace.inject(headers);
        request
    }
}
