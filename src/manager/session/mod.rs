//! The session: the set of scenarios that run now, and the one task that may change it.
//!
//! An actor instead of a lock, for three reasons. A client that hangs up can only drop its end of a reply, never
//! leave a switch half done. A deadline, a failed run, a shutdown and a command are arms of one `select!` and cannot
//! interleave. And the timer and the task of a run are fields of one value and go with it, so that no timer can end a
//! later run.
//!
//! Only the client that asked for an end waits for it: a run that is stopping keeps its place in the session until it
//! has released everything (`actor/ending.rs`), and meanwhile others start and stop. Starts take turns: one waits for
//! the runs that it replaces, and commands that concern it wait for it.
//!
//! The ledger records whatever happens to a run, and a client is answered when the record is on disk. The actor itself
//! never waits for the disk, so a busy disk delays no deadline.
//!
//! ```text
//! Idle     => Starting (a checked start arrives)
//! Starting => Running (at least one started: commit) | Idle (none did, or the start was called off)
//! Running  => Running (a single start or stop, a run fails or expires, others live)
//! Running  => Stopping (a set start, stop-all, the last run ends, shutdown)
//! Stopping => Starting (replaced) | Idle | Closed (shutdown)
//! ```

mod actor;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::report::StartReport;
use super::terms::{Ends, Terms};
use super::view::View;
use crate::plugin::{Conflict, Plan};
use crate::run::{Initiator, Timestamp};
use views::Views;

/// Commands that may wait for the actor; more than any sane number of clients.
const MAILBOX: usize = 1024;

/// A checked start of one scenario.
#[derive(Debug)]
pub(crate) struct PlannedRun {
    pub plan: Plan,
    /// How much later than asked for it starts.
    pub after: Duration,
    /// Counts from its start. None means until stopped.
    pub duration: Option<Duration>,
    /// Whether the duration comes from the configuration and not from the request.
    pub is_default_duration: bool,
    /// What it cannot run beside.
    pub conflicts: Vec<Conflict>,
}

/// Why a command was refused or failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum SessionError {
    /// None of the scenarios could start; the report says why for each.
    #[error("{}", .0.reasons())]
    NothingStarted(StartReport),
    #[error("At most {0} may run at once (Limits.ConcurrentScenarios); stop one first.")]
    NoRoom(usize),
    /// A scenario that would stay is one that the new one cannot run beside.
    #[error("{starts} cannot run beside {}, which runs: {}. Stop that first.", .conflict.name, .conflict.reason)]
    Conflict {
        starts: &'static str,
        conflict: Conflict,
    },
    #[error("Halted since {0}; POST /api/v1/rearm accepts starts again.")]
    Halted(Timestamp),
    #[error(
        "SIGTERM has come and {0} holds it back: a set without it would end the daemon. Add {0} to the set, or stop it."
    )]
    SignalHeldBack(&'static str),
    #[error("No session lives that was started with a lease, or its lease is over.")]
    NoLease,
    /// The daemon is shutting down.
    #[error("All faults are being stopped; nothing can be started or stopped any more.")]
    Closed,
}

/// The starts of the boot profile that are still to come, by scenario. The actor cancels one when a command ends or
/// replaces what it would start, and refuses it from then on.
pub(crate) type Onsets = BTreeMap<&'static str, CancellationToken>;

/// The answer to a halt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Halted {
    pub since: Timestamp,
    /// The scenarios that ran.
    pub stopped: Vec<&'static str>,
}

/// The answer to a renewal.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Renewed {
    /// The session that goes on.
    pub session_id: String,
    /// How long the lease lasts from each renewal, in seconds.
    pub lease_s: f64,
    /// When the lease ends unless it is renewed again.
    pub lease_expires_at: Timestamp,
}

/// A checked start of one or more scenarios.
#[derive(Debug)]
pub(crate) struct Start {
    pub(super) runs: Vec<PlannedRun>,
    pub(super) terms: Terms,
    /// Whether it joins the live session, where it replaces earlier runs of its own scenarios only. Otherwise it
    /// replaces the whole session.
    pub(super) joins: bool,
}

impl Start {
    /// Replaces everything that runs by `runs`.
    pub(crate) fn set(runs: Vec<PlannedRun>, terms: Terms) -> Self {
        let joins = false;
        Self { runs, terms, joins }
    }

    /// Adds `run` to what runs; its `terms` join those of the session.
    pub(crate) fn single(run: PlannedRun, terms: Terms) -> Self {
        let (runs, joins) = (vec![run], true);
        Self { runs, terms, joins }
    }

    /// How long `run`, which is one of its own, lasts from its start. None means until stopped.
    pub(super) fn length(&self, run: &PlannedRun) -> Option<Duration> {
        length_of(run, self.terms.ends, end_of(&self.runs))
    }

    pub(super) fn starts(&self, name: &str) -> bool {
        self.runs.iter().any(|run| run.plan.name == name)
    }

    /// Refuses a single start beside other `running` scenarios where it cannot run beside one of them, or where as many
    /// run as may run at once.
    pub(super) fn check_beside(
        &self,
        running: impl Iterator<Item = &'static str>,
    ) -> Result<(), SessionError> {
        if !self.joins {
            // None of them stays.
            return Ok(());
        }
        let others: Vec<_> = running.filter(|name| !self.starts(name)).collect();
        for run in &self.runs {
            let mut conflicts = run.conflicts.iter();
            if let Some(conflict) = conflicts.find(|conflict| others.contains(&conflict.name)) {
                return Err(SessionError::Conflict {
                    starts: run.plan.name,
                    conflict: *conflict,
                });
            }
        }
        match self.terms.most_at_once {
            Some(most) if others.len() >= most => Err(SessionError::NoRoom(most)),
            _ => Ok(()),
        }
    }
}

