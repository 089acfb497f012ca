//! How runs start: an accepted start waits until the runs that it replaces are gone; then its runs are launched,
//! awaited, and added to the session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::ending::{ABORT_GRACE, Cause, SHUTDOWN_GRACE, STOP_GRACE, ended_by_itself, outcome_of};
use super::progress::EffectProgress;
use super::waiting::{PlannedEnd, WaitingRun};
use super::{Actor, CALLED_OFF, LiveRun, LiveSession, SHUTTING_DOWN, json};
use crate::fault::table::ArmedFault;
use crate::ledger::event::{EventKind, NewEvent};
use crate::manager::lease::Lease;
use crate::manager::probe_watch::ProbeWatch;
use crate::manager::report::{Detail, StartReport};
use crate::manager::run::{Effect, Run, RunEnd};
use crate::manager::session::{
    Command, Onsets, PlannedRun, SessionError, Start, StartReply, end_of, length_of,
};
use crate::manager::terms::{Ends, Terms};
use crate::manager::view::LatestRun;
use crate::plugin::{Exit, Launch, Plan, Probe, RunContext, Services};
use crate::run::{EndReason, Initiator, Moment, Reading, RunTag, Shortfall, Timestamp};
use crate::sync::Lock;

/// How long a scenario may take to start before its start counts as failed.
const START_LIMIT: Duration = Duration::from_secs(5);
/// How long a start is left alone before a later command may call it off: of two clients that start at once, both
/// succeed, one after the other.
const CALL_OFF_AFTER: Duration = Duration::from_millis(200);

/// A start in the ledger that waits until the runs that it replaces are gone.
pub(super) struct PendingStart {
    pub(super) id: String,
    /// The first event of the session.
    anchor: Moment,
    runs: Vec<(RunTag, PlannedRun)>,
    terms: Terms,
    reply: StartReply,
    /// The releases that it waits for.
    releases: Vec<CancellationToken>,
    since: Instant,
}

impl PendingStart {
    pub(super) fn is_due(&self) -> bool {
        self.releases.iter().all(CancellationToken::is_cancelled)
    }

    pub(super) fn starts(&self, name: &str) -> bool {
        self.runs.iter().any(|(tag, _)| tag.scenario == name)
    }
}

/// A launched run that is not up yet.
pub(super) struct StartingRun {
    pub(super) tag: RunTag,
    pub(super) params: Map<String, Value>,
    duration: Option<Duration>,
    is_default_duration: bool,
    /// Whether a parameter changes while it lasts.
    is_changing: bool,
    task: Id,
    launch: Launch,
    ready: oneshot::Receiver<Ready>,
}

/// The probe and the warning of a run that is up.
pub(super) type Ready = (Arc<dyn Probe>, Option<String>);

/// A run that did not come up.
pub(super) struct NotUp {
    reason: String,
    /// Whether it holds nothing any more.
    is_released: bool,
}

impl NotUp {
    fn ended(reason: String) -> Self {
        let is_released = true;
        Self {
            reason,
            is_released,
        }
    }
}

impl Actor {
    /// (Idle | Running | Stopping) => (Stopping | Starting): stops the runs that the start replaces.
    pub(super) fn accept_start(&mut self, start: Start, by: Option<Initiator>, reply: StartReply) {
        let Start { runs, terms, joins } = start;
        // A session goes on even if its only run is replaced; one that is stopping as a whole does not.
        let joined = self.session.as_ref().filter(|s| joins && s.is_live());
        let joined = joined.map(|session| (session.id.clone(), session.anchor));
        let replaces_all = joined.is_none();
        let (id, mut anchor) = match joined {
            Some((id, anchor)) => (id, Some(anchor)),
            None => (self.next_id(), None),
        };
        let runs: Vec<_> = runs
            .into_iter()
            .map(|run| {
                let (tag, moment) = self.accept(&id, &run, by);
                anchor.get_or_insert(moment);
                (tag, run)
            })
            .collect();
        let replaced = Cause::of(EndReason::Replaced, by);
        let starts = |name| runs.iter().any(|(tag, _)| tag.scenario == name);
        let called_off = self.call_off_waiting(|name| replaces_all || starts(name), &replaced);
        // One that starts later replaces nothing before.
        let now = runs.iter().filter(|(_, run)| run.after.is_zero());
        let now: Vec<_> = now.map(|(tag, _)| tag.scenario).collect();
        let is_replaced = |run: &LiveRun| replaces_all || now.contains(&run.name());
        let (_, releases) = self.begin_end(is_replaced, &replaced);
        self.pending = Some(PendingStart {
            id,
            anchor: anchor.unwrap_or_default(),
            runs,
            terms,
            reply,
            releases,
            since: Instant::now(),
        });
        if !called_off.is_empty() {
            // Nothing else may have been left of the session.
            self.settle();
        }
    }

