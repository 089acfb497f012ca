//! What a candidate says.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::preset::Decision;
use crate::input::{FieldError, Fields};
use crate::run::Timestamp;

/// The most things that one answer finds.
const MOST_FINDINGS: usize = 32;
/// The most characters of a text that is kept.
const MOST_CHARS: usize = 4096;
const TEXT_RULE: &str = "must be a text of at most 4096 characters";
const TIME_RULE: &str = "must be a time such as 2026-01-05T08:02:10Z";

/// What people call a scenario, beside its name.
const ALIASES: &[(&str, &str)] = &[
    ("cpu", "cpu_burner"),
    ("cpu_throttling", "cpu_burner"),
    ("memory", "memory_leaker"),
    ("memory_leak", "memory_leaker"),
    ("leak", "memory_leaker"),
    ("oom", "memory_leaker"),
    ("latency", "network_latency"),
    ("slow", "network_latency"),
    ("probe", "health_check"),
    ("probes", "health_check"),
    ("health", "health_check"),
    ("readiness", "health_check"),
    ("liveness", "health_check"),
    ("tasks", "goroutine_leak"),
    ("task_leak", "goroutine_leak"),
    ("io", "disk_io"),
    ("disk", "disk_io"),
    ("disk_full", "disk_fill"),
    ("upstream", "dependency"),
    ("errors", "http_error"),
    ("connections", "connection_abort"),
    ("pool", "pool_exhaustion"),
    ("payload", "bad_payload"),
    ("descriptors", "fd_leak"),
    ("fd", "fd_leak"),
    ("threads", "thread_leak"),
    ("stall", "runtime_stall"),
    ("locks", "lock_contention"),
    ("churn", "memory_churn"),
    ("gc", "memory_churn"),
    ("logs", "log_flood"),
    ("scrape", "metrics_fault"),
    ("clock", "clock_skew"),
    ("sigterm", "shutdown_hang"),
    ("panic", "crash"),
];

/// What a finding is to the candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Answer {
    /// Reads the body of an answer, whose findings name scenarios of the `vocabulary` or their aliases.
    ///
    /// # Errors
    /// Every bad value, and every unknown member.
    pub(crate) fn read(
        body: Map<String, Value>,
        vocabulary: &[&str],
    ) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::new("", body).only_read();
        let answer = Self::of(&mut fields, vocabulary);
        let _: Map<_, _> = fields.finish()?;
        // Where a part is missing, that is among the errors.
        answer.ok_or_else(Vec::new)
    }

    /// JSON Schema of the body.
    pub(crate) fn schema(vocabulary: &[&str]) -> Value {
        let mut fields = Fields::new("", Map::new());
        Self::of(&mut fields, vocabulary);
        fields.schema()
    }

    fn of(fields: &mut Fields, vocabulary: &[&str]) -> Option<Self> {
        fields.require("detected");
        fields.require("decision");
        let about = "Whether anything is wrong.";
        let detected = fields.field("detected", about).flag(false);
        let about = "When it was given; counts where the process was down at that time.";
        let at = time(fields, "at", about);
        let about = "What was found.";
        let findings = fields.objects("findings", about, |fields| Finding::of(fields, vocabulary));
        if findings.len() > MOST_FINDINGS {
            let detail = format!("must have at most {MOST_FINDINGS} items");
            fields.reject("findings", detail);
        }
        let about = "What the release system should do.";
        let decision = fields.field("decision", about).optional();
        let decision = decision.choice(&[
            ("promote", Decision::Promote),
            ("hold", Decision::Hold),
            ("rollback", Decision::Rollback),
            ("restart", Decision::Restart),
            ("none", Decision::None),
        ]);
        let about = "Kept with the drill, never marked.";
        Some(Self {
            detected,
            at,
            summary: text(fields, "summary", about),
            agent: text(fields, "agent", "Names the candidate."),
            findings: findings.into_iter().flatten().collect(),
            decision: decision?,
        })
    }

    /// The scenarios named as causes, the surest first; each once.
    pub(super) fn causes(&self) -> Vec<&Finding> {
        let mut causes: Vec<_> = self.findings.iter().collect();
        causes.retain(|finding| finding.role == Role::Cause);
        // By name where they are as sure as each other, so that the order in which they are given means nothing.
        causes.sort_by(|a, b| {
            let (sure, other) = (a.sureness(), b.sureness());
            other.total_cmp(&sure).then(a.scenario.cmp(&b.scenario))
        });
        let mut seen = BTreeSet::new();
        causes.retain(|finding| seen.insert(finding.scenario.as_str()));
        causes
    }
}

