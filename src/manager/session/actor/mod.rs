//! The one task that may change the session: it takes in commands, deadlines and ended runs, and publishes the result.

mod command;
mod ending;
mod progress;
mod publish;
mod starting;
mod waiting;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::views::Views;
use super::{Command, MAILBOX, Onsets, SessionManager};
use crate::fault::table::{ArmedFault, FaultTable};
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, LastReading, NewEvent};
use crate::manager::abort::AbortWhen;
use crate::manager::lease::Lease;
use crate::manager::probe_watch::ProbeWatch;
use crate::manager::report::Detail;
use crate::manager::run::{Effect, Run};
use crate::manager::view::View;
use crate::plugin::{Exit, Services};
use crate::run::{EndReason, Moment, Timestamp};
use ending::{ABORT_GRACE, Cause, SHUTDOWN_GRACE, Stopping};
use progress::EffectProgress;
use starting::PendingStart;
use waiting::WaitingRun;

/// How long the shutdown waits for the ledger's last sync, and for the answers that wait for it.
const LAST_SYNC: Duration = Duration::from_millis(300);
/// How often the effect of running scenarios is measured.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);
/// How long the last readings of the ledger may be out of date. Each takes CPU time that a small `cpu_burner` in a small
/// limit feels.
const KEEP_EVERY: Duration = Duration::from_millis(500);
const CALLED_OFF: &str = "the start was called off by a later request";
const SHUTTING_DOWN: &str = "the daemon is shutting down";

#[derive(Debug, Default)]
struct LiveSession {
    id: String,
    /// Its first event: the wall clock as it went then gives all its times.
    anchor: Moment,
    started_at: Timestamp,
    /// One for each requested scenario that has neither been stopped nor expired since.
    details: Vec<Detail>,
    runs: Vec<LiveRun>,
    /// The runs that are still to start.
    waiting: Vec<WaitingRun>,
    lease: Option<Lease>,
    abort_when: AbortWhen,
    /// Present while `abort_when` looks at the probe.
    probe_watch: Option<ProbeWatch>,
}

impl LiveSession {
    /// Whether any run is still to start, or is not stopping yet.
    fn is_live(&self) -> bool {
        !self.waiting.is_empty() || self.runs.iter().any(LiveRun::is_live)
    }
}

/// A run that has not released everything yet.
#[derive(Debug)]
struct LiveRun {
    run: Arc<Run>,
    task: Id,
    stop: CancellationToken,
    /// Cancelled when the run has released everything.
    released: CancellationToken,
    deadline: Option<Instant>,
    armed: Vec<Arc<ArmedFault>>,
    progress: EffectProgress,
    stopping: Option<Stopping>,
}

impl LiveRun {
    fn name(&self) -> &'static str {
        self.run.tag.scenario
    }

    /// Whether it is not stopping yet.
    fn is_live(&self) -> bool {
        self.stopping.is_none()
    }

    /// Measures the effect, and notes which phase it has reached.
    fn observe(&mut self, ledger: &Ledger) -> Effect {
        let (run, probe) = (&self.run, &*self.run.probe);
        let reading = probe.read();
        let mut effective_since = run.last_effect().effective_since;
        for kind in self.progress.update(&reading, probe) {
            let noted = ledger.note(NewEvent::of(kind, &run.tag).effect(&reading, probe));
            match kind {
                EventKind::Effective => effective_since = Some(run.time_of(noted.moment())),
                EventKind::Lost => effective_since = None,
                _ => {}
            }
        }
        let effect = Effect {
            reading,
            effective_since,
        };
        run.remember(effect.clone());
        effect
    }

    /// What the ledger keeps of `effect`, measured at `now`.
    fn last_reading(&self, effect: &Effect, now: Moment) -> LastReading {
        let (run, reading) = (&self.run, &effect.reading);
        LastReading::new(
            run.tag.run_id,
            run.time_of(now),
            reading,
            run.probe.target(),
            effect.effective_since,
        )
    }
}

type TaskEnd = Result<(Id, Exit), JoinError>;

struct Actor {
    services: Arc<Services>,
    table: FaultTable,
    root: CancellationToken,
    onsets: Onsets,
    mailbox: mpsc::Receiver<Command>,
    /// Commands that arrived while a start was under way, oldest first.
    backlog: VecDeque<Command>,
    pending: Option<PendingStart>,
    /// One task for each run, from its start to its release.
    tasks: JoinSet<Exit>,
    /// Answers that wait for released runs and for the ledger.
    answers: JoinSet<()>,
    session: Option<LiveSession>,
    /// When the ledger last got the readings of the runs.
    kept_at: Option<Instant>,
    last_id: u64,
    view: View,
    views: Arc<Views>,
}

