//! How runs start: what was accepted waits until what it takes the place of is gone, then is launched,
//! waited for and made part of the session.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, Id};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ending::{STOP_GRACE, failure_of};
use super::progress::EffectProgress;
use super::{Actor, Session, Slot, json};
use crate::fault::table::ArmedFault;
use crate::ledger::event::{EventKind, NewEvent};
use crate::manager::abort::AbortWhen;
use crate::manager::session::{Onsets, Order, PlannedRun, SessionError, StartReply};
use crate::manager::terms::Terms;
use crate::manager::view::{Detail, LatestRun, Run, StartReport};
use crate::plugin::{Exit, Launch, Plan, Probe, RunContext};
use crate::run::Timestamp;
use crate::run::{Initiator, RunTag};

/// How long a scenario may take to start before its start counts as failed.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How long a start is left alone before a later command may call it off: of two clients that start at
/// once, both succeed, one after the other.
const CALL_OFF_AFTER: Duration = Duration::from_millis(200);

/// A run that was taken up and is in the ledger, not started yet.
pub(super) struct Accepted {
    tag: RunTag,
    run: PlannedRun,
}

/// A start that waits until all that it takes the place of is gone.
pub(super) struct Pending {
    pub(super) id: String,
    runs: Vec<Accepted>,
    terms: Terms,
    reply: StartReply,
    /// The tasks that it waits for.
    pub(super) on: Vec<Id>,
    since: Instant,
}

impl Pending {
    pub(super) fn new(
        id: String,
        runs: Vec<Accepted>,
        terms: Terms,
        reply: StartReply,
        on: Vec<Id>,
    ) -> Self {
        Self {
            id,
            runs,
            terms,
            reply,
            on,
            since: Instant::now(),
        }
    }

    pub(super) fn starts(&self, name: &str) -> bool {
        self.runs.iter().any(|run| run.tag.scenario == name)
    }
}

/// When a set came up, and after what time all of it ends by itself.
#[derive(Clone, Copy)]
struct Began {
    now: Instant,
    at: Timestamp,
    longest: Option<Duration>,
}

/// A run on its way up.
struct StartingRun {
    tag: RunTag,
    params: Map<String, Value>,
    duration: Option<Duration>,
    is_default_duration: bool,
    task: AbortHandle,
    launch: Launch,
    ready: oneshot::Receiver<Ready>,
}

type Ready = (Arc<dyn Probe>, Option<String>);

impl Actor {
    /// Notes that `runs` were taken up, which gives each its name in the ledger.
    pub(super) fn accept(
        &self,
        id: &str,
        runs: Vec<PlannedRun>,
        by: Option<Initiator>,
    ) -> Vec<Accepted> {
        let accept = |run: PlannedRun| {
            let mut tag = RunTag {
                session_id: id.to_owned(),
                run_id: 0,
                scenario: run.plan.name,
            };
            let accepted = NewEvent::of(EventKind::Accepted, &tag)
                .by(by)
                .duration(run.duration)
                .params(run.plan.params.clone());
            tag.run_id = self.services.ledger.note(accepted);
            Accepted { tag, run }
        };
        runs.into_iter().map(accept).collect()
    }

    /// When the start that waits is called off: after a time in which it is left alone, once each of
    /// its runs is made pointless by an order after it.
    pub(super) fn pending_call_off(&self) -> Option<Instant> {
        let pending = self.pending.as_ref()?;
        let pointless = |run: &Accepted| {
            let name = run.tag.scenario;
            self.is_called_off(name)
        };
        let all = pending.runs.iter().all(pointless);
        all.then_some(pending.since + CALL_OFF_AFTER)
    }

