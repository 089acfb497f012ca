//! The exam: blind drills that mark a diagnosis.
//!
//! A drill is a [`Plan`](plan::Plan) that is drawn from a seed, what truly happened, the answers of a candidate, and a
//! mark. What happens goes to the ledger, as everything does; the events from a drill's opening to its close are kept
//! in a file of their own, and the [`score`] is a pure function of them.
//!
//! | module | what it is for |
//! |---|---|
//! | `request` | what drill is asked for |
//! | `preset` | what a drill can be: data |
//! | `patient` | what a plan must know of the service |
//! | `plan` | one drill, drawn from a seed |
//! | `draw` | how it is drawn |
//! | `pool` | what it is drawn from |
//! | `streams` | random numbers from a seed |
//! | `scale` | the time scale of a drill |
//! | `answer` | what a candidate says |
//! | `record` | what happened, folded from events |
//! | `score` | the mark |
//! | `report` | the mark as JSON |
//! | `drill` | opens, keeps and closes the one open drill |

pub(crate) mod answer;
pub(crate) mod draw;
pub(crate) mod drill;
pub(crate) mod patient;
pub(crate) mod plan;
mod pool;
pub(crate) mod preset;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod request;
mod scale;
pub(crate) mod score;
mod streams;

/// The reports of every closed drill in `text`, the lines of a drill's file or of the ledger; one a line, as the API
/// answers them.
///
/// # Errors
/// A line is no event, or there is no whole drill in it.
pub(crate) fn reports(text: &str) -> Result<String, record::RecordError> {
    let records = record::Record::read(text)?;
    let reports = records.iter().map(|record| score::score(record).to_text());
    Ok(reports.collect())
}
