//! What happened in a drill: the events of its file, folded.
//!
//! The file has the ledger's events from `drill_opened` to `drill_closed`, one JSON object a line, as the ledger has them.
//! Those of the drill itself carry `drill_id` and `drill`, whose members the `…Facts` are. When a fault began and ended
//! is what the ledger's [`History`](crate::ledger::history::History) says: there is no second definition.

mod facts;
mod fold;
mod item;
mod release;
#[cfg(test)]
pub(super) mod tests;

use crate::ledger::event::{Event, EventKind};
use crate::run::Timestamp;

pub(crate) use self::facts::{
    AnswerFacts, CloseReason, ClosedFacts, MeasuredFacts, OpenedFacts, ProbeFacts, ReleaseAct,
    ReleaseFacts, Reveal, Sample, TaintFacts,
};
pub(crate) use self::item::Item;
use super::answer::Answer;

/// Why events make no record of a drill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("there is no opening of a drill in it")]
    NoOpening,
    #[error("drill {0} is not closed in it")]
    NotClosed(String),
    #[error("event {seq} is no {kind:?} as this version writes it: {reason}")]
    BadFacts {
        seq: u64,
        kind: EventKind,
        reason: String,
    },
    #[error("line {line} is no event: {reason}")]
    BadLine { line: usize, reason: String },
}

/// One drill, as it went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub drill_id: String,
    pub opened_at: Timestamp,
    pub opened: OpenedFacts,
    /// The scenarios of the plan, in its order.
    pub items: Vec<Item>,
    /// In the order in which they came.
    pub answers: Vec<GivenAnswer>,
    /// What release systems said that they did.
    pub acts: Vec<(Timestamp, ReleaseAct)>,
    /// The paths that say the truth and that others than the examiner asked for.
    pub tainted: Vec<String>,
    /// What others than the drill did to it, so that it is left out of means.
    pub contaminated: Vec<String>,
    /// Whether the wall clock was set meanwhile.
    pub is_clock_suspect: bool,
    /// How many times the process was started anew.
    pub restarts: u32,
    pub closed_at: Timestamp,
    pub closed: ClosedFacts,
}

/// An answer, and when it counts from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GivenAnswer {
    pub n: u32,
    pub answer: Answer,
    /// Its receipt; the time that it says itself where the process was down then.
    pub at: Timestamp,
    pub is_backdated: bool,
}

impl Record {
    /// The times after which a drill is marked as it was.
    pub(crate) fn deadline_at(&self) -> Timestamp {
        self.opened_at.plus_seconds(self.opened.plan.deadline_s)
    }

    /// `seconds` of a time scale of 1, as this drill goes; never less than half a second.
    pub(crate) fn scaled_s(&self, seconds: f64) -> f64 {
        (seconds * self.opened.plan.time_scale).max(0.5)
    }

    /// Every closed drill in `text`, the lines of a drill's file or of the ledger. A last line that is torn is left out.
    ///
    /// # Errors
    /// Another line is no event, or the events are not those of whole drills.
    pub(crate) fn read(text: &str) -> Result<Vec<Self>, RecordError> {
        let mut events = Vec::new();
        let mut lines = text.lines().enumerate().peekable();
        while let Some((at, line)) = lines.next() {
            match serde_json::from_str::<Event>(line) {
                Ok(event) => events.push(event),
                Err(_) if lines.peek().is_none() && !text.ends_with('\n') => {}
                Err(error) => {
                    let (line, reason) = (at + 1, error.to_string());
                    return Err(RecordError::BadLine { line, reason });
                }
            }
        }
        let openings = (0..events.len()).filter(|at| events[*at].kind == EventKind::DrillOpened);
        let records: Vec<_> = openings
            .map(|from| Self::fold(&events[from..]))
            .collect::<Result<_, _>>()?;
        match records.is_empty() {
            true => Err(RecordError::NoOpening),
            false => Ok(records),
        }
    }
}
