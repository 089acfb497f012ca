//! Presets: what a drill can be. They are data, in `presets.yaml` and in the configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How hard a drill is to diagnose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Difficulty {
    Easy,
    Medium,
    Hard,
}

/// What a release system does with a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    Promote,
    Hold,
    Rollback,
    Restart,
    None,
}

/// What a right answer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) struct Expected {
    /// The scenarios that are independent causes; empty for a control.
    pub causes: Vec<String>,
    /// The scenarios that may be named as causes without credit or blame: consequences, and passing oddities.
    #[serde(default)]
    pub derived: Vec<String>,
    pub decision: Decision,
}

/// Where the true value of a parameter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Truth {
    /// The mean of what the run achieved, from when it was effective to the answer.
    Achieved,
    /// The slope of what the run achieved, in its unit a second.
    Slope,
    /// The value of the parameter in the plan; the mean of a shape over that time.
    Asked,
}

/// One scenario of a preset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresetScenario {
    pub name: String,
    /// Seconds after the onset of the drill; `time_scale` multiplies it.
    #[serde(default)]
    pub after: f64,
    /// Seconds; `time_scale` multiplies it. None lasts as long as the drill's faults do.
    #[serde(default)]
    pub duration: Option<f64>,
    /// As in a start; `{"draw": [lowest, highest]}` in the place of a number is drawn.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Parameters that `time_scale` divides: rates of growth.
    #[serde(default)]
    pub rates: Vec<String>,
    /// Parameters that `time_scale` multiplies: times that are no shape's.
    #[serde(default)]
    pub times: Vec<String>,
    /// Which parameters an answer may give, and where the true values are read.
    #[serde(default)]
    pub graded: BTreeMap<String, Truth>,
}

/// One kind of drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preset {
    pub name: String,
    pub difficulty: Difficulty,
    /// What happens, for the examiner.
    pub description: String,
    /// What separates it, in public signals, from what it is mistaken for.
    pub tell_tale: String,
    /// Whether the onset is the opening of the drill and not drawn: a version that is so from its birth.
    #[serde(default)]
    pub from_birth: bool,
    /// Whether a restart of the same version finds the faults again. The default of a drill otherwise.
    #[serde(default)]
    pub persist: Option<Persist>,
    #[serde(default)]
    pub scenarios: Vec<PresetScenario>,
    /// A shape that multiplies the requests of the traffic, from the onset on.
    #[serde(default)]
    pub traffic: Option<Value>,
    pub expect: Expected,
}

/// What a restart of the process does to the faults of a drill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Persist {
    /// They are back as long as the same version boots: a bad build stays bad.
    #[default]
    Release,
    /// They are gone: the process was bad.
    Process,
}
