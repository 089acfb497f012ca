//! `rate_limit`: requests above a rate get 429, as behind a gateway or a quota.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::fault::{Action, Matcher, Reply, TrafficProbe};
use crate::input::{Fields, Shape};
use crate::plugin::{Active, Group, RunContext, Scenario, StartError};
use crate::sync::Lock;

/// The highest rate.
const MOST_RPS: f64 = 1_000_000.0;
/// The longest time that `Retry-After` names, in seconds.
const LONGEST_RETRY_S: f64 = 60.0;
/// Without a `burst`, the bucket holds what comes in this share of a second.
const BURST_S: f64 = 0.1;

/// Answers matching requests above a rate with 429.
#[derive(Debug)]
pub(super) struct RateLimit {
    matcher: Matcher,
    rps: Shape,
    burst: Option<u32>,
}

impl Scenario for RateLimit {
    const NAME: &'static str = "rate_limit";
    const GROUP: Group = Group::Requests;
    const SUMMARY: &'static str = "Answers requests above a rate with 429";
    const EXAMPLE: &'static str = r#"{"rps": 20, "burst": 5}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How many matching requests a second are let through.";
        let rps = fields.field("rps", about).unit("requests/s");
        let rps = rps.shape(0.0..=MOST_RPS, 100.0);
        let about = "How many may come at once; without it, as many as come in a tenth of a second, one at least.";
        let burst = fields.field("burst", about).unit("requests").optional();
        Self {
            rps,
            burst: burst.integer(1..=1_000_000),
            matcher: Matcher::read(fields),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let rps = self.rps.clone();
        let bucket = Arc::new(Bucket::new(self.rps, self.burst));
        let tally = cx.arm(self.matcher, move |exchange, _| {
            match bucket.take(exchange.age, exchange.counted) {
                Ok(()) => Action::Pass,
                Err(wait_s) => {
                    let reply = Reply::error(StatusCode::TOO_MANY_REQUESTS);
                    // The cast saturates.
                    Action::Reply(reply.header(RETRY_AFTER, wait_s.ceil() as u64))
                }
            }
        });
        let probe = TrafficProbe::passing(tally, rps).metrics(&[
            ("matched_requests", |tally| tally.matched().into()),
            ("limited_requests", |tally| tally.touched().into()),
            ("matched_per_second", |tally| {
                tally.rates().map(|(matched, _)| matched).into()
            }),
        ]);
        Ok(Active::hold(probe, (), cx.stop))
    }
}

/// A token bucket whose rate may change over time.
#[derive(Debug)]
struct Bucket {
    rps: Shape,
    burst: Option<u32>,
    level: Lock<Level>,
}

/// What is in the bucket, as of a time.
#[derive(Debug)]
struct Level {
    tokens: f64,
    age: Duration,
}

impl Bucket {
    /// A full one.
    fn new(rps: Shape, burst: Option<u32>) -> Self {
        let level = Level {
            tokens: most(burst, rps.value_at(Duration::ZERO)),
            age: Duration::ZERO,
        };
        Self {
            rps,
            burst,
            level: Lock::new(level),
        }
    }

    /// Takes a token, or leaves it where the request is not `counted`.
    ///
    /// # Errors
    /// There is none; the time in seconds until there is one, from 1.
    fn take(&self, age: Duration, counted: bool) -> Result<(), f64> {
        let rps = self.rps.value_at(age);
        let mut level = self.level.lock();
        // Requests on several threads may come in another order than their times.
        let gone = age.saturating_sub(level.age).as_secs_f64();
        let mean = f64::midpoint(self.rps.value_at(level.age), rps);
        // The token that is being filled comes on top: a bucket of one would lose what comes between two requests.
        level.tokens = (level.tokens + gone * mean).min(most(self.burst, rps) + 1.0);
        level.age = level.age.max(age);
        if level.tokens >= 1.0 {
            level.tokens -= if counted { 1.0 } else { 0.0 };
            return Ok(());
        }
        let wait_s = (1.0 - level.tokens) / rps;
        Err(wait_s.clamp(1.0, LONGEST_RETRY_S))
    }
}

/// How many tokens a bucket holds at a rate. Without a `burst` that follows a rate that changes.
fn most(burst: Option<u32>, rps: f64) -> f64 {
    burst.map_or_else(|| (rps * BURST_S).max(1.0), f64::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read};

    #[test]
    fn defaults() {
        assert_defaults::<RateLimit>(json!({
            "rps": 100,
            "match": {
                "routes": [], "headers": {}, "probes": true, "share": 1, "every": 1,
            },
        }));
    }

    /// The requests let through of those that come every `every_ms` for ten seconds.
    fn passed(bucket: &Bucket, every_ms: f64) -> usize {
        let times = (0..).map(|n| Duration::from_secs_f64(f64::from(n) * every_ms / 1000.0));
        let times = times.take_while(|age| *age < Duration::from_secs(10));
        times.filter(|age| bucket.take(*age, true).is_ok()).count()
    }

    #[test]
    fn what_passes_in_ten_seconds_is_within_two_percent_of_the_rate() {
        for (rps, every_ms) in [(10.0, 3.3), (100.0, 7.0), (1000.0, 0.09), (7.0, 100.0)] {
            let bucket = Bucket::new(Shape::constant(rps), None);
            let passed = passed(&bucket, every_ms) as f64;
            let asked = rps * 10.0;
            assert!(
                (passed - asked).abs() <= asked * 0.02,
                "{passed} of {asked}"
            );
        }
    }

    #[test]
    fn a_rate_that_changes_is_followed() {
        let given = json!({ "rps": { "ramp": { "from": 0, "to": 200, "over_s": 10 } } });
        let (limit, _) = read::<RateLimit>(given).expect("valid");
        let passed = passed(&Bucket::new(limit.rps, limit.burst), 1.0);
        assert!((980..=1020).contains(&passed), "{passed} of 1000");
    }

    #[test]
    fn a_burst_passes_at_once_and_the_answer_says_when_to_come_back() {
        let bucket = Bucket::new(Shape::constant(0.25), Some(3));
        let at = |s| bucket.take(Duration::from_secs(s), true);
        assert_eq!([at(0), at(0), at(0)], [Ok(()); 3]);
        assert_eq!((at(0), at(1)), (Err(4.0), Err(3.0)));
        // The daemon's own requests take none.
        assert_eq!(bucket.take(Duration::from_secs(4), false), Ok(()));
        assert_eq!(at(4), Ok(()));
        let none = Bucket::new(Shape::constant(0.0), Some(1));
        assert_eq!(none.take(Duration::ZERO, true), Ok(()));
        assert_eq!(none.take(Duration::from_secs(9), true), Err(60.0));
    }
}