    /// Notes that `run` was accepted, which gives it its name in the ledger. Returns when that was, too.
    fn accept(&self, id: &str, run: &PlannedRun, by: Option<Initiator>) -> (RunTag, Moment) {
        let mut tag = RunTag {
            session_id: id.to_owned(),
            run_id: 0,
            scenario: run.plan.name,
        };
        let accepted = NewEvent::of(EventKind::Accepted, &tag)
            .by(by)
            .duration(run.duration)
            .params(run.plan.params.clone());
        let noted = self.services.ledger.note(accepted);
        tag.run_id = noted.seq;
        (tag, noted.moment())
    }

    /// When the pending start is called off: after a time in which it is left alone, once later commands make each of
    /// its runs pointless.
    pub(super) fn pending_call_off(&self) -> Option<Instant> {
        let pending = self.pending.as_ref()?;
        let mut runs = pending.runs.iter();
        let all = runs.all(|(tag, _)| self.is_called_off(tag.scenario));
        all.then_some(pending.since + CALL_OFF_AFTER)
    }

    /// Fails the pending start, if there is one.
    pub(super) fn call_off(&mut self, reason: &str) {
        let Some(pending) = self.pending.take() else {
            return;
        };
        let anchor = pending.anchor;
        let runs = pending.runs.into_iter();
        let details: Vec<_> = runs
            .map(|(tag, run)| {
                let not_up = NotUp::ended(reason.to_owned());
                self.failed_to_start(tag, run.plan.params, anchor, not_up)
            })
            .collect();
        let report = StartReport::new(pending.id, details);
        self.answer_start(pending.reply, Err(SessionError::NothingStarted(report)));
    }

