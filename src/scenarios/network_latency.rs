//! `network_latency`: every request on the service listener waits.

use std::time::Duration;

use crate::fault::{Action, Matcher, Surfaces, TrafficProbe};
use crate::input::{Fields, Resource, in_ms};
use crate::plugin::{Active, RunContext, Scenario, StartError};

/// Delays every request by a fixed time.
#[derive(Debug)]
pub(super) struct NetworkLatency {
    latency: Duration,
}

impl Scenario for NetworkLatency {
    const NAME: &'static str = "network_latency";
    const SUMMARY: &'static str = "Adds the specified latency to all HTTP requests";
    const EXAMPLE: &'static str = r#"{"latency_ms": 300}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How long each request waits before it is served.";
        Self {
            latency: fields
                .field("latency_ms", about)
                .asks_for(Resource::LatencyMs)
                .milliseconds(0.0..=600_000.0, 100.0),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let latency = self.latency;
        // Reads of the control API too: a slow network slows down everything but the way out.
        let matcher = Matcher::on(Surfaces::INCOMING);
        let tally = cx.arm(matcher, move |_, _| Action::Delay(latency));
        let probe = TrafficProbe::delay(tally, in_ms(latency)).metrics(&[
            ("delayed_requests", |tally| tally.touched().into()),
            ("mean_added_ms", |tally| tally.mean_wait_ms().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::assert_defaults;

    #[test]
    fn defaults() {
        assert_defaults::<NetworkLatency>(json!({ "latency_ms": 100 }));
    }
}
