//! The session: the set of scenarios that run now, and the one task that may change it.
//!
//! An actor instead of a lock, for three reasons: a client that hangs up can only drop its end of a
//! reply, never leave a switch half done; a deadline, a run that ends by itself, a shut-down and a
//! command are arms of one `select!` and cannot interleave; and a run's timer and task are fields of
//! its slot and go when it goes, so that no timer can end a later run.
//!
//! Nothing waits for an end but who asked for it: a run that was told to end keeps its slot until all is
//! released (`actor/ending.rs`), and meanwhile others start and stop. Starts take turns: one waits for what it
//! takes the place of, and what concerns it waits for it.
//!
//! Whatever happens to a run is noted in the ledger, and a client is answered when the ledger has it on
//! disk; the actor itself never waits for that, so that no deadline is late because a disk is busy.
//!
//! ```text
//! Idle     => Starting (a checked start arrives)
//! Starting => Running (at least one started: commit) | Idle (none did, or the start was called off)
//! Running  => Running (a single start or stop, a run fails or expires, others live)
//! Running  => Stopping (a set start, stop-all, the last run ends, shut-down)
//! Stopping => Starting (replaced) | Idle | Closed (shut-down)
//! ```

mod actor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::terms::Terms;
use super::view::{StartReport, View};
use crate::fault::table::FaultTable;
use crate::plugin::{Plan, Services};
use crate::run::Initiator;
use crate::run::Timestamp;
use actor::Actor;

/// Commands that may wait for the actor; more than any sane number of clients.
const MAILBOX: usize = 1024;

/// One checked start with the time after which it ends by itself.
#[derive(Debug)]
pub(crate) struct PlannedRun {
    /// What to start.
    pub plan: Plan,
    /// None means until stopped.
    pub duration: Option<Duration>,
    /// Whether the duration is the configuration's and not the request's.
    pub is_default_duration: bool,
}

/// Why a command got no answer of its own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SessionError {
    /// None of the scenarios could start; the report says why for each.
    NothingStarted(StartReport),
    /// As many scenarios run as may at once.
    NoRoom(usize),
    /// No start is taken since then.
    Halted(Timestamp),
    /// No session lives, or it has no lease.
    NoLease,
    /// The daemon is ending.
    Closed,
}

/// Starts that are to come by themselves, by scenario. One is cancelled when a command ends or replaces
/// what it would start; from then on it is refused.
pub(crate) type Onsets = BTreeMap<&'static str, CancellationToken>;

/// Whether `name` may start beside what is `running`, where `most` may run at once.
///
/// # Errors
/// [`SessionError::NoRoom`].
pub(crate) fn check_room(
    running: impl Iterator<Item = &'static str>,
    name: &str,
    most: Option<usize>,
) -> Result<(), SessionError> {
    let others = running.filter(|running| *running != name).count();
    match most {
        Some(most) if others >= most => Err(SessionError::NoRoom(most)),
        _ => Ok(()),
    }
}

/// The answer to a halt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Halted {
    /// Since when no start is taken.
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
    /// When it ends now unless it is renewed again.
    pub lease_expires_at: Timestamp,
}

type StartReply = oneshot::Sender<Result<StartReport, SessionError>>;

/// A command and who gave it, where that is known.
#[derive(Debug)]
struct Order {
    by: Option<Initiator>,
    command: Command,
}

