//! The registry of scenarios, and parameters made from their schemas.

use mockserver::plugin::{Plugin, conflicts_of};
use mockserver::scenarios;
use serde_json::{Map, Value, json};

/// The names of all scenarios, in the order of the list.
pub(crate) fn scenario_names() -> impl Iterator<Item = &'static str> {
    scenarios::ALL.iter().map(|plugin| plugin.name())
}

/// Scenarios that may run together: all but those that cannot run beside one before them.
pub(crate) fn together() -> Vec<&'static dyn Plugin> {
    let mut chosen: Vec<&'static dyn Plugin> = Vec::new();
    for plugin in scenarios::ALL {
        let conflicts = conflicts_of(scenarios::ALL, *plugin);
        let mut before = chosen.iter().map(|plugin| plugin.name());
        if before.all(|name| conflicts.iter().all(|conflict| conflict.name != name)) {
            chosen.push(*plugin);
        }
    }
    chosen
}

/// Parameters with which a run does as little as it can: rates and sizes of 1, but more lines of a log and more series, and an hour until
/// anything that waits.
pub(crate) fn harmless(plugin: &dyn Plugin) -> Value {
    let schema = plugin.schema();
    let mut params = Map::new();
    for (name, spec) in schema["properties"].as_object().expect("properties") {
        let (Some(unit), true) = (spec["unit"].as_str(), spec.get("default").is_some()) else {
            continue;
        };
        let wanted: f64 = match unit {
            "s" => 3600.0,
            "lines/s" | "series" => 50.0,
            "series/min" => 60_000.0,
            _ => 1.0,
        };
        let least = spec["minimum"].as_f64().unwrap_or(0.0);
        let most = spec["maximum"].as_f64().unwrap_or(f64::MAX);
        let value = wanted.clamp(least, most);
        let is_integer = spec["type"] == "integer";
        let value = if is_integer {
            json!(value as i64)
        } else {
            json!(value)
        };
        params.insert(name.clone(), value);
    }
    Value::Object(params)
}
