//! `dependency`: the route that pretends to call a dependency is slow, dead or wrong.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::fault::{Reply, RequestFault, Surface, Tally, Verdict};
use crate::fields::Fields;
use crate::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError};

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
        let seed = fields.field("seed", about).optional_integer(0..=u32::MAX);
        Self { failure, seed }
    }
}

impl Scenario for Dependency {
    const NAME: &'static str = "dependency";
    const SUMMARY: &'static str = "Makes calls to a dependency time out, fail or slow down";
    type Params = DependencyParams;

    async fn start(params: DependencyParams, cx: RunContext) -> Result<Active, StartError> {
        let tally = Arc::new(Tally::default());
        cx.faults.arm(params, Arc::clone(&tally));
        Ok(Active::armed(Arc::new(DependencyProbe { tally }), cx.stop))
    }
}

impl RequestFault for DependencyParams {
    fn concerns(&self, surface: Surface) -> bool {
        surface == Surface::Dependency
    }

    fn is_in_dependency(&self) -> bool {
        true
    }

    fn judge(&self, roll: f64) -> Verdict {
        let late = |delay| Verdict { delay, reply: None };
        match self.failure {
            Failure::Timeout => late(TIMEOUT),
            Failure::Slow => late(SLOW_LEAST + SLOW_SPREAD.mul_f64(roll)),
            Failure::Error => Verdict {
                delay: Duration::ZERO,
                reply: Some(Reply {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    body: json!({ "status": "error", "error": "dependency call failed" }),
                }),
            },
        }
    }

    fn seed(&self) -> Option<u32> {
        self.seed
    }
}

struct DependencyProbe {
    tally: Arc<Tally>,
}

impl Probe for DependencyProbe {
    fn read(&self) -> Reading {
        let metrics = json!({
            "failed_calls": self.tally.touched(),
            "mean_added_ms": self.tally.mean_wait().map(|wait| wait.as_secs_f64() * 1000.0),
        });
        Reading {
            asked: 1.0,
            achieved: self.tally.touched_share(),
            unit: "share of calls",
            shortfall: (self.tally.concerned() == 0).then_some(Shortfall::NoTraffic),
            metrics: super::object(metrics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(failure: Failure, roll: f64) -> Verdict {
        DependencyParams {
            failure,
            seed: None,
        }
        .judge(roll)
    }

    #[test]
    fn each_failure_does_what_its_name_says() {
        let seconds = |failure, roll| judge(failure, roll).delay.as_secs_f64();
        assert_eq!(seconds(Failure::Timeout, 0.7), 30.0);
        assert_eq!(seconds(Failure::Slow, 0.0), 2.0);
        assert_eq!(seconds(Failure::Slow, 0.5), 3.5);
        assert!(seconds(Failure::Slow, 0.999_999) < 5.0);
        let reply = judge(Failure::Error, 0.5).reply.expect("a reply");
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn only_the_dependency_route_is_concerned() {
        let fault = DependencyParams {
            failure: Failure::Error,
            seed: None,
        };
        assert!(fault.concerns(Surface::Dependency));
        for other in [
            Surface::Health,
            Surface::Ready,
            Surface::Control,
            Surface::Other,
        ] {
            assert!(!fault.concerns(other));
        }
    }
}
