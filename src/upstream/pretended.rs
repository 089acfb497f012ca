//! A call without a server behind it: it takes its time, and fails in a share of the cases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::lateness::Lateness;
use crate::fault::timer::FineTimer;
use crate::fault::{Draw, Law};

/// A caller that is later than this was held up by more than the lateness of a timer.
const MOST_LATENESS: Duration = Duration::from_millis(1);

/// The answers of a pretended upstream.
#[derive(Debug)]
pub(super) struct Pretended {
    latency: Law,
    error_share: f64,
    seed: u64,
    answers: AtomicU64,
    lateness: Lateness,
}

impl Pretended {
    /// The same seed gives the same sequence of answers.
    pub(super) fn new(latency: Law, error_share: f64, seed: u64) -> Self {
        Self {
            latency,
            error_share,
            seed,
            answers: AtomicU64::new(0),
            lateness: Lateness::default(),
        }
    }

    /// The next answer, to a call that was due at `due`: two waits in a row do not add up the lateness of their timer.
    pub(super) async fn answer(&self, due: Instant, timer: &FineTimer) -> StatusCode {
        let now = Instant::now();
        let start = match now.saturating_duration_since(due) {
            late if late <= MOST_LATENESS => due,
            _ => now,
        };
        // A fresh generator for each, so that no lock is needed.
        let n = self.answers.fetch_add(1, Ordering::Relaxed);
        let mut draw = Draw::seeded(self.seed.wrapping_add(n));
        let fails = draw.uniform() < self.error_share;
        let latency = self.latency.sample(&mut draw);
        self.lateness.wait_until(start + latency, timer).await;
        match fails {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => StatusCode::OK,
        }
    }
}
