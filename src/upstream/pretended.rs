//! A call without a server behind it: it takes its time, and fails in a share of the cases.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::StatusCode;

use crate::fault::timer::FineTimer;
use crate::fault::{Draw, Law};

/// The answers of a pretended upstream.
#[derive(Debug)]
pub(super) struct Pretended {
    latency: Law,
    error_share: f64,
    seed: u64,
    answers: AtomicU64,
}

impl Pretended {
    /// The same seed gives the same sequence of answers.
    pub(super) fn new(latency: Law, error_share: f64, seed: u64) -> Self {
        Self {
            latency,
            error_share,
            seed,
            answers: AtomicU64::new(0),
        }
    }

    /// The next answer.
    pub(super) async fn answer(&self, timer: &FineTimer) -> StatusCode {
        let start = Instant::now();
        // A fresh generator for each, so that no lock is needed.
        let n = self.answers.fetch_add(1, Ordering::Relaxed);
        let mut draw = Draw::seeded(self.seed.wrapping_add(n));
        let fails = draw.uniform() < self.error_share;
        let latency = self.latency.sample(&mut draw);
        timer.sleep_until(start + latency).await;
        match fails {
            true => StatusCode::INTERNAL_SERVER_ERROR,
            false => StatusCode::OK,
        }
    }
}
