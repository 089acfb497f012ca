//! The plan of one drill: a pure function of the request, the presets and the seed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::preset::{Difficulty, Expected, Persist, Truth};

/// The version of the way from a seed to a plan. A seed gives the same plan as long as this is the same.
pub(crate) const GENERATOR: u32 = 1;
/// How many restarts find the faults again, so that a drill that is forgotten does not last for ever.
pub(super) const MOST_RESTARTS: u32 = 20;
/// What is left of a fault for less than this, in seconds, is not worth a start.
const SHORTEST_S: f64 = 0.001;

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

impl Plan {
    /// Whether nothing is wrong.
    pub(crate) fn is_control(&self) -> bool {
        self.expect.causes.is_empty()
    }

    /// The plan as JSON without spaces, the members of every object in the order of their names.
    pub(crate) fn canonical(&self) -> String {
        sorted(json!(self)).to_string()
    }

    /// The hash of the `salt` and the plan: it says nothing of the plan, and keeps the plan from being changed.
    pub(crate) fn commitment(&self, salt: &[u8; 16]) -> String {
        let hash = Sha256::new()
            .chain_update(salt)
            .chain_update(self.canonical());
        let hash = hash.finalize();
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// The body of a composite start of all that is still to come or goes on `elapsed_s` after the opening; none where
    /// nothing is.
    pub(crate) fn start_body(&self, elapsed_s: f64) -> Option<Map<String, Value>> {
        start_body(&self.scenarios, elapsed_s)
    }
}

/// The same of these `scenarios`.
pub(super) fn start_body(
    scenarios: &[PlannedScenario],
    elapsed_s: f64,
) -> Option<Map<String, Value>> {
    let left = scenarios.iter().filter_map(|scenario| {
        let after_s = (scenario.after_s - elapsed_s).max(0.0);
        let left_s = scenario.after_s + scenario.duration_s - elapsed_s;
        let duration_s = left_s.min(scenario.duration_s);
        let entry = json!({
            "name": scenario.name,
            "params": scenario.params,
            "after": after_s,
            "duration": duration_s,
        });
        (duration_s >= SHORTEST_S).then_some(entry)
    });
    let left: Vec<Value> = left.collect();
    let body = [("scenarios", json!(left)), ("end", "each".into())];
    let body = body.map(|(name, value)| (name.to_owned(), value));
    (!left.is_empty()).then(|| Map::from_iter(body))
}

/// `value` with the members of every object in the order of their names.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.into_iter().collect();
            let members = members
                .into_iter()
                .map(|(name, value)| (name, sorted(value)));
            members.collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        one => one,
    }
}
