//! How long something takes: a law with a long tail, as answers of real services have it.

use std::time::Duration;

use super::Draw;
use crate::input::{Fields, standard_normal};

/// The 99 % quantile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;
/// The longest time of a law: ten minutes.
const LONGEST_MS: f64 = 600_000.0;

/// A log-normal distribution of times, given by two of its quantiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Law {
    /// Half of the times are shorter, in seconds.
    p50: f64,
    /// Of the logarithm of the times.
    sigma: f64,
}

impl Law {
    /// The law with these quantiles; the same value twice is a constant.
    #[must_use]
    pub fn of(p50: Duration, p99: Duration) -> Self {
        let (p50, p99) = (p50.as_secs_f64(), p99.as_secs_f64());
        let spread = p50 > 0.0 && p99 > p50;
        let sigma = if spread { (p99 / p50).ln() / Z99 } else { 0.0 };
        Self { p50, sigma }
    }

    /// Reads the member `name`, an object with `p50_ms` and `p99_ms`; none where it is absent.
    ///
    /// Both are milliseconds from 0 to 600,000; `p99_ms` is as `p50_ms` by default.
    pub fn read(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<Self> {
        fields.optional_section(name, about, |law| {
            let about = "Half of the times are shorter.";
            let p50 = law
                .field("p50_ms", about)
                .milliseconds(0.0..=LONGEST_MS, 0.0);
            let about = "One time in a hundred is longer; as p50_ms by default.";
            let p99 = law.field("p99_ms", about).optional();
            let p99 = p99.milliseconds(0.0..=LONGEST_MS).unwrap_or(p50);
            if p99 < p50 {
                law.reject("p99_ms", "must not be below p50_ms");
            } else if p50.is_zero() && !p99.is_zero() {
                law.reject("p50_ms", "must be above 0 where p99_ms is");
            }
            Self::of(p50, p99)
        })
    }

    /// Half of the times are shorter.
    #[must_use]
    pub fn median(&self) -> Duration {
        Duration::from_secs_f64(self.p50)
    }

    /// The mean of the times, without the cut at the longest.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.p50 * (self.sigma * self.sigma / 2.0).exp())
    }

    /// The next time. A tail has no end, so it is cut at ten minutes.
    #[must_use]
    pub fn sample(&self, draw: &mut Draw) -> Duration {
        if self.sigma == 0.0 {
            return Duration::from_secs_f64(self.p50);
        }
        let seconds = self.p50 * (self.sigma * standard_normal(|| draw.uniform())).exp();
        Duration::from_secs_f64(seconds.min(LONGEST_MS / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(law: Value) -> Result<Option<Law>, String> {
        let given = serde_json::Map::from_iter([("Latency".to_owned(), law)]);
        let mut fields = Fields::new("", given);
        let law = Law::read(&mut fields, "Latency", "How long it takes.");
        match fields.finish() {
            Ok(_) => Ok(law),
            Err(errors) => Err(format!("{errors:?}")),
        }
    }

    #[test]
    fn both_quantiles_of_many_times_are_those_that_were_given() {
        let law = read(json!({ "p50_ms": 12, "p99_ms": 60 }));
        let law = law.expect("a good law").expect("a law");
        let mut draw = Draw::seeded(7);
        let mut times: Vec<f64> = (0..100_000)
            .map(|_| law.sample(&mut draw).as_secs_f64() * 1000.0)
            .collect();
        times.sort_unstable_by(f64::total_cmp);
        // Four standard errors of either quantile.
        assert!((times[50_000] / 12.0 - 1.0).abs() < 0.012);
        assert!((times[99_000] / 60.0 - 1.0).abs() < 0.035);
    }

    #[test]
    fn one_quantile_is_a_constant_and_none_is_no_law() {
        let constant = read(json!({ "p50_ms": 3 })).expect("a good law");
        let times = constant.map(|law| law.sample(&mut Draw::seeded(1)));
        assert_eq!(times, Some(Duration::from_millis(3)));
        assert_eq!(read(Value::Null), Ok(None));
    }

    #[test]
    fn quantiles_in_the_wrong_order_are_refused() {
        for law in [
            json!({ "p50_ms": 5, "p99_ms": 4 }),
            json!({ "p50_ms": 0, "p99_ms": 4 }),
        ] {
            assert!(read(law).is_err());
        }
    }
}
