//! Past sessions: what was planned and what was measured of each run, derived from the ledger's events alone.

mod csv;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::event::{Event, EventKind, LastEnd};
use crate::run::{EndReason, Initiator, Timestamp};
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
    /// From its acceptance to the end of its duration; open at the end when it had none.
    pub planned: Interval,
    /// When it was up; null when it never was.
    pub started_at: Option<Timestamp>,
    /// When at least half of the target was measured: one interval, or several with breaks between.
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
    /// What was asked at the last measurement in the ledger.
    pub asked: Option<f64>,
    /// What was achieved then.
    pub achieved: Option<f64>,
    /// Where the effect should go in the end.
    pub target: Option<f64>,
    /// The unit of the three.
    pub unit: Option<String>,
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
}

/// The sessions that `events` belong to, oldest first. A run whose first events are no longer kept has only what the
/// later ones say.
pub(crate) fn sessions_of(events: &[Arc<Event>]) -> Vec<PastSession> {
    let mut sessions: Vec<PastSession> = Vec::new();
    for event in events {
        match event.kind {
            EventKind::Boot => {
                let previous = event.boot.as_ref().and_then(|boot| boot.previous.as_ref());
                let reason = match previous.map(|previous| previous.end) {
                    Some(LastEnd::Planned) => EndReason::Exit,
                    _ => EndReason::Unclean,
                };
                for run in live(&mut sessions) {
                    run.end = Some(reason);
                    run.ended_before = Some(event.time);
                }
            }
            EventKind::ExitIntent => {
                for run in live(&mut sessions) {
                    run.end = Some(EndReason::Exit);
                    run.ended_at = Some(event.time);
                    run.close(event.time);
                }
            }
            _ => {
                if let Some(run) = run_of(&mut sessions, event) {
                    run.apply(event);
                }
            }
        }
    }
    for session in &mut sessions {
        session.running = session.runs.iter().any(|run| run.end.is_none());
        let ends: Option<Vec<_>> = session.runs.iter().map(|run| run.ended_at).collect();
        session.ended_at = ends.and_then(|ends| ends.into_iter().max());
    }
    sessions
}

fn live(sessions: &mut [PastSession]) -> impl Iterator<Item = &mut PastRun> {
    let runs = sessions.iter_mut().flat_map(|session| &mut session.runs);
    runs.filter(|run| run.end.is_none())
}

/// The run that `event` belongs to, added where it is new.
fn run_of<'s>(sessions: &'s mut Vec<PastSession>, event: &Event) -> Option<&'s mut PastRun> {
    let (session_id, run_id) = (event.session_id.as_ref()?, event.run_id?);
    // Latest first: events belong to a session that is live, as a rule.
    let known = sessions
        .iter()
        .rposition(|session| session.session_id == *session_id && session.boot_id == event.boot_id);
    let at = known.unwrap_or_else(|| {
        sessions.push(PastSession {
            session_id: session_id.clone(),
            boot_id: event.boot_id.clone().into_owned(),
            started_at: Some(event.time),
            ended_at: None,
            running: false,
            runs: Vec::new(),
        });
        sessions.len() - 1
    });
    let runs = &mut sessions[at].runs;
    let known = runs.iter().rposition(|run| run.run_id == run_id);
    let at = known.unwrap_or_else(|| {
        runs.push(PastRun {
            run_id,
            scenario: event.scenario.as_deref().unwrap_or_default().to_owned(),
            ..PastRun::default()
        });
        runs.len() - 1
    });
    Some(&mut runs[at])
}

impl PastRun {
    fn apply(&mut self, event: &Event) {
        let planned_end = event.duration_s.map(|s| event.time.plus_seconds(s));
        match event.kind {
            EventKind::Accepted => {
                self.by = event.by;
                self.params = event.params.clone().unwrap_or_default();
                self.planned = Interval {
                    from: Some(event.time),
                    to: planned_end,
                };
            }
            EventKind::Started => {
                self.started_at = Some(event.time);
                // All runs of a set end together, so the end is known only now.
                self.planned.to = planned_end;
            }
            EventKind::Effective => self.measured.push(Interval {
                from: Some(event.time),
                to: None,
            }),
            EventKind::TargetReached => {
                self.target_reached_at.get_or_insert(event.time);
            }
            EventKind::Lost => self.close(event.time),
            EventKind::Failed => {
                self.end = Some(EndReason::Failed);
                self.ended_at = Some(event.time);
            }
            EventKind::Cleared => {
                self.end = event.reason;
                self.ended_at = Some(event.time);
                self.close(event.time);
            }
            EventKind::Stopping
            | EventKind::Expired
            | EventKind::Replaced
            | EventKind::Boot
            | EventKind::Halted
            | EventKind::Rearmed
            | EventKind::ExitIntent
            | EventKind::Shutdown => {}
        }
        if event.because.is_some() {
            self.because.clone_from(&event.because);
        }
        if event.error.is_some() {
            self.error.clone_from(&event.error);
        }
        if event.asked.is_some() {
            (self.asked, self.achieved) = (event.asked, event.achieved);
            self.target = event.target;
            self.unit = event.unit.as_deref().map(str::to_owned);
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
