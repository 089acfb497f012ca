//! What the outside may see of sessions and runs: immutable snapshots and the JSON made of them.
//!
//! The session actor publishes a new [`View`] after every change; handlers read it without ever
//! waiting for the actor, so a status is answered in the middle of a switch too.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::abort::AbortWhen;
use super::lease::Lease;
use crate::plugin::{Probe, Reading};
use crate::run::EndReason;
use crate::run::RunTag;
use crate::run::Timestamp;

/// The outcome of one scenario of a start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Detail {
    /// The scenario.
    pub name: &'static str,
    /// Whether it started and has not failed since.
    pub success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What will come in the effect's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// After how many seconds it ends by itself, where the configuration says so and not the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
}

impl Detail {
    /// A scenario that started.
    pub(crate) fn started(name: &'static str) -> Self {
        Self {
            name,
            success: true,
            error: None,
            warning: None,
            duration_s: None,
        }
    }

    /// A scenario that did not start, and why.
    pub(crate) fn failed(name: &'static str, reason: String) -> Self {
        Self {
            success: false,
            error: Some(reason),
            ..Self::started(name)
        }
    }
}

/// The outcome of a whole start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// All of it started and has not failed since.
    Success,
    /// Some could not start, or failed.
    Partial,
}

/// The answer to a start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct StartReport {
    /// The session that the started scenarios belong to.
    pub session_id: String,
    /// The scenarios that started.
    pub scenarios: Vec<&'static str>,
    /// Whether all of them did.
    pub status: Outcome,
    /// One entry for each scenario that was asked for.
    pub details: Vec<Detail>,
}

impl StartReport {
    /// Sums up `details`.
    pub(crate) fn new(session_id: String, details: Vec<Detail>) -> Self {
        let scenarios: Vec<_> = details
            .iter()
            .filter(|d| d.success)
            .map(|d| d.name)
            .collect();
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
}

/// The live session.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct SessionStatus {
    /// Id, scenarios that run now, status and details.
    #[serde(flatten)]
    pub report: StartReport,
    /// When it began.
    pub started_at: Timestamp,
    /// When the last run will end by itself; null when one runs until it is stopped.
    pub expires_at: Option<Timestamp>,
    /// When it will end by itself unless it is renewed; not there without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
    /// What ends it by itself; not there when nothing does.
    #[serde(skip_serializing_if = "AbortWhen::is_empty")]
    pub abort_when: AbortWhen,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct RunEnd {
    /// Why.
    pub reason: EndReason,
    /// When its effect was gone.
    pub at: Timestamp,
    /// The same in words, where there is more to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was asked and achieved last, before the effect was taken off.
    pub effect: Effect,
}

impl RunEnd {
    /// An end at this moment that needs no more words.
    pub(crate) fn now(reason: EndReason, effect: Effect) -> Self {
        Self {
            reason,
            at: Timestamp::now(),
            because: None,
            error: None,
            effect,
        }
    }
}

/// One run of a scenario, live or ended.
pub(crate) struct Run {
    /// The scenario.
    pub name: &'static str,
    /// The session it belongs to.
    pub session_id: String,
    /// Its number in the ledger.
    pub id: u64,
    /// The effective parameters.
    pub params: Map<String, Value>,
    /// When its effect began.
    pub started_at: Timestamp,
    /// When it will end by itself.
    pub expires_at: Option<Timestamp>,
    /// What will come in its way.
    pub warning: Option<String>,
    /// Tells what it does now.
    pub probe: Arc<dyn Probe>,
    // A std mutex: written a few times a second, held for an assignment.
    effect: Mutex<Effect>,
}

impl Run {
    /// A run that has just begun.
    pub(crate) fn begun(
        tag: RunTag,
        params: Map<String, Value>,
        (started_at, expires_after): (Timestamp, Option<std::time::Duration>),
        (probe, warning): (Arc<dyn Probe>, Option<String>),
    ) -> Self {
        let expires_at = expires_after.map(|after| started_at.plus(after));
        let effect = Mutex::default();
        Self {
            name: tag.scenario,
            session_id: tag.session_id,
            id: tag.run_id,
            params,
            started_at,
            expires_at,
            warning,
            probe,
            effect,
        }
    }

    /// What the ledger calls it.
    pub(crate) fn tag(&self) -> RunTag {
        RunTag {
            session_id: self.session_id.clone(),
            run_id: self.id,
            scenario: self.name,
        }
    }

