//! The session: the set of scenarios that run now, and the one task that may change it.
//!
//! An actor instead of a lock, for three reasons: a client that hangs up can only drop its end of a
//! reply, never leave a switch half done; a deadline, a run that ends by itself, a shut-down and a
//! command are arms of one `select!` and cannot interleave; and a run's timer and task are fields of
//! its slot and go when it goes, so that no timer can end a later run.
//!
//! Nothing waits for an end but who asked for it: a run that was told to end keeps its slot until all is
//! released (`ending.rs`), and meanwhile others start and stop. Starts take turns: one waits for what it
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

mod ending;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use ending::{Answer, Ending, Wait};

use super::abort::{AbortWhen, Measured, ProbeWatch, available_memory_mb};
use super::lease::Lease;
use super::terms::Terms;
use super::view::{
    Detail, Effect, EndReason, LatestRun, Run, RunEnd, SessionStatus, StartReport, Timestamp, View,
};
use crate::fault::table::{Armed, FaultTable};
use crate::ledger::Ledger;
use crate::ledger::event::{Asker, Draft, Kind, RunTag};
use crate::ledger::phase::Phase;
use crate::plugin::guard::panic_text;
use crate::plugin::{Exit, Host, Plan, Probe, RunContext, Shortfall, Staging};

/// How long a scenario may take to start before its start counts as failed.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How long a start is left alone before a later command may call it off: of two clients that start at
/// once, both succeed, one after the other.
const CALL_OFF_AFTER: Duration = Duration::from_millis(200);
/// How long a run that was told to end may take before it is aborted. Long, because a stop answers when
/// the effect is gone, and the threads of a run cannot be hurried: tens of millions of tasks, or a sync
/// on a disk that is busy, take their seconds.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// The same when the daemon ends: it must be gone within two seconds, draining included.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);
/// How long an aborted run may take to be dropped; only code that blocks can use it up.
const ABORT_GRACE: Duration = Duration::from_millis(500);
/// How long the daemon's end waits for the ledger's last sync, and for the answers that wait for it.
const LAST_SYNC: Duration = Duration::from_millis(300);
/// How often the effect of running scenarios is looked at.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);
/// Commands that may wait for the actor; more than any sane number of clients.
const MAILBOX: usize = 1024;

/// One checked start with the time after which it ends by itself.
#[derive(Debug)]
pub struct PlannedRun {
    /// What to start.
    pub plan: Plan,
    /// None means until stopped.
    pub duration: Option<Duration>,
    /// Whether the duration is the configuration's and not the request's.
    pub is_default_duration: bool,
}

/// Why a command got no answer of its own.
#[derive(Debug, Clone, PartialEq)]
pub enum SessionError {
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
pub type Onsets = BTreeMap<&'static str, CancellationToken>;

/// Whether `name` may start beside what is `running`, where `most` may run at once.
///
/// # Errors
/// [`SessionError::NoRoom`].
pub fn check_room(
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
pub struct Halted {
    /// Since when no start is taken.
    pub since: Timestamp,
    /// The scenarios that ran.
    pub stopped: Vec<&'static str>,
}

/// The answer to a renewal.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Renewed {
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
    by: Option<Asker>,
    command: Command,
}

impl Order {
    /// Whether this is one of `onsets` that was called off: it will be refused.
    fn is_void(&self, onsets: &Onsets) -> bool {
        let (Some(Asker::Boot), Command::StartOne(run, ..)) = (self.by, &self.command) else {
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
pub struct SessionManager {
    commands: mpsc::Sender<Order>,
    view: watch::Receiver<Arc<View>>,
}

impl SessionManager {
    /// Starts the actor on the current runtime. It lives until `root` is cancelled; then it ends
    /// every run, answers no more and completes the returned task. It cancels those of `onsets` that a
    /// command makes pointless.
    pub fn spawn(
        host: Arc<Host>,
        table: FaultTable,
        root: CancellationToken,
        onsets: Onsets,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (commands, mailbox) = mpsc::channel(MAILBOX);
        let (publish, view) = watch::channel(Arc::new(View::default()));
        let actor = Actor {
            host,
            table,
            root,
            onsets,
            mailbox,
            backlog: VecDeque::new(),
            pending: None,
            waits: Vec::new(),
            tasks: JoinSet::new(),
            answers: JoinSet::new(),
            session: None,
            halted_since: None,
            latest: BTreeMap::new(),
            ended: BTreeMap::new(),
            last_id: 0,
            publish,
        };
        (Self { commands, view }, tokio::spawn(actor.run()))
    }

    /// What runs now. Never waits.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// Replaces everything that runs by `runs`, for `by`.
    ///
    /// # Errors
    /// [`SessionError::NothingStarted`] when none could start, [`SessionError::Closed`] at the end.
    ///
    /// # Cancel safety
    /// Once polled to the actor, dropping this future changes nothing: the switch is carried through.
    pub async fn start_set(
        &self,
        runs: Vec<PlannedRun>,
        terms: Terms,
        by: Option<Asker>,
    ) -> Result<StartReport, SessionError> {
        self.ask(by, |reply| Command::StartSet(runs, terms, reply))
            .await?
    }

    /// Adds `run` to what runs; its `terms` join those of the session. Cancel safety as
    /// [`SessionManager::start_set`].
    ///
    /// # Errors
    /// As [`SessionManager::start_set`], and [`SessionError::NoRoom`].
    pub async fn start_one(
        &self,
        run: PlannedRun,
        terms: Terms,
        by: Option<Asker>,
    ) -> Result<StartReport, SessionError> {
        self.ask(by, |reply| Command::StartOne(Box::new(run), terms, reply))
            .await?
    }

    /// Ends the run of `name`, if there is one; answers when its effect is gone.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub async fn stop_one(
        &self,
        name: &'static str,
        by: Option<Asker>,
    ) -> Result<(), SessionError> {
        self.ask(by, |reply| Command::StopOne(name, reply)).await
    }

    /// Ends everything; answers with the names when all effects are gone.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub async fn stop_all(&self, by: Option<Asker>) -> Result<Vec<&'static str>, SessionError> {
        self.ask(by, Command::StopAll).await
    }

    /// Ends everything and refuses every start from now on; answers when all effects are gone.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub async fn halt(&self, by: Option<Asker>) -> Result<Halted, SessionError> {
        self.ask(by, Command::Halt).await
    }

