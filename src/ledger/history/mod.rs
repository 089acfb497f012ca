//! Past sessions: what was planned and what was measured of each run, derived from the ledger's events alone.

mod csv;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Ledger;
use super::event::{Event, EventKind, LastEnd, LastReading};
use crate::run::{EndReason, Initiator, Moment, Reading, Timestamp};
pub(crate) use csv::csv;

/// A span of time; null is an open end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Interval {
    /// Its beginning.
    pub from: Option<Timestamp>,
    /// Its end.
    pub to: Option<Timestamp>,
}

/// One run of a scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct PastRun {
    /// The `seq` of its `accepted`.
    pub run_id: u64,
    /// The scenario.
    pub scenario: String,
    /// The effective parameters.
    pub params: Map<String, Value>,
    /// The client that started it.
    pub by: Option<Initiator>,
    /// From its acceptance, or its onset, to the end of its duration; open at the end when it had none.
    pub planned: Interval,
    /// When it was up; null when it never was.
    pub started_at: Option<Timestamp>,
    /// When it was effective, which is when at least half of what was asked at the moment was measured: one interval, or
    /// several with breaks between.
    pub measured: Vec<Interval>,
    /// When the target was first reached.
    pub target_reached_at: Option<Timestamp>,
    /// When all that it held was released, or it failed to start.
    pub ended_at: Option<Timestamp>,
    /// Where the end was not observed: the run was over by this time.
    pub ended_before: Option<Timestamp>,
    /// How it ended; null while it runs.
    pub end: Option<EndReason>,
    /// Where it was aborted: the condition of `abort_when`, with the figures measured.
    pub because: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// What was asked at the last measurement: now, while it runs.
    pub asked: Option<f64>,
    /// What was achieved then.
    pub achieved: Option<f64>,
    /// Where the effect should go in the end.
    pub target: Option<f64>,
    /// The unit of the three.
    pub unit: Option<String>,
    /// When that was measured.
    pub last_measured_at: Option<Timestamp>,
    /// When it announced the end of the process.
    #[serde(skip)]
    announced_at: Option<Timestamp>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct PastSession {
    /// Its id.
    pub session_id: String,
    /// The boot of the daemon that it belongs to.
    pub boot_id: String,
    /// When its first run was accepted.
    pub started_at: Option<Timestamp>,
    /// When its last run ended; null while one runs, and where the end was not observed.
    pub ended_at: Option<Timestamp>,
    /// Whether one of its runs is live.
    pub running: bool,
    /// Its runs, in the order in which they were accepted.
    pub runs: Vec<PastRun>,
    /// The number of its first run, by which sessions are in order.
    #[serde(skip)]
    first_run: u64,
    /// The number of its last event.
    #[serde(skip)]
    last_event: u64,
    /// Its first event. All its times are by the wall clock as it went then: they have the right length and order even
    /// where the clock was set in the meantime.
    #[serde(skip)]
    anchor: Moment,
    /// By how much the clock has been set since, in seconds.
    #[serde(skip)]
    stepped_s: f64,
}

/// All sessions, derived event by event.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// In the order in which they began.
    sessions: Vec<PastSession>,
    /// The number of the last event taken in.
    newest: u64,
    /// The exit that the process of the last events intends.
    intent: Option<Intent>,
}

/// An intended exit.
#[derive(Debug, Clone, Copy)]
struct Intent {
    at: Moment,
    /// How long the process was to live on.
    window_s: f64,
}

impl History {
    /// Takes in the next event. A run whose first events are not among those taken in has only what the later ones say.
    pub(crate) fn apply(&mut self, event: &Event) {
        self.newest = event.seq;
        match event.kind {
            EventKind::Boot => return self.end_all_before(event),
            EventKind::ClockStepped => return self.step_clock(event),
            EventKind::ExitIntent => {
                self.intent = Some(Intent {
                    at: event.moment(),
                    window_s: event.duration_s.unwrap_or_default(),
                });
            }
            _ => {}
        }
        if let Some((session, run)) = self.run_of(event) {
            let session = &mut self.sessions[session];
            session.last_event = event.seq;
            let at = event.moment().by_the_clock_at(session.anchor);
            session.runs[run].apply(event, at);
        }
    }

    fn step_clock(&mut self, event: &Event) {
        let step_s = event
            .to
            .zip(event.from)
            .map(|(to, from)| to.seconds_since(from));
        for session in &mut self.sessions {
            if session.boot_id == event.boot_id {
                session.stepped_s += step_s.unwrap_or_default();
            }
        }
    }

