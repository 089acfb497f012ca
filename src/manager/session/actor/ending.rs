//! How a run ends, in order: it begins to stop, its task ends, it leaves the session, and the session ends with its
//! last run. Each run does so independently: one that hangs in its release delays only those that wait for it.

use std::time::Duration;

use tokio::task::Id;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Actor, LiveRun, LiveSession, TaskEnd, json};
use crate::host::allocator;
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::lifecycle::panics::panic_text;
use crate::manager::report::Detail;
use crate::manager::run::{Effect, Run, RunEnd};
use crate::manager::view::LatestRun;
use crate::plugin::{Exit, Shortfall};
use crate::run::{EndReason, Initiator};

/// How long a stopping run may take before it is aborted. Long, because a stop answers when the effect is gone, and
/// the threads of a run cannot be hurried: tens of millions of tasks, or a sync on a busy disk, take seconds.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(10);
/// The same when the daemon shuts down: it must be gone within two seconds, draining included.
pub(super) const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);
/// How long an aborted run may take to be dropped; only code that blocks can use it up.
pub(super) const ABORT_GRACE: Duration = Duration::from_millis(500);

/// Why runs end and who asked for it.
pub(super) struct Cause {
    pub(super) reason: EndReason,
    pub(super) by: Option<Initiator>,
    /// The reason in words, where there is more to say.
    pub(super) because: Option<String>,
}

impl Cause {
    pub(super) fn of(reason: EndReason, by: Option<Initiator>) -> Self {
        Self {
            reason,
            by,
            because: None,
        }
    }

    /// The event that begins such an end.
    pub(super) fn event(&self) -> EventKind {
        match self.reason {
            EndReason::Stopped
            | EndReason::Aborted
            | EndReason::LeaseExpired
            | EndReason::Shutdown => EventKind::Stopping,
            EndReason::Expired => EventKind::Expired,
            EndReason::Replaced => EventKind::Replaced,
            // The last two end the process: the actor never ends a run for them.
            EndReason::Failed | EndReason::Exit | EndReason::Unclean => EventKind::Failed,
        }
    }
}

/// The end of a run that has not released everything yet.
#[derive(Debug)]
pub(super) struct Stopping {
    end: RunEnd,
    /// When its task should have ended or, once it is late, should have been dropped.
    due: Instant,
    /// Whether the grace of a stop is over, so that the task aborts itself.
    is_late: bool,
}

impl LiveRun {
    fn begin_end(
        &mut self,
        ledger: &Ledger,
        cause: &Cause,
        mut effect: Effect,
        error: Option<String>,
    ) {
        effect.reading = self.run.probe.in_the_end(effect.reading);
        effect
            .effective_since
            .take_if(|_| effect.reading.achieved == Some(0.0));
        let event = NewEvent::of(cause.event(), &self.run.tag)
            .by(cause.by)
            .reason(cause.reason)
            .because(cause.because.clone())
            .error(error.clone());
        let noted = ledger.note(event.effect(&effect.reading, &*self.run.probe));
        let end = RunEnd {
            reason: cause.reason,
            at: self.run.time_of(noted.moment()),
            because: cause.because.clone(),
            error,
            effect,
        };
        self.stopping = Some(Stopping {
            end,
            due: Instant::now() + STOP_GRACE,
            is_late: false,
        });
    }
}

