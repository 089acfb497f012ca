//! `network_latency`: every request on the service listener waits.

use std::time::Duration;

use crate::fault::{Action, Draw, Exchange, Matcher, RequestFault, Surfaces, TrafficProbe};
use crate::input::{Fields, Resource};
use crate::plugin::{Active, Params, RunContext, Scenario, StartError};

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
        let latency = Duration::from_millis(params.latency_ms.into());
        // Reads of the control API too: a slow network spares nothing but the way out.
        let tally = cx.arm(Matcher::on(Surfaces::INCOMING), Latency(latency));
        let probe = TrafficProbe::delay(tally, params.latency_ms.into()).metrics(&[
            ("delayed_requests", |tally| tally.touched().into()),
            ("mean_added_ms", |tally| tally.mean_wait_ms().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

#[derive(Debug)]
struct Latency(Duration);

impl RequestFault for Latency {
    fn act(&self, _: &Exchange<'_>, _: &mut Draw) -> Action {
        Action::Delay(self.0)
    }
}
