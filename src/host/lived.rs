//! The time that the process has lived: a clock that stands still while the whole process is frozen.
//!
//! `docker pause`, the freezer, SIGSTOP or a suspended machine stop every thread at once. A fault that grows or burns by
//! the monotonic clock would then owe what it did not do, and make up for it in a burst. By this clock it owes nothing
//! and goes on from where it stood. Deadlines stay on the monotonic clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::Lock;

/// From this long on, a time in which nothing has read the clock is a gap. A shorter one is a stall of a busy machine,
/// which counts as lived.
const SHORTEST_GAP: Duration = Duration::from_secs(1);

/// The clock; all clones are one.
///
/// A reading finds a gap by the time since the last reading, so some thread must read the clock several times a second
/// wherever its figure matters. The session reads it while a run lives, so that a thread that waits for its disk makes no
/// gap.
#[derive(Debug, Clone)]
pub(crate) struct LivedClock(Arc<Lock<Lived>>);

#[derive(Debug)]
struct Lived {
    read_at: Instant,
    time: Duration,
}

impl Default for LivedClock {
    fn default() -> Self {
        Self(Arc::new(Lock::new(Lived {
            read_at: Instant::now(),
            time: Duration::ZERO,
        })))
    }
}

impl LivedClock {
    /// The time lived since the clock was made.
    pub(crate) fn now(&self) -> Duration {
        let mut lived = self.0.lock();
        // Under the lock, so that no thread takes another's later reading for a step back.
        lived.read(Instant::now())
    }

    /// As [`LivedClock::now`], at a moment of a model.
    #[cfg(test)]
    pub(crate) fn at(&self, moment: Instant) -> Duration {
        self.0.lock().read(moment)
    }
}

impl Lived {
    fn read(&mut self, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.read_at);
        if since < SHORTEST_GAP {
            self.time += since;
        }
        self.read_at = now;
        self.time
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Stalls count and gaps do not, in any order.
        #[test]
        fn all_time_is_lived_but_the_gaps(steps in prop::collection::vec(0_u64..3_000, 0..50)) {
            let start = Instant::now();
            let mut lived = Lived { read_at: start, time: Duration::ZERO };
            let (mut now, mut expected) = (0, 0);
            for step in steps {
                now += step;
                expected += if step < 1_000 { step } else { 0 };
                let time = lived.read(start + Duration::from_millis(now));
                prop_assert_eq!(time, Duration::from_millis(expected));
            }
        }
    }

    #[test]
    fn all_clones_are_one_clock() {
        let clock = LivedClock::default();
        let before = clock.now();
        assert!(clock.clone().now() >= before);
        assert!(Arc::ptr_eq(&clock.0, &clock.clone().0));
    }
}
