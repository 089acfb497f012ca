//! The one immutable list of live request faults. Readers load it without waiting; only the session actor stores a
//! new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use tokio_util::sync::CancellationToken;

use super::{Action, Draw, Exchange, Matcher, RequestFault, Tally};

/// A request fault that waits for its set to be committed.
#[derive(Debug)]
pub(crate) struct StagedFault {
    /// Which requests it touches.
    pub(crate) matcher: Matcher,
    /// What it does.
    pub(crate) fault: Box<dyn RequestFault>,
    /// Counts what it did.
    pub(crate) tally: Arc<Tally>,
}

/// A request fault in effect.
#[derive(Debug)]
pub(crate) struct ArmedFault {
    staged: StagedFault,
    /// Cancelled when the run ends: a request that waits in this fault goes on at once.
    pub(super) stop: CancellationToken,
    began: Instant,
    seed: u64,
    draws: AtomicU64,
}

impl ArmedFault {
    /// Puts `staged` into effect until `stop`.
    pub(crate) fn new(staged: StagedFault, stop: CancellationToken) -> Self {
        // Seeds lie far apart, so that two neighbouring ones do not share a stretch of the sequence.
        let seed = staged.matcher.seed();
        let seed = seed.map_or_else(rand::random, |seed| u64::from(seed) << 32);
        Self {
            staged,
            stop,
            began: Instant::now(),
            seed,
            draws: AtomicU64::new(0),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.staged.tally
    }

    /// Decides about a request that came at `now`; `None` where the matcher leaves it alone. A request that is not
    /// `counted` leaves the counters and the seeded sequence as they are.
    pub(super) fn decide(
        &self,
        exchange: &Exchange<'_>,
        now: Instant,
        counted: bool,
    ) -> Option<Action> {
        let StagedFault {
            matcher,
            fault,
            tally,
        } = &self.staged;
        if !matcher.matches(exchange) {
            return None;
        }
        let exchange = Exchange {
            age: now.saturating_duration_since(self.began),
            ..*exchange
        };
        if !counted {
            let mut draw = Draw::seeded(rand::random());
            let selected = matcher.selects(&mut draw, &Tally::default());
            return selected.then(|| fault.act(&exchange, &mut draw));
        }
        tally.note_matched();
        let mut draw = self.next_draw();
        if !matcher.selects(&mut draw, tally) {
            return None;
        }
        let action = fault.act(&exchange, &mut draw);
        if action != Action::Pass {
            tally.note_touched();
        }
        Some(action)
    }

    /// The next stretch of this fault's own sequence. The same seed gives the same sequence; a counter seeds a fresh
    /// generator each time, so that no lock is needed.
    fn next_draw(&self) -> Draw {
        let n = self.draws.fetch_add(1, Ordering::Relaxed);
        Draw::seeded(self.seed.wrapping_add(n))
    }
}

/// All request faults in effect; cheap to clone, shared by every request.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultTable(Arc<ArcSwap<Vec<Arc<ArmedFault>>>>);

impl FaultTable {
    /// The faults in effect right now.
    pub(crate) fn load(&self) -> Guard<Arc<Vec<Arc<ArmedFault>>>> {
        self.0.load()
    }

    /// Replaces all faults in one step. Called by the session actor alone.
    pub(crate) fn store(&self, faults: Vec<Arc<ArmedFault>>) {
        self.0.store(Arc::new(faults));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Surfaces;

    #[derive(Debug)]
    struct Nothing;

    impl RequestFault for Nothing {
        fn act(&self, _: &Exchange<'_>, _: &mut Draw) -> Action {
            Action::Pass
        }
    }

    fn seeded(seed: u32) -> ArmedFault {
        let staged = StagedFault {
            matcher: Matcher::on(Surfaces::INCOMING).seeded(Some(seed)),
            fault: Box::new(Nothing),
            tally: Arc::default(),
        };
        ArmedFault::new(staged, CancellationToken::new())
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers_and_they_are_uniform() {
        let (a, b) = (seeded(7), seeded(7));
        let draws: Vec<f64> = (0..10_000).map(|_| a.next_draw().uniform()).collect();
        assert!(draws.iter().all(|n| (0.0..1.0).contains(n)));
        assert!(draws.iter().all(|n| *n == b.next_draw().uniform()));
        // The 99.9 % interval of a binomial count with p = 0.3 and n = 10,000: 3.29 standard deviations.
        let below = draws.iter().filter(|n| **n < 0.3).count() as f64;
        assert!(
            (below - 3000.0).abs() < 3.29 * (10_000.0_f64 * 0.3 * 0.7).sqrt(),
            "{below}"
        );
    }
}
