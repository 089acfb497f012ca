//! The plan of one drill: a pure function of the request, the presets and the seed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::preset::{Difficulty, Expected, Persist, Truth};

/// The version of the way from a seed to a plan. A seed gives the same plan as long as this is the same.
pub(crate) const GENERATOR: u32 = 1;

/// One scenario of a plan, ready for a start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlannedScenario {
    pub name: String,
    /// Seconds after the opening.
    pub after_s: f64,
    /// Seconds from its start.
    pub duration_s: f64,
    pub params: Map<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub graded: BTreeMap<String, Truth>,
}

/// One member of the pool that a drill was drawn from, as the floors need it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolMember {
    pub preset: String,
    /// How likely it was to be drawn; all of a pool sum up to 1.
    pub probability: f64,
    pub expect: Expected,
}

/// One drill, drawn. Its canonical JSON is what the commitment is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub generator: u32,
    pub preset: String,
    pub difficulty: Difficulty,
    pub scenarios: Vec<PlannedScenario>,
    /// A shape that multiplies the requests of the traffic, and the second after the opening at which it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<(f64, Value)>,
    pub expect: Expected,
    pub persist: Persist,
    pub time_scale: f64,
    pub onset_s: f64,
    pub duration_s: f64,
    /// Seconds after the opening.
    pub deadline_s: f64,
    pub max_answers: u32,
    pub max_restarts: u32,
    /// Requests a second while the drill is open; none leaves the traffic as the configuration has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_rps: Option<f64>,
    /// The pool, in the order of its names.
    pub pool: Vec<PoolMember>,
    /// Every scenario that an answer may name: the registry's.
    pub vocabulary: Vec<String>,
}
