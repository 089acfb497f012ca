//! Random numbers from the seed of a drill: independent streams, so that one more number in one of them moves no other.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The source of all streams of a drill.
#[derive(Debug)]
pub(super) struct Streams([u8; 32]);

/// One sequence of random numbers.
#[derive(Debug)]
pub(super) struct Stream(ChaCha8Rng);

impl Streams {
    pub(super) fn of(seed: &str) -> Self {
        Self(Sha256::digest(seed).into())
    }

    /// The stream of this name, from its beginning.
    pub(super) fn stream(&self, label: &str) -> Stream {
        let hash = Sha256::new().chain_update(self.0).chain_update(label);
        Stream(ChaCha8Rng::from_seed(hash.finalize().into()))
    }
}

// The numbers are made here and not by distributions of a library, whose methods may change with its version.
impl Stream {
    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        const STEPS: f64 = (1_u64 << 53) as f64;
        // 53 bits are exact.
        (self.0.next_u64() >> 11) as f64 / STEPS
    }

    /// Uniform among the numbers below `count`; 0 where there is none.
    pub(super) fn below(&mut self, count: usize) -> usize {
        let drawn = (self.unit() * count as f64) as usize;
        drawn.min(count.saturating_sub(1))
    }

    /// Uniform among all.
    pub(super) fn seed(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Log-uniform from `low` to `high`, which have the same sign and are not 0; rounded to two digits.
    pub(super) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        let (sign, low_ln, high_ln) = (low.signum(), low.abs().ln(), high.abs().ln());
        let drawn = sign * (low_ln + self.unit() * (high_ln - low_ln)).exp();
        // The ends themselves may have more digits.
        rounded(drawn, 2).clamp(low, high)
    }
}

/// `value` with so many digits.
pub(super) fn rounded(value: f64, digits: usize) -> f64 {
    let text = format!("{value:.*e}", digits - 1);
    text.parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_differ_by_seed_and_label() {
        let first = |seed, label| Streams::of(seed).stream(label).seed();
        assert_eq!(first("a", "onset"), first("a", "onset"));
        assert_ne!(first("a", "onset"), first("a", "preset"));
        assert_ne!(first("a", "onset"), first("b", "onset"));
    }

    #[test]
    fn numbers_are_in_their_ranges_and_evenly_spread() {
        let mut stream = Streams::of("x").stream("y");
        let mut counts = [0_u32; 4];
        for _ in 0..10_000 {
            counts[stream.below(4)] += 1;
        }
        // Four standard deviations of a binomial count with p = 1/4.
        assert!(
            counts.iter().all(|n| (2327..=2673).contains(n)),
            "{counts:?}"
        );
        assert_eq!(stream.below(0), 0);
        let drawn: Vec<f64> = (0..1000).map(|_| stream.log_uniform(0.5, 128.0)).collect();
        assert!(drawn.iter().all(|drawn| (0.5..=128.0).contains(drawn)));
        // The median of a log-uniform number is the geometric mean of the ends.
        let below = drawn.iter().filter(|drawn| **drawn < 8.0).count();
        assert!((437..=563).contains(&below), "{below}");
        let drawn = stream.log_uniform(-600.0, -60.0);
        assert!((-600.0..=-60.0).contains(&drawn), "{drawn}");
    }

    #[test]
    fn numbers_are_rounded_to_digits() {
        for (value, rounded_to) in [(123.0, 120.0), (0.04567, 0.046), (7.0, 7.0), (-86.4, -86.0)] {
            assert_eq!(rounded(value, 2), rounded_to);
        }
    }
}
