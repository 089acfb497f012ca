//! Random numbers for request faults, repeatable by a seed.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The random numbers of one request.
#[derive(Debug)]
pub struct Draw {
    seed: u64,
    rng: Option<SmallRng>,
}

impl Draw {
    /// Most requests draw no number, so the first draw makes the generator.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { seed, rng: None }
    }

    /// The next number, uniform in `[0, 1)`.
    #[must_use]
    pub fn uniform(&mut self) -> f64 {
        let seed = self.seed;
        let rng = self
            .rng
            .get_or_insert_with(|| SmallRng::seed_from_u64(seed));
        rng.random()
    }
}
