//! The description of the API for programs: OpenAPI 3.1.
//!
//! Nothing is written down twice. Paths, methods, arguments and answers come from the list of routes
//! that the router is made of, bodies from the structs that are serialised, parameters and their ranges
//! from the code that reads them, problems from the one table of their kinds.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{Answer, Body, Describe, Operation};
use crate::exam::answer;
use crate::exam::request::DrillRequest;
use crate::http::Api;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::route::{Access, Route};
use crate::http::routes;
use crate::manager::schema;
use crate::plugin::{Plugin, conflicts_of};

const ABOUT: &str = "An HTTP service that goes wrong on command, and stops on command.

- Bodies are JSON whatever the Content-Type says, and an absent body is `{}`. `80.0` equals `80`.
- Errors are RFC 9457 problems on every path. All bad values are listed, and a request that is refused \
  has changed nothing.
- On every path, a request that is not valid HTTP/1.1 is 400 (`malformed-request`, `malformed-path`), one whose head \
  is too large 431 (`head-too-large`), and one of another version of HTTP 505 (`unsupported-version`).
- Where a token is configured, every POST must carry it, and with `Auth.ProtectReads` every read of the \
  control API and the admin listener's metrics too. Probes, traffic, the service listener's metrics, which name no \
  fault, and this description never need it.
- Pages of other sites are refused: a browser may send only what our own pages ask for.
- MB means MiB.";

/// Where a member is absent, this value applies.
pub(super) const DEFAULT: &str = "x-default";
/// The scenario that an operation starts.
pub(super) const SCENARIO: &str = "x-scenario";
/// Whether that ends the process.
pub(super) const ENDS_PROCESS: &str = "x-ends-process";
/// The name of the schema of `abort_when` in a start.
const ABORT_CONDITIONS: &str = "abort_conditions";

pub(super) const JSON: &str = "application/json";
pub(super) const PROBLEM: &str = "application/problem+json";

/// The document, ready to be sent.
#[derive(Debug)]
pub(in crate::http) struct Document(Bytes);

/// `GET /openapi.json`
pub(in crate::http) async fn document(State(api): State<Api>) -> Document {
    Document(api.description().json.clone())
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

impl Describe for Document {
    fn describe(operation: &mut Operation) {
        operation.answers.push(Answer {
            schema: |_| json!({ "type": "object", "required": ["openapi", "info", "paths"] }),
            ..Answer::text(JSON, "Done.")
        });
    }
}

/// Examples of answers by operation and status, as the file has them.
fn examples() -> Value {
    serde_json::from_str(include_str!("examples.json")).unwrap_or_default()
}

/// The whole document.
pub(crate) fn describe(registry: &[&dyn Plugin]) -> Value {
    let mut writer = Writer {
        registry,
        generator: SchemaSettings::draft2020_12()
            .with(|settings| settings.definitions_path = "/components/schemas".into())
            .with_transform(RecursiveTransform(for_generators))
            .for_serialize()
            .into_generator(),
        shared: Map::new(),
        examples: examples(),
    };
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for section in routes::sections() {
        tags.push(json!({ "name": section.name, "description": section.about }));
        for route in &section.routes {
            for (path, method, operation) in writer.operations(route, section.name) {
                let item = paths.entry(path).or_insert_with(|| json!({}));
                item[method] = operation;
            }
        }
    }
    let mut schemas = writer.generator.take_definitions(true);
    schemas.extend(
        registry
            .iter()
            .map(|plugin| (params_name(*plugin), schema::of_params(*plugin))),
    );
    let conditions = schema::of_envelope(registry)["properties"]["abort_when"].take();
    schemas.insert(ABORT_CONDITIONS.to_owned(), conditions);
    schemas.values_mut().for_each(rename_defaults);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mockserver",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "MIT", "identifier": "MIT" },
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": writer.shared,
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Needed where one is configured: by every POST, and where Auth.ProtectReads is set \
                    by every read of the control API and of the admin listener's metrics too.",
            } },
        },
    })
}

struct Writer<'r> {
    registry: &'r [&'r dyn Plugin],
    generator: SchemaGenerator,
    /// Responses that operations share.
    shared: Map<String, Value>,
    /// Examples of answers by operation and status.
    examples: Value,
}

