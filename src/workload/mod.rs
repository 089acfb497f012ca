//! The service's own work: routes that take time and CPU, fail sometimes and call other services.
//!
//! Off by default, and then free: without it there is no route more and nothing runs.

mod answer;
mod cpu;
mod path;
mod ring;
mod shop;
mod spec;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tracing::error;
use tracing::field::display;

use crate::fault::Draw;
use crate::fault::timer::FineTimer;
use crate::lifecycle::SERVICE;
use crate::traces::context::TraceContext;
use crate::upstream::lateness::Lateness;
use crate::upstream::{Call, CallFailed, CallServices, Failure, Incoming, Upstreams};

pub(crate) use path::{PATH_RULE, PathTemplate};
pub(crate) use ring::rings;
pub(crate) use spec::{METHODS, RouteSpec, WorkloadSpec};

/// The largest body of a request: 1 MiB.
const MOST_REQUEST_BYTES: usize = 1024 * 1024;
/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Why a request fails where nothing is wrong: a healthy service is never perfect.
const REASONS: [&str; 4] = [
    "database: deadlock detected, transaction rolled back",
    "database: connection closed by the server",
    "cache: unexpected end of file",
    "serialization of the response failed: invalid utf-8 sequence of 1 bytes from index 17",
];

/// A route at work.
#[derive(Debug)]
pub(crate) struct WorkloadRoute {
    spec: RouteSpec,
    timer: FineTimer,
    calls: Vec<Call>,
    body: Bytes,
    seed: u64,
    draws: AtomicU64,
    lateness: Lateness,
}

impl WorkloadRoute {
    /// Every route of `spec`, with the calls that `services` make.
    pub(crate) fn all(spec: &WorkloadSpec, services: CallServices) -> Vec<Self> {
        let (seed, timer) = (u64::from(services.seed), services.timer.clone());
        let mut upstreams = Upstreams::new(services);
        let routes = spec.routes.iter().zip(0_u64..).map(|(route, number)| {
            // Far apart, so that no two routes draw the same numbers.
            let seed = (seed << 40) ^ (number << 32);
            Self {
                calls: route
                    .calls
                    .iter()
                    .map(|call| upstreams.call(call))
                    .collect(),
                body: answer::body(route.response_bytes, seed),
                spec: route.clone(),
                timer: timer.clone(),
                seed,
                draws: AtomicU64::new(0),
                lateness: Lateness::default(),
            }
        });
        routes.collect()
    }

    pub(crate) fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    /// Serves one request. A client that goes away ends it.
    pub(crate) async fn serve(&self, request: Request) -> Response {
        let arrived = Instant::now();
        let mut draw = self.next_draw();
        let (head, body) = request.into_parts();
        if let Err(status) = read_whole(body).await {
            return answer::error(status);
        }
        let mut calls_due = Instant::now();
        if let Some(law) = &self.spec.latency {
            calls_due = arrived + law.sample(&mut draw).saturating_sub(self.spec.cpu);
            self.lateness.wait_until(calls_due, &self.timer).await;
        }
        let trace = head.extensions.get::<TraceContext>();
        let trace_id = trace.map(|trace| display(trace.trace_id()));
        let route = self.spec.path.as_str();
        if let Some(trace) = trace
            && let Err(failed) = self.call_all(&head, trace, calls_due).await
        {
            error!(target: SERVICE, route, trace_id, "{failed}");
            return answer::error(status_of(&failed));
        }
        cpu::use_cpu(self.spec.cpu);
        if draw.uniform() < self.spec.error_share {
            let reason = (draw.uniform() * REASONS.len() as f64) as usize;
            error!(target: SERVICE, route, trace_id, "{}", REASONS[reason]);
            return answer::error(StatusCode::INTERNAL_SERVER_ERROR);
        }
        answer::json(StatusCode::OK, self.body.clone())
    }

    /// Makes the calls, one after the other, up to the first that fails.
    async fn call_all(
        &self,
        head: &http::request::Parts,
        trace: &TraceContext,
        first_due: Instant,
    ) -> Result<(), CallFailed> {
        let path = head.uri.path();
        let mut incoming = Incoming {
            method: &head.method,
            path,
            headers: &head.headers,
            params: &self.spec.path.values(path),
            trace,
            call_due: first_due,
        };
        for call in &self.calls {
            call.send(&incoming).await?;
            incoming.call_due = Instant::now();
        }
        Ok(())
    }

    /// The random numbers of the next request.
    fn next_draw(&self) -> Draw {
        let number = self.draws.fetch_add(1, Ordering::Relaxed);
        Draw::seeded(self.seed.wrapping_add(number))
    }
}

/// What a service answers where a call has failed.
fn status_of(failed: &CallFailed) -> StatusCode {
    match failed.failure {
        Failure::Timeout { .. } | Failure::NoConnection { .. } => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Reads what the client sends, which is of no use: a connection cannot be used again before.
///
/// # Errors
/// The status that says what is wrong with it.
async fn read_whole(body: Body) -> Result<(), StatusCode> {
    let mut body = Limited::new(body, MOST_REQUEST_BYTES);
    let read = async {
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::BAD_REQUEST,
            })?;
        }
        Ok(())
    };
    let read = tokio::time::timeout(BODY_WITHIN, read).await;
    read.unwrap_or(Err(StatusCode::REQUEST_TIMEOUT))
}
