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

    /// Changes the total. What is due goes down with it at once, and up at the rate, from the old total on.
    pub(crate) fn set_most(&mut self, most: f64) {
        if most != self.most {
            self.hold(self.most);
            self.most = most;
        }
    }

    /// How many units are due by now, no more than `most`: what exceeds that becomes due later, at the rate.
    pub(crate) fn due_within(&mut self, most: u64) -> u64 {
        if most < self.due() {
            self.hold(most as f64);
        }
        self.due().min(most)
    }

    /// From now on, no more than `units` are due now: what exceeds them becomes due later, at the rate.
    fn hold(&mut self, units: f64) {
        self.hold_at(self.clock.now(), units);
    }

    fn hold_at(&mut self, now: Duration, units: f64) {
        let excess = self.units_by(now) - units;
        if excess > 0.0 {
            let by = Duration::try_from_secs_f64(excess / self.per_second);
            self.forgive(by.unwrap_or_default());
        }
    }

    fn due_at(&self, now: Duration) -> u64 {
        // The cast saturates: it neither wraps nor goes below zero.
        self.units_by(now).min(self.most) as u64
    }

    /// Without a total.
    fn units_by(&self, now: Duration) -> f64 {
        self.per_second * now.saturating_sub(self.start).as_secs_f64()
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
    fn what_is_held_becomes_due_later_at_the_rate() {
        let mut pace = Pace::new(&LivedClock::default(), 10.0, 100.0);
        let at = |s| pace.start + Duration::from_secs(s);
        let (ten, eleven, long_after) = (at(10), at(11), at(60));
        pace.hold_at(ten, 30.0);
        assert_eq!((pace.due_at(ten), pace.due_at(eleven)), (30, 40));
        assert_eq!(pace.due_at(long_after), 100);
        // What is not due yet is not held.
        pace.hold_at(eleven, 50.0);
        assert_eq!(pace.due_at(eleven), 40);
    }

    #[test]
    fn after_a_time_at_its_total_a_larger_one_is_approached_at_the_rate() {
        let mut pace = Pace::new(&LivedClock::default(), 1.0e9, 5.0);
        while pace.due() < 5 {}
        pace.set_most(1.0e15);
        assert!(
            pace.due() < 1_000_000_000_000,
            "{} after no time",
            pace.due()
        );
        pace.set_most(2.0);
        assert_eq!(pace.due(), 2);
    }

    #[test]
    fn units_of_forgiven_time_are_no_longer_due() {
        let mut pace = Pace::new(&LivedClock::default(), 10.0, f64::INFINITY);
        let start = pace.start;
        pace.forgive(Duration::from_secs(3));
        assert_eq!(pace.due_at(start + Duration::from_secs(5)), 20);
    }
}
