//! The `drill` member of events, to and from its types.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ledger::event::Event;

/// `facts` as the member of an event.
pub(super) fn map_of(facts: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(facts) {
        Ok(Value::Object(map)) => map,
        // Facts are structs of numbers, texts and lists of them, which always serialize, as objects.
        _ => Map::new(),
    }
}

/// The facts of `event`; none where it has no such ones.
pub(super) fn facts_of<T: DeserializeOwned>(event: &Event) -> Option<T> {
    let facts = event.drill.as_deref()?.clone();
    serde_json::from_value(Value::Object(facts)).ok()
}
