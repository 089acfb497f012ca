//! What a request fault has done so far, and which request is its next.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Draw;

/// Which of the requests that match a fault touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    /// Drawn for each request, from 0 to 1.
    pub(super) share: f64,
    /// Each n-th of the drawn ones.
    pub(super) every: u64,
    /// At most so many.
    pub(super) first: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            share: 1.0,
            every: 1,
            first: None,
        }
    }
}

/// Counts what a fault did to requests.
#[derive(Debug, Default)]
pub struct Tally {
    sampling: Sampling,
    matched: AtomicU64,
    drawn: AtomicU64,
    touched: AtomicU64,
    waited: AtomicU64,
    waited_us: AtomicU64,
}

impl Tally {
    pub(super) fn new(sampling: Sampling) -> Self {
        Self {
            sampling,
            ..Self::default()
        }
    }

    /// Whether the fault acts on a request that matches. One that is not `counted` gets the answer that the next
    /// counted one would get, and leaves no trace.
    pub(super) fn selects(&self, draw: &mut Draw, counted: bool) -> bool {
        let number = |counter: &AtomicU64| match counted {
            true => counter.fetch_add(1, Relaxed) + 1,
            false => counter.load(Relaxed) + 1,
        };
        number(&self.matched);
        let Sampling {
            share,
            every,
            first,
        } = self.sampling;
        (share >= 1.0 || draw.uniform() < share)
            && number(&self.drawn).is_multiple_of(every)
            && first.is_none_or(|first| self.touched() < first)
    }

    /// Counts a request that the fault delays or answers. False where another request was the last of the first n since
    /// [`Tally::selects`]: the fault must leave this one alone.
    pub(super) fn touch(&self) -> bool {
        let most = self.sampling.first.unwrap_or(u64::MAX);
        let next = |touched| (touched < most).then_some(touched + 1);
        self.touched.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    /// Counts a delay that a request waited out.
    pub(super) fn note_waited(&self, waited: Duration) {
        self.waited.fetch_add(1, Relaxed);
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(us, Relaxed);
    }

    /// Requests for which the matcher's conditions held, before its share and counts.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.matched.load(Relaxed)
    }

    /// Requests that the fault delayed or answered.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touched.load(Relaxed)
    }

    /// The share of matching requests that the fault should touch; with a `first`, of those that have come.
    pub(super) fn expected_share(&self) -> f64 {
        let share = self.sampling.share / self.sampling.every as f64;
        match (self.sampling.first, self.matched()) {
            (Some(first), matched) if matched > 0 => share.min(first as f64 / matched as f64),
            _ => share,
        }
    }

    /// The share of matching requests that the fault touched; none before the first.
    pub(super) fn touched_share(&self) -> Option<f64> {
        let matched = self.matched();
        (matched > 0).then(|| self.touched() as f64 / matched as f64)
    }

    /// The mean delay in ms of the requests that waited to the end; none before the first.
    #[must_use]
    pub fn mean_wait_ms(&self) -> Option<f64> {
        let waited = self.waited.load(Relaxed);
        let total_us = self.waited_us.load(Relaxed);
        (waited > 0).then(|| total_us as f64 / waited as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The requests, from 1, that a fault touches which acts on every selected one.
    fn touched(sampling: Sampling, requests: u64) -> Vec<u64> {
        let tally = Tally::new(sampling);
        let is_touched = |n: &u64| {
            let would = tally.selects(&mut Draw::seeded(*n), false);
            let selected = tally.selects(&mut Draw::seeded(*n), true);
            assert_eq!(
                would, selected,
                "an uncounted request instead of number {n}"
            );
            selected && tally.touch()
        };
        (1..=requests).filter(is_touched).collect()
    }

    fn sampling(share: f64, every: u64, first: Option<u64>) -> Sampling {
        Sampling {
            share,
            every,
            first,
        }
    }

    #[test]
    fn share_then_every_then_first_select() {
        assert_eq!(touched(Sampling::default(), 3), [1, 2, 3]);
        assert_eq!(touched(sampling(1.0, 3, None), 10), [3, 6, 9]);
        assert_eq!(touched(sampling(1.0, 1, Some(2)), 10), [1, 2]);
        assert_eq!(touched(sampling(1.0, 2, Some(2)), 10), [2, 4]);
        assert_eq!(touched(sampling(0.0, 1, None), 10), [0_u64; 0]);
        let half = touched(sampling(0.5, 1, None), 10_000);
        // Each n-th of the requests that the share let pass.
        let thinned = touched(sampling(0.5, 4, None), 10_000);
        assert!(half.iter().skip(3).step_by(4).eq(&thinned));
        // The 99.9 % interval of a binomial count with p = 0.5 and n = 10,000.
        let off = half.len() as f64 - 5000.0;
        assert!(off.abs() < 3.29 * 50.0, "{} of 10,000", half.len());
    }

    #[test]
    fn first_counts_touched_requests_and_not_those_that_the_fault_let_pass() {
        let tally = Tally::new(sampling(1.0, 1, Some(1)));
        let mut draw = Draw::seeded(0);
        assert!(
            tally.selects(&mut draw, true),
            "the fault lets this one pass"
        );
        assert!(tally.selects(&mut draw, true) && tally.selects(&mut draw, true));
        assert!(tally.touch() && !tally.touch(), "two requests at once");
        assert!(!tally.selects(&mut draw, true));
        assert_eq!((tally.matched(), tally.touched()), (4, 1));
    }

    #[test]
    fn the_expected_share_follows_share_every_and_first() {
        let tally = Tally::new(sampling(0.5, 5, None));
        assert_eq!(tally.expected_share(), 0.1);
        let tally = Tally::new(sampling(1.0, 1, Some(3)));
        assert_eq!(tally.expected_share(), 1.0);
        for _ in 0..100 {
            tally.selects(&mut Draw::seeded(0), true);
        }
        assert_eq!(tally.expected_share(), 0.03);
    }
}