impl Actor {
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        let is_over = |run: &LiveRun| run.deadline.is_some_and(|at| at <= now);
        self.begin_end(is_over, &Cause::of(EndReason::Expired, None));
    }

    pub(super) fn expire_lease(&mut self) {
        // It may have been renewed in this very moment.
        if let Some(session) = &mut self.session
            && session.lease.take_if(|lease| lease.end_if_over()).is_some()
        {
            self.end_all(&Cause::of(EndReason::LeaseExpired, None));
            self.settle();
        }
    }

    /// Begins to end the chosen runs that are not stopping yet: takes their request faults off, then stops them.
    /// Returns their names in order, and the releases of all chosen runs.
    pub(super) fn begin_end(
        &mut self,
        which: impl Fn(&LiveRun) -> bool,
        cause: &Cause,
    ) -> (Vec<&'static str>, Vec<CancellationToken>) {
        let ledger = self.services.ledger.clone();
        let (mut names, mut stops, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        let runs = self.session.iter_mut().flat_map(|s| &mut s.runs);
        for run in runs.filter(|run| which(run)) {
            releases.push(run.released.clone());
            if run.is_live() {
                let effect = run.observe(&ledger);
                run.begin_end(&ledger, cause, effect, None);
                names.push(run.name());
                stops.push(run.stop.clone());
            }
        }
        if !names.is_empty() {
            self.store_faults();
        }
        stops.iter().for_each(CancellationToken::cancel);
        (names, releases)
    }

    /// The task of a run is over: the run was stopped and has released everything, or it failed.
    pub(super) fn task_ended(&mut self, end: TaskEnd) {
        let (id, mut failure) = outcome_of(end);
        let mut runs = self.session.iter_mut().flat_map(|s| &mut s.runs);
        if let Some(run) = runs.find(|run| run.task == id && run.is_live()) {
            let mut effect = run.run.last_effect();
            let ledger = &self.services.ledger;
            if failure.is_none() && self.root.is_cancelled() {
                // It noticed the shutdown before its turn to be stopped came.
                let shutdown = Cause::of(EndReason::Shutdown, None);
                run.begin_end(ledger, &shutdown, effect, None);
            } else {
                // A run that could not go on was refused what it needs by the system.
                effect.reading.shortfall = Some(Shortfall::Refused);
                let error = failure.take().unwrap_or_else(ended_by_itself);
                let failed = Cause::of(EndReason::Failed, None);
                run.begin_end(ledger, &failed, effect, Some(error));
            }
        }
        self.remove(id, EventKind::Cleared, failure);
    }

    /// When the next stopping run is late, or is to be given up.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let stopping = self.live_runs().filter_map(|run| run.stopping.as_ref());
        stopping.map(|stopping| stopping.due).min()
    }

    /// Looks at the stopping runs that are due: one that becomes late now gets the time to be aborted, counted from
    /// this moment, since a stall of the process delays its task too; one that has used that time is given up.
    pub(super) fn check_due(&mut self) {
        let now = Instant::now();
        let mut lost = Vec::new();
        for run in self.session.iter_mut().flat_map(|s| &mut s.runs) {
            let Some(stopping) = run.stopping.as_mut().filter(|s| s.due <= now) else {
                continue;
            };
            if std::mem::replace(&mut stopping.is_late, true) {
                lost.push(run.task);
            }
            stopping.due = now + ABORT_GRACE;
        }
        self.give_up(lost);
    }

    /// Gives up runs that could not even be aborted.
    pub(super) fn give_up(&mut self, tasks: Vec<Id>) {
        for task in tasks {
            let lost = self.live_runs().find(|run| run.task == task);
            error!(
                scenario = lost.map(LiveRun::name),
                "Run cannot be aborted: its code blocks. Restart the process to release it."
            );
            let error = "did not end and could not be aborted".to_owned();
            self.remove(task, EventKind::Failed, Some(error));
        }
    }

    /// Takes a run that is over out of the session. `failure` is what went wrong since it began to stop.
    fn remove(&mut self, id: Id, kind: EventKind, failure: Option<String>) {
        let Some(LiveSession { runs, details, .. }) = &mut self.session else {
            return;
        };
        let Some(at) = runs.iter().position(|run| run.task == id) else {
            return;
        };
        let LiveRun {
            run,
            stop,
            released,
            stopping: Some(Stopping { mut end, .. }),
            ..
        } = runs.remove(at)
        else {
            return;
        };
        stop.cancel();
        let (name, reason) = (run.tag.scenario, end.reason);
        let is_of_it = |detail: &Detail| detail.name == name && detail.starts_at.is_none();
        match details.iter_mut().find(|detail| is_of_it(detail)) {
            Some(detail) if reason == EndReason::Failed => {
                (detail.success, detail.error) = (false, end.error.clone());
            }
            _ => details.retain(|detail| !is_of_it(detail)),
        }
        allocator::schedule_trim();
        let gone = NewEvent::of(kind, &run.tag).reason(reason);
        let gone = gone.left(&run.last_effect().reading, &*run.probe);
        let noted = self.services.ledger.note(gone.error(failure.clone()));
        (end.at, end.error) = (run.time_of(noted.moment()), end.error.or(failure));
        log_end(&run, &end);
        *self.view.ended.entry((name, reason)).or_default() += 1;
        let end = Some(end);
        self.view.latest.insert(name, LatestRun { run, end });
        self.settle();
        released.cancel();
    }

    /// Ends the session when nothing of it lives, then publishes what is left.
    pub(super) fn settle(&mut self) {
        let pending = self.pending.as_ref().map(|pending| &pending.id);
        let is_over = |session: &mut LiveSession| {
            session.runs.is_empty()
                && session.waiting.is_empty()
                && pending.is_none_or(|id| *id != session.id)
        };
        if let Some(session) = self.session.take_if(is_over) {
            let held = self.services.live_guards.count();
            info!(session = %session.id, held, "Session ended.");
        }
        self.publish();
    }
}

fn log_end(run: &Run, end: &RunEnd) {
    let (session, scenario) = (&run.tag.session_id, run.tag.scenario);
    let (reason, params) = (end.reason.name(), json(&run.params));
    match &end.error {
        None => {
            let because = end.because.as_deref();
            info!(%session, scenario, reason, because, %params, "Scenario ended.");
        }
        Some(error) => {
            warn!(%session, scenario, reason, error, %params, "Scenario ended with a failure.");
        }
    }
}

/// The task that ended, and what went wrong in it, if anything did.
pub(super) fn outcome_of(end: TaskEnd) -> (Id, Option<String>) {
    match end {
        Ok((id, Exit::Stopped)) => (id, None),
        Ok((id, Exit::Failed(reason))) => (id, Some(reason)),
        Err(error) => {
            let id = error.id();
            let failure = match error.try_into_panic() {
                Ok(panic) => format!("panicked: {}", panic_text(&*panic)),
                Err(error) => error.to_string(),
            };
            (id, Some(failure))
        }
    }
}

pub(super) fn ended_by_itself() -> String {
    "ended by itself".to_owned()
}
