//! Runs whose onset is still to come: each waits in its session until its time, or until it is called off.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::ending::Cause;
use super::{Actor, LiveRun, LiveSession, json};
use crate::ledger::event::{EventKind, NewEvent};
use crate::manager::report::{Detail, StartReport};
use crate::manager::session::PlannedRun;
use crate::manager::terms::Terms;
use crate::manager::view::Planned;
use crate::run::{EndReason, RunTag, Timestamp};

/// Why an end comes before its start.
const NOT_STARTED: &str = "it was planned and had not started";

/// When a run ends by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedEnd {
    /// How long it runs.
    pub(super) length: Duration,
    pub(super) at: Instant,
    pub(super) time: Timestamp,
}

impl PlannedEnd {
    /// `length` after a start at `at`, which is `time` by the clock of the session.
    pub(super) fn after(length: Duration, (at, time): (Instant, Timestamp)) -> Self {
        Self {
            length,
            at: at + length,
            time: time.plus(length),
        }
    }

    /// How long a run lasts that starts at `at`.
    pub(super) fn from(self, at: Instant) -> Self {
        Self {
            length: self.at.saturating_duration_since(at),
            ..self
        }
    }
}

/// An accepted run that starts later.
#[derive(Debug)]
pub(super) struct WaitingRun {
    tag: RunTag,
    run: PlannedRun,
    due: Instant,
    starts_at: Timestamp,
    end: Option<PlannedEnd>,
    /// Once it is due: the releases of the runs that it replaces.
    releases: Option<Vec<CancellationToken>>,
}

impl WaitingRun {
    pub(super) fn name(&self) -> &'static str {
        self.tag.scenario
    }

    /// When it would end by itself.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.end.map(|end| end.time)
    }

    fn is_ready(&self) -> bool {
        let releases = self.releases.as_ref();
        releases.is_some_and(|all| all.iter().all(CancellationToken::is_cancelled))
    }

    fn view(&self) -> Planned {
        Planned {
            session_id: self.tag.session_id.clone(),
            starts_at: self.starts_at,
            expires_at: self.expires_at(),
            params: self.run.plan.params.clone(),
        }
    }
}

impl LiveSession {
    /// The runs that are still to start, as readers see them.
    pub(super) fn planned(&self) -> impl Iterator<Item = (&'static str, Planned)> {
        self.waiting.iter().map(|run| (run.name(), run.view()))
    }
}

impl Actor {
    /// Plans `run` for its time after `began`; it lasts for `length`.
    pub(super) fn plan(
        &self,
        (tag, run): (RunTag, PlannedRun),
        (began, began_at): (Instant, Timestamp),
        length: Option<Duration>,
    ) -> (Detail, WaitingRun) {
        let (due, starts_at) = (began + run.after, began_at.plus(run.after));
        let end = length.map(|length| PlannedEnd::after(length, (due, starts_at)));
        let params = &run.plan.params;
        info!(session = %tag.session_id, scenario = tag.scenario, params = %json(params), %starts_at,
            "Scenario planned.");
        let planned = NewEvent::of(EventKind::Planned, &tag);
        let planned = planned.starts_at(starts_at).duration(length);
        self.services.ledger.note(planned);
        let context = self.services.preflight(length);
        let length_s = length.map(|length| length.as_secs_f64());
        let detail = Detail {
            name: tag.scenario,
            success: true,
            error: None,
            // It was possible when the request was checked; whether it is then, the start will show.
            warning: run.plan.preflight("", context).ok().flatten(),
            duration_s: length_s.filter(|_| run.is_default_duration),
            starts_at: Some(starts_at),
            expires_at: end.map(|end| end.time),
            params: params.clone(),
        };
        let waiting = WaitingRun {
            tag,
            run,
            due,
            starts_at,
            end,
            releases: None,
        };
        (detail, waiting)
    }

    /// When the next run is due to start.
    pub(super) fn next_onset(&self) -> Option<Instant> {
        let waiting = self.session.iter().flat_map(|session| &session.waiting);
        let to_come = waiting.filter(|run| run.releases.is_none());
        to_come.map(|run| run.due).min()
    }

