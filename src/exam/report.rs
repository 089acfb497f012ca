//! The mark as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::preset::{Decision, Expected};
use super::record::{CloseReason, ReleaseAct};
use crate::run::Timestamp;

/// The version of the marks: the same events and the same version give the same report, byte for byte.
pub(crate) const SCORING: &str = "v1";

/// The report of one drill. What has no meaning is null.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Report {
    pub drill_id: String,
    /// The version of the marks.
    pub scoring: &'static str,
    /// The version of the way from the seed to the plan.
    pub generator: u32,
    pub seed: String,
    /// 16 bytes in hexadecimal.
    pub salt: String,
    pub commitment: String,
    /// Whether the commitment is that of salt and plan.
    pub commitment_ok: bool,
    /// Whether the service was blind: always, since a drill needs that.
    pub blind: bool,
    pub preset: String,
    pub service: String,
    pub service_version: String,
    /// The examiner's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub opened_at: Timestamp,
    pub closed_at: Timestamp,
    pub closed: CloseReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// The paths that say the truth and that others than the examiner asked for.
    pub tainted: Vec<String>,
    /// What others than the drill did to it. Means leave such a drill out.
    pub contaminated: Vec<String>,
    /// Whether the wall clock was set meanwhile: times may be wrong.
    pub clock_suspect: bool,
    pub restarts: u32,
    pub truth: Vec<Truth>,
    pub expected: Expected,
    pub answers: usize,
    pub detection: Detection,
    pub identification: Identification,
    pub severity: Severity,
    pub onset: Onset,
    pub decision: Decided,
    pub mitigation: Mitigation,
    /// From 1, at once, to 0.
    pub speed: Option<f64>,
    /// The mark, from 0 to 1; null where the drill has none.
    pub total: Option<f64>,
    pub floor: Floor,
    /// How far the total is from the best floor to 1; below 0 where it is less than that floor.
    pub lift: Option<f64>,
}

impl Report {
    /// The report as the API answers it and `exam score` prints it.
    pub(crate) fn to_text(&self) -> String {
        // Texts, numbers and lists of them always serialize.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// One fault, as it went.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Truth {
    pub scenario: String,
    pub planned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// When at least half of what was asked was measured.
    pub effective_at: Option<Timestamp>,
    /// When the most was measured.
    pub peak_at: Option<Timestamp>,
    pub cleared_at: Option<Timestamp>,
    pub cleared_by: Option<String>,
    /// How long it was effective, in seconds.
    pub effective_s: f64,
    /// Requests that it touched; null of one that touches none.
    pub touched: Option<u64>,
    pub first_touched_at: Option<Timestamp>,
    /// Whether it could be seen from outside. One that could not is neither asked for nor held against an answer.
    pub observable: bool,
    /// The true values of the parameters that answers may give.
    pub params: BTreeMap<String, Value>,
}

/// What an answer made of the drill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// A fault was found.
    Tp,
    /// A fault was seen where there was none.
    Fp,
    /// Nothing was wrong, and that was said.
    Tn,
    /// A fault was not found.
    Fn,
    /// Nothing was wrong, and nothing was said.
    NoAnswer,
    /// No fault could be seen, or the drill was aborted: there is no mark.
    Void,
}

/// Whether anything was found, and when.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Detection {
    pub outcome: Outcome,
    /// Seconds from the effect to the first answer after which it stayed found.
    pub ttd_s: Option<f64>,
    /// The same from the start of the fault.
    pub ttd_from_start_s: Option<f64>,
    /// Whether a fault was claimed before one had effect.
    pub premature: bool,
}

/// Which causes were named.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Identification {
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    /// Whether the causes are the right ones and no other.
    pub exact: Option<bool>,
    /// Share of the causes among the first one and the first three that were named.
    pub ac_at: BTreeMap<&'static str, Option<f64>>,
    /// Seconds from the effect to the first answer after which the causes stayed exact.
    pub tti_s: Option<f64>,
    /// The mean square of how far the confidences are from the truth, over the vocabulary.
    pub brier: Option<f64>,
}

/// How well the parameters were given.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Severity {
    /// The mean over the causes and those named; null where no parameter is asked for.
    pub score: Option<f64>,
    pub per: Vec<ParameterMark>,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ParameterMark {
    pub scenario: String,
    pub param: String,
    /// The true value.
    pub truth: Value,
    /// Null where none was given.
    pub answer: Value,
    pub score: f64,
}

/// How well the beginning was given.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Onset {
    /// The mean over the causes whose beginning was given.
    pub score: Option<f64>,
    /// How far off it was in the mean, in seconds.
    pub error_s: Option<f64>,
}

/// What was decided, and what the release system did.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Decided {
    pub answer: Option<Decision>,
    pub score: Option<f64>,
    pub acted: Option<ReleaseAct>,
    pub acted_at: Option<Timestamp>,
}

/// How the faults were ended from outside.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Mitigation {
    /// Seconds from the effect to when an act from outside had ended the last fault.
    pub ttm_s: Option<f64>,
    /// For how long nothing was wrong after it.
    pub held_s: Option<f64>,
    /// The act.
    pub by: Option<String>,
}

/// What policies get that look at nothing: their exact expected marks, over the pool that the drill was drawn from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Floor {
    /// Says that nothing is wrong, and promotes.
    pub none: f64,
    /// Says that something is wrong, names nothing, and rolls back.
    pub named_none: f64,
    /// Names every scenario, and rolls back.
    pub all: f64,
    /// Gives the answer that is best if it is always the same.
    pub constant: f64,
    /// Names one scenario drawn by lot, and rolls back.
    pub uniform: f64,
    /// The best of them.
    pub best: f64,
}

/// `figure` with no more digits than are meant, so that the text of a report stays the same.
pub(super) fn rounded(figure: f64) -> f64 {
    // A sum of nothing is -0.0, which is no figure to show.
    (figure * 1e4).round() / 1e4 + 0.0
}
