//! Faults on requests: how a run touches the traffic of the service listener.
//!
//! A scenario arms a [`RequestFault`]; the session actor publishes all live ones as one immutable
//! [`table`]; the [`layer`] reads that table once per request. No handler and no layer knows which
//! scenario it serves.

#[cfg(test)]
mod fake;
pub mod layer;
pub mod table;
pub mod timer;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

/// Which kind of route a request meets; chosen per route group in the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// The liveness probe.
    Health,
    /// The readiness probe.
    Ready,
    /// The start-up probe.
    Startup,
    /// The route that pretends to call a dependency.
    Dependency,
    /// The way out: the control API's POSTs. No delay is ever put on it.
    Control,
    /// Everything else, the control API's reads and unknown paths included.
    Other,
}

/// An answer given in the route's place.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The status code.
    pub status: StatusCode,
    /// The JSON body.
    pub body: Value,
}

/// What a fault does to one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Waits this long before anything else; delays of several faults add up.
    pub delay: Duration,
    /// Answers so instead of the route; the first fault with a reply wins.
    pub reply: Option<Reply>,
}

impl Verdict {
    /// Whether the request is left alone.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.delay.is_zero() && self.reply.is_none()
    }
}

/// A fault on requests. It is pure: no lock, no clock, no counter, no hidden randomness; the layer
/// draws and counts for it.
pub trait RequestFault: fmt::Debug + Send + Sync + 'static {
    /// Whether requests at `surface` meet this fault.
    fn concerns(&self, surface: Surface) -> bool;

    /// What happens to such a request; `roll` is uniform in `[0, 1)`.
    fn judge(&self, roll: f64) -> Verdict;

    /// Whether the fault lies in the dependency that a route calls, instead of in this service: then
    /// the time it takes is told as the call's too.
    fn is_in_dependency(&self) -> bool {
        false
    }

    /// The seed of the rolls; none means that every run draws another.
    fn seed(&self) -> Option<u32> {
        None
    }
}

/// Counts what a fault did to requests, for the probe of its run.
#[derive(Debug, Default)]
pub struct Tally {
    concerned: AtomicU64,
    touched: AtomicU64,
    waited: AtomicU64,
    waited_us: AtomicU64,
}

impl Tally {
    /// Notes a request that met the fault.
    pub fn note_concerned(&self) {
        self.concerned.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the fault did something to a request.
    pub fn note_touched(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the whole delay that a request really had.
    pub fn note_waited(&self, had: Duration) {
        self.waited.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(had.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Requests that met the fault.
    #[must_use]
    pub fn concerned(&self) -> u64 {
        self.concerned.load(Ordering::Relaxed)
    }

    /// Requests that the fault delayed or answered.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    /// The share of requests that the fault touched; none before the first.
    #[must_use]
    pub fn touched_share(&self) -> Option<f64> {
        let concerned = self.concerned();
        (concerned > 0).then(|| self.touched() as f64 / concerned as f64)
    }

    /// The mean delay of the requests that waited to the end; none before the first.
    #[must_use]
    pub fn mean_wait(&self) -> Option<Duration> {
        let waited = self.waited.load(Ordering::Relaxed);
        let total_us = self.waited_us.load(Ordering::Relaxed);
        total_us.checked_div(waited).map(Duration::from_micros)
    }
}
