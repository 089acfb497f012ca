//! The exam: blind drills that mark a diagnosis.
//!
//! A drill is a [`Plan`](plan::Plan) that is drawn from a seed, what truly happened, the answers of a candidate, and a
//! mark. What happens goes to the ledger, as everything does; the events from a drill's opening to its close are kept
//! in a file of their own, and the [`score`] is a pure function of them.
//!
//! | module | what it is for |
//! |---|---|
//! | `preset` | what a drill can be: data |
//! | `plan` | one drill, drawn from a seed |
//! | `answer` | what a candidate says |
//! | `record` | what happened, folded from events |
//! | `score` | the mark |
//! | `report` | the mark as JSON |
//! | `drill` | opens, keeps and closes the one open drill |

pub(crate) mod answer;
pub(crate) mod drill;
pub(crate) mod plan;
pub(crate) mod preset;
pub(crate) mod record;
pub(crate) mod report;
pub(crate) mod score;
