//! What cannot run together.

use schemars::JsonSchema;
use serde::Serialize;

use super::Plugin;

/// The scenarios that one cannot run beside: the name of each, and why, as a sentence without its full stop.
pub type Conflicts = &'static [(&'static str, &'static str)];

/// A scenario that another cannot run beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Conflict {
    /// The other scenario.
    pub name: &'static str,
    /// Why the two cannot run together.
    pub reason: &'static str,
}

/// What `plugin` cannot run beside, in the order of the `registry`. A conflict holds for both, whichever names the
/// other.
#[must_use]
pub fn conflicts_of(registry: &[&dyn Plugin], plugin: &dyn Plugin) -> Vec<Conflict> {
    let between = |other: &&dyn Plugin| {
        let name = other.name();
        let reason = why(plugin, name).or_else(|| why(*other, plugin.name()))?;
        Some(Conflict { name, reason })
    };
    registry.iter().filter_map(between).collect()
}

/// Why `plugin` says that it cannot run beside `other`, if it does.
fn why(plugin: &dyn Plugin, other: &str) -> Option<&'static str> {
    let mut conflicts = plugin.conflicts().iter();
    let found = conflicts.find(|(name, _)| *name == other);
    found.map(|(_, reason)| *reason)
}