impl Finding {
    /// None where something is missing, which is reported.
    fn of(fields: &mut Fields, vocabulary: &[&str]) -> Option<Self> {
        fields.require("scenario");
        let about = "The name of a scenario, or an alias.";
        let rule = format!("must be one of {}", vocabulary.join(", "));
        let scenario = fields.field("scenario", about).optional();
        let scenario = scenario.text(&rule, |name| known(name, vocabulary));
        let about = "What it is: an independent cause, a consequence, or a passing oddity.";
        let role = fields.field("role", about).choice(&[
            ("cause", Role::Cause),
            ("symptom", Role::Symptom),
            ("benign", Role::Benign),
        ]);
        let about = "How sure the candidate is. Absent: certain.";
        let confidence = fields.field("confidence", about).optional();
        let confidence = confidence.number(0.0..=1.0);
        let since = time(fields, "since", "Since when it has been so.");
        let about = "Values of its parameters, in their units.";
        let params = fields.field("params", about).optional();
        let params = params.any(json!({ "type": "object" }));
        let params = match params {
            None => Map::new(),
            Some(Value::Object(params)) => params,
            Some(_) => {
                fields.reject("params", "must be an object");
                Map::new()
            }
        };
        let evidence = text(fields, "evidence", "Kept with the drill, never marked.");
        Some(Self {
            scenario: scenario?,
            role,
            confidence,
            since,
            params,
            evidence,
        })
    }

    /// How sure the candidate is: certain unless it says otherwise.
    pub(super) fn sureness(&self) -> f64 {
        self.confidence.unwrap_or(1.0)
    }
}

/// The scenario that `name` or an alias of it means.
fn known(name: &str, vocabulary: &[&str]) -> Option<String> {
    let name = name.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let name = alias.map_or(name.as_str(), |(_, meant)| meant);
    vocabulary.contains(&name).then(|| name.to_owned())
}

fn text(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<String> {
    let field = fields.field(name, about).optional();
    field.text(TEXT_RULE, |text| {
        (text.chars().count() <= MOST_CHARS).then(|| text.to_owned())
    })
}

fn time(fields: &mut Fields, name: &'static str, about: &'static str) -> Option<Timestamp> {
    let field = fields.field(name, about).optional();
    field.text(TIME_RULE, |text| serde_json::from_value(text.into()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["cpu_burner", "memory_leaker"];

    fn read(body: Value) -> Result<Answer, Vec<FieldError>> {
        let Value::Object(body) = body else {
            panic!("an object")
        };
        Answer::read(body, &NAMES)
    }

    #[test]
    fn aliases_mean_scenarios_and_the_surest_cause_comes_first() {
        let answer = read(json!({
            "detected": true, "decision": "rollback", "findings": [
                { "scenario": "CPU", "confidence": 0.2 }, { "scenario": "oom" },
                { "scenario": "cpu_burner", "confidence": 0.9 }, { "scenario": "memory", "role": "symptom" },
            ],
        }));
        let answer = answer.expect("good");
        let causes: Vec<_> = answer
            .causes()
            .into_iter()
            .map(|one| &one.scenario)
            .collect();
        assert_eq!(causes, ["memory_leaker", "cpu_burner"]);
        for (_, name) in ALIASES {
            let mut all = crate::scenarios::ALL.iter();
            assert!(all.any(|plugin| plugin.name() == *name), "{name}");
        }
    }

    #[test]
    fn every_bad_value_is_refused_where_it_is() {
        let errors = read(json!({
            "detected": "yes", "decision": "wait", "at": "noon", "mood": 1, "findings": [
                { "scenario": "gremlins" }, { "role": "guess" }, { "scenario": "cpu", "confidence": 2, "params": 3 },
            ],
        }));
        let errors = errors.expect_err("bad");
        for at in [
            "/detected",
            "/decision",
            "/at",
            "/mood",
            "/findings/0/scenario",
            "/findings/1/scenario",
            "/findings/1/role",
            "/findings/2/confidence",
            "/findings/2/params",
        ] {
            assert!(
                errors.iter().any(|error| error.pointer == at),
                "{at}: {errors:?}"
            );
        }
        let unknown = errors
            .iter()
            .find(|error| error.pointer == "/findings/0/scenario");
        assert!(unknown.is_some_and(|error| error.detail.contains("cpu_burner, memory_leaker")));
        assert!(!read(json!({})).expect_err("empty").is_empty());
    }
}
