//! When a run's effect is effective, reached or lost, from what is measured alone.

use std::collections::VecDeque;

use crate::ledger::event::EventKind;
use crate::run::{Probe, Reading};

/// The share of the target from which it is reached. Every scenario keeps closer to its target than that, and every
/// measurement has less noise.
const REACHED_SHARE: f64 = 0.95;
/// How many measurements in a row must find an effect gone before it is lost: a second, so that a share that wavers
/// around the half does not fill the ledger.
const LOST_AFTER: u32 = 4;
/// How many measurements a changing target is remembered for, two seconds: what is measured is as old.
const LATELY: usize = 8;

/// How far the effect of one run has come.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EffectProgress {
    is_effective: bool,
    is_reached: bool,
    below: u32,
    /// What was asked at the last measurements, where that changes.
    asked_lately: Option<VecDeque<f64>>,
}

impl EffectProgress {
    /// That of a run whose target changes while it lasts: the effect is held to the least that was asked in the last
    /// two seconds, since the measurement follows it. Where nothing was asked in them, nothing is judged.
    pub(super) fn of_changing() -> Self {
        Self {
            asked_lately: Some(VecDeque::with_capacity(LATELY)),
            ..Self::default()
        }
    }

    /// Takes in one reading of `probe` and returns what has changed, in order. Nothing changes without a measurement or
    /// without a target.
    pub(super) fn update(
        &mut self,
        reading: &Reading,
        probe: &dyn Probe,
    ) -> impl Iterator<Item = EventKind> + use<> {
        let target = probe.target().unwrap_or(reading.asked);
        let asked = self.asked(reading.asked);
        let changes = match reading.achieved {
            Some(achieved) if target > 0.0 => {
                let judged = Reading {
                    asked,
                    ..reading.clone()
                };
                match self.asked_lately.is_some() && asked <= 0.0 {
                    true => [None, None],
                    false => self.measured(judged.is_effective(probe), achieved / target),
                }
            }
            _ => [None, None],
        };
        changes.into_iter().flatten()
    }

    /// What the effect is held to, where `now` is asked now.
    fn asked(&mut self, now: f64) -> f64 {
        let Some(lately) = &mut self.asked_lately else {
            return now;
        };
        if lately.len() == LATELY {
            lately.pop_front();
        }
        lately.push_back(now);
        lately.iter().copied().fold(now, f64::min)
    }

    fn measured(&mut self, is_effective: bool, share: f64) -> [Option<EventKind>; 2] {
        if !is_effective {
            self.below += 1;
            if !self.is_effective || self.below < LOST_AFTER {
                return [None, None];
            }
            (self.is_effective, self.is_reached, self.below) = (false, false, 0);
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

    /// What changes where `asked` changes, and what is measured is two measurements older.
    fn changes_of_changing(asked: impl Fn(f64) -> f64) -> Vec<(usize, EventKind)> {
        let probe = Growing {
            target: Some(80.0),
            noise: 1.0,
        };
        let mut progress = EffectProgress::of_changing();
        let mut changes = Vec::new();
        for i in 0..400_u32 {
            let reading = Reading {
                asked: asked(f64::from(i) / 4.0),
                achieved: Some(asked(f64::from(i.saturating_sub(4)) / 4.0)),
                ..Reading::default()
            };
            let of_this = progress.update(&reading, &probe);
            changes.extend(of_this.map(|kind| (i as usize, kind)));
        }
        changes
    }

    #[test]
    fn an_effect_that_follows_a_changing_target_is_not_lost() {
        let kinds = |changes: Vec<(usize, EventKind)>| -> Vec<EventKind> {
            changes.into_iter().map(|(_, kind)| kind).collect()
        };
        let both = [EventKind::Effective, EventKind::TargetReached];
        let ramp = changes_of_changing(|s| (s * 80.0 / 60.0).min(80.0));
        assert!(ramp[0].0 <= 12 && ramp[1].0 > 4 * 50, "{ramp:?}");
        assert_eq!(kinds(ramp), both);
        for low in [0.0, 5.0] {
            let square = |s: f64| if s % 10.0 < 3.0 { 80.0 } else { low };
            assert_eq!(kinds(changes_of_changing(square)), both, "{low}");
        }
        // One that is asked and missing is.
        let probe = Growing {
            target: Some(80.0),
            noise: 1.0,
        };
        let mut progress = EffectProgress::of_changing();
        let mut seen = Vec::new();
        for achieved in [50.0; 10].into_iter().chain([5.0; 20]) {
            let reading = Reading {
                asked: 50.0,
                achieved: Some(achieved),
                ..Reading::default()
            };
            seen.extend(progress.update(&reading, &probe));
        }
        assert_eq!(seen, [EventKind::Effective, EventKind::Lost]);
    }
}