impl Writer<'_> {
    /// The operations of a route with their paths and methods: one, or one for each scenario where each
    /// takes a body of its own.
    fn operations(&mut self, route: &Route, tag: &str) -> Vec<(String, String, Value)> {
        let method = route.method.as_str().to_lowercase();
        if route.operation.body != Some(Body::Parameters) {
            let operation = self.operation(route, tag, None);
            return vec![(route.path.to_owned(), method, operation)];
        }
        let registry = self.registry;
        let for_one = |plugin: &&dyn Plugin| {
            let path = route.path.replace("{name}", plugin.name());
            let operation = self.operation(route, tag, Some(*plugin));
            (path, method.clone(), operation)
        };
        registry.iter().map(for_one).collect()
    }

    fn operation(&mut self, route: &Route, tag: &str, only: Option<&dyn Plugin>) -> Value {
        let mut operation = json!({
            "operationId": route.id,
            "tags": [tag],
            "summary": route.summary,
            "responses": self.responses(route.id, &route.operation, only),
        });
        if let Some(plugin) = only {
            operation["operationId"] = format!("{}_{}", route.id, plugin.name()).into();
            operation["summary"] = plugin.summary().into();
            operation["description"] = format!("{}.", route.summary).into();
            operation[SCENARIO] = plugin.name().into();
            if plugin.ends_process() {
                operation[ENDS_PROCESS] = true.into();
            }
        }
        let mut parameters = Vec::new();
        if only.is_none() {
            parameters.extend(self.path_parameters(route.path));
        }
        parameters.extend(query_parameters(&route.operation));
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = route.operation.body {
            operation["requestBody"] = self.body(body, only);
        }
        if route.access != Access::Open {
            operation["security"] = json!([{ "token": [] }, {}]);
        }
        operation
    }

    fn path_parameters(&self, path: &str) -> Vec<Value> {
        let names = path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split_once('}'));
        names
            .map(|(name, _)| {
                let mut schema = json!({ "type": "string" });
                if name == "name" {
                    let known = self.registry.iter().map(|plugin| plugin.name());
                    schema["enum"] = known.collect();
                }
                json!({ "name": name, "in": "path", "required": true, "schema": schema })
            })
            .collect()
    }

    fn body(&self, body: Body, only: Option<&dyn Plugin>) -> Value {
        let (mut schema, example) = match (body, only) {
            (Body::Parameters, Some(plugin)) => {
                let defaults = plugin.plan("", Map::new()).map(|plan| plan.params);
                let mut example = defaults.unwrap_or_default();
                example.insert("duration".to_owned(), 60.into());
                (
                    schema::of_start(self.registry, plugin),
                    Value::Object(example),
                )
            }
            (Body::Set, _) => {
                let reference = |plugin: &dyn Plugin| {
                    let name = params_name(plugin);
                    json!({ "$ref": format!("#/components/schemas/{name}") })
                };
                let example = json!({ "scenarios": [
                    { "name": "cpu_burner", "params": { "target_percent": 70 }, "duration": 300 },
                    { "name": "network_latency", "params": { "latency_ms": 50 }, "duration": 600 },
                ] });
                (schema::of_set(self.registry, reference), example)
            }
            (Body::Drill, _) => (
                DrillRequest::schema(),
                json!({ "preset": "cpu_regression" }),
            ),
            (Body::DrillAnswer, _) => {
                let names: Vec<_> = self.registry.iter().map(|plugin| plugin.name()).collect();
                let example = json!({ "detected": false, "findings": [], "decision": "promote" });
                (answer::Answer::schema(&names), example)
            }
            (Body::ReleaseEvent, _) => (
                json!({ "type": "object" }),
                json!({ "kind": "rolled_back" }),
            ),
            _ => {
                let nothing = json!({ "type": "object", "maxProperties": 0 });
                (nothing, json!({}))
            }
        };
        if schema["properties"]["abort_when"].is_object() {
            // One type for a generated client, and not one for each start.
            let reference = format!("#/components/schemas/{ABORT_CONDITIONS}");
            schema["properties"]["abort_when"] = json!({ "$ref": reference });
        }
        rename_defaults(&mut schema);
        json!({
            "required": body == Body::Set,
            "content": { JSON: { "schema": schema, "example": example } },
        })
    }

    fn responses(&mut self, id: &str, operation: &Operation, only: Option<&dyn Plugin>) -> Value {
        let mut responses: BTreeMap<&str, Value> = BTreeMap::new();
        for answer in &operation.answers {
            let mut content = json!({ "schema": (answer.schema)(&mut self.generator) });
            let example = &self.examples[id][answer.status];
            if answer.media_type == JSON && !example.is_null() {
                content["example"] = example.clone();
            }
            let response = responses.entry(answer.status);
            let response = response.or_insert_with(|| json!({ "description": answer.about }));
            response["content"][answer.media_type] = content;
        }
        let mut problems: BTreeMap<String, Vec<ProblemKind>> = BTreeMap::new();
        for kind in &operation.problems {
            if problems.values().flatten().any(|known| known == kind) {
                continue;
            }
            // The path names one scenario, so it cannot be malformed.
            if only.is_some() && *kind == ProblemKind::MalformedPath {
                continue;
            }
            let conflicts = only.map(|plugin| conflicts_of(self.registry, plugin));
            if *kind == ProblemKind::Conflict && conflicts.is_none_or(|all| all.is_empty()) {
                continue;
            }
            let status = kind.status().as_str().to_owned();
            // A range covers its statuses, unless one of them has its own entry.
            let range = format!("{}XX", &status[..1]);
            let ranged = responses.contains_key(range.as_str());
            let at = if ranged { range } else { status };
            problems.entry(at).or_default().push(*kind);
        }
        let mut responses: BTreeMap<String, Value> = responses
            .into_iter()
            .map(|(status, response)| (status.to_owned(), response))
            .collect();
        for (status, kinds) in problems {
            let content = self.problem(&kinds);
            match responses.get_mut(&status) {
                Some(response) => response["content"][PROBLEM] = content,
                None => drop(responses.insert(status, self.shared_response(&kinds, content))),
            }
        }
        json!(responses)
    }

    /// A response of problems only, which many operations have: a reference to it.
    fn shared_response(&mut self, kinds: &[ProblemKind], content: Value) -> Value {
        let titles: Vec<&str> = kinds.iter().map(|kind| kind.title()).collect();
        let uris: Vec<String> = kinds.iter().map(|kind| kind.uri()).collect();
        let names = uris.iter().filter_map(|uri| uri.rsplit(':').next());
        let name = names.collect::<Vec<_>>().join(".");
        let response =
            json!({ "description": titles.join(" Or: "), "content": { PROBLEM: content } });
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        self.shared.insert(name, response);
        reference
    }

    fn problem(&mut self, kinds: &[ProblemKind]) -> Value {
        let mut schema = self.generator.subschema_for::<Problem>().to_value();
        let types: Vec<String> = kinds.iter().map(|kind| kind.uri()).collect();
        let statuses: Vec<u16> = kinds.iter().map(|kind| kind.status().as_u16()).collect();
        schema["properties"] = json!({
            "type": { "enum": types },
            "status": { "const": statuses.first() },
        });
        let examples: Map<String, Value> = kinds
            .iter()
            .map(|kind| {
                (
                    kind.title().to_owned(),
                    json!({ "value": example_of(*kind) }),
                )
            })
            .collect();
        json!({ "schema": schema, "examples": examples })
    }
}

