//! How runs end: each is told, waited for and noted by itself, so that one that is stuck in its release
//! holds up nobody but who waits for it.

use tokio::sync::oneshot;
use tokio::task::Id;
use tokio::time::Instant;
use tracing::{error, warn};

use super::{
    ABORT_GRACE, Actor, Cause, Duration, Halted, RunEnd, Slot, TaskEnd, ending_as, failure_of,
    id_of,
};
use crate::ledger::event::{Draft, Kind};
use crate::manager::view::Effect;

/// The end of a run that was told to end and has not released everything yet.
#[derive(Debug)]
pub(super) struct Ending {
    cause: Cause,
    /// What was achieved last.
    effect: Effect,
    /// When it is aborted and, once it is, given up.
    give_up: Instant,
    is_aborted: bool,
}

/// An answer that tells that the runs of these tasks are gone.
#[derive(Debug)]
pub(super) struct Wait {
    on: Vec<Id>,
    then: Answer,
}

/// What is answered then.
#[derive(Debug)]
pub(super) enum Answer {
    Stopped(oneshot::Sender<()>),
    AllStopped(oneshot::Sender<Vec<&'static str>>, Vec<&'static str>),
    Halted(oneshot::Sender<Halted>, Halted),
}

impl Actor {
    /// Tells the chosen runs to end that are not ending yet: first their faults on requests, then the
    /// runs. Gives their names in order.
    pub(super) fn begin_end(
        &mut self,
        which: impl Fn(&Slot) -> bool,
        cause: &Cause,
        grace: Duration,
    ) -> Vec<&'static str> {
        let ledger = self.host.ledger.clone();
        let (mut names, mut stops) = (Vec::new(), Vec::new());
        let slots = self.session.iter_mut().flat_map(|s| &mut s.slots);
        for slot in slots.filter(|slot| slot.ending.is_none() && which(slot)) {
            let effect = slot.observe(&ledger);
            let told = Draft::of(ending_as(cause.reason), &slot.run.tag())
                .by(cause.by)
                .reason(cause.reason)
                .because(cause.because.clone());
            ledger.note(told.effect(&effect.reading, &*slot.run.probe));
            slot.ending = Some(Ending {
                cause: cause.clone(),
                effect,
                give_up: Instant::now() + grace,
                is_aborted: false,
            });
            names.push(slot.run.name);
            stops.push(slot.stop.clone());
        }
        if !names.is_empty() {
            self.store_faults();
        }
        for stop in stops {
            stop.cancel();
        }
        names
    }

    /// The tasks of the chosen runs that are ending.
    pub(super) fn ending(&self, which: impl Fn(&Slot) -> bool) -> Vec<Id> {
        let slots = self.session.iter().flat_map(|session| &session.slots);
        let ending = slots.filter(|slot| slot.ending.is_some() && which(slot));
        ending.map(|slot| slot.task.id()).collect()
    }

    /// Answers when the runs of the tasks `on` are gone.
    pub(super) fn answer_after(&mut self, on: Vec<Id>, then: Answer) {
        self.waits.push(Wait { on, then });
        self.answer_waits();
    }

    fn answer_waits(&mut self) {
        let done: Vec<Wait> = self.waits.extract_if(.., |w| w.on.is_empty()).collect();
        for wait in done {
            match wait.then {
                Answer::Stopped(reply) => self.answer(reply, ()),
                Answer::AllStopped(reply, names) => self.answer(reply, names),
                Answer::Halted(reply, halted) => self.answer(reply, halted),
            }
        }
    }

    /// A task is over: a run has released everything, or ended though nobody told it to.
    pub(super) fn ended(&mut self, end: TaskEnd) {
        let id = id_of(&end);
        if self.ending(|slot| slot.task.id() == id).is_empty() {
            self.ended_by_itself(end);
        } else {
            self.gone(id, Kind::Cleared, failure_of(end));
        }
    }

    /// When the next run that does not end is to be aborted or given up.
    pub(super) fn next_give_up(&self) -> Option<Instant> {
        let slots = self.session.iter().flat_map(|session| &session.slots);
        let endings = slots.filter_map(|slot| slot.ending.as_ref());
        endings.map(|ending| ending.give_up).min()
    }

    /// Waits no longer than `grace` from now for any run that is ending.
    pub(super) fn hurry(&mut self, grace: Duration) {
        let give_up = Instant::now() + grace;
        let slots = self.session.iter_mut().flat_map(|s| &mut s.slots);
        for ending in slots.filter_map(|slot| slot.ending.as_mut()) {
            ending.give_up = ending.give_up.min(give_up);
        }
    }

    /// Aborts runs that do not end in time, and gives those up that do not end even then.
    pub(super) fn give_up(&mut self) {
        let now = Instant::now();
        let mut lost = Vec::new();
        let slots = self.session.iter_mut().flat_map(|s| &mut s.slots);
        for slot in slots {
            let Some(ending) = slot.ending.as_mut().filter(|e| e.give_up <= now) else {
                continue;
            };
            let scenario = slot.run.name;
            if ending.is_aborted {
                error!(scenario, "An aborted run does not end: its code blocks.");
                lost.push(slot.task.id());
            } else {
                warn!(scenario, "A run ignored its stop and is aborted.");
                slot.task.abort();
                ending.is_aborted = true;
                ending.give_up = now + ABORT_GRACE;
            }
        }
        for id in lost {
            let error = "did not end and could not be aborted".to_owned();
            self.gone(id, Kind::Failed, Some(error));
        }
    }

    /// A run that was told to end is over; tells whoever waits for it.
    fn gone(&mut self, id: Id, kind: Kind, error: Option<String>) {
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(at) = session.slots.iter().position(|slot| slot.task.id() == id) else {
            return;
        };
        let slot = session.slots.remove(at);
        session.details.retain(|known| known.name != slot.run.name);
        if let Some(Ending { cause, effect, .. }) = slot.ending {
            self.note_gone(kind, &slot.run, cause.reason, error.clone());
            let end = RunEnd {
                because: cause.because,
                error,
                ..RunEnd::now(cause.reason, effect)
            };
            self.note_end(&slot.run, end);
        }
        for wait in &mut self.waits {
            wait.on.retain(|waited_for| *waited_for != id);
        }
        if let Some(pending) = &mut self.pending {
            pending.on.retain(|waited_for| *waited_for != id);
        }
        self.settle();
        self.answer_waits();
    }
}
