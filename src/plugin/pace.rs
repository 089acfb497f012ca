//! Rates without drift: how much is due by now, counted from the start of the schedule.
//!
//! A sleep that ends late makes the next step larger instead of slowing down the whole run, so the errors of single
//! steps cancel out. While the process is frozen, nothing becomes due: see [`LivedClock`]. Where the rate changes, what
//! is due is its sum over time.

use std::time::Duration;

use super::shaped::Shaped;
use crate::host::lived::LivedClock;
use crate::input::Shape;
use crate::sync::Lock;

/// A stream of units, such as bytes.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Shaped,
    /// How many units one of the shape is.
    scale: f64,
    most: f64,
    /// Units that would be due and have been put off for good.
    held: f64,
    /// The sum of a rate with noise up to an age: it is summed up second by second.
    summed: Lock<(Duration, f64)>,
}

impl Clone for Pace {
    fn clone(&self) -> Self {
        Self {
            rate: self.rate.clone(),
            summed: Lock::new(*self.summed.lock()),
            ..*self
        }
    }
}

impl Pace {
    /// `per_second` units a second of `clock` from now on, `most` in total.
    pub(crate) fn new(clock: &LivedClock, per_second: f64, most: f64) -> Self {
        let rate = Shaped::begin(Shape::constant(per_second), clock);
        Self::following(&rate, 1.0, most)
    }

    /// `scale` units for each one that `rate` has a second, since its start; `most` in total.
    pub(crate) fn following(rate: &Shaped, scale: f64, most: f64) -> Self {
        Self {
            rate: rate.clone(),
            scale,
            most,
            held: 0.0,
            summed: Lock::default(),
        }
    }

    /// How many whole units are due by now, counted from the start.
    pub(crate) fn due(&self) -> u64 {
        self.due_at(self.rate.age())
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
        self.hold_at(self.rate.age(), units);
    }

    fn hold_at(&mut self, age: Duration, units: f64) {
        let excess = self.units_by(age) - units;
        if excess > 0.0 {
            self.held += excess;
        }
    }

    fn due_at(&self, age: Duration) -> u64 {
        // The cast saturates: it neither wraps nor goes below zero.
        self.units_by(age).min(self.most) as u64
    }

    /// Without a total.
    fn units_by(&self, age: Duration) -> f64 {
        self.sum_by(age) * self.scale - self.held
    }

    fn sum_by(&self, age: Duration) -> f64 {
        let shape = self.rate.shape();
        if !shape.has_noise() {
            return shape.area(Duration::ZERO, age);
        }
        let mut summed = self.summed.lock();
        let (until, sum) = *summed;
        if age > until {
            *summed = (age, sum + shape.area(until, age));
        }
        summed.1
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::input::Fields;

    const SECOND: Duration = Duration::from_secs(1);

    fn shape(given: Value) -> Shape {
        let given = Map::from_iter([("rate".to_owned(), given)]);
        let mut fields = Fields::new("", given);
        let shape = fields.field("rate", "").shape(0.0..=1e9, 0.0);
        fields.finish().expect("a good shape");
        shape
    }

    fn following(given: Value, most: f64) -> Pace {
        let rate = Shaped::begin(shape(given), &LivedClock::default());
        Pace::following(&rate, 2.0, most)
    }

    #[test]
    fn units_due_count_from_the_start_up_to_the_total() {
        let pace = Pace::new(&LivedClock::default(), 2.5, 7.0);
        let due = |ms| pace.due_at(Duration::from_millis(ms));
        assert_eq!(
            (due(0), due(399), due(400), due(2000), due(60_000)),
            (0, 0, 1, 5, 7)
        );
    }

    #[test]
    fn what_is_held_becomes_due_later_at_the_rate() {
        let mut pace = Pace::new(&LivedClock::default(), 10.0, 100.0);
        let (ten, eleven, long_after) = (SECOND * 10, SECOND * 11, SECOND * 60);
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
    fn a_changing_rate_is_summed_up() {
        let ramp = json!({ "ramp": { "from": 0, "to": 10, "over_s": 10 } });
        let mut pace = following(ramp, 1000.0);
        let due = |pace: &Pace, s| pace.due_at(SECOND * s);
        assert_eq!(
            (due(&pace, 5), due(&pace, 10), due(&pace, 20)),
            (25, 100, 300)
        );
        // What is held does not change the rate of later times.
        pace.hold_at(SECOND * 10, 60.0);
        assert_eq!((due(&pace, 10), due(&pace, 20)), (60, 260));
        assert_eq!(due(&pace, 600), 1000);
    }

    #[test]
    fn a_rate_with_noise_is_the_same_however_often_it_is_asked_for() {
        let noisy = json!({ "constant": 100, "noise": 0.5, "seed": 3 });
        let (often, once) = (following(noisy.clone(), 1e9), following(noisy, 1e9));
        for tenth in 1..=600 {
            often.units_by(SECOND * tenth / 10);
        }
        let (often, once) = (often.units_by(SECOND * 60), once.units_by(SECOND * 60));
        assert!((often - once).abs() < 1e-6, "{often} and {once}");
        assert!((once / 60.0 - 200.0).abs() < 60.0, "{once}");
        assert!((once / 60.0 - 200.0).abs() > 1e-3, "it has noise");
    }
}
