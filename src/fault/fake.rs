//! A fault for tests that does nothing and rolls by a seed.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::table::Armed;
use super::{RequestFault, Surface, Verdict};

#[derive(Debug)]
struct Seeded(u32);

impl RequestFault for Seeded {
    fn concerns(&self, _: Surface) -> bool {
        true
    }
    fn judge(&self, _: f64) -> Verdict {
        Verdict::default()
    }
    fn seed(&self) -> Option<u32> {
        Some(self.0)
    }
}

/// The fault in effect, with counters and an end of its own.
pub(super) fn seeded(seed: u32) -> Armed {
    let (tally, stop) = (Arc::default(), CancellationToken::new());
    Armed::new(Arc::new(Seeded(seed)), tally, stop)
}
