//! When a run's effect is told to be there, complete or gone, from what is measured alone.

use super::event::EventKind;

/// The share of the target from which an effect counts as being there.
pub(crate) const EFFECTIVE_SHARE: f64 = 0.5;
/// The share of the target from which it counts as reached: every scenario is held closer to its
/// figure than that, and every measurement's noise is smaller.
pub(crate) const REACHED_SHARE: f64 = 0.95;
/// How many looks in a row must find an effect gone before it is told as lost: a second, so that a
/// share that wavers about the half does not fill the ledger.
const LOST_AFTER: u32 = 4;

/// How far the effect of one run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Phase {
    effective: bool,
    reached: bool,
    below: u32,
}

impl Phase {
    /// Takes in one measurement; tells what has changed, in order.
    ///
    /// Without a measurement nothing changes, and an effect of nothing is none.
    pub(crate) fn step(
        &mut self,
        target: f64,
        achieved: Option<f64>,
    ) -> impl Iterator<Item = EventKind> + use<> {
        let told = match achieved {
            Some(achieved) if target > 0.0 => self.measured(achieved / target),
            _ => [None, None],
        };
        told.into_iter().flatten()
    }

    fn measured(&mut self, share: f64) -> [Option<EventKind>; 2] {
        if share < EFFECTIVE_SHARE {
            self.below += 1;
            if !self.effective || self.below < LOST_AFTER {
                return [None, None];
            }
            *self = Self::default();
            return [Some(EventKind::Lost), None];
        }
        self.below = 0;
        let effective = !std::mem::replace(&mut self.effective, true);
        let reached = share >= REACHED_SHARE && !std::mem::replace(&mut self.reached, true);
        [
            effective.then_some(EventKind::Effective),
            reached.then_some(EventKind::TargetReached),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(target: f64, measured: &[f64]) -> Vec<(usize, EventKind)> {
        let mut phase = Phase::default();
        let steps = measured.iter().enumerate();
        steps
            .flat_map(|(i, achieved)| {
                phase
                    .step(target, Some(*achieved))
                    .map(move |kind| (i, kind))
            })
            .collect()
    }

    #[test]
    fn a_growing_effect_is_effective_at_half_and_reached_near_its_target() {
        let measured = [0.0, 49.9, 50.0, 94.9, 95.0, 100.0, 100.0];
        let expected = [(2, EventKind::Effective), (4, EventKind::TargetReached)];
        assert_eq!(told(100.0, &measured), expected);
        assert_eq!(
            told(2.0, &[2.0]),
            [(0, EventKind::Effective), (0, EventKind::TargetReached)]
        );
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
        assert_eq!(told(1.0, &measured), expected);
    }

    #[test]
    fn what_is_not_measured_or_not_asked_tells_nothing() {
        assert_eq!(told(0.0, &[0.0, 1.0]), []);
        let mut phase = Phase::default();
        assert_eq!(phase.step(1.0, Some(1.0)).count(), 2);
        for _ in 0..20 {
            assert_eq!(phase.step(1.0, None).count(), 0);
        }
    }
}