    /// Reads the probe, and notes since when the effect holds: at least half of what is asked.
    pub(crate) fn observe(&self) -> Effect {
        let reading = self.probe.read();
        let holds = reading
            .achieved
            .is_some_and(|achieved| achieved > 0.0 && achieved >= reading.asked / 2.0);
        let mut effect = self.effect.lock().unwrap_or_else(PoisonError::into_inner);
        let since = effect.effective_since.filter(|_| holds);
        let effective_since = since.or_else(|| holds.then(Timestamp::now));
        *effect = Effect {
            reading,
            effective_since,
        };
        effect.clone()
    }

    /// What is read now, with what was observed of it.
    fn current_effect(&self) -> Effect {
        Effect {
            reading: self.probe.read(),
            ..self.last_effect()
        }
    }

    /// What was observed last.
    pub(crate) fn last_effect(&self) -> Effect {
        self.effect
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            session_id,
            params,
            ..
        } = self;
        f.debug_struct("Run")
            .field("name", name)
            .field("session_id", session_id)
            .field("params", params)
            .finish_non_exhaustive()
    }
}

/// The latest run of a scenario and, once it is over, its end.
#[derive(Debug, Clone)]
pub(crate) struct LatestRun {
    /// The run.
    pub run: Arc<Run>,
    /// None while it runs.
    pub end: Option<RunEnd>,
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The live session.
    pub session: Option<SessionStatus>,
    /// The live session's lease, if it has one.
    pub lease: Option<Lease>,
    /// Since when no start is taken.
    pub halted_since: Option<Timestamp>,
    /// The latest run of each scenario that has ever run.
    pub latest: BTreeMap<&'static str, LatestRun>,
    /// How many runs of each scenario have ended so, since the process began.
    pub ended: BTreeMap<(&'static str, EndReason), u64>,
}

impl View {
    /// The live session, its lease as it is now.
    pub(crate) fn session_now(&self) -> Option<SessionStatus> {
        let lease_expires_at = self.lease.as_ref().map(Lease::ends_at);
        let session = self.session.clone();
        session.map(|session| SessionStatus {
            lease_expires_at,
            ..session
        })
    }

    /// Whether `name` runs now.
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.latest
            .get(name)
            .is_some_and(|latest| latest.end.is_none())
    }

    /// The status of the scenario `name`.
    pub(crate) fn status(&self, name: &'static str) -> ScenarioStatus {
        let Some(LatestRun { run, end }) = self.latest.get(name) else {
            return ScenarioStatus {
                name,
                ..ScenarioStatus::default()
            };
        };
        let running = end.is_none();
        ScenarioStatus {
            name,
            running,
            session_id: Some(run.session_id.clone()),
            start_time: Some(run.started_at),
            expires_at: run.expires_at.filter(|_| running),
            params: run.params.clone(),
            metrics: run.probe.read().metrics,
            effect: running.then(|| run.current_effect()),
            warning: run.warning.clone(),
            end: end.clone(),
        }
    }
}

/// What a scenario was asked and what it achieves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Effect {
    /// Asked, achieved, unit and shortfall.
    #[serde(flatten)]
    pub reading: Reading,
    /// Since when at least half of what is asked is achieved without a break.
    pub effective_since: Option<Timestamp>,
}

/// The answer to a status query of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ScenarioStatus {
    /// The scenario.
    pub name: &'static str,
    /// Whether it runs now.
    pub running: bool,
    /// The session of the latest run.
    pub session_id: Option<String>,
    /// When the latest run began; null before the first.
    pub start_time: Option<Timestamp>,
    /// When it will end by itself; null when it runs until stopped, or not at all.
    pub expires_at: Option<Timestamp>,
    /// The effective parameters of the latest run.
    pub params: Map<String, Value>,
    /// The scenario's own figures, measured.
    pub metrics: Map<String, Value>,
    /// Asked and achieved; null when it does not run.
    pub effect: Option<Effect>,
    /// What comes in the effect's way.
    pub warning: Option<String>,
    /// How the latest run ended; null while it runs.
    pub end: Option<RunEnd>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_partial_when_one_of_its_details_failed() {
        let detail = |name, success| Detail {
            name,
            success,
            error: None,
            warning: None,
            duration_s: None,
        };
        let report = StartReport::new(
            "session-1".into(),
            vec![detail("a", true), detail("b", false)],
        );
        assert_eq!(
            (report.status, report.scenarios),
            (Outcome::Partial, vec!["a"])
        );
    }
}
