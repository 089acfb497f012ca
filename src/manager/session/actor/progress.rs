//! When a run's effect is effective, reached or lost, from what is measured alone.

use crate::ledger::event::EventKind;

/// The share of the target from which a run is effective.
const EFFECTIVE_SHARE: f64 = 0.5;
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
    /// Takes in one measurement and returns what has changed, in order. Nothing changes without a measurement or
    /// without a target.
    pub(super) fn update(
        &mut self,
        target: f64,
        achieved: Option<f64>,
    ) -> impl Iterator<Item = EventKind> + use<> {
        let changes = match achieved {
            Some(achieved) if target > 0.0 => self.measured(achieved / target),
            _ => [None, None],
        };
        changes.into_iter().flatten()
    }

    fn measured(&mut self, share: f64) -> [Option<EventKind>; 2] {
        if share < EFFECTIVE_SHARE {
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

    /// What changes at which measurement.
    fn changes(target: f64, measured: &[f64]) -> Vec<(usize, EventKind)> {
        let mut progress = EffectProgress::default();
        let mut changes = Vec::new();
        for (i, achieved) in measured.iter().enumerate() {
            changes.extend(
                progress
                    .update(target, Some(*achieved))
                    .map(|kind| (i, kind)),
            );
        }
        changes
    }

    #[test]
    fn a_growing_effect_is_effective_at_half_and_reached_near_its_target() {
        let measured = [0.0, 49.9, 50.0, 94.9, 95.0, 100.0, 100.0];
        let expected = [(2, EventKind::Effective), (4, EventKind::TargetReached)];
        assert_eq!(changes(100.0, &measured), expected);
        let at_once = [(0, EventKind::Effective), (0, EventKind::TargetReached)];
        assert_eq!(changes(2.0, &[2.0]), at_once);
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
        assert_eq!(changes(1.0, &measured), expected);
    }

    #[test]
    fn nothing_changes_without_a_measurement_or_a_target() {
        assert_eq!(changes(0.0, &[0.0, 1.0]), []);
        let mut progress = EffectProgress::default();
        assert_eq!(progress.update(1.0, Some(1.0)).count(), 2);
        for _ in 0..20 {
            assert_eq!(progress.update(1.0, None).count(), 0);
        }
    }
}
