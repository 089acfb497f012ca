//! Rules over several members of an object. Each is to be set before any of them is read.

use serde_json::{Value, json};

use super::Fields;

impl Fields {
    /// Refuses `name` where `other` is not given beside it.
    pub fn needs(&mut self, name: &'static str, other: &'static str) {
        if self.has(name) && !self.has(other) {
            self.reject(name, format!("needs {other} beside it"));
        }
        self.rule(json!({ "dependentRequired": { name: [other] } }));
    }

    /// Refuses `name` where the choice `member` is not one of `values`; `by_default` says whether its default is one.
    pub fn only_where(
        &mut self,
        name: &'static str,
        (member, values): (&'static str, &[&'static str]),
        by_default: bool,
    ) {
        let is_one = self.is_one(member, values).unwrap_or(by_default);
        if self.has(name) && !is_one {
            let values = values.join(", ");
            self.reject(
                name,
                format!("has an effect only where {member} is {values}"),
            );
        }
        let mut then = json!({ "properties": { member: { "enum": values } } });
        if !by_default {
            then["required"] = json!([member]);
        }
        self.rule(json!({ "if": { "required": [name] }, "then": then }));
    }

    /// Refuses one of `values` of the choice `member` where `name` is not given beside it; the default is none of them.
    pub fn needed_where(
        &mut self,
        name: &'static str,
        (member, values): (&'static str, &[&'static str]),
    ) {
        if self.is_one(member, values) == Some(true) && !self.has(name) {
            self.reject(member, format!("needs {name} beside it"));
        }
        let one = json!({ "required": [member], "properties": { member: { "enum": values } } });
        self.rule(json!({ "if": one, "then": { "required": [name] } }));
    }

    /// Whether the choice is one of `values`; none where it is absent.
    fn is_one(&self, member: &str, values: &[&str]) -> Option<bool> {
        let given = self.peek(member)?;
        Some(given.as_str().is_some_and(|given| values.contains(&given)))
    }

    fn rule(&mut self, schema: Value) {
        self.rules.push(schema);
    }
}
