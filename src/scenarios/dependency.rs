//! `dependency`: the calls of the service to others, real and pretended, are slow, dead or wrong.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::fault::{Action, Draw, Matcher, Reply, Surfaces, TrafficProbe};
use crate::input::{FieldError, Fields};
use crate::plugin::{Active, PreflightContext, RunContext, Scenario, StartError};

/// How long a call takes under `timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest call under `slow`, and how much longer the longest is.
const SLOW_LEAST: Duration = Duration::from_secs(2);
const SLOW_SPREAD: Duration = Duration::from_secs(3);

/// Makes calls to other services fail.
#[derive(Debug)]
pub(super) struct Dependency {
    failure: Failure,
    /// The upstream whose calls fail; none means all.
    upstream: Option<String>,
    seed: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    /// The call returns after 30 seconds.
    Timeout,
    /// The call fails with status 500.
    Error,
    /// The call takes two to five seconds, uniformly distributed.
    Slow,
}

impl Scenario for Dependency {
    const NAME: &'static str = "dependency";
    const SUMMARY: &'static str = "Makes calls to a dependency time out, fail or slow down";
    const EXAMPLE: &'static str = r#"{"failure_type": "slow"}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "The call returns after 30 s, fails with status 500, or takes 2 to 5 s.";
        let failure = fields.field("failure_type", about).choice(&[
            ("timeout", Failure::Timeout),
            ("error", Failure::Error),
            ("slow", Failure::Slow),
        ]);
        let about = "The upstream whose calls are touched. Absent: all.";
        let upstream = fields.field("upstream", about).optional().host_name();
        let about = "Makes the sequence of times repeatable (slow).";
        let seed = fields.field("seed", about).optional().integer(0..=u32::MAX);
        Self {
            failure,
            upstream,
            seed,
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        if let Some(upstream) = &self.upstream {
            context.check_upstream("/upstream", upstream)?;
        }
        Ok(None)
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let matcher = Matcher::on(Surfaces::DEPENDENCY_CALLS)
            .calling(self.upstream)
            .seeded(self.seed);
        let tally = cx.arm(matcher, move |_, draw| self.failure.action(draw));
        let probe = TrafficProbe::share(tally, "share of calls").metrics(&[
            ("failed_calls", |tally| tally.touched().into()),
            ("mean_added_ms", |tally| tally.mean_wait_ms().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl Failure {
    fn action(self, draw: &mut Draw) -> Action {
        match self {
            Self::Timeout => Action::Delay(TIMEOUT),
            Self::Slow => Action::Delay(SLOW_LEAST + SLOW_SPREAD.mul_f64(draw.uniform())),
            Self::Error => Action::Reply(Reply::json(
                StatusCode::INTERNAL_SERVER_ERROR,
                json!({ "status": "error", "error": "dependency call failed" }),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::tests::assert_defaults;

    #[test]
    fn defaults() {
        assert_defaults::<Dependency>(json!({ "failure_type": "timeout" }));
    }

    fn delays(failure: Failure) -> Vec<f64> {
        let delay = |n| match failure.action(&mut Draw::seeded(n)) {
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
