//! What the events of a drill say of it: the members of `drill`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::exam::answer::Answer;
use crate::exam::plan::Plan;
use crate::run::Timestamp;

/// `drill` of `drill_opened`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OpenedFacts {
    pub plan: Plan,
    pub seed: String,
    /// 16 bytes in hexadecimal.
    pub salt: String,
    /// `sha256:` and the hash of salt and plan in hexadecimal.
    pub commitment: String,
    /// `Name` and `Version` of the service.
    pub service: String,
    pub service_version: String,
    /// Whether the report may be read by all once the drill is closed.
    pub reveal: Reveal,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Who may read the report of a closed drill.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reveal {
    /// The candidate too.
    After,
    #[default]
    Admin,
}

/// `drill` of `drill_answer`; the event's time is that of its receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct AnswerFacts {
    /// From 1.
    pub n: u32,
    pub answer: Answer,
}

/// `drill` of `drill_release_event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseFacts {
    pub what: ReleaseAct,
    /// As it came.
    pub body: Map<String, Value>,
}

/// What a release system says that it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReleaseAct {
    RolledBack,
    Promoted,
    Paused,
    Restarted,
    // Anything else; kept, never marked.
    Other,
}

/// `drill` of `drill_measured`: one sample of each run of the drill that lives. Every few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeasuredFacts {
    pub runs: Vec<Sample>,
}

/// What one run measured at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub run_id: u64,
    pub scenario: String,
    pub asked: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved: Option<f64>,
    /// Requests that it has touched so far; none of a scenario that touches none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<u64>,
    /// When it touched the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_touched_at: Option<Timestamp>,
}

/// `drill` of `drill_probe_flip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProbeFacts {
    /// `/health` or `/ready`.
    pub probe: String,
    pub succeeds: bool,
}

/// `drill` of `drill_tainted`: someone other than the admin asked for what says the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaintFacts {
    pub path: String,
}

/// `drill` of `drill_closed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClosedFacts {
    pub reason: CloseReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// Why a drill was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CloseReason {
    /// The examiner closed it.
    Finished,
    /// The examiner stopped or replaced its faults.
    Stopped,
    /// Its deadline passed.
    Expired,
    /// Another version booted.
    RolledBack,
    /// It could not go on: a halt, a file that cannot be written, a drill that replaced it. It has no mark.
    Aborted,
}