    /// Ends what the process before `boot` left running.
    fn end_all_before(&mut self, boot: &Event) {
        let previous = boot.boot.as_ref().and_then(|boot| boot.previous.as_ref());
        let is_planned = previous.is_some_and(|previous| previous.end == LastEnd::Planned);
        let intent = self.intent.take().filter(|_| is_planned);
        let reason = if is_planned {
            EndReason::Exit
        } else {
            EndReason::Unclean
        };
        for session in &mut self.sessions {
            let PastSession {
                anchor, stepped_s, ..
            } = *session;
            for run in session.runs.iter_mut().filter(|run| run.end.is_none()) {
                let mut last = previous.iter().flat_map(|previous| &previous.runs);
                let last = last.find(|last| last.run_id == run.run_id);
                if let Some(last) = last {
                    run.take_last(last);
                }
                if let Some(intent) = intent {
                    run.end = Some(EndReason::Exit);
                    let ended = intent.at.by_the_clock_at(anchor);
                    let ended = ended.plus_seconds(intent.window_s);
                    run.ended_at = Some(ended);
                    run.close(ended);
                } else {
                    run.end = Some(reason);
                    let before = boot.time.plus_seconds(-stepped_s);
                    // A clock that was set between the two processes proves nothing.
                    let is_later = run.last_measured_at.is_none_or(|last| last <= before);
                    run.ended_before = is_later.then_some(before);
                    if last.is_some()
                        && let Some(measured_at) = run.last_measured_at
                    {
                        // It was effective until then, if not longer.
                        run.close(measured_at);
                    }
                }
            }
        }
    }

    /// Where the run that `event` belongs to is; it is added where it is new.
    fn run_of(&mut self, event: &Event) -> Option<(usize, usize)> {
        let (session_id, run_id) = (event.session_id.as_ref()?, event.run_id?);
        // Latest first: events belong to a session that is live, as a rule.
        let known = self
            .sessions
            .iter()
            .rposition(|s| s.session_id == *session_id && s.boot_id == event.boot_id);
        let session = known.unwrap_or_else(|| self.begin(session_id, run_id, event));
        let runs = &mut self.sessions[session].runs;
        let known = runs.iter().rposition(|run| run.run_id == run_id);
        let run = known.unwrap_or_else(|| {
            runs.push(PastRun {
                run_id,
                scenario: event.scenario.as_deref().unwrap_or_default().to_owned(),
                ..PastRun::default()
            });
            runs.len() - 1
        });
        Some((session, run))
    }

    /// Adds the session that begins with run `run_id`, in its place.
    fn begin(&mut self, session_id: &str, run_id: u64, event: &Event) -> usize {
        let at = self.sessions.partition_point(|s| s.first_run <= run_id);
        let session = PastSession {
            session_id: session_id.to_owned(),
            boot_id: event.boot_id.clone().into_owned(),
            started_at: Some(event.time),
            ended_at: None,
            running: false,
            runs: Vec::new(),
            first_run: run_id,
            last_event: event.seq,
            anchor: event.moment(),
            stepped_s: 0.0,
        };
        self.sessions.insert(at, session);
        at
    }

    /// Drops the sessions all of whose events are older than event `oldest`.
    fn forget_before(&mut self, oldest: u64) {
        self.sessions.retain(|session| session.last_event >= oldest);
    }

    /// The sessions that follow `since`, up to `limit` of them.
    pub(crate) fn page(&self, wanted: Wanted) -> SessionPage {
        let Wanted {
            since,
            limit,
            newest_first,
        } = wanted;
        let rest = if newest_first {
            let end = if since == 0 { u64::MAX } else { since };
            &self.sessions[..self.sessions.partition_point(|s| s.first_run < end)]
        } else {
            &self.sessions[self.sessions.partition_point(|s| s.first_run <= since)..]
        };
        let count = rest.len().min(limit);
        let sessions: Vec<_> = if newest_first {
            rest.iter()
                .rev()
                .take(count)
                .map(PastSession::summed_up)
                .collect()
        } else {
            rest.iter()
                .take(count)
                .map(PastSession::summed_up)
                .collect()
        };
        SessionPage {
            next: sessions.last().map_or(since, |session| session.first_run),
            more: rest.len() > count,
            sessions,
        }
    }

    /// The newest session with this id.
    fn find(&self, session_id: &str) -> Option<PastSession> {
        let mut newest_first = self.sessions.iter().rev();
        newest_first
            .find(|s| s.session_id == session_id)
            .map(PastSession::summed_up)
    }
}

/// Which of the sessions a reader wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The first run of the session that the page follows; 0 for the first page.
    pub since: u64,
    pub limit: usize,
    pub newest_first: bool,
}

/// Some sessions, in the order that was asked for.
#[derive(Debug)]
pub(crate) struct SessionPage {
    pub sessions: Vec<PastSession>,
    /// The `since` of the next page.
    pub next: u64,
    /// Whether the next page has any.
    pub more: bool,
}

impl Ledger {
    /// Some of the sessions that the ledger still holds.
    pub(crate) fn sessions(&self, wanted: Wanted) -> SessionPage {
        self.with_history(|history| history.page(wanted))
    }

    /// The newest session with this id, where the ledger still holds it.
    pub(crate) fn session(&self, session_id: &str) -> Option<PastSession> {
        self.with_history(|history| history.find(session_id))
    }

    /// Brings the history up to date, which costs as much as has happened since the last time.
    fn with_history<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        let mut history = self.0.history.lock();
        for event in self
            .events_after(history.newest, usize::MAX, |_| true)
            .events
        {
            history.apply(&event);
        }
        history.forget_before(self.oldest());
        read(&history)
    }
}