/// The parameters in the query, and the header.
fn query_parameters(operation: &Operation) -> Vec<Value> {
    let query = operation.query.as_ref();
    let query = query.and_then(|schema| schema["properties"].as_object());
    let query = query.into_iter().flatten().map(|(name, schema)| {
        let mut schema = schema.clone();
        let about = schema["description"].take();
        if let Value::Object(members) = &mut schema {
            members.remove("description");
        }
        json!({ "name": name, "in": "query", "description": about, "schema": schema })
    });
    let header = operation.header.iter().map(|(name, about, schema)| {
        json!({ "name": name, "in": "header", "description": about, "schema": schema })
    });
    query.chain(header).collect()
}

/// `default` becomes `x-default`. Generated clients send each `default` that their user does not set, and a value that
/// is sent differs from one that is absent: it clashes with what excludes it, exceeds a limit, or replaces the
/// operator's own default.
fn rename_defaults(schema: &mut Value) {
    let members = match schema {
        Value::Object(members) => members,
        Value::Array(items) => return items.iter_mut().for_each(rename_defaults),
        _ => return,
    };
    for (keyword, value) in members.iter_mut() {
        match keyword.as_str() {
            "properties" => {
                let properties = value.as_object_mut().into_iter().flatten();
                properties.for_each(|(_, property)| rename_defaults(property));
            }
            "default" | "const" | "enum" => {}
            _ => rename_defaults(value),
        }
    }
    if let Some(value) = members.remove("default") {
        members.insert(DEFAULT.to_owned(), value);
    }
}

