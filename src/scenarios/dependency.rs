//! `dependency`: the calls of the service to others, real and pretended, are slow, dead or wrong.

use std::time::Duration;

use http::StatusCode;

use crate::fault::{Action, CallFailure, CallFault, Draw, Matcher, TrafficProbe};
use crate::input::{FieldError, Fields, Resource};
use crate::plugin::{Active, Group, PreflightContext, RunContext, Scenario, StartError};

/// How long a call takes under `timeout`.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest call under `slow`, and how much longer the longest is.
const SLOW_LEAST: Duration = Duration::from_secs(2);
const SLOW_SPREAD: Duration = Duration::from_secs(3);
/// The shares of calls under `flaky` whose connection is reset, and whose answer is 503.
const FLAKY: (f64, f64) = (0.25, 0.25);
/// The most repetitions of one call.
const MOST_RETRIES: u32 = 100;

/// Makes calls to other services fail.
#[derive(Debug)]
pub(super) struct Dependency {
    failure: Failure,
    /// The upstream whose calls fail; none means all.
    upstream: Option<String>,
    matcher: Matcher,
    latency: Duration,
    retries: u32,
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    /// The call returns after 30 seconds.
    Timeout,
    /// The call takes two to five seconds, uniformly distributed.
    Slow,
    /// The call fails so.
    Always(CallFailure),
    /// Half of the calls fail, in one of two ways.
    Flaky,
}

const FAILED: CallFailure = CallFailure::Status(StatusCode::INTERNAL_SERVER_ERROR);

impl Scenario for Dependency {
    const NAME: &'static str = "dependency";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str = "Makes calls to a dependency time out, fail or slow down";
    const EXAMPLE: &'static str = r#"{"failure_type": "slow"}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "The call returns after 30 s, fails with status 500, takes 2 to 5 s, is refused, finds no \
                     address, meets an expired certificate, is reset; flaky: a quarter reset, a quarter 503.";
        let failure = fields.field("failure_type", about).choice(&[
            ("timeout", Failure::Timeout),
            ("error", Failure::Always(FAILED)),
            ("slow", Failure::Slow),
            ("refused", Failure::Always(CallFailure::Refused)),
            ("dns", Failure::Always(CallFailure::Unresolved)),
            (
                "tls_expired",
                Failure::Always(CallFailure::CertificateExpired),
            ),
            ("reset", Failure::Always(CallFailure::Reset)),
            ("flaky", Failure::Flaky),
        ]);
        let about = "The upstream whose calls are touched. Absent: all.";
        let upstream = fields.field("upstream", about).optional().host_name();
        let about = "How much longer a touched call takes before it fails or goes on.";
        let latency = fields
            .field("latency_ms", about)
            .asks_for(Resource::LatencyMs);
        let latency = latency.optional().milliseconds(0.0..=600_000.0);
        let about = "How often the caller repeats a failed call, at once each time: a retry storm. Calls of the workload only.";
        let retries = fields.field("retries", about).optional();
        let retries = retries.integer(0..=MOST_RETRIES);
        Self {
            failure,
            upstream,
            latency: latency.unwrap_or_default(),
            retries: retries.unwrap_or(0),
            matcher: Matcher::read_of_calls(fields),
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        if let Some(upstream) = &self.upstream {
            context.check_upstream("/upstream", upstream)?;
        }
        Ok(None)
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let Self {
            failure,
            latency,
            retries,
            ..
        } = self;
        let matcher = self.matcher.calling(self.upstream);
        let tally = cx.arm(matcher, move |_, draw| {
            let fault = failure.of_call(draw);
            if fault == CallFault::default() {
                return Action::Pass;
            }
            Action::Call(fault.later(latency).repeated(retries))
        });
        let probe = TrafficProbe::share(tally, "share of calls").metrics(&[
            ("matched_calls", |tally| tally.matched().into()),
            ("failed_calls", |tally| tally.touched().into()),
            ("mean_added_ms", |tally| tally.mean_wait_ms().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl Failure {
    fn of_call(self, draw: &mut Draw) -> CallFault {
        let fault = CallFault::default();
        match self {
            Self::Timeout => fault.wait(TIMEOUT),
            Self::Slow => fault.wait(SLOW_LEAST + SLOW_SPREAD.mul_f64(draw.uniform())),
            Self::Always(failure) => fault.failing(failure),
            Self::Flaky => match draw.uniform() {
                drawn if drawn < FLAKY.0 => fault.failing(CallFailure::Reset),
                drawn if drawn < FLAKY.0 + FLAKY.1 => {
                    fault.failing(CallFailure::Status(StatusCode::SERVICE_UNAVAILABLE))
                }
                _ => fault,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fault::Surfaces;
    use crate::scenarios::tests::{assert_defaults, read};

    #[test]
    fn defaults() {
        assert_defaults::<Dependency>(json!({ "failure_type": "timeout" }));
    }

    fn delays(failure: Failure) -> Vec<f64> {
        let delay = |n| {
            let fault = failure.of_call(&mut Draw::seeded(n));
            let (wait, ..) = fault.parts();
            (!wait.is_zero()).then_some(wait.as_secs_f64())
        };
        (0..1000).filter_map(delay).collect()
    }

    #[test]
    fn each_failure_does_what_its_name_says() {
        assert!(delays(Failure::Timeout).iter().all(|s| *s == 30.0));
        assert!(delays(Failure::Always(FAILED)).is_empty());
        let slow = delays(Failure::Slow);
        let (low, high) = slow.iter().fold((9.0_f64, 0.0_f64), |(low, high), s| {
            (low.min(*s), high.max(*s))
        });
        assert!(
            (2.0..2.1).contains(&low) && (4.9..5.0).contains(&high),
            "{low} to {high}"
        );
    }

    #[test]
    fn half_of_the_flaky_calls_fail() {
        let fault = |n| Failure::Flaky.of_call(&mut Draw::seeded(n));
        let good = (0..10_000).filter(|n| fault(*n) == CallFault::default());
        // The 99.9 % interval of a binomial count with p = 0.5 and n = 10,000.
        assert!((good.count() as f64 - 5000.0).abs() < 3.29 * 50.0);
    }

    #[test]
    fn without_new_parameters_a_start_reads_as_before() {
        let given = json!({ "failure_type": "slow", "seed": 3 });
        let (fault, effective) = read::<Dependency>(given.clone()).expect("valid");
        assert_eq!(Value::Object(effective), given);
        let matcher = Matcher::on(Surfaces::DEPENDENCY_CALLS).seeded(Some(3));
        assert_eq!(fault.matcher, matcher);
    }
}
