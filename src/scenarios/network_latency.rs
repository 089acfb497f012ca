//! `network_latency`: every request on the service listener waits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use crate::ceilings::Resource;
use crate::fault::{RequestFault, Surface, Tally, Verdict};
use crate::fields::Fields;
use crate::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError};

/// Delays every request by a fixed time.
#[derive(Debug)]
pub(super) struct NetworkLatency;

#[derive(Debug)]
pub(super) struct LatencyParams {
    latency_ms: u32,
}

impl Params for LatencyParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "How long each request waits before it is served.";
        Self {
            latency_ms: fields
                .field("latency_ms", about)
                .unit("ms")
                .asks_for(Resource::LatencyMs)
                .integer(0..=600_000, 100),
        }
    }
}

impl Scenario for NetworkLatency {
    const NAME: &'static str = "network_latency";
    const SUMMARY: &'static str = "Adds the specified latency to all HTTP requests";
    type Params = LatencyParams;

    async fn start(params: LatencyParams, cx: RunContext) -> Result<Active, StartError> {
        let tally = Arc::new(Tally::default());
        let latency = Duration::from_millis(params.latency_ms.into());
        cx.faults.arm(Delay(latency), Arc::clone(&tally));
        Ok(Active::armed(
            Arc::new(LatencyProbe { params, tally }),
            cx.stop,
        ))
    }
}

/// Waits on every surface but the way out.
#[derive(Debug)]
struct Delay(Duration);

impl RequestFault for Delay {
    fn concerns(&self, surface: Surface) -> bool {
        surface != Surface::Control
    }

    fn judge(&self, _roll: f64) -> Verdict {
        Verdict {
            delay: self.0,
            reply: None,
        }
    }
}

struct LatencyProbe {
    params: LatencyParams,
    tally: Arc<Tally>,
}

impl Probe for LatencyProbe {
    fn read(&self) -> Reading {
        let achieved = self
            .tally
            .mean_wait()
            .map(|wait| wait.as_secs_f64() * 1000.0);
        let metrics = json!({
            "delayed_requests": self.tally.touched(),
            "mean_added_ms": achieved,
        });
        Reading {
            asked: self.params.latency_ms.into(),
            achieved,
            unit: "ms",
            shortfall: (self.tally.concerned() == 0).then_some(Shortfall::NoTraffic),
            metrics: super::object(metrics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_surface_waits_but_the_way_out() {
        let delay = Delay(Duration::from_millis(7));
        for surface in [
            Surface::Health,
            Surface::Ready,
            Surface::Dependency,
            Surface::Other,
        ] {
            assert!(delay.concerns(surface));
        }
        assert!(!delay.concerns(Surface::Control));
        let verdict = Verdict {
            delay: Duration::from_millis(7),
            reply: None,
        };
        assert_eq!(delay.judge(0.999), verdict);
    }
}
