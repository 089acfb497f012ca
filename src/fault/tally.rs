//! What a request fault has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts what a fault did to requests, for the probe of its run.
#[derive(Debug, Default)]
pub struct Tally {
    matched: AtomicU64,
    drawn: AtomicU64,
    selected: AtomicU64,
    touched: AtomicU64,
    waited: AtomicU64,
    waited_us: AtomicU64,
}

impl Tally {
    /// Counts a request that the fault might touch: the matcher's conditions hold.
    pub(super) fn note_matched(&self) {
        self.matched.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that the matcher's share let pass; returns its number, from 1.
    pub(super) fn note_drawn(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a request that the matcher would touch but for its `first`; returns its number, from 1.
    pub(super) fn note_selected(&self) -> u64 {
        self.selected.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a request that the fault delayed or answered.
    pub(super) fn note_touched(&self) {
        self.touched.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the whole delay that a request really had.
    pub(super) fn note_waited(&self, had: Duration) {
        self.waited.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(had.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Requests that the fault might touch.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }

    /// Requests that the fault delayed or answered.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.touched.load(Ordering::Relaxed)
    }

    /// The share of matched requests that the fault touched; none before the first.
    #[must_use]
    pub fn touched_share(&self) -> Option<f64> {
        let matched = self.matched();
        (matched > 0).then(|| self.touched() as f64 / matched as f64)
    }

    /// The mean delay in ms of the requests that waited to the end; none before the first.
    #[must_use]
    pub fn mean_wait_ms(&self) -> Option<f64> {
        let waited = self.waited.load(Ordering::Relaxed);
        let total_us = self.waited_us.load(Ordering::Relaxed);
        (waited > 0).then(|| total_us as f64 / waited as f64 / 1000.0)
    }
}