    /// Takes starts again.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub async fn rearm(&self, by: Option<Asker>) -> Result<(), SessionError> {
        self.ask(by, Command::Rearm).await
    }

    /// Waits until every start that was asked for before is done.
    ///
    /// # Errors
    /// [`SessionError::Closed`] at the daemon's end.
    pub async fn settled(&self) -> Result<(), SessionError> {
        self.ask(None, Command::Settle).await
    }

    /// Prolongs the lease of the live session. Never waits for the actor.
    ///
    /// # Errors
    /// [`SessionError::NoLease`].
    pub fn renew(&self) -> Result<Renewed, SessionError> {
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
        by: Option<Asker>,
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

#[derive(Debug)]
struct Session {
    id: String,
    started_at: Timestamp,
    /// One for each scenario that was asked for and is not stopped or expired since.
    details: Vec<Detail>,
    slots: Vec<Slot>,
    lease: Option<Lease>,
    abort_when: AbortWhen,
    /// There while the probe is among what is watched.
    probe_watch: Option<ProbeWatch>,
}

impl Session {
    /// Ends by itself as `terms` say too; a lease takes the place of the one before.
    fn join(&mut self, terms: Terms, host: &Arc<Host>) {
        self.lease = terms.lease.map(Lease::new).or(self.lease.take());
        self.abort_when.join(terms.abort_when);
        if self.abort_when.probe_failing_for_s.is_some() && self.probe_watch.is_none() {
            self.probe_watch = Some(ProbeWatch::begin(Arc::clone(host)));
        }
    }
}

/// A live run.
#[derive(Debug)]
struct Slot {
    run: Arc<Run>,
    task: AbortHandle,
    stop: CancellationToken,
    deadline: Option<Instant>,
    armed: Vec<Arc<Armed>>,
    phase: Phase,
    /// There once it was told to end.
    ending: Option<Ending>,
}

impl Slot {
    /// Whether nobody told it to end yet.
    fn is_live(&self) -> bool {
        self.ending.is_none()
    }

    /// Looks at the effect, and notes what it has come to.
    fn observe(&mut self, ledger: &Ledger) -> Effect {
        let effect = self.run.observe();
        let reading = &effect.reading;
        let target = self.run.probe.target().unwrap_or(reading.asked);
        for kind in self.phase.step(target, reading.achieved) {
            ledger.note(Draft::of(kind, &self.run.tag()).effect(reading, &*self.run.probe));
        }
        effect
    }
}

/// A run that was taken up and is in the ledger, not started yet.
struct Accepted {
    tag: RunTag,
    run: PlannedRun,
}

/// A start that waits until all that it takes the place of is gone.
struct Pending {
    id: String,
    runs: Vec<Accepted>,
    terms: Terms,
    reply: StartReply,
    /// The tasks that it waits for.
    on: Vec<Id>,
    since: Instant,
}

impl Pending {
    fn new(id: String, runs: Vec<Accepted>, terms: Terms, reply: StartReply, on: Vec<Id>) -> Self {
        Self {
            id,
            runs,
            terms,
            reply,
            on,
            since: Instant::now(),
        }
    }

    fn starts(&self, name: &str) -> bool {
        self.runs.iter().any(|run| run.tag.scenario == name)
    }
}

/// A run on its way up.
struct Launch {
    tag: RunTag,
    params: Map<String, Value>,
    duration: Option<Duration>,
    is_default_duration: bool,
    task: AbortHandle,
    stop: CancellationToken,
    begun: CancellationToken,
    faults: Staging,
    ready: oneshot::Receiver<Ready>,
}

type Ready = (Arc<dyn Probe>, Option<String>);
/// Why runs are ended, who asked for it, and the reason in words where there is more to say.
#[derive(Debug, Clone)]
struct Cause {
    reason: EndReason,
    by: Option<Asker>,
    because: Option<String>,
}

impl Cause {
    /// Somebody asked for it.
    fn asked(reason: EndReason, by: Option<Asker>) -> Self {
        Self {
            reason,
            by,
            because: None,
        }
    }

    /// It came by itself.
    fn itself(reason: EndReason, because: Option<String>) -> Self {
        Self {
            reason,
            by: None,
            because,
        }
    }
}

type TaskEnd = Result<(Id, Exit), JoinError>;

struct Actor {
    host: Arc<Host>,
    table: FaultTable,
    root: CancellationToken,
    onsets: Onsets,
    mailbox: mpsc::Receiver<Order>,
    /// Commands that arrived while a start was under way, oldest first.
    backlog: VecDeque<Order>,
    pending: Option<Pending>,
    /// Answers that wait for the end of runs.
    waits: Vec<Wait>,
    /// One task for each live run, from its start to its release.
    tasks: JoinSet<Exit>,
    /// Answers that wait for the ledger.
    answers: JoinSet<()>,
    session: Option<Session>,
    /// Since when no start is taken.
    halted_since: Option<Timestamp>,
    latest: BTreeMap<&'static str, LatestRun>,
    ended: BTreeMap<(&'static str, EndReason), u64>,
    last_id: u64,
    publish: watch::Sender<Arc<View>>,
}

impl Actor {
    async fn run(mut self) {
        // Should the actor ever panic, everything ends: a daemon that could start faults and stop none
        // is worse than one that is gone.
        let _ends_all = self.root.clone().drop_guard();
        let mut observe = tokio::time::interval(OBSERVE_EVERY);
        observe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.root.is_cancelled() {
            if let Some(pending) = self.pending.take_if(|pending| pending.on.is_empty()) {
                self.start(pending).await;
                continue;
            }
            if self.pending.is_none()
                && let Some(order) = self.backlog.pop_front()
            {
                self.handle(order);
                continue;
            }
            let live = self.session.is_some();
            let (deadline, give_up) = (self.next_deadline(), self.next_give_up());
            let lease_end = self.lease().map(Lease::ends);
            let call_off = self.pending_call_off();
            tokio::select! {
                biased;
                () = self.root.cancelled() => break,
                () = at(deadline) => self.expire(),
                () = at(lease_end) => self.expire_lease(),
                () = at(give_up) => self.give_up(),
                () = at(call_off) => self.call_off("the start was called off by a later request"),
                Some(end) = self.tasks.join_next_with_id() => self.ended(end),
                order = self.mailbox.recv() => match order {
                    Some(order) => self.take_in(order),
                    None => break,
                },
                _ = observe.tick(), if live => self.observe(),
                // Only to forget it.
                Some(_) = self.answers.join_next() => {}
            }
        }
        // Whoever still waits in the mailbox hears that the daemon is closed, by the dropped reply.
        self.mailbox.close();
        self.call_off("the daemon is shutting down");
        let shutdown = Cause::itself(EndReason::Shutdown, None);
        self.begin_end(|_| true, &shutdown, SHUTDOWN_GRACE);
        self.hurry(SHUTDOWN_GRACE);
        while let Some(give_up) = self.next_give_up() {
            tokio::select! {
                biased;
                Some(end) = self.tasks.join_next_with_id() => self.ended(end),
                () = sleep_until(give_up) => self.give_up(),
            }
        }
        let ledger = &self.host.ledger;
        ledger.note(Draft::new(Kind::Shutdown));
        ledger.synced_within(LAST_SYNC).await;
        ledger.close();
        let answered = async { while self.answers.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_SYNC, answered).await.is_err() {
            warn!("The last answers are not waited for.");
        }
    }

    /// Handles an order, or puts it off while a start waits for what it takes the place of: all that
    /// could concern that start, or an order before it, keeps its turn.
    fn take_in(&mut self, order: Order) {
        let can_go_before = match (&self.pending, &order.command) {
            (None, _) => true,
            (Some(pending), Command::StopOne(name, _)) => {
                !pending.starts(name) && !self.is_called_off(name)
            }
            _ => false,
        };
        if can_go_before {
            self.handle(order);
        } else {
            self.backlog.push_back(order);
        }
    }

    fn handle(&mut self, order: Order) {
        if order.is_void(&self.onsets) {
            // It was called off on its way here: the dropped reply says so.
            return;
        }
        if let Some(refusal) = self.refusal(&order.command) {
            return self.refuse(order.command, refusal);
        }
        let Order { by, command } = order;
        self.call_off_onsets(by, &command);
        let replaced = Cause::asked(EndReason::Replaced, by);
        let stopped = Cause::asked(EndReason::Stopped, by);
        match command {
            Command::StartSet(runs, terms, reply) => {
                let id = self.next_id();
                let runs = self.accept(&id, runs, by);
                self.begin_end(|_| true, &replaced, STOP_GRACE);
                let on = self.ending(|_| true);
                self.pending = Some(Pending::new(id, runs, terms, reply, on));
            }
            Command::StartOne(run, terms, reply) => {
                let name = run.plan.name;
                // A session goes on even if its only run is replaced; one that is ending does not.
                let lives = |session: &&Session| session.slots.iter().any(Slot::is_live);
                let joined = self.session.as_ref().filter(lives);
                let joined = joined.map(|session| session.id.clone());
                let joins = joined.is_some();
                let id = joined.unwrap_or_else(|| self.next_id());
                let runs = self.accept(&id, vec![*run], by);
                self.begin_end(|slot| slot.run.name == name, &replaced, STOP_GRACE);
                let on = self.ending(|slot| !joins || slot.run.name == name);
                self.pending = Some(Pending::new(id, runs, terms, reply, on));
            }
            Command::StopOne(name, reply) => {
                self.begin_end(|slot| slot.run.name == name, &stopped, STOP_GRACE);
                let on = self.ending(|slot| slot.run.name == name);
                if on.is_empty()
                    && let Some(session) = &mut self.session
                {
                    // It may have failed: a stop clears what is told of it.
                    session.details.retain(|known| known.name != name);
                    self.settle();
                }
                self.answer_after(on, Answer::Stopped(reply));
            }
            Command::StopAll(reply) => {
                let names = self.begin_end(|_| true, &stopped, STOP_GRACE);
                let on = self.ending(|_| true);
                self.answer_after(on, Answer::AllStopped(reply, names));
            }
            Command::Halt(reply) => {
                let since = match self.halted_since {
                    Some(since) => since,
                    None => {
                        warn!(
                            by = by.map(tracing::field::display),
                            "Halted: no start is taken."
                        );
                        self.host.ledger.note(Draft::new(Kind::Halted).by(by));
                        Timestamp::now()
                    }
                };
                self.halted_since = Some(since);
                let stopped = self.begin_end(|_| true, &stopped, STOP_GRACE);
                self.show();
                let on = self.ending(|_| true);
                self.answer_after(on, Answer::Halted(reply, Halted { since, stopped }));
            }
            Command::Rearm(reply) => {
                if self.halted_since.take().is_some() {
                    info!(
                        by = by.map(tracing::field::display),
                        "Rearmed: starts are taken."
                    );
                    self.host.ledger.note(Draft::new(Kind::Rearmed).by(by));
                    self.show();
                }
                self.answer(reply, ());
            }
            Command::Settle(reply) => drop(reply.send(())),
        }
    }

    /// Why no start is made of `command`, where it asks for one that cannot be.
    fn refusal(&self, command: &Command) -> Option<SessionError> {
        let (Command::StartSet(..) | Command::StartOne(..)) = command else {
            return None;
        };
        if let Some(since) = self.halted_since {
            return Some(SessionError::Halted(since));
        }
        let Command::StartOne(run, terms, _) = command else {
            return None;
        };
        let slots = self.session.iter().flat_map(|session| &session.slots);
        let running = slots.map(|slot| slot.run.name);
        check_room(running, run.plan.name, terms.most_at_once).err()
    }

    /// Answers a start with why it is refused; nothing else changes.
    fn refuse(&mut self, command: Command, why: SessionError) {
        if let Command::StartSet(_, _, reply) | Command::StartOne(_, _, reply) = command {
            self.answer(reply, Err(why));
        }
    }

    /// Calls off the onsets that `command` makes pointless, if it is a client's.
    fn call_off_onsets(&self, by: Option<Asker>, command: &Command) {
        if by == Some(Asker::Boot) {
            return;
        }
        let onsets = self.onsets.iter();
        for (_, onset) in onsets.filter(|(name, _)| command.calls_off(name)) {
            onset.cancel();
        }
    }

    /// Whether an order that waits makes it pointless to go on starting `name`.
    fn is_called_off(&self, name: &str) -> bool {
        let mut waiting = self.backlog.iter();
        waiting.any(|order| order.calls_off(name, &self.onsets))
    }

    /// Answers as soon as the ledger has on disk what the answer tells of.
    fn answer<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        let ledger = self.host.ledger.clone();
        self.answers.spawn(async move {
            ledger.synced().await;
            // A client may have hung up; what it asked for is done all the same.
            reply.send(answer).ok();
        });
    }

    // === Starting ===

    /// Notes that `runs` were taken up, which gives each its name in the ledger.
    fn accept(&self, id: &str, runs: Vec<PlannedRun>, by: Option<Asker>) -> Vec<Accepted> {
        let accept = |run: PlannedRun| {
            let mut tag = RunTag {
                session_id: id.to_owned(),
                run_id: 0,
                scenario: run.plan.name,
            };
            let mut draft = Draft::of(Kind::Accepted, &tag)
                .by(by)
                .duration(run.duration);
            draft.event.params = Some(run.plan.params.clone());
            tag.run_id = self.host.ledger.note(draft);
            Accepted { tag, run }
        };
        runs.into_iter().map(accept).collect()
    }

    /// When the start that waits is called off: after a time in which it is left alone, once each of
    /// its runs is made pointless by an order after it.
    fn pending_call_off(&self) -> Option<Instant> {
        let pending = self.pending.as_ref()?;
        let pointless = |run: &Accepted| {
            let name = run.tag.scenario;
            self.is_called_off(name)
        };
        let all = pending.runs.iter().all(pointless);
        all.then_some(pending.since + CALL_OFF_AFTER)
    }

    /// Fails the start that waits, if there is one.
    fn call_off(&mut self, reason: &str) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let failed = |Accepted { tag, .. }: &Accepted| {
            let failed = Draft::of(Kind::Failed, tag).error(Some(reason.to_owned()));
            self.host.ledger.note(failed);
            warn!(session = %tag.session_id, scenario = tag.scenario, reason, "Scenario failed to start.");
            Detail {
                name: tag.scenario,
                success: false,
                error: Some(reason.to_owned()),
                warning: None,
                duration_s: None,
            }
        };
        let details = pending.runs.iter().map(failed).collect();
        self.settle();
        if !self.root.is_cancelled() {
            let report = StartReport::new(pending.id, details);
            self.answer(pending.reply, Err(SessionError::NothingStarted(report)));
        }
    }

    /// Starts what was waiting, commits the runs that come up and answers.
    async fn start(&mut self, pending: Pending) {
        let Pending {
            id,
            runs,
            terms,
            reply,
            ..
        } = pending;
        let outcome = self.start_and_commit(id, runs, terms).await;
        self.settle();
        if outcome.is_err() && self.root.is_cancelled() {
            // Called off by the daemon's end: the dropped reply says so.
            return;
        }
        self.answer(reply, outcome);
    }

    /// Starts `runs` and makes those that come up part of the live session, or of a new one called
    /// `id`.
    async fn start_and_commit(
        &mut self,
        id: String,
        runs: Vec<Accepted>,
        terms: Terms,
    ) -> Result<StartReport, SessionError> {
        let lasting = runs.iter().filter_map(|run| run.run.duration).max();
        let launch = |run| self.launch(run, lasting);
        let mut launches: Vec<Launch> = runs.into_iter().map(launch).collect();
        let outcomes = self.await_ready(&mut launches).await;

        let longest = launches
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .filter_map(|(launch, _)| launch.duration)
            .max();
        // One moment for the whole set, so that all of it is shown to end together.
        let (now, began) = (Instant::now(), Timestamp::now());
        let (mut details, mut slots) = (Vec::new(), Vec::new());
        for (launch, outcome) in launches.into_iter().zip(outcomes) {
            let Launch { tag, params, .. } = launch;
            let name = tag.scenario;
            match outcome {
                Ok((probe, warning)) => {
                    info!(session = %id, scenario = name, params = json(&params),
                        duration_s = longest.map(|d| d.as_secs_f64()), "Scenario started.");
                    details.push(Detail {
                        name,
                        success: true,
                        error: None,
                        warning: warning.clone(),
                        duration_s: longest
                            .filter(|_| launch.is_default_duration)
                            .map(|longest| longest.as_secs_f64()),
                    });
                    let times = (began, longest);
                    let mut started = Draft::of(Kind::Started, &tag)
                        .duration(longest)
                        .effect(&probe.read(), &*probe);
                    started.event.warning.clone_from(&warning);
                    self.host.ledger.note(started);
                    launch.begun.cancel();
                    let run = Run::begun(tag, params, times, (probe, warning));
                    let arm =
                        |(fault, tally)| Arc::new(Armed::new(fault, tally, launch.stop.clone()));
                    slots.push(Slot {
                        run: Arc::new(run),
                        armed: launch.faults.take().into_iter().map(arm).collect(),
                        task: launch.task,
                        stop: launch.stop,
                        deadline: longest.map(|after| now + after),
                        phase: Phase::default(),
                        ending: None,
                    });
                }
                Err(reason) => {
                    warn!(session = %id, scenario = name, params = json(&params),
                        reason, "Scenario failed to start.");
                    let failed = Draft::of(Kind::Failed, &tag).error(Some(reason.clone()));
                    self.host.ledger.note(failed);
                    details.push(Detail {
                        name,
                        success: false,
                        error: Some(reason),
                        warning: None,
                        duration_s: None,
                    });
                }
            }
        }
        let report = StartReport::new(id, details);
        if report.scenarios.is_empty() {
            return Err(SessionError::NothingStarted(report));
        }
        self.commit(&report, slots, began, terms);
        Ok(report)
    }

    /// Sets one plan going in a task of its own, which is the run from its start to its release; its set
    /// ends by itself after `lasting`.
    fn launch(&mut self, Accepted { tag, run }: Accepted, lasting: Option<Duration>) -> Launch {
        let PlannedRun {
            plan,
            duration,
            is_default_duration,
        } = run;
        let (tell, ready) = oneshot::channel();
        let stop = self.root.child_token();
        let begun = CancellationToken::new();
        let faults = Staging::default();
        let params = plan.params.clone();
        let cx = RunContext {
            stop: stop.clone(),
            faults: faults.clone(),
            host: Arc::clone(&self.host),
            tag: tag.clone(),
            duration: lasting,
            begun: begun.clone(),
        };
        let task = self.tasks.spawn(drive(plan, cx, tell));
        Launch {
            tag,
            params,
            duration,
            is_default_duration,
            task,
            stop,
            begun,
            faults,
            ready,
        }
    }

    /// Waits until each launch is up or has failed; what failed is released when this returns.
    async fn await_ready(&mut self, launches: &mut [Launch]) -> Vec<Result<Ready, String>> {
        let launched = Instant::now();
        let mut outcomes = Vec::with_capacity(launches.len());
        for launch in launches.iter_mut() {
            let called_off = async {
                sleep_until(launched + CALL_OFF_AFTER).await;
                let (mailbox, backlog) = (&mut self.mailbox, &mut self.backlog);
                wait_called_off(launch.tag.scenario, mailbox, backlog, &self.onsets).await;
            };
            let outcome = tokio::select! {
                biased;
                ready = &mut launch.ready => ready.map_err(|_| None),
                () = self.root.cancelled() => Err(Some("the daemon is shutting down".to_owned())),
                () = called_off =>
                    Err(Some("the start was called off by a later request".to_owned())),
                () = sleep_until(launched + START_LIMIT) =>
                    Err(Some(format!("did not start within {} s", START_LIMIT.as_secs()))),
            };
            outcomes.push(outcome);
        }
        let failed: Vec<(AbortHandle, CancellationToken)> = launches
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_err())
            .map(|(launch, _)| (launch.task.clone(), launch.stop.clone()))
            .collect();
        let mut ends = self.release(&failed, STOP_GRACE).await;
        outcomes
            .into_iter()
            .zip(launches.iter())
            .map(|(outcome, launch)| {
                // One that was up may have ended while the others were waited for.
                let end = ends.remove(&launch.task.id());
                let why = |end| failure_of(end).unwrap_or_else(|| "ended by itself".to_owned());
                match (outcome, end) {
                    (Ok(_), Some(end)) | (Err(None), Some(end)) => Err(why(end)),
                    (Err(None), None) => Err("did not answer".to_owned()),
                    (Err(Some(reason)), _) => Err(reason),
                    (Ok(ready), None) => Ok(ready),
                }
            })
            .collect()
    }

