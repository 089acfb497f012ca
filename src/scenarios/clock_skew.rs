//! `clock_skew`: the service's wall clock is wrong.
//!
//! Shown are the header `Date`, the times of its log and of its spans. Durations are right, and so is the ledger.

use super::metrics;
use crate::input::{Fields, Shape};
use crate::plugin::shaped::Shaped;
use crate::plugin::{Active, Group, Reading, RunContext, Scenario, StartError};
use crate::run::Timestamp;

/// A year.
const MOST_S: f64 = 31_536_000.0;
const MOST_PPM: f64 = 100_000.0;

/// Sets the clock of the service wrong.
#[derive(Debug)]
pub(super) struct ClockSkew {
    offset_s: Shape,
    drift_ppm: f64,
}

impl Scenario for ClockSkew {
    const NAME: &'static str = "clock_skew";
    const GROUP: Group = Group::Signals;
    const SUMMARY: &'static str =
        "Sets the service's clock wrong, as its Date header, log and spans show it";
    const EXAMPLE: &'static str = r#"{"offset_s": -90, "drift_ppm": 200}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How far the clock is ahead; below 0 it is behind.";
        let offset_s = fields.field("offset_s", about).unit("s");
        let offset_s = offset_s.shape(-MOST_S..=MOST_S, 300.0);
        let about = "How much too fast it goes, in millionths; below 0 it is too slow.";
        let drift_ppm = fields.field("drift_ppm", about).unit("ppm");
        Self {
            offset_s,
            drift_ppm: drift_ppm.number(-MOST_PPM..=MOST_PPM, 0.0),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let offset = Shaped::begin(self.offset_s, cx.lived());
        let drift = self.drift_ppm / 1e6;
        let ahead_s = move || offset.now() + drift * offset.age().as_secs_f64();
        let clock = cx.hooks().clock.clone();
        let guards = (clock.set_wrong(ahead_s.clone()), cx.live_guard());
        let probe = move || {
            let shown_s = clock.now().seconds_since(Timestamp::now());
            reading(ahead_s(), shown_s)
        };
        Ok(Active::hold(probe, guards, cx.stop))
    }
}

fn reading(asked_s: f64, shown_s: f64) -> Reading {
    let to_ms = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    Reading {
        // Either way it is an effect.
        asked: asked_s.abs(),
        achieved: Some(shown_s.abs()),
        unit: "s",
        shortfall: None,
        metrics: metrics([("current_offset_s", to_ms(shown_s).into())]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<ClockSkew>(json!({ "offset_s": 300, "drift_ppm": 0 }));
    }

    #[tokio::test]
    async fn no_skew_at_all_starts_and_stops() {
        starts_and_stops::<ClockSkew>(json!({ "offset_s": 0 })).await;
    }

    #[test]
    fn a_clock_that_is_behind_has_an_effect_too() {
        let reading = reading(-90.0, -90.0004);
        assert!(reading.is_effective(&Reading::default));
        assert_eq!(reading.metrics["current_offset_s"], json!(-90.0));
    }
}
