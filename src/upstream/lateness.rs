//! How late waits end, learned from those before.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::fault::timer::FineTimer;

/// What is later than this was held up by more than a timer and a wake-up, and teaches nothing.
const MOST: Duration = Duration::from_millis(2);
/// One wait changes what is expected by this part of the difference.
const WEIGHT: i64 = 16;

/// Ends waits on time in the mean: each begins to end as much earlier as those before were late. A service's own time
/// is a figure to hold, where a fault's delay is one that is never undercut.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    expected_ns: AtomicU64,
}

impl Lateness {
    /// Waits until about `due`.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait and teaches nothing.
    pub(crate) async fn wait_until(&self, due: Instant, timer: &FineTimer) {
        let now = Instant::now();
        if due <= now {
            return;
        }
        let expected = Duration::from_nanos(self.expected_ns.load(Relaxed));
        let target = due.checked_sub(expected).unwrap_or(due).max(now);
        timer.sleep_until(target).await;
        self.learn(Instant::now().saturating_duration_since(target));
    }

    fn learn(&self, late: Duration) {
        if late > MOST {
            return;
        }
        // Of two at the same time one may be lost, which does not matter for a mean.
        let expected = self.expected_ns.load(Relaxed) as i64;
        let next = expected + (late.as_nanos() as i64 - expected) / WEIGHT;
        self.expected_ns.store(next.max(0) as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_follows_what_was_and_forgets_what_was_held_up() {
        let lateness = Lateness::default();
        for _ in 0..200 {
            lateness.learn(Duration::from_micros(300));
        }
        let after = |lateness: &Lateness| lateness.expected_ns.load(Relaxed);
        assert!(after(&lateness).abs_diff(300_000) < 100, "{lateness:?}");
        lateness.learn(Duration::from_secs(1));
        assert!(after(&lateness).abs_diff(300_000) < 100, "{lateness:?}");
    }
}