    /// Makes `slots` part of the session: one store of the table, one published view.
    fn commit(&mut self, report: &StartReport, slots: Vec<Slot>, began: Timestamp, terms: Terms) {
        let session = self.session.get_or_insert_with(|| Session {
            id: report.session_id.clone(),
            started_at: began,
            details: Vec::new(),
            slots: Vec::new(),
            lease: None,
            abort_when: AbortWhen::default(),
            probe_watch: None,
        });
        session.join(terms, &self.host);
        for detail in &report.details {
            session.details.retain(|known| known.name != detail.name);
            session.details.push(detail.clone());
        }
        for slot in &slots {
            let latest = LatestRun {
                run: Arc::clone(&slot.run),
                end: None,
            };
            self.latest.insert(slot.run.name, latest);
        }
        session.slots.extend(slots);
    }

    /// Milliseconds since 1970, moved on when two fall together: increasing over a restart too.
    fn next_id(&mut self) -> String {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        self.last_id = now.max(self.last_id.saturating_add(1));
        format!("session-{}", self.last_id)
    }

    // === Ending ===

    fn end_all(&mut self, reason: EndReason, because: Option<String>) {
        self.begin_end(|_| true, &Cause::itself(reason, because), STOP_GRACE);
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let is_over = |slot: &Slot| slot.deadline.is_some_and(|at| at <= now);
        let expired = Cause::itself(EndReason::Expired, None);
        self.begin_end(is_over, &expired, STOP_GRACE);
    }

