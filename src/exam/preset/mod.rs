//! Presets: what a drill can be. They are data, in `presets.yaml` and in the configuration.
//!
//! | module | what it is for |
//! |---|---|
//! | `read` | presets from data |
//! | `check` | whether each scenario of a preset can start, whatever is drawn |
//! | `drawing` | values that are drawn |

mod check;
pub(crate) mod drawing;
mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::patient::Need;
use crate::input::Fields;

/// How hard a drill is to diagnose.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Difficulty {
    Easy,
    Medium,
    Hard,
}

impl Difficulty {
    pub(super) const NAMES: [(&'static str, Self); 3] = [
        ("easy", Self::Easy),
        ("medium", Self::Medium),
        ("hard", Self::Hard),
    ];
}

/// What a release system does with a release.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decision {
    Promote,
    Hold,
    Rollback,
    Restart,
    None,
}

/// What a right answer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Expected {
    /// The scenarios that are independent causes; empty for a control.
    pub causes: Vec<String>,
    /// The scenarios that may be named as causes without credit or blame: consequences, and passing oddities.
    #[serde(default)]
    pub derived: Vec<String>,
    pub decision: Decision,
}

/// Where the true value of a parameter is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Truth {
    /// The mean of what the run achieved, from when it was effective to the answer.
    Achieved,
    /// The slope of what the run achieved, in its unit a second.
    Slope,
    /// The value of the parameter in the plan; the mean of a shape over that time.
    Asked,
}

impl Truth {
    const NAMES: [(&'static str, Self); 3] = [
        ("achieved", Self::Achieved),
        ("slope", Self::Slope),
        ("asked", Self::Asked),
    ];
}

/// What a restart of the process does to the faults of a drill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Persist {
    /// They are back as long as the same version boots: a bad build stays bad.
    #[default]
    Release,
    /// They are gone: the process was bad.
    Process,
}

impl Persist {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("release", Self::Release), ("process", Self::Process)];
}

/// One scenario of a preset.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct PresetScenario {
    pub name: String,
    /// Seconds after the onset of the drill, or a range to draw them from; `time_scale` multiplies it.
    pub after: Value,
    /// Seconds, or a range to draw them from; `time_scale` multiplies it. None lasts as long as the drill's faults do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Value>,
    /// As in a start, with values that are drawn: see [`drawing`].
    pub params: Map<String, Value>,
    /// Parameters that `time_scale` divides: rates of growth.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<String>,
    /// Parameters that `time_scale` multiplies: times in seconds that are no shape's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub times: Vec<String>,
    /// Which parameters an answer may give, and where the true values are read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub graded: BTreeMap<String, Truth>,
}

/// One kind of drill.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Preset {
    pub name: String,
    pub difficulty: Difficulty,
    /// What happens, for the examiner.
    pub description: String,
    /// What separates it, in public signals, from what it is mistaken for.
    pub tell_tale: String,
    /// Whether the onset is the opening of the drill and not drawn: a version that is so from its birth.
    pub from_birth: bool,
    /// Whether a restart of the same version finds the faults again. The default of a drill otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persist: Option<Persist>,
    pub scenarios: Vec<PresetScenario>,
    /// A shape that multiplies the requests of the traffic, from the onset on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Value>,
    pub expect: Expected,
}

impl Preset {
    /// Whether nothing is wrong.
    pub(crate) fn is_control(&self) -> bool {
        self.expect.causes.is_empty()
    }

    /// How many values of [`drawing::Ends`] are to be tried, so that the ends of all that is drawn are met.
    pub(super) fn ways(&self) -> usize {
        let scenarios = self.scenarios.iter();
        let ways = scenarios.map(|scenario| drawing::ways(&json!(scenario.params)));
        ways.fold(2, usize::max)
    }

    /// What the service must have, as it follows from the parameters.
    pub(crate) fn needs(&self) -> BTreeSet<Need> {
        let scenarios = self.scenarios.iter();
        let needs = scenarios.flat_map(|scenario| drawing::needs(&json!(scenario.params)));
        needs.collect()
    }
}

/// All presets: the embedded ones and those of the configuration. Cheap to clone; those that are embedded are read when
/// they are first asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Presets(Arc<Sources>);

#[derive(Debug, Default)]
struct Sources {
    own: Vec<Preset>,
    all: OnceLock<Vec<Preset>>,
}

impl Presets {
    /// With `own` of the configuration, whose names are none of the embedded ones.
    pub(crate) fn new(own: Vec<Preset>) -> Self {
        let all = OnceLock::new();
        Self(Arc::new(Sources { own, all }))
    }

    /// In the order of their names.
    pub(crate) fn all(&self) -> &[Preset] {
        self.0.all.get_or_init(|| {
            let mut all = EMBEDDED.clone();
            all.extend(self.0.own.iter().cloned());
            all.sort_by(|a, b| a.name.cmp(&b.name));
            all
        })
    }

    /// As the API lists them.
    pub(crate) fn list(&self) -> PresetList {
        let view = |preset: &Preset| PresetView {
            needs: preset.needs(),
            preset: preset.clone(),
        };
        PresetList {
            presets: self.all().iter().map(view).collect(),
        }
    }
}

/// The presets of the file. A test reads it with all checks.
static EMBEDDED: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let mut fields = Fields::new("", embedded());
    read::presets(&mut fields, None, &[])
});

/// The file, as the section `Exam` of a configuration has it.
fn embedded() -> Map<String, Value> {
    serde_yaml::from_str(include_str!("../presets.yaml")).unwrap_or_default()
}

/// What drills can be made of.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PresetList {
    pub presets: Vec<PresetView>,
}

/// A preset, and what it needs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct PresetView {
    #[serde(flatten)]
    pub preset: Preset,
    /// What the service must have; without it, the preset is not drawn.
    pub needs: BTreeSet<Need>,
}

/// The section `Exam` of the configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ExamSpec {
    /// Presets beside the embedded ones.
    pub presets: Vec<Preset>,
}
