//! `dependency`: the route that pretends to call a dependency is slow, dead or wrong.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::fault::{Action, Draw, Exchange, Matcher, Reply, RequestFault, Surfaces, TrafficProbe};
use crate::input::Fields;
use crate::plugin::{Active, Params, RunContext, Scenario, StartError};

/// How long a call takes under `timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest call under `slow`, and how much longer the longest is.
const SLOW_LEAST: Duration = Duration::from_secs(2);
const SLOW_SPREAD: Duration = Duration::from_secs(3);

/// Makes calls to the pretended dependency fail.
#[derive(Debug)]
pub(super) struct Dependency;

#[derive(Debug, Clone, Copy)]
enum Failure {
    /// The call returns after 30 seconds.
    Timeout,
    /// The call fails with status 500.
    Error,
    /// The call takes two to five seconds, evenly spread.
    Slow,
}

#[derive(Debug, Clone)]
pub(super) struct DependencyParams {
    failure: Failure,
    seed: Option<u32>,
}

impl Params for DependencyParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "The call returns after 30 s, fails with status 500, or takes 2 to 5 s.";
        let failure = fields.field("failure_type", about).choice(&[
            ("timeout", Failure::Timeout),
            ("error", Failure::Error),
            ("slow", Failure::Slow),
        ]);
        let about = "Makes the sequence of times repeatable (slow).";
        let seed = fields.field("seed", about).optional().integer(0..=u32::MAX);
        Self { failure, seed }
    }
}

impl Scenario for Dependency {
    const NAME: &'static str = "dependency";
    const SUMMARY: &'static str = "Makes calls to a dependency time out, fail or slow down";
    type Params = DependencyParams;

    async fn start(params: DependencyParams, cx: RunContext) -> Result<Active, StartError> {
        let matcher = Matcher::on(Surfaces::DEPENDENCY_CALLS).seeded(params.seed);
        let tally = cx.arm(matcher, params);
        let probe = TrafficProbe::share(tally, "share of calls", |_| 1.0).metrics(&[
            ("failed_calls", |tally| tally.touched().into()),
            ("mean_added_ms", |tally| tally.mean_wait_ms().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl RequestFault for DependencyParams {
    fn act(&self, _: &Exchange<'_>, draw: &mut Draw) -> Action {
        match self.failure {
            Failure::Timeout => Action::Delay(TIMEOUT),
            Failure::Slow => Action::Delay(SLOW_LEAST + SLOW_SPREAD.mul_f64(draw.uniform())),
            Failure::Error => Action::Reply(Reply::json(
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({ "status": "error", "error": "dependency call failed" }),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::fault::Surface;

    fn delays(failure: Failure) -> Vec<f64> {
        let fault = DependencyParams {
            failure,
            seed: None,
        };
        let request = Request::new(());
        let call = Exchange::new(Surface::DependencyCall, &request);
        let delay = |n| match fault.act(&call, &mut Draw::seeded(n)) {
            Action::Delay(delay) => Some(delay.as_secs_f64()),
            _ => None,
        };
        (0..1000).filter_map(delay).collect()
    }

    #[test]
    fn each_failure_does_what_its_name_says() {
        assert!(delays(Failure::Timeout).iter().all(|s| *s == 30.0));
        assert!(delays(Failure::Error).is_empty());
        let slow = delays(Failure::Slow);
        let (low, high) = slow.iter().fold((9.0_f64, 0.0_f64), |(low, high), s| {
            (low.min(*s), high.max(*s))
        });
        assert!(
            (2.0..2.1).contains(&low) && (4.9..5.0).contains(&high),
            "{low} to {high}"
        );
    }
}
