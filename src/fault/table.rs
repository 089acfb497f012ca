//! The one immutable list of live request faults. Readers load it without waiting; only the session actor stores a
//! new one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use tokio_util::sync::CancellationToken;

use super::{Action, Draw, Exchange, Matcher, Tally};

/// What a fault does with a request that its matcher selects.
type Act = dyn Fn(&Exchange<'_>, &mut Draw) -> Action + Send + Sync;

/// A request fault that takes effect when its session does.
pub(crate) struct StagedFault {
    matcher: Matcher,
    act: Box<Act>,
    pub(crate) tally: Arc<Tally>,
}

impl StagedFault {
    pub(crate) fn new(
        matcher: Matcher,
        act: impl Fn(&Exchange<'_>, &mut Draw) -> Action + Send + Sync + 'static,
    ) -> Self {
        Self {
            tally: Arc::new(Tally::new(matcher.sampling())),
            matcher,
            act: Box::new(act),
        }
    }
}

impl fmt::Debug for StagedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedFault")
            .field("matcher", &self.matcher)
            .field("tally", &self.tally)
            .finish_non_exhaustive()
    }
}

/// A request fault in effect.
#[derive(Debug)]
pub(crate) struct ArmedFault {
    fault: StagedFault,
    /// Cancelled when the run ends: requests that wait in this fault go on at once.
    pub(super) stop: CancellationToken,
    began: Instant,
    seed: u64,
    draws: AtomicU64,
}

impl ArmedFault {
    /// Puts `fault` into effect until `stop`.
    pub(crate) fn new(fault: StagedFault, stop: CancellationToken) -> Self {
        // Far apart, so that the sequences of neighbouring seeds do not overlap.
        let seed = fault.matcher.seed();
        let seed = seed.map_or_else(rand::random, |seed| u64::from(seed) << 32);
        let began = Instant::now();
        fault.tally.begin(began);
        Self {
            fault,
            stop,
            began,
            seed,
            draws: AtomicU64::new(0),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.fault.tally
    }

    /// Decides about a request that came at `now`. A request that is not `counted` leaves the counters and the seeded
    /// sequence as they are.
    pub(super) fn decide(&self, exchange: &Exchange<'_>, now: Instant, counted: bool) -> Action {
        let StagedFault {
            matcher,
            act,
            tally,
        } = &self.fault;
        if !matcher.matches(exchange) {
            return Action::Pass;
        }
        let mut draw = match counted {
            true => self.next_draw(),
            false => Draw::seeded(rand::random()),
        };
        let age = now.saturating_duration_since(self.began);
        if !tally.selects(&mut draw, age, counted) {
            return Action::Pass;
        }
        let exchange = Exchange {
            age,
            counted,
            ..*exchange
        };
        let action = act(&exchange, &mut draw);
        // Whether an answer can be changed is known when it is there.
        let is_later = matches!(action, Action::Edit(_));
        let is_effective = !action.is_idle() && (is_later || !counted || tally.touch());
        if is_effective { action } else { Action::Pass }
    }

    /// The random numbers of the next request. A counter seeds a fresh generator for each, so that no lock is needed.
    fn next_draw(&self) -> Draw {
        let n = self.draws.fetch_add(1, Ordering::Relaxed);
        Draw::seeded(self.seed.wrapping_add(n))
    }
}

/// All request faults in effect; cheap to clone, shared by every request.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultTable(Arc<ArcSwap<Vec<Arc<ArmedFault>>>>);

impl FaultTable {
    pub(crate) fn load(&self) -> Guard<Arc<Vec<Arc<ArmedFault>>>> {
        self.0.load()
    }

    /// Replaces all faults in one step; only the session actor calls it.
    pub(crate) fn store(&self, faults: Vec<Arc<ArmedFault>>) {
        self.0.store(Arc::new(faults));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;
    use crate::fault::{Surface, Surfaces};

    fn seeded(seed: u32) -> ArmedFault {
        let matcher = Matcher::on(Surfaces::INCOMING).seeded(Some(seed));
        let staged = StagedFault::new(matcher, |exchange, _| Action::Delay(exchange.age));
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

    #[test]
    fn a_fault_sees_the_time_since_it_took_effect() {
        let (fault, request) = (seeded(7), Request::new(()));
        let exchange = Exchange::new(Surface::Traffic, &request);
        let age = Duration::from_secs(5);
        let action = fault.decide(&exchange, fault.began + age, true);
        assert_eq!(action, Action::Delay(age));
    }
}