    /// Begins to end what the runs that are due replace: earlier runs of the same scenarios.
    pub(super) fn begin_onsets(&mut self) {
        let now = Instant::now();
        let waiting = self.session.iter().flat_map(|session| &session.waiting);
        let due = waiting.filter(|run| run.releases.is_none() && run.due <= now);
        for name in due.map(WaitingRun::name).collect::<Vec<_>>() {
            let replaced = Cause::of(EndReason::Replaced, None);
            let (_, releases) = self.begin_end(|run| run.name() == name, &replaced);
            let mut waiting = self.session.iter_mut().flat_map(|s| &mut s.waiting);
            if let Some(run) = waiting.find(|run| run.name() == name) {
                run.releases = Some(releases);
            }
        }
    }

    /// Takes out the runs that can start now.
    pub(super) fn take_ready_onsets(&mut self) -> Vec<WaitingRun> {
        let Some(session) = &mut self.session else {
            return Vec::new();
        };
        let ready = session.waiting.extract_if(.., |run| run.is_ready());
        ready.collect()
    }

    /// Starts runs whose time has come, in their session. One that fails is recorded as a failed start.
    pub(super) async fn start_onsets(&mut self, ready: Vec<WaitingRun>) {
        let Some(session) = &self.session else {
            return;
        };
        let (id, anchor) = (session.id.clone(), session.anchor);
        let (now, mut ends) = (Instant::now(), Vec::new());
        let launched = ready.into_iter().map(|waiting| {
            let end = waiting.end.map(|end| end.from(now));
            ends.push(end);
            self.launch(waiting.tag, waiting.run, end.map(|end| end.length))
        });
        let mut starting: Vec<_> = launched.collect();
        let outcomes = self.await_ready(&mut starting).await;
        let began_at = self.services.ledger.now().by_the_clock_at(anchor);
        let now = Instant::now();
        let (mut details, mut runs) = (Vec::new(), Vec::new());
        for ((starting, outcome), end) in starting.into_iter().zip(outcomes).zip(ends) {
            details.push(match outcome {
                Ok(ready) => {
                    let end = end.map(|end| end.from(now));
                    let (detail, run) = self.up(starting, ready, anchor, began_at, end);
                    runs.push(run);
                    detail
                }
                Err(not_up) => self.failed_to_start(starting.tag, starting.params, anchor, not_up),
            });
        }
        let report = StartReport::new(id, details);
        self.commit(
            &report,
            (runs, Vec::new()),
            (anchor, began_at),
            Terms::default(),
        );
        self.settle();
    }

    /// Calls off the chosen runs that have not started; returns their names.
    pub(super) fn call_off_waiting(
        &mut self,
        which: impl Fn(&'static str) -> bool,
        cause: &Cause,
    ) -> Vec<&'static str> {
        let Some(session) = &mut self.session else {
            return Vec::new();
        };
        let called_off = session.waiting.extract_if(.., |run| which(run.name()));
        let called_off: Vec<_> = called_off.collect();
        for run in &called_off {
            let because = cause.because.clone();
            let because = because.unwrap_or_else(|| NOT_STARTED.to_owned());
            let ledger = &self.services.ledger;
            let ends = NewEvent::of(cause.event(), &run.tag).by(cause.by);
            ledger.note(ends.reason(cause.reason).because(Some(because)));
            ledger.note(NewEvent::of(EventKind::Cleared, &run.tag).reason(cause.reason));
            let reason = cause.reason.name();
            info!(session = %run.tag.session_id, scenario = run.name(), reason, "Planned start called off.");
            // Its own, and not that of a run which goes on.
            session
                .details
                .retain(|detail| detail.name != run.name() || detail.starts_at.is_none());
        }
        called_off.iter().map(WaitingRun::name).collect()
    }

    /// Begins to end all that lives, and calls off what is still to start. Returns as [`Actor::begin_end`].
    pub(super) fn end_all(&mut self, cause: &Cause) -> (Vec<&'static str>, Vec<CancellationToken>) {
        let called_off = self.call_off_waiting(|_| true, cause);
        let (mut names, releases) = self.begin_end(|_| true, cause);
        let more = called_off.into_iter().filter(|name| !names.contains(name));
        let more: Vec<_> = more.collect();
        names.extend(more);
        (names, releases)
    }

    /// The scenarios that run or are to start.
    pub(super) fn present(&self) -> impl Iterator<Item = &'static str> {
        let waiting = self.session.iter().flat_map(|session| &session.waiting);
        self.live_runs()
            .map(LiveRun::name)
            .chain(waiting.map(WaitingRun::name))
    }
}
