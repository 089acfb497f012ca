//! What a start would do, reported instead of done.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::abort::AbortWhen;
use super::session::{PlannedRun, Start};
use crate::input::Shape;
use crate::plugin::PreflightContext;
use crate::run::Timestamp;

/// How many points show a shape.
const POINTS: u32 = 20;
/// The time over which a shape is shown that has no length of its own, in a run until stopped.
const SHOWN_OVER: Duration = Duration::from_secs(60);

/// The answer to a start with `dry_run`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct DryRun {
    /// Always `dry_run`: nothing was done.
    pub status: DryRunStatus,
    /// The scenarios that would start.
    pub plan: Vec<WouldRun>,
    /// The scenarios that run now and would be stopped first.
    pub replaces: Vec<&'static str>,
    /// The period in seconds in which the client would have to renew the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_s: Option<f64>,
    /// The measurements that would end the session.
    #[serde(skip_serializing_if = "AbortWhen::is_empty")]
    pub abort_when: AbortWhen,
}

/// Distinguishes a dry run from a start.
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
    /// When it would start, where that is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<Timestamp>,
    /// The seconds after which it would end, from its start; null means until stopped.
    pub duration_s: Option<f64>,
    /// When it would end if the set started now; null means until stopped.
    pub expires_at: Option<Timestamp>,
    /// The figures that follow from the surroundings as they are now, as in the metrics of the status.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metrics: Map<String, Value>,
    /// Twenty points of each parameter that changes: the time in seconds since the start, and the value. They cover the
    /// duration or, in a run until stopped, the shape once.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shapes: BTreeMap<String, Vec<[f64; 2]>>,
    /// Why the effect may fall short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl DryRun {
    /// What `start` would do in these `surroundings` where it replaces `replaces`.
    pub(super) fn of(
        start: Start,
        replaces: Vec<&'static str>,
        surroundings: PreflightContext<'_>,
    ) -> Self {
        let now = Timestamp::now();
        let would_run = |run: &PlannedRun| {
            let duration = start.length(run);
            let context = PreflightContext {
                duration,
                ..surroundings
            };
            let starts_at = now.plus(run.after);
            WouldRun {
                name: run.plan.name,
                params: run.plan.params.clone(),
                starts_at: (!run.after.is_zero()).then_some(starts_at),
                duration_s: duration.map(|duration| duration.as_secs_f64()),
                expires_at: duration.map(|duration| starts_at.plus(duration)),
                metrics: run.plan.forecast(context),
                shapes: drawn(&run.plan.shapes, duration),
                // An impossible effect was refused before.
                warning: run.plan.preflight("", context).ok().flatten(),
            }
        };
        Self {
            status: DryRunStatus::DryRun,
            plan: start.runs.iter().map(would_run).collect(),
            replaces,
            lease_s: start.terms.lease.map(|lease| lease.as_secs_f64()),
            abort_when: start.terms.abort_when,
        }
    }
}

/// The points of each shape over `duration`.
fn drawn(
    shapes: &[(String, Shape)],
    duration: Option<Duration>,
) -> BTreeMap<String, Vec<[f64; 2]>> {
    let points = |shape: &Shape| {
        let over = duration.or(shape.length()).unwrap_or(SHOWN_OVER);
        let ages = (0..POINTS).map(|point| over.mul_f64(f64::from(point) / f64::from(POINTS - 1)));
        let point = |age: Duration| [age.as_secs_f64(), shape.value_at(age)];
        ages.map(point).collect()
    };
    let shapes = shapes.iter();
    shapes
        .map(|(name, shape)| (name.clone(), points(shape)))
        .collect()
}