    /// Launches the runs of a pending start and commits those that come up to the live session, or to a new one.
    pub(super) async fn start(&mut self, pending: PendingStart) {
        let (ends, end) = (
            pending.terms.ends,
            end_of(pending.runs.iter().map(|(_, run)| run)),
        );
        let names: Vec<_> = pending.runs.iter().map(|(tag, _)| tag.scenario).collect();
        let (now, later): (Vec<_>, Vec<_>) = pending
            .runs
            .into_iter()
            .partition(|(_, run)| run.after.is_zero());
        let launched = now.into_iter().map(|(tag, run)| {
            let length = length_of(&run, ends, end);
            self.launch(tag, run, length)
        });
        let mut starting: Vec<_> = launched.collect();
        let outcomes = self.await_ready(&mut starting).await;

        let up = starting.iter().zip(&outcomes).filter(|(_, o)| o.is_ok());
        // One moment and one end for the whole set, so that all of it is shown to end together.
        let end = up.filter_map(|(run, _)| run.duration).max();
        let end = end.max(end_of(later.iter().map(|(_, run)| run)));
        let anchor = pending.anchor;
        let began_at = self.services.ledger.now().by_the_clock_at(anchor);
        let began = (Instant::now(), began_at);
        let (mut details, mut runs, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (starting, outcome) in starting.into_iter().zip(outcomes) {
            details.push(match outcome {
                Ok(ready) => {
                    let length = match ends {
                        Ends::Together => end,
                        Ends::Each => starting.duration,
                    };
                    let end = length.map(|length| PlannedEnd::after(length, began));
                    let (detail, run) = self.up(starting, ready, anchor, began_at, end);
                    runs.push(run);
                    detail
                }
                Err(not_up) => self.failed_to_start(starting.tag, starting.params, anchor, not_up),
            });
        }
        for (tag, run) in later {
            let length = length_of(&run, ends, end);
            let (detail, run) = self.plan((tag, run), began, length);
            details.push(detail);
            waiting.push(run);
        }
        // In the order of the request.
        details.sort_by_key(|detail| names.iter().position(|name| *name == detail.name));
        let report = StartReport::new(pending.id, details);
        let outcome = if runs.is_empty() && waiting.is_empty() {
            Err(SessionError::NothingStarted(report))
        } else {
            self.commit(&report, (runs, waiting), (anchor, began_at), pending.terms);
            Ok(report)
        };
        self.answer_start(pending.reply, outcome);
    }

    fn answer_start(&mut self, reply: StartReply, outcome: Result<StartReport, SessionError>) {
        self.settle();
        // The shutdown called it off: the client sees the dropped reply.
        if outcome.is_ok() || !self.root.is_cancelled() {
            self.answer(reply, outcome);
        }
    }

    /// Records a run that came up.
    pub(super) fn up(
        &self,
        starting: StartingRun,
        (probe, warning): Ready,
        anchor: Moment,
        started_at: Timestamp,
        end: Option<PlannedEnd>,
    ) -> (Detail, LiveRun) {
        let (tag, params, launch) = (starting.tag, starting.params, starting.launch);
        let duration_s = end.map(|end| end.length.as_secs_f64());
        let expires_at = end.map(|end| end.time);
        info!(session = %tag.session_id, scenario = tag.scenario, params = %json(&params), duration_s,
            expires_at = expires_at.map(tracing::field::display), "Scenario started.");
        let started = NewEvent::of(EventKind::Started, &tag)
            .duration(end.map(|end| end.length))
            .effect(&probe.read(), &*probe)
            .warning(warning.clone());
        self.services.ledger.note(started);
        launch.begun.cancel();
        let detail = Detail {
            name: tag.scenario,
            success: true,
            error: None,
            warning: warning.clone(),
            duration_s: duration_s.filter(|_| starting.is_default_duration),
            starts_at: None,
            expires_at,
            params: params.clone(),
        };
        let arm = |staged| Arc::new(ArmedFault::new(staged, launch.stop.clone()));
        let run = LiveRun {
            armed: launch.take_staged().into_iter().map(arm).collect(),
            run: Arc::new(Run {
                tag,
                params,
                started_at: Some(started_at),
                anchor,
                expires_at,
                warning,
                probe,
                effect: Lock::default(),
            }),
            task: starting.task,
            stop: launch.stop,
            released: CancellationToken::new(),
            deadline: end.map(|end| end.at),
            progress: match starting.is_changing {
                true => EffectProgress::of_changing(),
                false => EffectProgress::default(),
            },
            stopping: None,
        };
        (detail, run)
    }

    /// Records a run that did not come up.
    pub(super) fn failed_to_start(
        &mut self,
        tag: RunTag,
        params: Map<String, Value>,
        anchor: Moment,
        NotUp {
            reason,
            is_released,
        }: NotUp,
    ) -> Detail {
        warn!(session = %tag.session_id, scenario = tag.scenario, params = %json(&params), reason,
            "Scenario failed to start.");
        let (name, ledger) = (tag.scenario, &self.services.ledger);
        let failed = NewEvent::of(EventKind::Failed, &tag).reason(EndReason::Failed);
        let mut noted = ledger.note(failed.error(Some(reason.clone())));
        if is_released {
            noted = ledger.note(NewEvent::of(EventKind::Cleared, &tag).reason(EndReason::Failed));
        }
        *self
            .view
            .ended
            .entry((name, EndReason::Failed))
            .or_default() += 1;
        // The run before may still be stopping.
        if self.live_runs().all(|live| live.name() != name) {
            let effect = Effect {
                reading: Reading {
                    shortfall: Some(Shortfall::Refused),
                    ..Reading::default()
                },
                effective_since: None,
            };
            let end = RunEnd {
                reason: EndReason::Failed,
                at: noted.moment().by_the_clock_at(anchor),
                because: None,
                error: Some(reason.clone()),
                effect,
            };
            let run = Run {
                tag,
                params,
                started_at: None,
                anchor,
                expires_at: None,
                warning: None,
                probe: Arc::new(Reading::default),
                effect: Lock::default(),
            };
            let (run, end) = (Arc::new(run), Some(end));
            self.view.latest.insert(name, LatestRun { run, end });
        }
        Detail::failed(name, reason)
    }

    /// Starts one plan in its own task, which is the run from its start to its release; it lasts for `length`.
    pub(super) fn launch(
        &mut self,
        tag: RunTag,
        run: PlannedRun,
        length: Option<Duration>,
    ) -> StartingRun {
        let (report, ready) = oneshot::channel();
        let launch = Launch::new(self.root.child_token());
        let params = run.plan.params.clone();
        let is_changing = !run.plan.shapes.is_empty();
        let services = Arc::clone(&self.services);
        let cx = RunContext::new(launch.clone(), services, tag.clone(), length);
        let task = self
            .tasks
            .spawn(drive(run.plan, cx, report, self.root.clone()));
        StartingRun {
            tag,
            params,
            duration: run.duration,
            is_default_duration: run.is_default_duration,
            is_changing,
            task: task.id(),
            launch,
            ready,
        }
    }

    /// Waits until each run is up or has failed. Failed runs are released when this returns.
    pub(super) async fn await_ready(
        &mut self,
        starting: &mut [StartingRun],
    ) -> Vec<Result<Ready, NotUp>> {
        let launched = Instant::now();
        let mut outcomes = Vec::with_capacity(starting.len());
        for run in starting.iter_mut() {
            let called_off = async {
                sleep_until(launched + CALL_OFF_AFTER).await;
                let (mailbox, backlog) = (&mut self.mailbox, &mut self.backlog);
                wait_called_off(run.tag.scenario, mailbox, backlog, &self.onsets).await;
            };
            outcomes.push(tokio::select! {
                biased;
                // Without an answer the run failed by itself, and its task says why.
                ready = &mut run.ready => ready.map_err(|_| None),
                () = self.root.cancelled() => Err(Some(SHUTTING_DOWN.to_owned())),
                () = called_off => Err(Some(CALLED_OFF.to_owned())),
                () = sleep_until(launched + START_LIMIT) =>
                    Err(Some(format!("did not start within {} s", START_LIMIT.as_secs()))),
            });
        }
        let failed = starting.iter().zip(&outcomes);
        let failed = failed.filter(|(_, outcome)| outcome.is_err());
        let failed: Vec<_> = failed.map(|(run, _)| run).collect();
        let mut ends = self.release(&failed).await;
        let outcomes = outcomes.into_iter().zip(starting.iter());
        outcomes
            .map(|(outcome, run)| match (outcome, ends.remove(&run.task)) {
                (Ok(ready), None) => Ok(ready),
                (Err(Some(reason)), end) => Err(NotUp {
                    reason,
                    is_released: end.is_some(),
                }),
                // One that was up may have ended while the others were awaited.
                (_, end) => Err(NotUp {
                    is_released: end.is_some(),
                    reason: end.flatten().unwrap_or_else(ended_by_itself),
                }),
            })
            .collect()
    }

    /// Stops starting runs and waits until they have released everything or must be given up.
    ///
    /// Returns the failure of each, and of other starting runs that ended meanwhile.
    async fn release(&mut self, runs: &[&StartingRun]) -> HashMap<Id, Option<String>> {
        for run in runs {
            run.launch.stop.cancel();
        }
        let (mut ends, root) = (HashMap::new(), self.root.clone());
        let release = async {
            while runs.iter().any(|run| !ends.contains_key(&run.task))
                && let Some(end) = self.tasks.join_next_with_id().await
            {
                let id = end.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                if self.live_runs().any(|run| run.task == id) {
                    self.task_ended(end);
                } else {
                    ends.extend([outcome_of(end)]);
                }
            }
        };
        let late = async {
            stop_grace(&root).await;
            sleep(ABORT_GRACE).await;
        };
        tokio::select! {
            biased;
            () = release => {}
            () = late => error!("Starting runs cannot be aborted: their code blocks. Restart the process."),
        }
        ends
    }

    /// Adds runs, and those that wait, to the session: one store of the table, one published view.
    pub(super) fn commit(
        &mut self,
        report: &StartReport,
        (runs, waiting): (Vec<LiveRun>, Vec<WaitingRun>),
        (anchor, started_at): (Moment, Timestamp),
        terms: Terms,
    ) {
        let session = self.session.get_or_insert_with(|| LiveSession {
            id: report.session_id.clone(),
            anchor,
            started_at,
            ..LiveSession::default()
        });
        session.join(terms, &self.services);
        for detail in &report.details {
            // What runs goes on until a planned run replaces it.
            let stays = |known: &Detail| known.success && known.starts_at.is_none();
            let is_planned = detail.starts_at.is_some();
            session
                .details
                .retain(|known| known.name != detail.name || is_planned && stays(known));
            session.details.push(detail.clone());
        }
        for live in &runs {
            let (run, end) = (Arc::clone(&live.run), None);
            self.view.latest.insert(live.name(), LatestRun { run, end });
        }
        session.runs.extend(runs);
        session.waiting.extend(waiting);
    }

    /// Milliseconds since 1970, moved on when two coincide: increasing over a restart too.
    fn next_id(&mut self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis() as u64;
        self.last_id = now.max(self.last_id.saturating_add(1));
        format!("session-{}", self.last_id)
    }
}

impl LiveSession {
    /// Adds `terms`; a lease replaces the earlier one.
    fn join(&mut self, terms: Terms, services: &Arc<Services>) {
        self.lease = terms.lease.map(Lease::new).or(self.lease.take());
        self.abort_when.join(terms.abort_when);
        if self.abort_when.probe_failing_for_s.is_some() && self.probe_watch.is_none() {
            self.probe_watch = Some(ProbeWatch::begin(Arc::clone(services)));
        }
    }
}

/// One run from its start to its release. However this task ends, dropping its future releases what the run holds.
async fn drive(
    plan: Plan,
    cx: RunContext,
    ready: oneshot::Sender<Ready>,
    root: CancellationToken,
) -> Exit {
    let (stop, scenario) = (cx.stop.clone(), plan.name);
    let active = tokio::select! {
        biased;
        () = stop.cancelled() => return Exit::Stopped,
        started = plan.start(cx) => match started {
            Ok(active) => active,
            Err(error) => return Exit::Failed(error.to_string()),
        },
    };
    // If the start was called off in this very moment, the stop is given too, and the body ends as after any other.
    ready.send((active.probe, active.warning)).ok();
    let late = async {
        stop.cancelled().await;
        stop_grace(&root).await;
    };
    tokio::select! {
        biased;
        exit = active.body => exit,
        () = late => {
            warn!(scenario, "Run ignored its stop: aborted.");
            Exit::Failed("ignored its stop and was aborted".to_owned())
        }
    }
}

/// Waits as long as a stopping run may take.
async fn stop_grace(root: &CancellationToken) {
    let shutdown = async {
        root.cancelled().await;
        sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        () = sleep(STOP_GRACE) => {}
        () = shutdown => {}
    }
}

/// Takes in commands while a start of `name` is under way, until one of them calls it off.
async fn wait_called_off(
    name: &str,
    mailbox: &mut mpsc::Receiver<Command>,
    backlog: &mut VecDeque<Command>,
    onsets: &Onsets,
) {
    let calls_off = |command: &Command| command.calls_off(name) && !command.is_void(onsets);
    while !backlog.iter().any(calls_off) {
        let Some(command) = mailbox.recv().await else {
            return std::future::pending().await;
        };
        backlog.push_back(command);
    }
}