/// How long after the start of their set the last of `runs` is over, of those with a duration.
pub(super) fn end_of<'r>(runs: impl IntoIterator<Item = &'r PlannedRun>) -> Option<Duration> {
    let ends = runs.into_iter();
    ends.filter_map(|run| Some(run.after + run.duration?)).max()
}

/// How long `run` lasts from its start, in a set whose last run with a duration is over `end` after its own start. None
/// means until stopped.
pub(super) fn length_of(run: &PlannedRun, ends: Ends, end: Option<Duration>) -> Option<Duration> {
    match ends {
        Ends::Together => end.map(|end| end.saturating_sub(run.after)),
        Ends::Each => run.duration,
    }
}

type StartReply = oneshot::Sender<Result<StartReport, SessionError>>;

#[derive(Debug)]
enum CommandKind {
    Start(Start, StartReply),
    StopOne(&'static str, oneshot::Sender<()>),
    StopAll(oneshot::Sender<Vec<&'static str>>),
    /// Stops everything and refuses every start.
    Halt(oneshot::Sender<Halted>),
    /// Accepts starts again.
    Rearm(oneshot::Sender<()>),
    /// Does nothing but answer in its turn.
    Settle(oneshot::Sender<()>),
}

/// A command and its initiator, where that is known.
#[derive(Debug)]
struct Command {
    by: Option<Initiator>,
    kind: CommandKind,
}

impl Command {
    /// Whether this is an onset that was called off: it will be refused.
    fn is_void(&self, onsets: &Onsets) -> bool {
        let CommandKind::Start(start, _) = &self.kind else {
            return false;
        };
        let mut onsets = start
            .runs
            .iter()
            .filter_map(|run| onsets.get(run.plan.name));
        let is_onset = self.by == Some(Initiator::Boot) && start.joins;
        is_onset && onsets.any(CancellationToken::is_cancelled)
    }

    /// Whether this command makes a start of `name` pointless.
    fn calls_off(&self, name: &str) -> bool {
        match &self.kind {
            CommandKind::Start(start, _) => !start.joins || start.starts(name),
            CommandKind::StopOne(stopped, _) => *stopped == name,
            CommandKind::StopAll(_) | CommandKind::Halt(_) => true,
            CommandKind::Rearm(_) | CommandKind::Settle(_) => false,
        }
    }
}

/// A handle to the session actor; cheap to clone. Its methods fail with [`SessionError::Closed`] once the daemon shuts
/// down.
///
/// # Cancel safety
/// Once the actor has a command, dropping the future changes nothing: the command is carried out.
#[derive(Debug, Clone)]
pub(crate) struct SessionManager {
    commands: mpsc::Sender<Command>,
    views: Arc<Views>,
}

impl SessionManager {
    /// Whether what is recorded of runs would survive the process.
    pub(crate) fn is_durable(&self) -> bool {
        self.views.are_durable()
    }

    /// What runs now, as far as the ledger shows how it came to that. Never waits for the actor.
    pub(crate) fn view(&self) -> Arc<View> {
        self.views.now()
    }

    /// Starts what `start` says; answers when all of it is up or has failed.
    ///
    /// # Errors
    /// [`SessionError::NothingStarted`], [`SessionError::NoRoom`], [`SessionError::Conflict`], [`SessionError::Halted`].
    pub(crate) async fn start(
        &self,
        start: Start,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.ask(by, |reply| CommandKind::Start(start, reply))
            .await?
    }

    /// Stops the run of `name`, if there is one; answers when its effect is gone.
    pub(crate) async fn stop_one(
        &self,
        name: &'static str,
        by: Option<Initiator>,
    ) -> Result<(), SessionError> {
        self.ask(by, |reply| CommandKind::StopOne(name, reply))
            .await
    }

    /// Stops everything; answers with the names when all effects are gone.
    pub(crate) async fn stop_all(
        &self,
        by: Option<Initiator>,
    ) -> Result<Vec<&'static str>, SessionError> {
        self.ask(by, CommandKind::StopAll).await
    }

    /// Stops everything and refuses every start from now on; answers when all effects are gone.
    pub(crate) async fn halt(&self, by: Option<Initiator>) -> Result<Halted, SessionError> {
        self.ask(by, CommandKind::Halt).await
    }

    /// Accepts starts again.
    pub(crate) async fn rearm(&self, by: Option<Initiator>) -> Result<(), SessionError> {
        self.ask(by, CommandKind::Rearm).await
    }

    /// Waits until every earlier start is done.
    pub(crate) async fn settled(&self) -> Result<(), SessionError> {
        self.ask(None, CommandKind::Settle).await
    }

    /// Renews the lease of the live session. Never waits for the actor.
    ///
    /// # Errors
    /// [`SessionError::NoLease`].
    pub(crate) fn renew(&self) -> Result<Renewed, SessionError> {
        let view = self.view();
        let lease = view.lease.as_ref().zip(view.session.as_ref());
        let (lease, session) = lease.ok_or(SessionError::NoLease)?;
        let lease_expires_at = lease.renew().ok_or(SessionError::NoLease)?;
        Ok(Renewed {
            session_id: session.report.session_id.clone(),
            lease_s: lease.period.as_secs_f64(),
            lease_expires_at,
        })
    }

    async fn ask<T>(
        &self,
        by: Option<Initiator>,
        kind: impl FnOnce(oneshot::Sender<T>) -> CommandKind,
    ) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        let kind = kind(reply);
        let sent = self.commands.send(Command { by, kind }).await;
        sent.map_err(|_| SessionError::Closed)?;
        answer.await.map_err(|_| SessionError::Closed)
    }
}
