//! What may change the traffic while it runs: a drill, as long as it is open.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::rate::Rate;
use crate::input::Shape;

/// Changes running traffic; cheap to clone. Without a change it costs nothing.
#[derive(Debug, Clone)]
pub(crate) struct TrafficControl(Arc<watch::Sender<Option<Arc<Change>>>>);

/// How the traffic differs from what the configuration has.
#[derive(Clone)]
pub(crate) struct Change {
    /// Requests a second in the place of the configured rate.
    pub(crate) rps: Option<f64>,
    /// What multiplies the rate, and since when. The time may be to come.
    pub(crate) factor: Option<(Instant, Shape)>,
    /// How often the probes are called.
    pub(crate) probe_every: Duration,
    /// Called at once when a probe begins to fail or to succeed again, with its path and whether it succeeds. Each
    /// counts as succeeding until it has failed.
    pub(crate) on_flip: OnFlip,
}

/// What hears of a probe.
pub(crate) type OnFlip = Arc<dyn Fn(&'static str, bool) + Send + Sync>;

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("rps", &self.rps)
            .field("factor", &self.factor)
            .field("probe_every", &self.probe_every)
            .finish_non_exhaustive()
    }
}

impl Default for TrafficControl {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl TrafficControl {
    /// Changes the traffic within a second, until the guard is dropped.
    pub(crate) fn change(&self, change: Change) -> ChangeGuard {
        self.0.send_replace(Some(Arc::new(change)));
        ChangeGuard(self.clone())
    }

    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<Change>>> {
        self.0.subscribe()
    }
}

impl Change {
    /// The rate of traffic that began at `start` and has the rate `configured` otherwise.
    pub(super) fn rate(&self, configured: &Shape, start: Instant) -> Rate {
        let base = self.rps.map(Shape::constant);
        let rate = Rate::from(base.unwrap_or_else(|| configured.clone()));
        match &self.factor {
            None => rate,
            Some((since, shape)) => {
                let after_s = since.saturating_duration_since(start).as_secs_f64();
                let before_s = start.saturating_duration_since(*since).as_secs_f64();
                rate.times(shape.clone(), after_s - before_s)
            }
        }
    }
}

/// Keeps traffic changed.
#[derive(Debug)]
pub(crate) struct ChangeGuard(TrafficControl);

impl Drop for ChangeGuard {
    fn drop(&mut self) {
        self.0.0.send_replace(None);
    }
}
