//! One operation: what it takes, how to call it, what it answers.

use maud::{Markup, html};
use serde_json::Value;

use super::super::openapi::{ENDS_PROCESS, JSON, PROBLEM, SCENARIO};
use super::members::Schemas;
use super::{ORIGIN, members_of, text};
use crate::http::page::markdown::markdown;

/// What every operation is shown with.
#[derive(Debug)]
pub(super) struct Operations<'d> {
    pub(super) schemas: Schemas<'d>,
    /// Whether calls need a token.
    pub(super) needs_token: bool,
}

impl Operations<'_> {
    pub(super) fn operation(&self, path: &str, method: &str, of: &Value) -> Markup {
        let body = &of["requestBody"]["content"][JSON];
        html! {
            details.operation {
                summary {
                    span class={ "method " (method) } { (method) }
                    code { (path) }
                    span.soft { (text(&of["summary"])) }
                }
                // A link to what is inside opens it, without a script.
                div.inside id=(text(&of["operationId"])) {
                    (markdown(text(&of["description"])))
                    (self.parameters(of))
                    @if body.is_object() { (self.body(&body["schema"], of)) }
                    h3 { "Call" }
                    (self.call(path, method, of))
                    details.answers {
                        summary { "Answers" }
                        @for (status, answer) in members_of(&of["responses"]) {
                            (self.answer(status, answer))
                        }
                    }
                }
            }
        }
    }

    fn parameters(&self, of: &Value) -> Markup {
        let parameters = list(&of["parameters"]);
        html! {
            @if !parameters.is_empty() {
                h3 { "Parameters" }
                dl.members {
                    @for parameter in parameters {
                        (self.schemas.member(text(&parameter["name"]), &described(parameter), parameter["required"] == true))
                    }
                }
            }
        }
    }

    /// The scenario's own parameters first; what every start takes is folded.
    fn body(&self, schema: &Value, of: &Value) -> Markup {
        let Some(scenario) = of[SCENARIO].as_str() else {
            return html! {
                @if schema["properties"].is_object() { h3 { "Body" } (self.schemas.members(schema)) }
            };
        };
        let own = &self.schemas.0["components"]["schemas"][format!("{scenario}_params")];
        let is_own = |name: &str| own["properties"].get(name).is_some();
        let all = members_of(&schema["properties"]);
        let (own, shared): (Vec<_>, Vec<_>) = all.partition(|(name, _)| is_own(name));
        let rows = |members: &[(&str, &Value)]| {
            html! {
                dl.members {
                    @for (name, member) in members { (self.schemas.member(name, member, false)) }
                }
            }
        };
        html! {
            h3 { "Parameters" }
            (rows(&own))
            details.nested {
                summary {
                    "Every start takes "
                    @for (at, (name, _)) in shared.iter().enumerate() {
                        @if at > 0 { ", " }
                        code { (name) }
                    }
                }
                (rows(&shared))
            }
        }
    }

    /// The call as a curl line, and the form with which the script runs it.
    fn call(&self, path: &str, method: &str, of: &Value) -> Markup {
        let body = &of["requestBody"]["content"][JSON];
        let example = body.get("example");
        let id = text(&of["operationId"]);
        let secured = of["security"].is_array();
        let takes_body = example
            .and_then(Value::as_object)
            .is_some_and(|body| !body.is_empty());
        let shown = example.filter(|_| takes_body);
        let pretty = shown.and_then(|body| serde_json::to_string_pretty(body).ok());
        html! {
            form.run hidden data-method=(method.to_uppercase()) data-path=(path) data-secured[secured]
                data-ends-process=[of[ENDS_PROCESS].as_bool().and_then(|_| of[SCENARIO].as_str())] {
                @for parameter in list(&of["parameters"]) { (input(id, parameter)) }
                @if let Some(pretty) = pretty {
                    label for={ (id) "-body" } { "Body" }
                    textarea id={ (id) "-body" } name="body" spellcheck="false"
                        rows=(pretty.lines().count().min(16)) { (pretty) }
                }
                p.actions {
                    button.primary type="submit" { "Run" }
                    button.cancel type="button" hidden { "Cancel" }
                    button.copy type="button" { "Copy curl" }
                }
            }
            pre.curl tabindex="0" aria-label="As a curl command" { (self.curl(path, method, of, shown)) }
            div.result hidden aria-live="polite" {
                p.status {}
                pre.answer tabindex="0" aria-label="Answer" {}
            }
        }
    }

    fn curl(&self, path: &str, method: &str, of: &Value, body: Option<&Value>) -> String {
        let mut path = path.to_owned();
        for parameter in list(&of["parameters"]) {
            let name = text(&parameter["name"]);
            let first = parameter["schema"]["enum"][0].as_str();
            let value = first.map_or_else(|| name.to_uppercase(), str::to_owned);
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        let post = if method == "post" { " -X POST" } else { "" };
        let mut line = format!("curl{post} {ORIGIN}{path}");
        if self.needs_token && of["security"].is_array() {
            line += " \\\n  -H \"Authorization: Bearer $TOKEN\"";
        }
        if let Some(body) = body {
            line += &format!(" \\\n  -d '{}'", body.to_string().replace('\'', "'\\''"));
        }
        line
    }

    fn answer(&self, status: &str, answer: &Value) -> Markup {
        let answer = self.schemas.resolved(answer);
        let forms = members_of(&answer["content"]).filter(|(media, _)| *media != PROBLEM);
        let problem = &answer["content"][PROBLEM];
        html! {
            @for (media, form) in forms {
                div.one {
                    p { code.status { (status) } " " (text(&answer["description"])) " " code { (media) } }
                    @if let Some(example) = form.get("example") {
                        pre tabindex="0" { (serde_json::to_string_pretty(example).unwrap_or_default()) }
                    }
                    (self.schemas.members(&form["schema"]))
                }
            }
            @for kind in list(&problem["schema"]["properties"]["type"]["enum"]) {
                @let name = text(kind).rsplit(':').next().unwrap_or_default();
                p.one { code.status { (status) } " " a href="#problems" { (name) } }
            }
        }
    }
}

/// The schema of a parameter with what is said beside it.
fn described(parameter: &Value) -> Value {
    let mut schema = parameter["schema"].clone();
    if let Some(about) = parameter["description"].as_str() {
        schema["description"] = about.into();
    }
    schema
}

/// The field for one parameter of the path, the query or the header.
fn input(id: &str, parameter: &Value) -> Markup {
    let name = text(&parameter["name"]);
    let at = format!("{id}-{name}");
    let required = parameter["required"] == true;
    let place = text(&parameter["in"]);
    html! {
        label for=(at) { (name) }
        @if let Some(names) = parameter["schema"]["enum"].as_array() {
            select id=(at) name=(name) data-in=(place) {
                @if !required { option value="" {} }
                @for name in names { option { (text(name)) } }
            }
        } @else {
            input id=(at) name=(name) data-in=(place) required[required] autocomplete="off";
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
