//! In the place of parts that are still to come.

use serde_json::{Map, Value};

use super::answer::Answer;
use super::record::{ReleaseAct, ReleaseFacts};
use crate::input::FieldError;
use crate::ledger::event::Event;

pub(crate) fn read_answer(
    body: Map<String, Value>,
    _names: &[&str],
) -> Result<Answer, Vec<FieldError>> {
    let answer = serde_json::from_value(Value::Object(body));
    answer.map_err(|error| vec![FieldError::new("", error.to_string())])
}

pub(crate) fn read_release(body: Map<String, Value>) -> Result<ReleaseFacts, Vec<FieldError>> {
    Ok(ReleaseFacts {
        what: ReleaseAct::Other,
        body,
    })
}

#[derive(Debug)]
pub(crate) struct Record(Vec<Event>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it has no events")]
    Empty,
}

impl Record {
    pub(crate) fn fold<'e>(
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Result<Self, RecordError> {
        let events: Vec<_> = events.into_iter().cloned().collect();
        match events.is_empty() {
            true => Err(RecordError::Empty),
            false => Ok(Self(events)),
        }
    }
}

#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Report {
    drill_id: Option<String>,
    events: usize,
    closed: Option<Map<String, Value>>,
}

impl Report {
    pub(crate) fn to_text(&self) -> String {
        serde_json::json!(self).to_string() + "\n"
    }
}

#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Aggregate {
    n: usize,
}

pub(crate) fn aggregate(reports: &[Report]) -> Aggregate {
    Aggregate { n: reports.len() }
}

pub(crate) fn score(record: &Record) -> Report {
    let Record(events) = record;
    let last = events.last();
    Report {
        drill_id: last.and_then(|last| last.drill_id.clone()),
        events: events.len(),
        closed: last.and_then(|last| last.drill.as_deref().cloned()),
    }
}