impl Order {
    /// Whether this is one of `onsets` that was called off: it will be refused.
    fn is_void(&self, onsets: &Onsets) -> bool {
        let (Some(Initiator::Boot), Command::StartOne(run, ..)) = (self.by, &self.command) else {
            return false;
        };
        let onset = onsets.get(run.plan.name);
        onset.is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether this order makes it pointless to go on starting `name`.
    fn calls_off(&self, name: &str, onsets: &Onsets) -> bool {
        self.command.calls_off(name) && !self.is_void(onsets)
    }
}

#[derive(Debug)]
enum Command {
    /// Ends what runs, then starts these as a new session.
    StartSet(Vec<PlannedRun>, Terms, StartReply),
    /// Adds one to what runs, in place of its own earlier run if there is one, unless so many run already.
    StartOne(Box<PlannedRun>, Terms, StartReply),
    StopOne(&'static str, oneshot::Sender<()>),
    StopAll(oneshot::Sender<Vec<&'static str>>),
    /// Ends what runs and refuses every start.
    Halt(oneshot::Sender<Halted>),
    /// Takes starts again.
    Rearm(oneshot::Sender<()>),
    /// Only answers, in its turn.
    Settle(oneshot::Sender<()>),
}

impl Command {
    /// Whether this command makes it pointless to go on starting `name`.
    fn calls_off(&self, name: &str) -> bool {
        match self {
            Self::StartSet(..) | Self::StopAll(_) | Self::Halt(_) => true,
            Self::Rearm(_) | Self::Settle(_) => false,
            Self::StopOne(stopped, _) => *stopped == name,
            Self::StartOne(run, ..) => run.plan.name == name,
        }
    }
}

/// A handle to the session actor; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SessionManager {
    commands: mpsc::Sender<Order>,
    view: watch::Receiver<Arc<View>>,
}

impl SessionManager {
    /// Starts the actor on the current runtime. It lives until `root` is cancelled; then it ends
    /// every run, answers no more and completes the returned task. It cancels those of `onsets` that a
    /// command makes pointless.
    pub(crate) fn spawn(
        services: Arc<Services>,
        table: FaultTable,
        root: CancellationToken,
        onsets: Onsets,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (commands, mailbox) = mpsc::channel(MAILBOX);
        let (publish, view) = watch::channel(Arc::new(View::default()));
        let actor = Actor::new(services, table, root, onsets, mailbox, publish);
        (Self { commands, view }, tokio::spawn(actor.run()))
    }

    /// What runs now. Never waits.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Replaces everything that runs by `runs`, for `by`.
    ///
    /// # Errors
    /// [`SessionError::NothingStarted`] when none could start, [`SessionError::Closed`] at the end.
    ///
    /// # Cancel safety
    /// Once polled to the actor, dropping this future changes nothing: the switch is carried through.
    pub(crate) async fn start_set(
        &self,
        runs: Vec<PlannedRun>,
        terms: Terms,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.ask(by, |reply| Command::StartSet(runs, terms, reply))
            .await?
    }

    /// Adds `run` to what runs; its `terms` join those of the session. Cancel safety as
    /// [`SessionManager::start_set`].
    ///
    /// # Errors
    /// As [`SessionManager::start_set`], and [`SessionError::NoRoom`].
    pub(crate) async fn start_one(
        &self,
        run: PlannedRun,
        terms: Terms,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.ask(by, |reply| Command::StartOne(Box::new(run), terms, reply))
            .await?
    }

    /// Ends the run of `name`, if there is one; answers when its effect is gone.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub(crate) async fn stop_one(
        &self,
        name: &'static str,
        by: Option<Initiator>,
    ) -> Result<(), SessionError> {
        self.ask(by, |reply| Command::StopOne(name, reply)).await
    }

    /// Ends everything; answers with the names when all effects are gone.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub(crate) async fn stop_all(
        &self,
        by: Option<Initiator>,
    ) -> Result<Vec<&'static str>, SessionError> {
        self.ask(by, Command::StopAll).await
    }

    /// Ends everything and refuses every start from now on; answers when all effects are gone.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub(crate) async fn halt(&self, by: Option<Initiator>) -> Result<Halted, SessionError> {
        self.ask(by, Command::Halt).await
    }

    /// Takes starts again.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub(crate) async fn rearm(&self, by: Option<Initiator>) -> Result<(), SessionError> {
        self.ask(by, Command::Rearm).await
    }

    /// Waits until every start that was asked for before is done.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub(crate) async fn settled(&self) -> Result<(), SessionError> {
        self.ask(None, Command::Settle).await
    }

    /// Prolongs the lease of the live session. Never waits for the actor.
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
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, SessionError> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        self.commands
            .send(Order { by, command })
            .await
            .map_err(|_| SessionError::Closed)?;
        answer.await.map_err(|_| SessionError::Closed)
    }
}

#[cfg(test)]
mod tests;