    fn expire_lease(&mut self) {
        // It may have been renewed in this very moment.
        if let Some(session) = &mut self.session
            && session.lease.take_if(|lease| lease.end_if_over()).is_some()
        {
            self.end_all(EndReason::LeaseExpired, None);
        }
    }

    fn lease(&self) -> Option<&Lease> {
        self.session.as_ref()?.lease.as_ref()
    }

    /// Cancels the tasks of launches and waits for them; after `grace` aborts those that still run.
    ///
    /// The ends returned are theirs and those of other launches that ended meanwhile: of every task that
    /// is in no slot.
    async fn release(
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
            let stopping = Draft::of(Kind::Stopping, &slot.run.tag()).reason(EndReason::Shutdown);
            let ledger = &self.host.ledger;
            ledger.note(stopping.effect(&effect.reading, &*slot.run.probe));
            self.note_gone(Kind::Cleared, &slot.run, EndReason::Shutdown, None);
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
        let failed = Draft::of(Kind::Failed, &slot.run.tag())
            .reason(EndReason::Failed)
            .error(Some(error.clone()))
            .effect(&effect.reading, &*slot.run.probe);
        self.host.ledger.note(failed);
        // Its task is over, and all that it held went with it.
        self.note_gone(Kind::Cleared, &slot.run, EndReason::Failed, None);
        let end = RunEnd {
            error: Some(error),
            ..RunEnd::now(EndReason::Failed, effect)
        };
        self.note_end(&slot.run, end);
        self.settle();
    }