    /// Fails the start that waits, if there is one.
    pub(super) fn call_off(&mut self, reason: &str) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let failed = |run: &Accepted| self.failed_to_start(&run.tag, None, reason.to_owned());
        let details = pending.runs.iter().map(failed).collect();
        self.settle();
        if !self.root.is_cancelled() {
            let report = StartReport::new(pending.id, details);
            self.answer(pending.reply, Err(SessionError::NothingStarted(report)));
        }
    }

    /// Starts what was waiting, commits the runs that come up and answers.
    pub(super) async fn start(&mut self, pending: Pending) {
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
        let mut launches: Vec<StartingRun> = runs.into_iter().map(launch).collect();
        let outcomes = self.await_ready(&mut launches).await;

        let longest = launches
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| outcome.is_ok())
            .filter_map(|(launch, _)| launch.duration)
            .max();
        // One moment for the whole set, so that all of it is shown to end together.
        let began = Began {
            now: Instant::now(),
            at: Timestamp::now(),
            longest,
        };
        let (mut details, mut slots) = (Vec::new(), Vec::new());
        for (starting, outcome) in launches.into_iter().zip(outcomes) {
            match outcome {
                Ok(ready) => {
                    let (detail, slot) = self.up(starting, ready, began);
                    details.push(detail);
                    slots.push(slot);
                }
                Err(reason) => {
                    let params = Some(json(&starting.params));
                    details.push(self.failed_to_start(&starting.tag, params, reason));
                }
            }
        }
        let report = StartReport::new(id, details);
        if report.scenarios.is_empty() {
            return Err(SessionError::NothingStarted(report));
        }
        self.commit(&report, slots, began.at, terms);
        Ok(report)
    }

    /// Records a run that came up; gives its report and its slot in the session.
    fn up(&self, starting: StartingRun, (probe, warning): Ready, began: Began) -> (Detail, Slot) {
        let StartingRun {
            tag,
            params,
            launch,
            ..
        } = starting;
        let Began { now, at, longest } = began;
        let longest_s = longest.map(|longest| longest.as_secs_f64());
        info!(session = %tag.session_id, scenario = tag.scenario, params = json(&params),
            duration_s = longest_s, "Scenario started.");
        let detail = Detail {
            warning: warning.clone(),
            duration_s: longest_s.filter(|_| starting.is_default_duration),
            ..Detail::started(tag.scenario)
        };
        let started = NewEvent::of(EventKind::Started, &tag)
            .duration(longest)
            .effect(&probe.read(), &*probe)
            .warning(warning.clone());
        self.services.ledger.note(started);
        launch.begun.cancel();
        let arm = |staged| Arc::new(ArmedFault::new(staged, launch.stop.clone()));
        let slot = Slot {
            armed: launch.take_staged().into_iter().map(arm).collect(),
            run: Arc::new(Run::begun(tag, params, (at, longest), (probe, warning))),
            task: starting.task,
            stop: launch.stop,
            deadline: longest.map(|after| now + after),
            progress: EffectProgress::default(),
            ending: None,
        };
        (detail, slot)
    }

    /// Records a run that did not come up; gives its report.
    fn failed_to_start(&self, tag: &RunTag, params: Option<String>, reason: String) -> Detail {
        warn!(session = %tag.session_id, scenario = tag.scenario, params, reason,
            "Scenario failed to start.");
        let failed = NewEvent::of(EventKind::Failed, tag).error(Some(reason.clone()));
        self.services.ledger.note(failed);
        Detail::failed(tag.scenario, reason)
    }

    /// Starts one plan in a task of its own, which is the run from its start to its release; its set
    /// ends by itself after `lasting`.
    fn launch(
        &mut self,
        Accepted { tag, run }: Accepted,
        lasting: Option<Duration>,
    ) -> StartingRun {
        let PlannedRun {
            plan,
            duration,
            is_default_duration,
        } = run;
        let (report, ready) = oneshot::channel();
        let launch = Launch::new(self.root.child_token());
        let params = plan.params.clone();
        let services = Arc::clone(&self.services);
        let cx = RunContext::new(launch.clone(), services, tag.clone(), lasting);
        let task = self.tasks.spawn(drive(plan, cx, report));
        StartingRun {
            tag,
            params,
            duration,
            is_default_duration,
            task,
            launch,
            ready,
        }
    }

    /// Waits until each launch is up or has failed; what failed is released when this returns.
    async fn await_ready(&mut self, launches: &mut [StartingRun]) -> Vec<Result<Ready, String>> {
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
            .map(|(launch, _)| (launch.task.clone(), launch.launch.stop.clone()))
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
        session.join(terms, &self.services);
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
    pub(super) fn next_id(&mut self) -> String {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        self.last_id = now.max(self.last_id.saturating_add(1));
        format!("session-{}", self.last_id)
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
