//! The one immutable list of live request faults. Readers load it without waiting; only the session
//! actor stores a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::{RequestFault, Tally};

/// A fault that is in effect, with its counters and the token that ends its run.
#[derive(Debug)]
pub struct Armed {
    /// What it does.
    pub fault: Arc<dyn RequestFault>,
    /// What it did.
    pub tally: Arc<Tally>,
    /// Cancelled when the run ends: whoever waits in this fault goes on at once.
    pub stop: CancellationToken,
    seed: u64,
    rolls: AtomicU64,
}

impl Armed {
    /// Puts `fault` into effect until `stop`, counting into `tally`.
    #[must_use]
    pub fn new(fault: Arc<dyn RequestFault>, tally: Arc<Tally>, stop: CancellationToken) -> Self {
        // Seeds lie far apart, so that two neighbouring ones do not share a stretch of the sequence.
        let seed = fault
            .seed()
            .map_or_else(rand::random, |seed| u64::from(seed) << 32);
        Self {
            fault,
            tally,
            stop,
            seed,
            rolls: AtomicU64::new(0),
        }
    }

    /// The next number of this fault's own sequence, uniform in `[0, 1)`. The same seed gives the same
    /// sequence; a counter seeds a fresh generator each time, so that no lock is needed.
    #[must_use]
    pub fn roll(&self) -> f64 {
        let n = self.rolls.fetch_add(1, Ordering::Relaxed);
        SmallRng::seed_from_u64(self.seed.wrapping_add(n)).random()
    }
}

/// All faults in effect; cheap to clone, shared by every request.
#[derive(Debug, Clone, Default)]
pub struct FaultTable(Arc<ArcSwap<Vec<Arc<Armed>>>>);

impl FaultTable {
    /// The faults in effect right now.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Vec<Arc<Armed>>>> {
        self.0.load()
    }

    /// Replaces all faults in one step. Called by the session actor alone.
    pub fn store(&self, faults: Vec<Arc<Armed>>) {
        self.0.store(Arc::new(faults));
    }
}

#[cfg(test)]
mod tests {
    use crate::fault::fake::seeded;

    #[test]
    fn the_same_seed_rolls_the_same_numbers_and_they_are_uniform() {
        let (a, b) = (seeded(7), seeded(7));
        let rolls: Vec<f64> = (0..10_000).map(|_| a.roll()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        assert!(rolls.iter().all(|roll| *roll == b.roll()));
        // The 99.9 % interval of a binomial count with p = 0.3 and n = 10,000: 3.29 standard deviations.
        let below = rolls.iter().filter(|roll| **roll < 0.3).count() as f64;
        assert!(
            (below - 3000.0).abs() < 3.29 * (10_000.0_f64 * 0.3 * 0.7).sqrt(),
            "{below}"
        );
    }
}
