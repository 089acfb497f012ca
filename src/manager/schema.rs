//! JSON Schemas of the bodies of starts, derived from the functions that read them.

use serde_json::{Map, Value, json};

use super::names_of;
use super::terms::{Envelope, read_after, read_duration, read_ends};
use crate::input::Fields;
use crate::plugin::{Plugin, conflicts_of};

/// The schema of the body of a single start: the parameters, flat, beside `duration` and the envelope.
pub(crate) fn of_start(registry: &[&dyn Plugin], plugin: &dyn Plugin) -> Value {
    let mut schema = of_params(plugin);
    for (name, of_one) in of_times().into_iter().chain(envelope(registry)) {
        schema["properties"][name] = of_one;
    }
    schema
}

/// The schema of a scenario's parameters, as a part of a larger document.
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
        let mut properties = Map::from_iter([
            ("name".to_owned(), json!({ "const": plugin.name() })),
            ("params".to_owned(), params(*plugin)),
        ]);
        properties.extend(of_times());
        json!({
            "title": plugin.name(),
            "type": "object",
            "properties": properties,
            "required": ["name"],
            "additionalProperties": false,
        })
    };
    let named = |name| json!({ "properties": { "name": { "const": name } } });
    let once = |plugin: &&dyn Plugin| {
        let named = named(plugin.name());
        json!({ "contains": named, "minContains": 0, "maxContains": 1 })
    };
    let alone = |plugin: &&dyn Plugin| {
        let conflicts = conflicts_of(registry, *plugin).into_iter();
        // Each pair is there from both of its sides.
        let later = conflicts.filter(|conflict| plugin.name() < conflict.name);
        let both = later.map(|conflict| [plugin.name(), conflict.name]);
        both.map(|names| json!({ "not": { "allOf": names.map(|name| json!({ "contains": named(name) })) } }))
            .collect::<Vec<_>>()
    };
    let rules = registry.iter().map(once);
    let rules = rules.chain(registry.iter().flat_map(alone));
    let scenarios = json!({
        "description": "The scenarios to run; each at most once.",
        "type": "array",
        "items": { "oneOf": registry.iter().map(entry).collect::<Vec<_>>() },
        "minItems": 1,
        "maxItems": registry.len(),
        "allOf": rules.collect::<Vec<_>>(),
    });
    let mut properties = Map::from_iter([("scenarios".to_owned(), scenarios)]);
    properties.extend(of_ends());
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
    let mut properties = of_times();
    properties.extend(of_ends());
    properties.extend(envelope(registry));
    json!({ "type": "object", "properties": properties })
}

fn envelope(registry: &[&dyn Plugin]) -> Map<String, Value> {
    properties(|fields| {
        Envelope::read(fields, &names_of(registry), None);
    })
}

/// `duration` and `after`.
fn of_times() -> Map<String, Value> {
    properties(|fields| {
        read_duration(fields, 0.0);
        read_after(fields);
    })
}

fn of_ends() -> Map<String, Value> {
    properties(|fields| {
        read_ends(fields);
    })
}

/// The schemas of the members that `read` reads.
fn properties(read: impl FnOnce(&mut Fields)) -> Map<String, Value> {
    let mut fields = Fields::new("", Map::new());
    read(&mut fields);
    let mut schema = fields.schema();
    let properties = schema["properties"].as_object_mut();
    properties.map(std::mem::take).unwrap_or_default()
}
