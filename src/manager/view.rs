//! Immutable snapshots of sessions and runs, and the status answers made of them.
//!
//! The session actor publishes a new [`View`] after every change. Handlers read it without waiting for the
//! actor, so a status is answered even in the middle of a switch.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::abort::AbortWhen;
use super::lease::Lease;
use super::report::StartReport;
use super::run::{Effect, Run, RunEnd};
use crate::run::{EndReason, Timestamp};

/// The latest run of a scenario.
#[derive(Debug, Clone)]
pub(crate) struct LatestRun {
    pub run: Arc<Run>,
    /// None while it runs.
    pub end: Option<RunEnd>,
}

/// A run that is still to start.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Planned {
    /// The session that it belongs to.
    pub session_id: String,
    /// When it starts.
    pub starts_at: Timestamp,
    /// When its duration is over; null when it will run until stopped.
    pub expires_at: Option<Timestamp>,
    /// The effective parameters.
    pub params: Map<String, Value>,
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub session: Option<SessionStatus>,
    /// The live session's lease, if it has one.
    pub lease: Option<Lease>,
    /// Since when starts have been refused.
    pub halted_since: Option<Timestamp>,
    /// The runs that are still to start.
    pub planned: BTreeMap<&'static str, Planned>,
    /// The latest run of each scenario that has ever run.
    pub latest: BTreeMap<&'static str, LatestRun>,
    /// Ended runs since the process began, by scenario and reason.
    pub ended: BTreeMap<(&'static str, EndReason), u64>,
}

impl View {
    /// The live session. Renewals move the end of its lease without a new view.
    pub(crate) fn session_now(&self) -> Option<SessionStatus> {
        let lease_expires_at = self.lease.as_ref().map(Lease::ends_at);
        let session = self.session.clone();
        session.map(|session| SessionStatus {
            lease_expires_at,
            ..session
        })
    }

    pub(crate) fn is_running(&self, name: &str) -> bool {
        let latest = self.latest.get(name);
        latest.is_some_and(|latest| latest.end.is_none())
    }

    pub(crate) fn status(&self, name: &'static str) -> ScenarioStatus {
        ScenarioStatus {
            planned: self.planned.get(name).cloned(),
            ..self.status_of_latest(name)
        }
    }

    fn status_of_latest(&self, name: &'static str) -> ScenarioStatus {
        let Some(LatestRun { run, end }) = self.latest.get(name) else {
            return ScenarioStatus {
                name,
                ..ScenarioStatus::default()
            };
        };
        let running = end.is_none();
        let effect = run.current_effect();
        ScenarioStatus {
            name,
            running,
            session_id: Some(run.tag.session_id.clone()),
            start_time: run.started_at,
            expires_at: run.expires_at.filter(|_| running),
            params: run.params.clone(),
            metrics: effect.reading.metrics.clone(),
            effect: running.then_some(effect),
            warning: run.warning.clone(),
            end: end.clone(),
            planned: None,
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
    /// When the duration of the last run is over; null when one of them runs until it is stopped.
    pub expires_at: Option<Timestamp>,
    /// When the session ends unless it is renewed; absent without a lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_expires_at: Option<Timestamp>,
    /// The measurements that end the session; absent when none does.
    #[serde(skip_serializing_if = "AbortWhen::is_empty")]
    pub abort_when: AbortWhen,
}

/// The status of one scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct ScenarioStatus {
    /// The scenario.
    pub name: &'static str,
    /// Whether it runs now.
    pub running: bool,
    /// The session of the latest run.
    pub session_id: Option<String>,
    /// When the latest run began; null before the first, and where it could not start.
    pub start_time: Option<Timestamp>,
    /// When its duration is over; null when it runs until stopped, or does not run.
    pub expires_at: Option<Timestamp>,
    /// The effective parameters of the latest run.
    pub params: Map<String, Value>,
    /// The scenario's own figures, measured.
    pub metrics: Map<String, Value>,
    /// Asked and achieved; null when it does not run.
    pub effect: Option<Effect>,
    /// Why the effect may fall short.
    pub warning: Option<String>,
    /// How the latest run ended; null while it runs.
    pub end: Option<RunEnd>,
    /// The run that is still to start; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<Planned>,
}
