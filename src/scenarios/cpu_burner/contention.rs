//! Whether others compete for the CPU of a burner thread, from the clocks of the thread alone.

use std::time::Duration;

/// A thread that waits this long for its CPU at once has another before it: a mere wake-up takes a fifth of that, and a
/// turn of a busy thread is longer.
const TURN: Duration = Duration::from_micros(500);
/// A thread that is ready to run this long without such a wait has its CPU to itself: a busy rival would have had a turn.
const ALONE: Duration = Duration::from_millis(10);

/// What one thread has seen of its rivals.
#[derive(Debug)]
pub(super) struct Contention {
    /// The time and the thread's CPU time at the last look; the time is that of the next wake-up while it sleeps.
    seen_at: Duration,
    used: Duration,
    /// How long it has been ready to run since the last wait.
    alone: Duration,
    /// Waits since it was last alone. One is a hiccup of the machine; from two on, somebody competes.
    waits: u32,
}

impl Contention {
    /// A thread that is ready to run from `now` on.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            seen_at: now,
            used: Duration::ZERO,
            alone: Duration::ZERO,
            waits: 0,
        }
    }

    pub(super) fn is_contended(&self) -> bool {
        self.waits > 1
    }

    /// The thread sleeps until `wake`; if it runs later than that, it has waited.
    pub(super) fn sleep_until(&mut self, wake: Duration) {
        self.seen_at = self.seen_at.max(wake);
    }

    /// Takes in the clocks of the thread, which runs.
    pub(super) fn look(&mut self, now: Duration, used: Duration) {
        let passed = now.saturating_sub(self.seen_at);
        let waited = passed.saturating_sub(used.saturating_sub(self.used));
        (self.seen_at, self.used) = (now, used);
        if waited >= TURN {
            (self.waits, self.alone) = (self.waits.saturating_add(1), Duration::ZERO);
            return;
        }
        self.alone += passed;
        if self.alone >= ALONE {
            self.waits = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_wait_is_contention_and_a_time_alone_ends_it() {
        let ms = Duration::from_millis;
        let mut contention = Contention::new(ms(0));
        let mut contended_at = |now, used| {
            contention.look(ms(now), ms(used));
            contention.is_contended()
        };
        // A stall of 50 ms, and the time alone after it.
        assert!(!contended_at(50, 0) && !contended_at(60, 10));
        // Turns of 4 ms.
        assert!(!contended_at(64, 10) && !contended_at(68, 14));
        assert!(contended_at(72, 14) && contended_at(76, 18));
        assert!(contended_at(81, 23) && !contended_at(82, 24));
    }

    #[test]
    fn a_sleep_is_no_wait_but_a_late_wake_up_is() {
        let ms = Duration::from_millis;
        let mut contention = Contention::new(ms(0));
        for (slept_until, now) in [(100, 100), (200, 200), (300, 302), (400, 403)] {
            contention.sleep_until(ms(slept_until));
            contention.look(ms(now), ms(0));
            assert_eq!(contention.is_contended(), now == 403, "{now}");
        }
    }
}
