//! Rates without drift: how much is due by now, counted from the start of the schedule.
//!
//! A sleep that ends late makes the next step larger instead of slowing down the whole run, so the errors of single
//! steps cancel out. While the process is frozen, nothing becomes due: see [`LivedClock`].

use std::time::Duration;

use crate::host::lived::LivedClock;

/// A steady stream of units, such as bytes.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    clock: LivedClock,
    start: Duration,
    per_second: f64,
    most: f64,
}

impl Pace {
    /// `per_second` units a second of `clock` from now on, `most` in total.
    pub(crate) fn new(clock: &LivedClock, per_second: f64, most: f64) -> Self {
        Self {
            start: clock.now(),
            clock: clock.clone(),
            per_second,
            most,
        }
    }

    /// How many whole units are due by now, counted from the start.
    pub(crate) fn due(&self) -> u64 {
        self.due_at(self.clock.now())
    }

    /// Moves the start later by `by`, so that the units of that time are no longer due.
    pub(crate) fn forgive(&mut self, by: Duration) {
        self.start += by;
    }

    fn due_at(&self, now: Duration) -> u64 {
        let elapsed = now.saturating_sub(self.start).as_secs_f64();
        // The cast saturates: it neither wraps nor goes below zero.
        (self.per_second * elapsed).min(self.most) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_due_count_from_the_start_up_to_the_total() {
        let pace = Pace::new(&LivedClock::default(), 2.5, 7.0);
        let due = |ms| pace.due_at(pace.start + Duration::from_millis(ms));
        assert_eq!(
            (due(0), due(399), due(400), due(2000), due(60_000)),
            (0, 0, 1, 5, 7)
        );
    }

    #[test]
    fn units_of_forgiven_time_are_no_longer_due() {
        let mut pace = Pace::new(&LivedClock::default(), 10.0, f64::INFINITY);
        let start = pace.start;
        pace.forgive(Duration::from_secs(3));
        assert_eq!(pace.due_at(start + Duration::from_secs(5)), 20);
    }
}
