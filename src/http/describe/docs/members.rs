//! Schemas as lists of members with their types, ranges, defaults and meanings.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::super::openapi::DEFAULT;
use super::{members_of, text};
use crate::http::page::markdown::markdown;

/// How many members of one and the same kind are shown one by one.
const MOST_ALIKE: usize = 3;

/// The schemas of a document, whose references it follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schemas<'d>(pub(super) &'d Value);

impl Schemas<'_> {
    /// The schema itself where `schema` refers to another; what stands beside the reference counts.
    pub(super) fn resolved(self, schema: &Value) -> Value {
        let Some(reference) = schema["$ref"].as_str() else {
            return schema.clone();
        };
        let target = self.0.pointer(reference.trim_start_matches('#'));
        let mut resolved = target.cloned().unwrap_or_default();
        for (keyword, value) in members_of(schema).filter(|(keyword, _)| *keyword != "$ref") {
            resolved[keyword] = value.clone();
        }
        resolved
    }

    /// The members of an object, or of the objects in a list; nothing for other types.
    pub(super) fn members(self, schema: &Value) -> Markup {
        let schema = self.resolved(schema);
        if schema["items"].is_object() {
            return self.members(&schema["items"]);
        }
        let required = |name: &str| {
            let mut names = schema["required"].as_array().into_iter().flatten();
            names.any(|required| required == name)
        };
        let choices = choices_of(&schema);
        html! {
            @if let Some((names, of_each)) = alike(&schema) {
                dl.members { (self.member("<name>", &of_each, false)) }
                p.soft { "A name is one of " (names.join(", ")) "." }
            } @else if schema["properties"].is_object() {
                dl.members {
                    @for (name, member) in members_of(&schema["properties"]) {
                        (self.member(name, member, required(name)))
                    }
                }
            }
            @if choices.iter().all(|choice| choice["title"].is_string()) {
                @if let Some(common) = common(&choices) { (self.members(&common)) }
            } @else if let [only] = choices[..] {
                (self.members(only))
            } @else {
                @for choice in choices { (self.choice(choice)) }
            }
        }
    }

    /// One of several forms.
    fn choice(self, choice: &Value) -> Markup {
        let schema = self.resolved(choice);
        html! {
            @if schema["properties"].is_object() {
                details.nested {
                    summary { "or: " (text(&schema["description"])) }
                    (self.members(&schema))
                }
            }
        }
    }

    pub(super) fn member(self, name: &str, member: &Value, required: bool) -> Markup {
        let schema = self.resolved(member);
        let default = schema.get(DEFAULT).or(schema.get("default"));
        let inner = self.members(&schema).into_string();
        html! {
            div.member {
                dt {
                    code { (name) }
                    span.soft {
                        (self.facts(&schema))
                        @if required { " · required" }
                        @if let Some(default) = default.filter(|default| !default.is_object()) {
                            " · default " code { (default) }
                        }
                    }
                }
                dd {
                    (markdown(text(&schema["description"])))
                    @if !inner.is_empty() {
                        details.nested {
                            summary { "Members of " code { (name) } }
                            (maud::PreEscaped(inner))
                        }
                    }
                }
            }
        }
    }

    /// Type, range and unit.
    fn facts(self, schema: &Value) -> String {
        let facts = [
            self.kind(schema),
            limits(schema),
            text(&schema["unit"]).to_owned(),
        ];
        let facts = facts.into_iter().filter(|fact| !fact.is_empty());
        facts.collect::<Vec<_>>().join(" · ")
    }

    /// The type in words.
    pub(super) fn kind(self, schema: &Value) -> String {
        let schema = self.resolved(schema);
        let words = |values: &[Value]| {
            let words = values.iter().map(Value::to_string);
            words.collect::<Vec<_>>().join(", ")
        };
        if let Some(value) = schema.get("const") {
            return value.to_string();
        }
        if let Some(values) = schema["enum"].as_array() {
            return words(values);
        }
        if schema["items"].is_object() {
            return format!("list of {}", self.kind(&schema["items"]));
        }
        match &schema["type"] {
            Value::String(name) => name.clone(),
            Value::Array(names) => {
                let names = names.iter().filter_map(Value::as_str);
                names.collect::<Vec<_>>().join(" or ")
            }
            _ => {
                let mut kinds: Vec<String> = choices_of(&schema)
                    .iter()
                    .map(|one| self.kind(one))
                    .collect();
                kinds.dedup();
                kinds.join(" or ")
            }
        }
    }
}

/// The forms that a value may have, but for null.
fn choices_of(schema: &Value) -> Vec<&Value> {
    let choices = schema["oneOf"].as_array().or(schema["anyOf"].as_array());
    let choices = choices.into_iter().flatten();
    choices.filter(|choice| choice["type"] != "null").collect()
}

/// Members that all are of one kind: their names, and the kind.
fn alike(schema: &Value) -> Option<(Vec<&str>, Value)> {
    let members: Vec<_> = members_of(&schema["properties"]).collect();
    let (_, first) = members.first()?;
    let is_alike = members.len() > MOST_ALIKE && members.iter().all(|(_, member)| member == first);
    let names = members.iter().map(|(name, _)| *name).collect();
    is_alike.then(|| (names, (*first).clone()))
}

/// One schema for choices that differ in constants and in references only.
fn common(choices: &[&Value]) -> Option<Value> {
    let mut common = (*choices.first()?).clone();
    for (name, member) in members_of(&choices.first()?["properties"]) {
        let all = || choices.iter().map(|choice| &choice["properties"][name]);
        if member.get("const").is_some() {
            let names: Value = all().map(|member| member["const"].clone()).collect();
            common["properties"][name] = json!({ "enum": names });
        } else if all().any(|other| other != member) {
            common["properties"][name] = json!({
                "type": "object",
                "description": format!("Depends on `{}`.", discriminator(choices)),
            });
        }
    }
    Some(common)
}

/// The member that is another constant in each choice.
fn discriminator<'v>(choices: &[&'v Value]) -> &'v str {
    let first = choices
        .first()
        .map(|choice| members_of(&choice["properties"]));
    let constant = first
        .into_iter()
        .flatten()
        .find(|(_, member)| member.get("const").is_some());
    constant.map_or("name", |(name, _)| name)
}

/// The range, as far as there is one.
fn limits(schema: &Value) -> String {
    let number = |keyword: &str| schema.get(keyword).map(Value::to_string);
    let (low, high) = (number("minimum"), number("maximum"));
    match (low, number("exclusiveMinimum"), high) {
        (Some(low), _, Some(high)) => format!("{low} to {high}"),
        (_, Some(low), Some(high)) => format!("above {low}, to {high}"),
        (Some(low), _, None) => format!("from {low}"),
        (_, Some(low), None) => format!("above {low}"),
        (None, None, Some(high)) => format!("to {high}"),
        (None, None, None) => String::new(),
    }
}
