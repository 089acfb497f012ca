//! How runs end: each is told, waited for and noted by itself, so that one that is stuck in its release
//! holds up nobody but who waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Actor, Cause, Session, Slot, TaskEnd, json};
use crate::host::allocator;
use crate::ledger::event::{EventKind, NewEvent};
use crate::lifecycle::panics::panic_text;
use crate::manager::lease::Lease;
use crate::manager::session::Halted;
use crate::manager::view::{Effect, LatestRun, Run, RunEnd};
use crate::plugin::{Exit, Shortfall};
use crate::run::EndReason;

/// How long a run that was told to end may take before it is aborted. Long, because a stop answers when
/// the effect is gone, and the threads of a run cannot be hurried: tens of millions of tasks, or a sync
/// on a disk that is busy, take their seconds.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// The same when the daemon ends: it must be gone within two seconds, draining included.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);
/// How long an aborted run may take to be dropped; only code that blocks can use it up.
const ABORT_GRACE: Duration = Duration::from_millis(500);

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
    pub(super) fn end_all(&mut self, reason: EndReason, because: Option<String>) {
        self.begin_end(|_| true, &Cause::itself(reason, because), STOP_GRACE);
    }

    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        let is_over = |slot: &Slot| slot.deadline.is_some_and(|at| at <= now);
        let expired = Cause::itself(EndReason::Expired, None);
        self.begin_end(is_over, &expired, STOP_GRACE);
    }

    pub(super) fn expire_lease(&mut self) {
        // It may have been renewed in this very moment.
        if let Some(session) = &mut self.session
            && session.lease.take_if(|lease| lease.end_if_over()).is_some()
        {
            self.end_all(EndReason::LeaseExpired, None);
        }
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.session.as_ref()?.lease.as_ref()
    }

    /// Cancels the tasks of launches and waits for them; after `grace` aborts those that still run.
    ///
    /// The ends returned are theirs and those of other launches that ended meanwhile: of every task that
    /// is in no slot.
    pub(super) async fn release(
        &mut self,
        tasks: &[(AbortHandle, CancellationToken)],
        grace: Duration,
    ) -> HashMap<Id, TaskEnd> {
        for (_, stop) in tasks {
            stop.cancel();
        }
        let mut ends = HashMap::new();
        let mut give_up = Instant::now() + grace;
        let (mut aborted, mut shutting_down) = (false, false);
        while tasks.iter().any(|(task, _)| !ends.contains_key(&task.id())) {
            tokio::select! {
                biased;
                Some(end) = self.tasks.join_next_with_id() => {
                    let id = id_of(&end);
                    if self.has_slot(id) {
                        self.ended(end);
                    } else {
                        ends.insert(id, end);
                    }
                }
                () = self.root.cancelled(), if !shutting_down => {
                    shutting_down = true;
                    give_up = give_up.min(Instant::now() + SHUTDOWN_GRACE);
                }
                () = sleep_until(give_up) => {
                    let late = tasks.iter().filter(|(task, _)| !ends.contains_key(&task.id()));
                    if aborted {
                        error!(runs = late.count(), "Aborted runs do not end: their code blocks.");
                        break;
                    }
                    for (task, _) in late {
                        warn!(grace_ms = grace.as_millis() as u64, "A run ignored its stop and is aborted.");
                        task.abort();
                    }
                    aborted = true;
                    give_up = Instant::now() + ABORT_GRACE;
                }
            }
        }
        ends
    }

    /// A task ended though nobody told it to: the run failed.
    fn ended_by_itself(&mut self, end: TaskEnd) {
        let id = id_of(&end);
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(at) = session.slots.iter().position(|slot| slot.task.id() == id) else {
            return;
        };
        let slot = session.slots.remove(at);
        slot.stop.cancel();
        let failure = failure_of(end);
        if failure.is_none() && self.root.is_cancelled() {
            // It heard of the daemon's end before its turn to be stopped came.
            let effect = slot.run.last_effect();
            let stopping =
                NewEvent::of(EventKind::Stopping, &slot.run.tag()).reason(EndReason::Shutdown);
            let ledger = &self.services.ledger;
            ledger.note(stopping.effect(&effect.reading, &*slot.run.probe));
            self.note_gone(EventKind::Cleared, &slot.run, EndReason::Shutdown, None);
            self.note_end(&slot.run, RunEnd::now(EndReason::Shutdown, effect));
            return self.settle();
        }
        let error = failure.unwrap_or_else(|| "ended by itself".to_owned());
        if let Some(session) = &mut self.session
            && let Some(detail) = session.details.iter_mut().find(|d| d.name == slot.run.name)
        {
            (detail.success, detail.error) = (false, Some(error.clone()));
        }
        let mut effect = slot.run.last_effect();
        // A run that could not go on is one that the system refused what it needs.
        effect.reading.shortfall = Some(Shortfall::Refused);
        let failed = NewEvent::of(EventKind::Failed, &slot.run.tag())
            .reason(EndReason::Failed)
            .error(Some(error.clone()))
            .effect(&effect.reading, &*slot.run.probe);
        self.services.ledger.note(failed);
        // Its task is over, and all that it held went with it.
        self.note_gone(EventKind::Cleared, &slot.run, EndReason::Failed, None);
        let end = RunEnd {
            error: Some(error),
            ..RunEnd::now(EndReason::Failed, effect)
        };
        self.note_end(&slot.run, end);
        self.settle();
    }

    /// Notes what is left of a run that was taken off, and has the memory given back that it freed.
    fn note_gone(&self, kind: EventKind, run: &Run, reason: EndReason, error: Option<String>) {
        allocator::schedule_trim();
        let gone = NewEvent::of(kind, &run.tag()).reason(reason).error(error);
        let ledger = &self.services.ledger;
        ledger.note(gone.left(&run.last_effect().reading, &*run.probe));
    }

    fn has_slot(&self, id: Id) -> bool {
        let mut slots = self.session.iter().flat_map(|session| &session.slots);
        slots.any(|slot| slot.task.id() == id)
    }

    fn note_end(&mut self, run: &Arc<Run>, end: RunEnd) {
        let reason = end.reason;
        match &end.error {
            None => info!(session = %run.session_id, scenario = run.name, ?reason,
                because = end.because, params = json(&run.params), "Scenario ended."),
            Some(error) => warn!(session = %run.session_id, scenario = run.name, ?reason, error,
                params = json(&run.params), "Scenario ended with a failure."),
        }
        *self.ended.entry((run.name, reason)).or_default() += 1;
        self.latest.insert(
            run.name,
            LatestRun {
                run: Arc::clone(run),
                end: Some(end),
            },
        );
    }

    /// Ends the session when nothing of it lives, then shows what is left.
    pub(super) fn settle(&mut self) {
        let pending = self.pending.as_ref();
        let is_over = |session: &mut Session| {
            session.slots.is_empty() && pending.is_none_or(|pending| pending.id != session.id)
        };
        if let Some(session) = self.session.take_if(is_over) {
            info!(session = %session.id, held = self.services.live_guards.count(), "Session ended.");
        }
        self.show();
    }

    /// Tells the chosen runs to end that are not ending yet: first their faults on requests, then the
    /// runs. Gives their names in order.
    pub(super) fn begin_end(
        &mut self,
        which: impl Fn(&Slot) -> bool,
        cause: &Cause,
        grace: Duration,
    ) -> Vec<&'static str> {
        let ledger = self.services.ledger.clone();
        let (mut names, mut stops) = (Vec::new(), Vec::new());
        let slots = self.session.iter_mut().flat_map(|s| &mut s.slots);
        for slot in slots.filter(|slot| slot.ending.is_none() && which(slot)) {
            let effect = slot.observe(&ledger);
            let told = NewEvent::of(ending_as(cause.reason), &slot.run.tag())
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
            self.gone(id, EventKind::Cleared, failure_of(end));
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
            self.gone(id, EventKind::Failed, Some(error));
        }
    }

    /// A run that was told to end is over; tells whoever waits for it.
    fn gone(&mut self, id: Id, kind: EventKind, error: Option<String>) {
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

/// How the ledger calls the beginning of an end.
fn ending_as(reason: EndReason) -> EventKind {
    match reason {
        EndReason::Stopped | EndReason::Aborted | EndReason::LeaseExpired | EndReason::Shutdown => {
            EventKind::Stopping
        }
        EndReason::Expired => EventKind::Expired,
        EndReason::Replaced => EventKind::Replaced,
        // The last two end the process too: no run is ended for them.
        EndReason::Failed | EndReason::Exit | EndReason::Unclean => EventKind::Failed,
    }
}

fn id_of(end: &TaskEnd) -> Id {
    match end {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    }
}

/// What went wrong in a task that ended, if anything did.
pub(super) fn failure_of(end: TaskEnd) -> Option<String> {
    match end {
        Ok((_, Exit::Stopped)) => None,
        Ok((_, Exit::Failed(reason))) => Some(reason),
        Err(error) if error.is_panic() => {
            Some(format!("panicked: {}", panic_text(&*error.into_panic())))
        }
        Err(_) => Some("ignored its stop and was aborted".to_owned()),
    }
}
