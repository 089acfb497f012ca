//! The registry of scenarios, and parameters made from their schemas.

use mockserver::plugin::Plugin;
use mockserver::scenarios;
use serde_json::{Map, Value, json};

/// The names of all scenarios, in the order of the list.
pub(crate) fn scenario_names() -> impl Iterator<Item = &'static str> {
    scenarios::ALL.iter().map(|plugin| plugin.name())
}

/// Parameters with which a run does as little as it can: rates and sizes of 1, and an hour until anything that waits.
pub(crate) fn harmless(plugin: &dyn Plugin) -> Value {
    let schema = plugin.schema();
    let mut params = Map::new();
    for (name, spec) in schema["properties"].as_object().expect("properties") {
        let (Some(unit), true) = (spec["unit"].as_str(), spec.get("default").is_some()) else {
            continue;
        };
        let wanted: f64 = if unit == "s" { 3600.0 } else { 1.0 };
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