impl PastSession {
    /// With what follows from its runs.
    fn summed_up(&self) -> Self {
        let mut session = self.clone();
        session.running = session.runs.iter().any(|run| run.end.is_none());
        let ends: Option<Vec<_>> = session.runs.iter().map(|run| run.ended_at).collect();
        session.ended_at = ends.and_then(|ends| ends.into_iter().max());
        session
    }

    /// Shows what run `run_id` measures at the moment `now`.
    pub(crate) fn show_now(
        &mut self,
        run_id: u64,
        reading: &Reading,
        target: Option<f64>,
        now: Moment,
    ) {
        let at = now.by_the_clock_at(self.anchor);
        let mut runs = self.runs.iter_mut().filter(|run| run.end.is_none());
        if let Some(run) = runs.find(|run| run.run_id == run_id) {
            run.take_last(&LastReading::new(run_id, at, reading, target, None));
        }
    }
}

impl PastRun {
    fn apply(&mut self, event: &Event, at: Timestamp) {
        let from = event.starts_at.unwrap_or(at);
        let planned_end = event.duration_s.map(|s| from.plus_seconds(s));
        match event.kind {
            EventKind::Accepted => {
                self.by = event.by;
                self.params = event.params.clone().unwrap_or_default();
                self.planned_for(at, planned_end);
            }
            EventKind::Planned => self.planned_for(from, planned_end),
            EventKind::Started => {
                self.started_at = Some(at);
                // All runs of a set end together, so the end is known only now.
                self.planned.to = planned_end;
            }
            EventKind::Effective => self.open(at),
            EventKind::TargetReached => {
                self.target_reached_at.get_or_insert(at);
            }
            EventKind::Lost => self.close(at),
            EventKind::ExitIntent if event.achieved.is_some() => {
                self.open(at);
                self.target_reached_at.get_or_insert(at);
                self.announced_at = Some(at);
            }
            EventKind::Failed => self.ended(Some(EndReason::Failed), at),
            EventKind::Cleared => {
                self.ended(event.reason, at);
                self.call_off();
            }
            EventKind::Stopping
            | EventKind::Expired
            | EventKind::Replaced
            | EventKind::Boot
            | EventKind::Halted
            | EventKind::Rearmed
            | EventKind::ExitIntent
            | EventKind::Frozen
            | EventKind::ClockStepped
            | EventKind::Shutdown
            | EventKind::DrillOpened
            | EventKind::DrillAnswer
            | EventKind::DrillReleaseEvent
            | EventKind::DrillMeasured
            | EventKind::DrillProbeFlip
            | EventKind::DrillTainted
            | EventKind::DrillClosed => {}
        }
        if event.because.is_some() {
            self.because.clone_from(&event.because);
        }
        if event.error.is_some() {
            self.error.clone_from(&event.error);
        }
        self.take_measured(event, at);
    }

    fn planned_for(&mut self, from: Timestamp, to: Option<Timestamp>) {
        let from = Some(from);
        self.planned = Interval { from, to };
    }

    fn ended(&mut self, reason: Option<EndReason>, at: Timestamp) {
        self.end = reason;
        self.ended_at = Some(at);
        self.close(at);
    }

    /// Takes in what `event` measured, if it did.
    fn take_measured(&mut self, event: &Event, at: Timestamp) {
        if event.asked.is_some() {
            (self.asked, self.achieved) = (event.asked, event.achieved);
            self.target = event.target;
            self.unit = event.unit.as_deref().map(str::to_owned);
            self.last_measured_at = Some(at);
        }
    }

    /// Takes in the last measurement before the process died. It is newer than the last event.
    fn take_last(&mut self, last: &LastReading) {
        if self.last_measured_at.is_some_and(|known| known > last.time) {
            return;
        }
        (self.asked, self.achieved) = (Some(last.asked), last.achieved);
        self.target = last.target;
        self.unit = last.unit.as_deref().map(str::to_owned);
        self.last_measured_at = Some(last.time);
        if let Some(since) = last.effective_since {
            self.open(since);
        }
    }

    /// The process lives on: what was announced as its end has not happened.
    fn call_off(&mut self) {
        if let Some(announced_at) = self.announced_at.take() {
            self.measured
                .retain(|interval| interval.from < Some(announced_at));
            self.target_reached_at
                .take_if(|reached| *reached >= announced_at);
        }
    }

    /// Begins a measured interval, unless one is open.
    fn open(&mut self, at: Timestamp) {
        if self.measured.last().is_none_or(|last| last.to.is_some()) {
            self.measured.push(Interval {
                from: Some(at),
                to: None,
            });
        }
    }

    /// Ends the open measured interval, if there is one.
    fn close(&mut self, at: Timestamp) {
        if let Some(open) = self.measured.last_mut().filter(|open| open.to.is_none()) {
            open.to = Some(at);
        }
    }
}

#[cfg(test)]
mod tests;
