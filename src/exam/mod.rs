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
mod stub;
