//! The runs of a drill, as the ledger shows them: which live, and who ended them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::ledger::event::{Event, EventKind};
use crate::run::{EndReason, Initiator};

/// The runs that a drill has started and that are not gone.
#[derive(Debug, Default)]
pub(super) struct Runs {
    live: BTreeMap<u64, LiveRun>,
}

#[derive(Debug)]
struct LiveRun {
    scenario: Cow<'static, str>,
    /// Whether its effect has begun.
    is_up: bool,
    /// Whether someone else ends it.
    by_others: bool,
}

/// What an event means for the runs of a drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// This run is gone.
    Gone(u64),
    /// The same, and it was the last one, and someone else ended it.
    EndedByOthers(u64),
}

impl Runs {
    /// Takes in the next event of the ledger. Whatever a drill starts is accepted for the exam, and one drill is open at
    /// a time: what is accepted so is its own.
    pub(super) fn see(&mut self, event: &Event) -> Change {
        if event.kind == EventKind::Boot {
            // They ended with the process.
            *self = Self::default();
        }
        let Some(id) = event.run_id else {
            return Change::Nothing;
        };
        if event.kind == EventKind::Accepted && event.by == Some(Initiator::Exam) {
            let run = LiveRun {
                scenario: event.scenario.clone().unwrap_or_default(),
                is_up: false,
                by_others: false,
            };
            self.live.insert(id, run);
        }
        let Some(run) = self.live.get_mut(&id) else {
            return Change::Nothing;
        };
        match event.kind {
            EventKind::Started => run.is_up = true,
            EventKind::Cleared | EventKind::Failed => {
                let by_others = run.by_others;
                self.live.remove(&id);
                return match by_others && self.live.is_empty() {
                    true => Change::EndedByOthers(id),
                    false => Change::Gone(id),
                };
            }
            _ => run.by_others |= is_end_by_others(event),
        }
        Change::Nothing
    }

    /// Whether run `id` is up.
    pub(super) fn is_up(&self, id: u64) -> bool {
        self.live.get(&id).is_some_and(|run| run.is_up)
    }

    /// Whether any run is up.
    pub(super) fn any_is_up(&self) -> bool {
        self.live.values().any(|run| run.is_up)
    }

    /// The scenarios of those that are not gone.
    pub(super) fn scenarios(&self) -> impl Iterator<Item = &str> {
        self.live.values().map(|run| &*run.scenario)
    }
}

fn is_end_by_others(event: &Event) -> bool {
    match event.reason {
        Some(EndReason::Stopped | EndReason::Replaced) => {
            event.by.is_some_and(|by| by != Initiator::Exam)
        }
        // Their conditions came with someone else's start.
        Some(EndReason::Aborted | EndReason::LeaseExpired) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATOR: Initiator = Initiator::Signal;

    fn event(kind: EventKind, run_id: u64) -> Event {
        Event {
            kind,
            run_id: Some(run_id),
            ..Event::default()
        }
    }

    fn accepted(run_id: u64, by: Initiator) -> Event {
        Event {
            by: Some(by),
            ..event(EventKind::Accepted, run_id)
        }
    }

    fn ended(run_id: u64, reason: EndReason, by: Option<Initiator>) -> Event {
        Event {
            reason: Some(reason),
            by,
            ..event(EventKind::Stopping, run_id)
        }
    }

    fn two_runs() -> Runs {
        let mut runs = Runs::default();
        for id in [1, 2] {
            runs.see(&accepted(id, Initiator::Exam));
            assert!(!runs.is_up(id));
            runs.see(&event(EventKind::Started, id));
            assert!(runs.is_up(id));
        }
        runs
    }

    #[test]
    fn a_run_of_others_is_not_the_drills() {
        let mut runs = Runs::default();
        runs.see(&accepted(1, OPERATOR));
        runs.see(&event(EventKind::Started, 1));
        assert_eq!(runs.scenarios().count(), 0);
    }

    #[test]
    fn only_the_last_run_that_others_end_ends_the_drill() {
        for reason in [EndReason::Stopped, EndReason::Replaced] {
            let mut runs = two_runs();
            runs.see(&ended(1, reason, Some(OPERATOR)));
            assert_eq!(
                runs.see(&event(EventKind::Cleared, 1)),
                Change::Gone(1),
                "one of two"
            );
            runs.see(&ended(2, EndReason::Expired, None));
            assert_eq!(
                runs.see(&event(EventKind::Cleared, 2)),
                Change::Gone(2),
                "it ended by itself"
            );
            let mut runs = two_runs();
            for id in [1, 2] {
                runs.see(&ended(id, reason, Some(OPERATOR)));
            }
            assert_eq!(runs.see(&event(EventKind::Cleared, 2)), Change::Gone(2));
            let last = runs.see(&event(EventKind::Cleared, 1));
            assert_eq!(last, Change::EndedByOthers(1));
        }
    }

    #[test]
    fn what_the_drill_itself_or_the_daemon_ends_is_not_ended_by_others() {
        for (reason, by) in [
            (EndReason::Stopped, Some(Initiator::Exam)),
            (EndReason::Shutdown, None),
            (EndReason::Replaced, None),
        ] {
            let mut runs = two_runs();
            for id in [1, 2] {
                runs.see(&ended(id, reason, by));
                assert_eq!(runs.see(&event(EventKind::Cleared, id)), Change::Gone(id));
            }
        }
    }

    #[test]
    fn a_boot_finds_no_run() {
        let mut runs = two_runs();
        assert_eq!(runs.scenarios().count(), 2);
        runs.see(&Event::default());
        assert!(runs.scenarios().count() == 0 && !runs.any_is_up());
    }
}
