//! JSON Schemas of what a start takes, made of what reads it: the scenarios' parameters, `duration` and the
//! rest of the envelope.

use serde_json::{Map, Value, json};

use super::request::{Envelope, read_duration};
use crate::input::Fields;
use crate::plugin::Plugin;

/// The schema of the body of a single start: the parameters, flat, `duration` and the rest.
pub(crate) fn of_start(registry: &[&dyn Plugin], plugin: &dyn Plugin) -> Value {
    let mut schema = of_params(plugin);
    schema["properties"]["duration"] = of_duration();
    for (name, of_one) in envelope(registry) {
        schema["properties"][name] = of_one;
    }
    schema
}

/// The schema of a scenario's parameters, as part of a larger document.
pub(crate) fn of_params(plugin: &dyn Plugin) -> Value {
    let mut schema = plugin.schema();
    if let Value::Object(members) = &mut schema {
        members.remove("$schema");
    }
    schema
}

/// The schema of the body of a composite start; `params` gives the schema of each scenario's parameters.
pub(crate) fn of_set(registry: &[&dyn Plugin], params: impl Fn(&dyn Plugin) -> Value) -> Value {
    let entry = |plugin: &&dyn Plugin| {
        json!({
            "title": plugin.name(),
            "type": "object",
            "properties": {
                "name": { "const": plugin.name() },
                "params": params(*plugin),
                "duration": of_duration(),
            },
            "required": ["name"],
            "additionalProperties": false,
        })
    };
    let once = |plugin: &&dyn Plugin| {
        let named = json!({ "properties": { "name": { "const": plugin.name() } } });
        json!({ "contains": named, "minContains": 0, "maxContains": 1 })
    };
    let scenarios = json!({
        "description": "What shall run; each scenario once at most.",
        "type": "array",
        "items": { "oneOf": registry.iter().map(entry).collect::<Vec<_>>() },
        "minItems": 1,
        "maxItems": registry.len(),
        "allOf": registry.iter().map(once).collect::<Vec<_>>(),
    });
    let mut properties = Map::from_iter([("scenarios".to_owned(), scenarios)]);
    properties.extend(envelope(registry));
    json!({
        "type": "object",
        "properties": properties,
        "required": ["scenarios"],
        "additionalProperties": false,
    })
}

/// The schema of what every start takes beside the parameters of its scenarios.
pub(crate) fn of_envelope(registry: &[&dyn Plugin]) -> Value {
    let mut properties = Map::from_iter([("duration".to_owned(), of_duration())]);
    properties.extend(envelope(registry));
    json!({ "type": "object", "properties": properties })
}

/// The members of a start beside what shall run.
fn envelope(registry: &[&dyn Plugin]) -> Map<String, Value> {
    let names: Vec<_> = registry.iter().map(|plugin| plugin.name()).collect();
    let mut fields = Fields::new("", Map::new());
    Envelope::read(&mut fields, &names);
    match fields.schema()["properties"].take() {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn of_duration() -> Value {
    let mut fields = Fields::new("", Map::new());
    read_duration(&mut fields, 0.0);
    fields.schema()["properties"]["duration"].take()
}
