//! The one task that may change the session: takes in commands, deadlines and ends, and shows what is.

mod ending;
mod progress;
mod starting;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Command, Halted, Onsets, Order, SessionError, check_room};
use crate::fault::table::{ArmedFault, FaultTable};
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::manager::abort::{AbortWhen, Measured, ProbeWatch, available_memory_mb};
use crate::manager::lease::Lease;
use crate::manager::terms::Terms;
use crate::manager::view::{Detail, Effect, LatestRun, Run, SessionStatus, StartReport, View};
use crate::plugin::{Exit, Services};
use crate::run::EndReason;
use crate::run::Initiator;
use crate::run::Timestamp;
use ending::{Answer, Ending, SHUTDOWN_GRACE, STOP_GRACE, Wait};
use progress::EffectProgress;
use starting::Pending;

/// How long the daemon's end waits for the ledger's last sync, and for the answers that wait for it.
const LAST_SYNC: Duration = Duration::from_millis(300);
/// How often the effect of running scenarios is looked at.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);

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
    fn join(&mut self, terms: Terms, services: &Arc<Services>) {
        self.lease = terms.lease.map(Lease::new).or(self.lease.take());
        self.abort_when.join(terms.abort_when);
        if self.abort_when.probe_failing_for_s.is_some() && self.probe_watch.is_none() {
            self.probe_watch = Some(ProbeWatch::begin(Arc::clone(services)));
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
    armed: Vec<Arc<ArmedFault>>,
    progress: EffectProgress,
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
        for kind in self.progress.update(target, reading.achieved) {
            ledger.note(NewEvent::of(kind, &self.run.tag()).effect(reading, &*self.run.probe));
        }
        effect
    }
}

/// Why runs are ended, who asked for it, and the reason in words where there is more to say.
#[derive(Debug, Clone)]
struct Cause {
    reason: EndReason,
    by: Option<Initiator>,
    because: Option<String>,
}

impl Cause {
    /// Somebody asked for it.
    fn asked(reason: EndReason, by: Option<Initiator>) -> Self {
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

pub(super) struct Actor {
    services: Arc<Services>,
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
    /// An actor that runs nothing yet.
    pub(super) fn new(
        services: Arc<Services>,
        table: FaultTable,
        root: CancellationToken,
        onsets: Onsets,
        mailbox: mpsc::Receiver<Order>,
        publish: watch::Sender<Arc<View>>,
    ) -> Self {
        Self {
            services,
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
        }
    }

    /// Lives until the daemon ends.
    pub(super) async fn run(mut self) {
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
        let ledger = &self.services.ledger;
        ledger.note(NewEvent::new(EventKind::Shutdown));
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
                        self.services
                            .ledger
                            .note(NewEvent::new(EventKind::Halted).by(by));
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
                    self.services
                        .ledger
                        .note(NewEvent::new(EventKind::Rearmed).by(by));
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
    fn call_off_onsets(&self, by: Option<Initiator>, command: &Command) {
        if by == Some(Initiator::Boot) {
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
        let ledger = self.services.ledger.clone();
        self.answers.spawn(async move {
            ledger.synced().await;
            // A client may have hung up; what it asked for is done all the same.
            reply.send(answer).ok();
        });
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
            let effect = slot.observe(&self.services.ledger);
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
                .then(|| available_memory_mb(&self.services.cgroup))
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