/// Says the same as schemars in the words that all generators understand.
fn for_generators(schema: &mut Schema) {
    // `uint64` and the like are not known to each; `minimum` says it.
    let format = schema.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| format.starts_with("uint")) {
        schema.remove("format");
    }
    join_constants(schema);
}

/// One `enum` instead of a choice between constants, of which some make a class each that accepts no other. Their
/// descriptions become a list.
fn join_constants(schema: &mut Schema) {
    let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let constant =
        |choice: &Value| Some((choice.get("const")?.clone(), choice["description"].clone()));
    let Some(constants) = choices.iter().map(constant).collect::<Option<Vec<_>>>() else {
        return;
    };
    let mut about = String::new();
    if let Some(whole) = schema.get("description").and_then(Value::as_str) {
        about = format!("{whole}\n\n");
    }
    for (name, description) in &constants {
        let (name, description) = (name.as_str(), description.as_str());
        about += &format!(
            "- `{}`: {}\n",
            name.unwrap_or_default(),
            description.unwrap_or_default()
        );
    }
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    let names = constants.into_iter().map(|(name, _)| name);
    schema.insert("enum".to_owned(), names.collect());
    schema.insert("description".to_owned(), about.into());
}

fn params_name(plugin: &dyn Plugin) -> String {
    format!("{}_params", plugin.name())
}

fn example_of(kind: ProblemKind) -> Problem {
    use crate::input::FieldError;
    let error = |pointer, detail| vec![FieldError::new(pointer, detail)];
    match kind {
        ProblemKind::InvalidParams => {
            Problem::invalid(error("/duration", "must be a number at least 0"))
        }
        ProblemKind::MalformedBody => Problem::new(kind, "expected value at line 1 column 2"),
        ProblemKind::UnknownScenario => Problem::new(kind, "\"x\" is not known; known: cpu_burner"),
        _ => Problem::new(kind, "What happened, in a sentence."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_is_described() {
        for section in routes::sections() {
            for route in section.routes {
                assert_ne!(route.operation.body, Some(Body::Unknown), "{}", route.path);
                assert!(!route.operation.answers.is_empty(), "{}", route.path);
                assert!(!route.summary.is_empty(), "{}", route.path);
            }
        }
    }

    #[test]
    fn every_example_belongs_to_an_answer_of_a_route_and_fits_its_schema() {
        let document = describe(crate::scenarios::ALL);
        let routes = routes::sections()
            .into_iter()
            .flat_map(|section| section.routes);
        let known: Vec<_> = routes
            .flat_map(|route| {
                route
                    .operation
                    .answers
                    .into_iter()
                    .map(move |a| (route.id, a.status))
            })
            .collect();
        let examples = examples();
        for (id, of_route) in examples.as_object().expect("examples.json is an object") {
            for (status, _) in of_route.as_object().expect("each route has its statuses") {
                assert!(
                    known.contains(&(id.as_str(), status.as_str())),
                    "{id} {status}"
                );
            }
        }
        assert!(
            document["paths"]["/health"]["get"]["responses"]["4XX"]["content"][JSON]["example"]
                .is_object()
        );
    }

    /// Every schema below `value` with the place where it is.
    fn walk(value: &Value, place: &str, check: &mut impl FnMut(&str, &Map<String, Value>)) {
        match value {
            Value::Object(members) => {
                check(place, members);
                for (name, member) in members.iter().filter(|(name, _)| *name != "example") {
                    walk(member, &format!("{place}/{name}"), check);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, place, check)),
            _ => {}
        }
    }

    #[test]
    fn generators_understand_every_schema() {
        let document = describe(crate::scenarios::ALL);
        let mut arrays = 0;
        walk(&document, "", &mut |place, schema| {
            if schema.get("type") == Some(&"array".into()) {
                assert!(schema.contains_key("items"), "{place}: an array of what?");
                arrays += 1;
            }
            let format = schema
                .get("format")
                .and_then(Value::as_str)
                .unwrap_or_default();
            assert!(!format.starts_with("uint"), "{place}: {format}");
            let choices = schema.get("oneOf").and_then(Value::as_array);
            let constants = choices
                .into_iter()
                .flatten()
                .filter(|choice| choice.get("const").is_some());
            assert_eq!(constants.count(), 0, "{place}: not an enum");
            let is_sent = place.contains("requestBody") || place.contains("_params/");
            assert!(
                !is_sent || !schema.contains_key("default"),
                "{place}: clients would send it"
            );
        });
        assert!(arrays > 10, "only {arrays} arrays");
    }
}
