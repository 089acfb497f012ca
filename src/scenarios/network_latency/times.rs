//! How long requests wait: laws with a mean that may change over time.

use std::time::Duration;

use crate::fault::{Draw, Law};
use crate::input::{Shape, in_ms, standard_normal};

/// The form of a law with a mean and a standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// All the same.
    Fixed,
    /// Even between the mean less and plus the deviation.
    Uniform,
    /// Symmetric, with few far from the mean.
    Normal,
    /// Skewed: the logarithms are normal.
    LogNormal,
    /// With the longest tail: a few waits are many times the mean.
    Pareto,
}

impl Distribution {
    pub(super) const NAMES: [(&'static str, Self); 5] = [
        ("fixed", Self::Fixed),
        ("uniform", Self::Uniform),
        ("normal", Self::Normal),
        ("lognormal", Self::LogNormal),
        ("pareto", Self::Pareto),
    ];

    /// The names of those whose times differ.
    pub(super) const SPREAD: [&'static str; 4] = ["uniform", "normal", "lognormal", "pareto"];

    /// The next time in ms. That of a log-normal and of a Pareto law has this mean and this standard deviation.
    fn next(self, mean: f64, deviation: f64, draw: &mut Draw) -> f64 {
        if mean <= 0.0 && !matches!(self, Self::Uniform | Self::Normal) {
            return 0.0;
        }
        match self {
            Self::Fixed => mean,
            Self::Uniform => mean + deviation * (2.0 * draw.uniform() - 1.0),
            Self::Normal => mean + deviation * standard_normal(|| draw.uniform()),
            Self::LogNormal => {
                let variance = (deviation / mean).powi(2).ln_1p();
                let normal = standard_normal(|| draw.uniform());
                mean * (variance.sqrt() * normal - variance / 2.0).exp()
            }
            Self::Pareto if deviation == 0.0 => mean,
            Self::Pareto => {
                let alpha = 1.0 + (mean / deviation).hypot(1.0);
                let least = mean * (alpha - 1.0) / alpha;
                // Never 0: the numbers are below 1.
                least / (1.0 - draw.uniform()).powf(alpha.recip())
            }
        }
    }
}

/// The law of the waits of one run.
#[derive(Debug)]
pub(super) struct Times {
    law: Either,
    most_ms: f64,
}

#[derive(Debug)]
enum Either {
    Spread {
        distribution: Distribution,
        mean_ms: Shape,
        deviation_ms: f64,
    },
    Quantiles(Law),
}

impl Times {
    /// All as `mean_ms` is at their moment.
    pub(super) fn fixed(mean_ms: Shape) -> Self {
        let most_ms = f64::INFINITY;
        Self::spread(Distribution::Fixed, mean_ms, Duration::ZERO, most_ms)
    }

    /// Times around `mean_ms`, none above `most_ms`.
    pub(super) fn spread(
        distribution: Distribution,
        mean_ms: Shape,
        deviation: Duration,
        most_ms: f64,
    ) -> Self {
        let law = Either::Spread {
            distribution,
            mean_ms,
            deviation_ms: in_ms(deviation),
        };
        Self { law, most_ms }
    }

    /// Log-normal times with these quantiles, none above `most_ms`.
    pub(super) fn quantiles(p50: Duration, p99: Duration, most_ms: f64) -> Self {
        let law = Either::Quantiles(Law::of(p50, p99));
        Self { law, most_ms }
    }

    /// The time that all of them are; none where they differ.
    pub(super) fn always(&self) -> Option<Duration> {
        match &self.law {
            Either::Spread {
                distribution: Distribution::Fixed,
                mean_ms,
                ..
            } if mean_ms.is_constant() => Some(of_ms(mean_ms.value_at(Duration::ZERO))),
            _ => None,
        }
    }

    /// The time of a request at `age` of the fault.
    pub(super) fn next(&self, age: Duration, draw: &mut Draw) -> Duration {
        let ms = match &self.law {
            Either::Spread {
                distribution,
                mean_ms,
                deviation_ms,
            } => distribution.next(mean_ms.value_at(age), *deviation_ms, draw),
            Either::Quantiles(law) => in_ms(law.sample(draw)),
        };
        of_ms(ms.min(self.most_ms))
    }

    /// The mean in ms, as far as no end of a tail and none below 0 moves it.
    pub(super) fn mean_ms(&self) -> Shape {
        match &self.law {
            Either::Spread { mean_ms, .. } => mean_ms.clone(),
            Either::Quantiles(law) => Shape::constant(in_ms(law.mean()).min(self.most_ms)),
        }
    }
}

fn of_ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(times: &Times) -> Vec<f64> {
        let mut draw = Draw::seeded(7);
        let mut all: Vec<f64> = (0..100_000)
            .map(|_| in_ms(times.next(Duration::ZERO, &mut draw)))
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    }

    fn spread(distribution: Distribution, deviation_ms: u64) -> Vec<f64> {
        let deviation = Duration::from_millis(deviation_ms);
        many(&Times::spread(
            distribution,
            Shape::constant(100.0),
            deviation,
            600_000.0,
        ))
    }

    #[test]
    fn each_law_has_its_mean_and_its_deviation() {
        for (_, law) in Distribution::NAMES {
            let times = spread(law, 20);
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            // The mean of 100,000 is off by less than a tenth of 1 ms.
            assert!((mean - 100.0).abs() < 0.5, "{law:?}: {mean}");
            let squares = times.iter().map(|ms| (ms - mean).powi(2));
            let deviation = (squares.sum::<f64>() / times.len() as f64).sqrt();
            let expected = match law {
                Distribution::Fixed => 0.0,
                Distribution::Uniform => 20.0 / 3.0_f64.sqrt(),
                _ => 20.0,
            };
            assert!((deviation - expected).abs() < 1.5, "{law:?}: {deviation}");
        }
    }

    #[test]
    fn a_uniform_law_ends_at_the_jitter_and_none_goes_below_nothing_or_above_the_most() {
        let times = spread(Distribution::Uniform, 20);
        assert!(times[0] >= 80.0 && times[times.len() - 1] <= 120.0);
        assert_eq!(spread(Distribution::Normal, 200)[0], 0.0);
        let most = Duration::from_millis(50);
        let cut = Times::quantiles(Duration::from_millis(20), Duration::from_secs(2), 50.0);
        let times = many(&cut);
        assert_eq!(times[times.len() - 1], in_ms(most));
    }

    #[test]
    fn quantiles_are_those_that_were_given_and_give_the_mean() {
        let times = Times::quantiles(Duration::from_millis(20), Duration::from_millis(100), 6e5);
        let all = many(&times);
        // Four standard errors of either.
        assert!((all[50_000] / 20.0 - 1.0).abs() < 0.012);
        assert!((all[99_000] / 100.0 - 1.0).abs() < 0.035);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let expected = times.mean_ms().value_at(Duration::ZERO);
        assert!((mean / expected - 1.0).abs() < 0.01, "{mean} {expected}");
    }

    #[test]
    fn a_changing_mean_is_that_of_the_moment() {
        use serde_json::json;
        let given = json!({ "a": { "ramp": { "from": 0, "to": 100, "over_s": 10 } } });
        let given = given.as_object().cloned().expect("an object");
        let mut fields = crate::input::Fields::new("", given);
        let shape = fields.field("a", "A ramp.").shape(0.0..=100.0, 0.0);
        let times = Times::fixed(shape);
        assert_eq!(times.always(), None);
        let at = |s| times.next(Duration::from_secs(s), &mut Draw::seeded(1));
        assert_eq!((at(0), at(5)), (Duration::ZERO, Duration::from_millis(50)));
    }
}
