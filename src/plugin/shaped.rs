//! A figure that may change while a run lasts: its shape, and the clock since the effect began.

use std::time::Duration;

use crate::host::lived::LivedClock;
use crate::input::Shape;

/// A shape that began with the effect of a run. While the process is frozen, it stands still.
#[derive(Debug, Clone)]
pub(crate) struct Shaped {
    shape: Shape,
    clock: LivedClock,
    start: Duration,
}

impl Shaped {
    /// Begins `shape` now.
    pub(crate) fn begin(shape: Shape, clock: &LivedClock) -> Self {
        Self {
            shape,
            start: clock.now(),
            clock: clock.clone(),
        }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The time since the start.
    pub(crate) fn age(&self) -> Duration {
        self.clock.now().saturating_sub(self.start)
    }

    /// The value now.
    pub(crate) fn now(&self) -> f64 {
        self.shape.value_at(self.age())
    }

    /// The largest value where it changes; none where it is the same at all times: the end to which an effect goes.
    pub(crate) fn peak(&self) -> Option<f64> {
        (!self.shape.is_constant()).then(|| self.shape.largest())
    }
}
