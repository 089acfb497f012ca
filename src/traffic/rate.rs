//! How many requests a second are due: a shape, which another shape may multiply.

use std::time::Duration;

use crate::input::Shape;

/// Requests a second over the age of the traffic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rate {
    base: Shape,
    factor: Option<Factor>,
}

/// What multiplies a rate.
#[derive(Debug, Clone, PartialEq)]
struct Factor {
    shape: Shape,
    /// The age of the traffic at which it begins, in seconds; below 0 where it had begun before.
    since_s: f64,
}

impl From<Shape> for Rate {
    fn from(base: Shape) -> Self {
        Self { base, factor: None }
    }
}

impl Rate {
    /// The same times `shape`, from the age `since_s` on.
    pub(super) fn times(self, shape: Shape, since_s: f64) -> Self {
        let factor = Some(Factor { shape, since_s });
        Self { factor, ..self }
    }

    pub(super) fn value_at(&self, age: Duration) -> f64 {
        let factor = self
            .factor
            .as_ref()
            .map_or(1.0, |factor| factor.value_at(age));
        self.base.value_at(age) * factor
    }

    pub(super) fn largest(&self) -> f64 {
        // Before its beginning the factor is 1.
        let factor = self.factor.as_ref();
        let factor = factor.map_or(1.0, |factor| factor.shape.largest().max(1.0));
        self.base.largest() * factor
    }
}

impl Factor {
    fn value_at(&self, age: Duration) -> f64 {
        match Duration::try_from_secs_f64(age.as_secs_f64() - self.since_s) {
            Ok(since) => self.shape.value_at(since),
            // It has not begun.
            Err(_) => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_multiplies_from_its_beginning_on() {
        let at = |rate: &Rate, s| rate.value_at(Duration::from_secs(s));
        let rate = Rate::from(Shape::constant(8.0));
        assert_eq!((at(&rate, 0), rate.largest()), (8.0, 8.0));
        let later = rate.clone().times(Shape::constant(4.0), 10.0);
        assert_eq!((at(&later, 9), at(&later, 10)), (8.0, 32.0));
        assert_eq!(later.largest(), 32.0);
        let before = rate.times(Shape::constant(0.5), -10.0);
        assert_eq!((at(&before, 0), before.largest()), (4.0, 8.0));
    }
}
