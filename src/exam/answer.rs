//! What a candidate says.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::preset::Decision;
use crate::run::Timestamp;

/// What a finding is to the candidate.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// An independent cause; the only role that is marked.
    #[default]
    Cause,
    /// A consequence of a cause.
    Symptom,
    /// A passing oddity.
    Benign,
}

/// One thing that the candidate has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// A name of the registry; aliases are replaced by it when the answer is read.
    pub scenario: String,
    #[serde(default)]
    pub role: Role,
    /// From 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
    /// Kept, never marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub detected: bool,
    /// When the candidate gave it, by its own clock; counts only where the process was down then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    #[serde(default)]
    pub findings: Vec<Finding>,
    pub decision: Decision,
    /// Kept, never marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Names the candidate; kept, never marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}
