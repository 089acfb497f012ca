//! The probe of a run whose effect is on requests.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Tally;
use crate::input::Shape;
use crate::run::{Probe, Reading, Shortfall, Touched};

/// One of a scenario's own metrics, by name.
type Metric = (&'static str, fn(&Tally) -> Value);

/// Reads a [`Tally`]; the shortfall is `no_traffic` until a request matches.
#[derive(Debug)]
pub struct TrafficProbe {
    tally: Arc<Tally>,
    unit: &'static str,
    effect: Effect,
    metrics: &'static [Metric],
}

/// What is asked of a fault.
#[derive(Debug)]
enum Effect {
    /// The share of requests that it touches.
    Share,
    /// The mean delay of those, in ms.
    Delay(Shape),
    /// The requests a second that it lets through.
    Passing(Shape),
}

impl TrafficProbe {
    /// For a fault that touches the share of requests that its matcher selects; `unit` says what it is a share of.
    #[must_use]
    pub fn share(tally: Arc<Tally>, unit: &'static str) -> Self {
        Self {
            tally,
            unit,
            effect: Effect::Share,
            metrics: &[],
        }
    }

    /// For a fault that delays each request by `delay_ms` in the mean.
    #[must_use]
    pub fn delay(tally: Arc<Tally>, delay_ms: Shape) -> Self {
        Self {
            effect: Effect::Delay(delay_ms),
            ..Self::share(tally, "ms")
        }
    }

    /// For a fault that lets `per_second` requests through.
    #[must_use]
    pub fn passing(tally: Arc<Tally>, per_second: Shape) -> Self {
        Self {
            effect: Effect::Passing(per_second),
            ..Self::share(tally, "requests/s")
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
        let (asked, achieved) = match &self.effect {
            Effect::Share => (tally.expected_share(), tally.touched_share()),
            Effect::Delay(delay_ms) => {
                let achieved = match delay_ms.is_constant() {
                    true => tally.mean_wait_ms(),
                    false => tally.recent_wait_ms(),
                };
                (delay_ms.value_at(tally.age()), achieved)
            }
            Effect::Passing(per_second) => {
                let passed = tally.rates().map(|(_, passed)| passed);
                (per_second.value_at(tally.age()), passed)
            }
        };
        let metric = |(name, value): &Metric| ((*name).to_owned(), value(tally));
        let first = tally.first_and_all().first_at;
        let first = first.map(|at| ("first_touched_at".to_owned(), json!(at)));
        Reading {
            asked,
            achieved,
            unit: self.unit,
            shortfall: (tally.matched() == 0).then_some(Shortfall::NoTraffic),
            metrics: self.metrics.iter().map(metric).chain(first).collect(),
        }
    }

    fn touched(&self) -> Option<Touched> {
        Some(self.tally.first_and_all())
    }
}
