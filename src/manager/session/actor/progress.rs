//! When a run's effect is effective, reached or lost, from what is measured alone.

use crate::ledger::event::EventKind;
use crate::run::{Probe, Reading};

/// The share of the target from which it is reached. Every scenario keeps closer to its target than that, and every
/// measurement has less noise.
const REACHED_SHARE: f64 = 0.95;
/// How many measurements in a row must find an effect gone before it is lost: a second, so that a share that wavers
/// around the half does not fill the ledger.
const LOST_AFTER: u32 = 4;

/// How far the effect of one run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct EffectProgress {
    is_effective: bool,
    is_reached: bool,
    below: u32,
}

impl EffectProgress {
    /// Takes in one reading of `probe` and returns what has changed, in order. Nothing changes without a measurement or
    /// without a target.
    pub(super) fn update(
        &mut self,
        reading: &Reading,
        probe: &dyn Probe,
    ) -> impl Iterator<Item = EventKind> + use<> {
        let target = probe.target().unwrap_or(reading.asked);
        let changes = match reading.achieved {
            Some(achieved) if target > 0.0 => {
                self.measured(reading.is_effective(probe), achieved / target)
            }
            _ => [None, None],
        };
        changes.into_iter().flatten()
    }

    fn measured(&mut self, is_effective: bool, share: f64) -> [Option<EventKind>; 2] {
        if !is_effective {
            self.below += 1;
            if !self.is_effective || self.below < LOST_AFTER {
                return [None, None];
            }
            *self = Self::default();
            return [Some(EventKind::Lost), None];
        }
        self.below = 0;
        let effective = !std::mem::replace(&mut self.is_effective, true);
        let reached = share >= REACHED_SHARE && !std::mem::replace(&mut self.is_reached, true);
        [
            effective.then_some(EventKind::Effective),
            reached.then_some(EventKind::TargetReached),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grows to `target`; less than `noise` may be noise.
    struct Growing {
        target: Option<f64>,
        noise: f64,
    }

    impl Probe for Growing {
        fn read(&self) -> Reading {
            Reading::default()
        }

        fn target(&self) -> Option<f64> {
            self.target
        }

        fn noise(&self) -> f64 {
            self.noise
        }
    }

    /// What changes at which measurement of what is asked and achieved.
    fn changes(probe: &Growing, measured: &[(f64, f64)]) -> Vec<(usize, EventKind)> {
        let mut progress = EffectProgress::default();
        let mut changes = Vec::new();
        for (i, (asked, achieved)) in measured.iter().enumerate() {
            let reading = Reading {
                asked: *asked,
                achieved: Some(*achieved),
                ..Reading::default()
            };
            changes.extend(progress.update(&reading, probe).map(|kind| (i, kind)));
        }
        changes
    }

    /// The same where the same is asked all the time.
    fn changes_of(asked: f64, achieved: &[f64]) -> Vec<(usize, EventKind)> {
        let measured: Vec<_> = achieved.iter().map(|achieved| (asked, *achieved)).collect();
        let steady = Growing {
            target: None,
            noise: 0.0,
        };
        changes(&steady, &measured)
    }

    #[test]
    fn an_effect_is_effective_at_half_and_reached_near_its_target() {
        let measured = [0.0, 49.9, 50.0, 94.9, 95.0, 100.0, 100.0];
        let expected = [(2, EventKind::Effective), (4, EventKind::TargetReached)];
        assert_eq!(changes_of(100.0, &measured), expected);
        let at_once = [(0, EventKind::Effective), (0, EventKind::TargetReached)];
        assert_eq!(changes_of(2.0, &[2.0]), at_once);
    }

    #[test]
    fn a_growing_effect_is_effective_by_what_is_asked_now_and_past_the_noise() {
        let grows = [
            (0.0, 0.0),
            (0.4, 0.4),
            (1.2, 1.0),
            (60.0, 20.0),
            (99.0, 97.0),
        ];
        let leak = |target| Growing {
            target: Some(target),
            noise: 1.0,
        };
        let expected = [(2, EventKind::Effective), (4, EventKind::TargetReached)];
        assert_eq!(changes(&leak(100.0), &grows), expected);
        // Noise never counts for more than half of a small target.
        let small = [(0.3, 0.3), (0.5, 0.5)];
        assert_eq!(changes(&leak(0.8), &small), [(1, EventKind::Effective)]);
    }

    #[test]
    fn an_effect_is_lost_after_a_second_and_may_come_back() {
        let measured = [1.0, 0.4, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4, 0.4, 0.4, 0.96];
        let expected = [
            (0, EventKind::Effective),
            (0, EventKind::TargetReached),
            (8, EventKind::Lost),
            (10, EventKind::Effective),
            (10, EventKind::TargetReached),
        ];
        assert_eq!(changes_of(1.0, &measured), expected);
    }

    #[test]
    fn nothing_changes_without_a_measurement_or_a_target() {
        assert_eq!(changes_of(0.0, &[0.0, 1.0]), []);
        let (mut progress, probe) = (EffectProgress::default(), || Reading::default());
        let reading = |achieved| Reading {
            asked: 1.0,
            achieved,
            ..Reading::default()
        };
        assert_eq!(progress.update(&reading(Some(1.0)), &probe).count(), 2);
        for _ in 0..20 {
            assert_eq!(progress.update(&reading(None), &probe).count(), 0);
        }
    }
}
