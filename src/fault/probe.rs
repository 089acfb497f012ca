//! The probe of a run whose effect is on requests.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::Tally;
use crate::run::{Probe, Reading, Shortfall};

/// A figure of the status, by name.
type Metric = (&'static str, fn(&Tally) -> Value);

/// Reads a [`Tally`]: what was asked, what is achieved, and `no_traffic` until a request matches.
pub struct TrafficProbe {
    tally: Arc<Tally>,
    unit: &'static str,
    asked: Box<dyn Fn(&Tally) -> f64 + Send + Sync>,
    achieved: fn(&Tally) -> Option<f64>,
    metrics: &'static [Metric],
}

impl TrafficProbe {
    /// A fault that touches a share of requests; `asked` may depend on what came so far.
    #[must_use]
    pub fn share(
        tally: Arc<Tally>,
        unit: &'static str,
        asked: impl Fn(&Tally) -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            tally,
            unit,
            asked: Box::new(asked),
            achieved: Tally::touched_share,
            metrics: &[],
        }
    }

    /// A fault that delays each request by `asked_ms`.
    #[must_use]
    pub fn delay(tally: Arc<Tally>, asked_ms: f64) -> Self {
        Self {
            achieved: Tally::mean_wait_ms,
            ..Self::share(tally, "ms", move |_| asked_ms)
        }
    }

    /// Adds the scenario's own figures.
    #[must_use]
    pub fn metrics(self, metrics: &'static [Metric]) -> Self {
        Self { metrics, ..self }
    }
}

impl Probe for TrafficProbe {
    fn read(&self) -> Reading {
        let figures = self.metrics.iter();
        Reading {
            asked: (self.asked)(&self.tally),
            achieved: (self.achieved)(&self.tally),
            unit: self.unit,
            shortfall: (self.tally.matched() == 0).then_some(Shortfall::NoTraffic),
            metrics: figures
                .map(|(name, figure)| ((*name).to_owned(), figure(&self.tally)))
                .collect(),
        }
    }
}

impl fmt::Debug for TrafficProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrafficProbe")
            .field("unit", &self.unit)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}
