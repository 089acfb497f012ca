//! The answer to a start: what came of each scenario.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::run::Timestamp;

/// The outcome of one scenario of a start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Detail {
    /// The scenario.
    pub name: &'static str,
    /// Whether it started, or will, and has not failed since.
    pub success: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the effect may fall short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The seconds after which it ends, where the duration comes from the configuration and not from the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// When it starts, where that is later; absent once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// When it ends by itself; absent where it did not start, or runs until stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The effective parameters, defaults filled in; absent where it did not start.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub params: Map<String, Value>,
}

impl Detail {
    pub(crate) fn failed(name: &'static str, reason: String) -> Self {
        Self {
            name,
            error: Some(reason),
            ..Self::default()
        }
    }
}

/// The outcome of a whole start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Every scenario started and has not failed since.
    Success,
    /// Some scenarios could not start, or failed.
    Partial,
}

/// The answer to a start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct StartReport {
    /// The session that the started scenarios belong to.
    pub session_id: String,
    /// The scenarios that started, or will.
    pub scenarios: Vec<&'static str>,
    /// Whether all of them did.
    pub status: Outcome,
    /// One entry for each requested scenario.
    pub details: Vec<Detail>,
}

impl StartReport {
    pub(crate) fn new(session_id: String, details: Vec<Detail>) -> Self {
        let started = details.iter().filter(|detail| detail.success);
        let scenarios: Vec<_> = started.map(|detail| detail.name).collect();
        let status = if scenarios.len() == details.len() {
            Outcome::Success
        } else {
            Outcome::Partial
        };
        Self {
            session_id,
            scenarios,
            status,
            details,
        }
    }

    /// Each scenario with its error, for a start of which nothing came up.
    pub(super) fn reasons(&self) -> String {
        let reason = |d: &Detail| format!("{}: {}", d.name, d.error.as_deref().unwrap_or("failed"));
        let reasons: Vec<_> = self.details.iter().map(reason).collect();
        reasons.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_partial_when_one_of_its_details_failed() {
        let started = Detail {
            name: "a",
            success: true,
            ..Detail::default()
        };
        let failed = Detail::failed("b", "out of luck".to_owned());
        let report = StartReport::new("session-1".into(), vec![started, failed]);
        assert_eq!(report.status, Outcome::Partial);
        assert_eq!(report.scenarios, ["a"]);
    }
}