    /// Notes what is left of a run that was taken off.
    fn note_gone(&self, kind: Kind, run: &Run, reason: EndReason, error: Option<String>) {
        let gone = Draft::of(kind, &run.tag()).reason(reason).error(error);
        let ledger = &self.host.ledger;
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
    fn settle(&mut self) {
        let pending = self.pending.as_ref();
        let is_over = |session: &mut Session| {
            session.slots.is_empty() && pending.is_none_or(|pending| pending.id != session.id)
        };
        if let Some(session) = self.session.take_if(is_over) {
            info!(session = %session.id, held = self.host.census.count(), "Session ended.");
        }
        self.show();
    }

    // === Showing ===

    fn store_faults(&self) {
        let slots = self.session.iter().flat_map(|session| &session.slots);
        let slots = slots.filter(|slot| slot.is_live());
        self.table
            .store(slots.flat_map(|slot| slot.armed.iter().cloned()).collect());
    }

    fn show(&self) {
        self.store_faults();
        let before = self.publish.borrow().session.clone();
        let session = self.session.as_ref().and_then(|session| {
            if !session.slots.iter().any(Slot::is_live) {
                // It ends as a whole, and is shown whole until all of it is gone.
                return before;
            }
            let names = session.slots.iter().map(|slot| slot.run.name).collect();
            let mut report = StartReport::new(session.id.clone(), session.details.clone());
            report.scenarios = names;
            let expiries = session.slots.iter().map(|slot| slot.run.expires_at);
            let expires_at = expiries
                .collect::<Option<Vec<_>>>()
                .and_then(|all| all.into_iter().max());
            Some(SessionStatus {
                report,
                started_at: session.started_at,
                expires_at,
                lease_expires_at: session.lease.as_ref().map(Lease::ends_at),
                abort_when: session.abort_when.clone(),
            })
        });
        let view = View {
            session,
            lease: self.lease().cloned(),
            halted_since: self.halted_since,
            latest: self.latest.clone(),
            ended: self.ended.clone(),
        };
        self.publish.send_replace(Arc::new(view));
    }

    /// Looks at what the runs achieve, and ends them where that was not to be.
    fn observe(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        let mut achieved = Vec::with_capacity(session.slots.len());
        for slot in session.slots.iter_mut().filter(|slot| slot.is_live()) {
            let effect = slot.observe(&self.host.ledger);
            let now = effect.reading.achieved;
            achieved.extend(now.map(|now| (slot.run.name, now)));
        }
        if session.abort_when.is_empty() || !session.slots.iter().any(Slot::is_live) {
            return;
        }
        let memory_matters = session.abort_when.memory_available_below_mb.is_some();
        let probe_watch = session.probe_watch.as_ref();
        let measured = Measured {
            memory_available_mb: memory_matters
                .then(|| available_memory_mb(&self.host.cgroup))
                .flatten(),
            probe_failing_for: probe_watch.and_then(ProbeWatch::failing_for),
            achieved,
        };
        if let Some(why) = session.abort_when.met(&measured) {
            warn!(session = %session.id, why, "Session aborts.");
            self.end_all(EndReason::Aborted, Some(why));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.session
            .iter()
            .flat_map(|s| &s.slots)
            .filter(|slot| slot.is_live())
            .filter_map(|slot| slot.deadline)
            .min()
    }
}

/// One run from its start to its release. Whatever happens to this task, dropping its future releases
/// what the run holds.
async fn drive(plan: Plan, cx: RunContext, ready: oneshot::Sender<Ready>) -> Exit {
    let stop = cx.stop.clone();
    let active = tokio::select! {
        biased;
        () = stop.cancelled() => return Exit::Stopped,
        started = plan.start(cx) => match started {
            Ok(active) => active,
            Err(error) => return Exit::Failed(error.to_string()),
        },
    };
    // Nobody hears it if the start was called off in this very moment; then the stop is given, and the
    // body ends as after any other.
    ready.send((active.probe, active.warning)).ok();
    active.body.await
}

/// Takes in commands while a start of `name` is under way, until one of them calls it off.
async fn wait_called_off(
    name: &str,
    mailbox: &mut mpsc::Receiver<Order>,
    backlog: &mut VecDeque<Order>,
    onsets: &Onsets,
) {
    while !backlog.iter().any(|order| order.calls_off(name, onsets)) {
        let Some(order) = mailbox.recv().await else {
            return std::future::pending().await;
        };
        backlog.push_back(order);
    }
}

/// How the ledger calls the beginning of an end.
fn ending_as(reason: EndReason) -> Kind {
    match reason {
        EndReason::Stopped | EndReason::Aborted | EndReason::LeaseExpired | EndReason::Shutdown => {
            Kind::Stopping
        }
        EndReason::Expired => Kind::Expired,
        EndReason::Replaced => Kind::Replaced,
        EndReason::Failed => Kind::Failed,
    }
}

/// Parameters as they stand in a log line.
fn json(params: &Map<String, Value>) -> String {
    serde_json::to_string(params).unwrap_or_default()
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn id_of(end: &TaskEnd) -> Id {
    match end {
        Ok((id, _)) => *id,
        Err(error) => error.id(),
    }
}

/// What went wrong in a task that ended, if anything did.
fn failure_of(end: TaskEnd) -> Option<String> {
    match end {
        Ok((_, Exit::Stopped)) => None,
        Ok((_, Exit::Failed(reason))) => Some(reason),
        Err(error) if error.is_panic() => {
            Some(format!("panicked: {}", panic_text(&*error.into_panic())))
        }
        Err(_) => Some("ignored its stop and was aborted".to_owned()),
    }
}

#[cfg(test)]
mod tests;
