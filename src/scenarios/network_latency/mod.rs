//! `network_latency`: requests on the service listener wait.

mod times;

use std::time::Duration;

use self::times::{Distribution, Times};
use crate::fault::{Action, Matcher, Surfaces, TrafficProbe};
use crate::input::{FieldError, Fields, Resource, Shape};
use crate::plugin::{Active, Group, PreflightContext, RunContext, Scenario, StartError};

/// The longest wait in ms.
const LONGEST_MS: f64 = 600_000.0;

/// Delays requests, each by a time of its own or all by the same.
#[derive(Debug)]
pub(super) struct NetworkLatency {
    matcher: Matcher,
    latency_ms: Shape,
    jitter_ms: Option<Duration>,
    distribution: Option<Distribution>,
    p50: Option<Duration>,
    p99: Option<Duration>,
    /// The longest wait: a tail has no end.
    most_ms: f64,
}

impl Scenario for NetworkLatency {
    const NAME: &'static str = "network_latency";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str = "Adds the specified latency to all HTTP requests";
    const EXAMPLE: &'static str = r#"{"latency_ms": 300}"#;

    fn read(fields: &mut Fields) -> Self {
        let ceiling = fields.lasting_ceiling(Resource::LatencyMs);
        for law in ["p50_ms", "p99_ms"] {
            for other in ["latency_ms", "jitter_ms", "distribution"] {
                fields.either(other, law);
            }
        }
        fields.needs("p50_ms", "p99_ms");
        fields.needs("p99_ms", "p50_ms");
        let spread = ("distribution", &Distribution::SPREAD[..]);
        fields.only_where("jitter_ms", spread, true);
        fields.needed_where("jitter_ms", spread);
        let about =
            "How long each request waits before it is served; the mean where there is jitter_ms.";
        let latency = fields.field("latency_ms", about);
        let latency_ms = latency
            .asks_for(Resource::LatencyMs)
            .shape_of_milliseconds(0.0..=LONGEST_MS, 100.0);
        let mut time = |name, about| {
            let field = fields.field(name, about).asks_for(Resource::LatencyMs);
            field.optional().milliseconds(0.0..=LONGEST_MS)
        };
        let jitter_ms = time(
            "jitter_ms",
            "How much the waits differ: the standard deviation, or the largest difference where they are uniform.",
        );
        let p50 = time(
            "p50_ms",
            "Half of the waits are shorter; the waits are log-normal.",
        );
        let p99 = time("p99_ms", "One wait in a hundred is longer.");
        let about =
            "The law of the waits; uniform where there is jitter_ms. Waits below 0 are none.";
        let distribution = fields.field("distribution", about).optional();
        let distribution = distribution.choice(&Distribution::NAMES);
        if p50.is_some() || p99.is_some() {
            fields.withdraw("latency_ms");
        }
        Self {
            matcher: Matcher::read_or(fields, Surfaces::INCOMING),
            latency_ms,
            jitter_ms,
            distribution,
            p50,
            p99,
            most_ms: ceiling.unwrap_or(LONGEST_MS).min(LONGEST_MS),
        }
    }

    fn preflight(&self, _: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        self.times().map(|_| None)
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let times = self
            .times()
            .map_err(|error| StartError::new(error.detail))?;
        let mean_ms = times.mean_ms();
        let tally = match times.always() {
            Some(latency) => cx.arm(self.matcher, move |_, _| Action::Delay(latency)),
            None => cx.arm(self.matcher, move |exchange, draw| {
                Action::Delay(times.next(exchange.age, draw))
            }),
        };
        let probe = TrafficProbe::delay(tally, mean_ms).metrics(&[
            ("matched_requests", |tally| tally.matched().into()),
            ("delayed_requests", |tally| tally.touched().into()),
            ("mean_added_ms", |tally| tally.mean_wait_ms().into()),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

impl NetworkLatency {
    /// The law of the waits.
    ///
    /// # Errors
    /// Two parameters clash; the pointer names one of them.
    fn times(&self) -> Result<Times, FieldError> {
        let refuse = |pointer: &str, detail: &str| Err(FieldError::new(pointer, detail));
        if let Some((p50, p99)) = self.p50.zip(self.p99) {
            return match p50.is_zero() {
                _ if p99 < p50 => refuse("/p99_ms", "must not be below p50_ms"),
                true if !p99.is_zero() => refuse("/p50_ms", "must be above 0 where p99_ms is"),
                _ => Ok(Times::quantiles(p50, p99, self.most_ms)),
            };
        }
        let mean_ms = self.latency_ms.clone();
        Ok(match self.jitter_ms {
            None => Times::fixed(mean_ms),
            Some(jitter) => {
                let law = self.distribution.unwrap_or(Distribution::Uniform);
                Times::spread(law, mean_ms, jitter, self.most_ms)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read};

    #[test]
    fn defaults() {
        assert_defaults::<NetworkLatency>(json!({ "latency_ms": 100 }));
    }

    /// Where a start is refused, by the reader or by the preflight.
    fn refused(given: Value) -> Option<String> {
        match read::<NetworkLatency>(given) {
            Err(errors) => Some(errors[0].pointer.clone()),
            Ok((latency, _)) => latency.times().err().map(|error| error.pointer),
        }
    }

    #[test]
    fn parameters_that_clash_are_refused() {
        for (given, pointer) in [
            (json!({ "p50_ms": 5 }), "/p50_ms"),
            (json!({ "p99_ms": 5 }), "/p99_ms"),
            (json!({ "p50_ms": 5, "p99_ms": 4 }), "/p99_ms"),
            (json!({ "p50_ms": 0, "p99_ms": 4 }), "/p50_ms"),
            (
                json!({ "p50_ms": 5, "p99_ms": 9, "latency_ms": 1 }),
                "/p50_ms",
            ),
            (
                json!({ "p50_ms": 5, "p99_ms": 9, "jitter_ms": 1 }),
                "/p50_ms",
            ),
            (json!({ "distribution": "normal" }), "/distribution"),
            (
                json!({ "distribution": "fixed", "jitter_ms": 1 }),
                "/jitter_ms",
            ),
            (json!({ "jitter_ms": 600_001 }), "/jitter_ms"),
        ] {
            assert_eq!(refused(given.clone()).as_deref(), Some(pointer), "{given}");
        }
        for given in [
            json!({ "jitter_ms": 5 }),
            json!({ "distribution": "fixed" }),
            json!({ "p50_ms": 5, "p99_ms": 5 }),
            json!({ "latency_ms": { "ramp": { "from": 0, "to": 9, "over_s": 3 } }, "jitter_ms": 5 }),
        ] {
            assert_eq!(refused(given.clone()), None, "{given}");
        }
    }

    #[test]
    fn without_a_match_its_reach_is_that_of_before() {
        let (latency, effective) = read::<NetworkLatency>(json!({ "seed": 3 })).expect("valid");
        let before = Matcher::on(Surfaces::INCOMING);
        assert_eq!(latency.matcher, before.clone().seeded(Some(3)));
        assert!(!effective.contains_key("match"));
        let (latency, _) = read::<NetworkLatency>(json!({ "match": {} })).expect("valid");
        assert_ne!(latency.matcher, before);
    }
}
