//! Rates without drift: how much is due by now on a schedule that counts from its start.
//!
//! A sleep that comes late makes the next step larger instead of making the whole run slower, so
//! errors of single steps cancel out.

use std::time::{Duration, Instant};

/// An even stream of something, such as bytes, from a start on.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    start: Instant,
    per_second: f64,
    most: f64,
}

impl Pace {
    /// `per_second` units each second from `start` on, `most` in all.
    pub(crate) fn new(start: Instant, per_second: f64, most: f64) -> Self {
        Self {
            start,
            per_second,
            most,
        }
    }

    /// How many whole units are due at `now`, counted from the start.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64();
        // A cast of a float saturates: it can neither wrap nor go below zero.
        (self.per_second * elapsed).min(self.most) as u64
    }

    /// Moves the start later by `by`, so that what was due in that time is due no more.
    pub(crate) fn forgive(&mut self, by: Duration) {
        self.start += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_counts_from_the_start_and_ends_at_the_most() {
        let start = Instant::now();
        let pace = Pace::new(start, 2.5, 7.0);
        let due = |ms| pace.due(start + Duration::from_millis(ms));
        assert_eq!(
            (due(0), due(399), due(400), due(2000), due(60_000)),
            (0, 0, 1, 5, 7)
        );
    }

    #[test]
    fn forgiven_time_is_due_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 10.0, f64::INFINITY);
        pace.forgive(Duration::from_secs(3));
        assert_eq!(pace.due(start + Duration::from_secs(5)), 20);
    }
}
