//! The probe of a run whose effect is on requests.

use std::sync::Arc;

use serde_json::Value;

use super::Tally;
use crate::run::{Probe, Reading, Shortfall};

/// One of a scenario's own metrics, by name.
type Metric = (&'static str, fn(&Tally) -> Value);

/// Reads a [`Tally`]; the shortfall is `no_traffic` until a request matches.
#[derive(Debug)]
pub struct TrafficProbe {
    tally: Arc<Tally>,
    unit: &'static str,
    /// None where the effect is the share of requests touched.
    delay_ms: Option<f64>,
    metrics: &'static [Metric],
}

impl TrafficProbe {
    /// For a fault that touches the share of requests that its matcher selects; `unit` says what it is a share of.
    #[must_use]
    pub fn share(tally: Arc<Tally>, unit: &'static str) -> Self {
        Self {
            tally,
            unit,
            delay_ms: None,
            metrics: &[],
        }
    }

    /// For a fault that delays each request by `delay_ms`.
    #[must_use]
    pub fn delay(tally: Arc<Tally>, delay_ms: f64) -> Self {
        Self {
            delay_ms: Some(delay_ms),
            ..Self::share(tally, "ms")
        }
    }

    /// Adds the scenario's own metrics to the status.
    #[must_use]
    pub fn metrics(self, metrics: &'static [Metric]) -> Self {
        Self { metrics, ..self }
    }
}

impl Probe for TrafficProbe {
    fn read(&self) -> Reading {
        let tally = &*self.tally;
        let (asked, achieved) = match self.delay_ms {
            Some(delay_ms) => (delay_ms, tally.mean_wait_ms()),
            None => (tally.expected_share(), tally.touched_share()),
        };
        let metric = |(name, value): &Metric| ((*name).to_owned(), value(tally));
        Reading {
            asked,
            achieved,
            unit: self.unit,
            shortfall: (tally.matched() == 0).then_some(Shortfall::NoTraffic),
            metrics: self.metrics.iter().map(metric).collect(),
        }
    }
}
