//! What a start would do, told instead of done.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::abort::AbortWhen;
use super::request::Request;
use super::session::PlannedRun;
use crate::host::cgroup::Cgroup;
use crate::plugin::PreflightContext;

/// The answer to a start with `dry_run`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct DryRun {
    /// Always `dry_run`: nothing was done.
    pub status: DryRunStatus,
    /// What would be started.
    pub plan: Vec<WouldRun>,
    /// What runs now and would be ended first.
    pub replaces: Vec<&'static str>,
    /// How often the client would have to renew the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<f64>,
    /// What would end the session by itself.
    #[serde(skip_serializing_if = "AbortWhen::is_empty")]
    pub abort_when: AbortWhen,
}

/// Tells a dry run from a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DryRunStatus {
    /// Nothing was done.
    DryRun,
}

/// One scenario of a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct WouldRun {
    /// The scenario.
    pub name: &'static str,
    /// The effective parameters, defaults filled in.
    pub params: Map<String, Value>,
    /// After how many seconds it would end by itself; null means until stopped.
    pub duration_s: Option<f64>,
    /// What would come in the effect's way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl DryRun {
    /// What the start `request` in the place of `replaces` would come to under the limits of `cgroup`.
    pub(super) fn of(request: Request, replaces: Vec<&'static str>, cgroup: &Cgroup) -> Self {
        let Request { runs, terms, .. } = request;
        let longest = runs.iter().filter_map(|run| run.duration).max();
        let context = PreflightContext {
            cgroup,
            duration: longest,
        };
        let would_run = |run: &PlannedRun| WouldRun {
            name: run.plan.name,
            params: run.plan.params.clone(),
            duration_s: longest.map(|longest| longest.as_secs_f64()),
            // What cannot be had at all was refused before.
            warning: run.plan.preflight("", context).ok().flatten(),
        };
        Self {
            status: DryRunStatus::DryRun,
            plan: runs.iter().map(would_run).collect(),
            replaces,
            lease_s: terms.lease.map(|lease| lease.as_secs_f64()),
            abort_when: terms.abort_when,
        }
    }
}