impl SessionManager {
    /// Starts the actor on the current runtime. When `root` is cancelled, the actor ends every run, closes, and
    /// completes the returned task.
    pub(crate) fn spawn(
        services: Arc<Services>,
        table: FaultTable,
        root: CancellationToken,
        onsets: Onsets,
    ) -> (Self, JoinHandle<()>) {
        let (commands, mailbox) = mpsc::channel(MAILBOX);
        let views = Arc::new(Views::new(services.ledger.clone()));
        let actor = Actor {
            services,
            table,
            root,
            onsets,
            mailbox,
            backlog: VecDeque::new(),
            pending: None,
            tasks: JoinSet::new(),
            answers: JoinSet::new(),
            session: None,
            kept_at: None,
            last_id: 0,
            view: View::default(),
            views: Arc::clone(&views),
        };
        (Self { commands, views }, tokio::spawn(actor.run()))
    }
}

impl Actor {
    async fn run(mut self) {
        // If the actor ever panics, everything ends: a daemon that can start faults but not stop them is worse than
        // none.
        let _ends_all = self.root.clone().drop_guard();
        let mut observe = tokio::time::interval(OBSERVE_EVERY);
        observe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.root.is_cancelled() {
            // (Idle | Running | Stopping) => Starting => (Running | Idle): the runs to be replaced are gone.
            if let Some(pending) = self.pending.take_if(|pending| pending.is_due()) {
                self.start(pending).await;
                continue;
            }
            // The time of a planned run has come, and what it replaces is gone.
            if self.pending.is_none() {
                let ready = self.take_ready_onsets();
                if !ready.is_empty() {
                    self.start_onsets(ready).await;
                    continue;
                }
            }
            if self.pending.is_none()
                && let Some(command) = self.backlog.pop_front()
            {
                self.handle(command);
                continue;
            }
            let (deadline, due) = (self.next_deadline(), self.next_due());
            let lease_end = self.lease().map(Lease::ends);
            let call_off = self.pending_call_off();
            let (lives, onset) = (self.session.is_some(), self.next_onset());
            tokio::select! {
                biased;
                () = self.root.cancelled() => break,
                // Running => (Running | Stopping)
                () = at(deadline) => self.expire(),
                // Running => Stopping
                () = at(lease_end) => self.expire_lease(),
                // Running => Running: a planned run is due to start.
                () = at(onset) => self.begin_onsets(),
                // Starting => Idle
                () = at(call_off) => self.call_off(CALLED_OFF),
                // (Running | Stopping) => (Running | Stopping | Idle): a run failed, or has released everything.
                Some(end) = self.tasks.join_next_with_id() => self.task_ended(end),
                // Stopping => (Stopping | Idle): a run is late, or cannot even be aborted.
                () = at(due) => self.check_due(),
                command = self.mailbox.recv() => match command {
                    Some(command) => self.take_in(command),
                    None => break,
                },
                // Running => (Running | Stopping): a condition of `abort_when` may be met.
                _ = observe.tick(), if lives => self.observe(),
                Some(_) = self.answers.join_next() => {}
            }
        }
        self.shut_down().await;
    }

    /// Any state => Closed. Clients that still wait get [`super::SessionError::Closed`] as their replies are dropped.
    async fn shut_down(&mut self) {
        self.mailbox.close();
        self.call_off(SHUTTING_DOWN);
        self.end_all(&Cause::of(EndReason::Shutdown, None));
        self.settle();
        // First the tasks end by themselves, then they abort themselves. One after the other: a stall of the process
        // must not use up both at once.
        for grace in [SHUTDOWN_GRACE, ABORT_GRACE] {
            let release = async {
                while self.session.is_some()
                    && let Some(end) = self.tasks.join_next_with_id().await
                {
                    self.task_ended(end);
                }
            };
            if timeout(grace, release).await.is_ok() {
                break;
            }
        }
        self.give_up(self.live_runs().map(|run| run.task).collect());
        let ledger = &self.services.ledger;
        ledger.note(NewEvent::new(EventKind::Shutdown));
        ledger.synced_within(LAST_SYNC).await;
        ledger.close();
        let answered = async { while self.answers.join_next().await.is_some() {} };
        if timeout(LAST_SYNC, answered).await.is_err() {
            warn!("The ledger is too slow: shutting down without the last answers.");
        }
    }

    fn live_runs(&self) -> impl Iterator<Item = &LiveRun> {
        self.session.iter().flat_map(|session| &session.runs)
    }

    fn lease(&self) -> Option<&Lease> {
        self.session.as_ref()?.lease.as_ref()
    }
}

/// Parameters in a log line.
fn json(params: &Map<String, Value>) -> String {
    serde_json::to_string(params).unwrap_or_default()
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
