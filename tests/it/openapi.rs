//! The OpenAPI description beside what the daemon does.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mockserver::plugin::{Plugin, conflicts_of};
use mockserver::scenarios;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::support::{
    Answer, Daemon, PROBES, agent, assert_problem, harmless, header_of, send, start_path, together,
};

/// Documented answers that no request of these tests can cause, each with the reason.
const OUT_OF_REACH: &[(&str, &str, &str)] = &[
    ("", "internal", "it takes a defect"),
    (
        "",
        "shutting-down",
        "it lasts milliseconds; other tests get it",
    ),
    (
        "",
        "body-too-slow",
        "it takes ten seconds; the tests of connections get it",
    ),
    (
        "",
        "too-many-bodies",
        "it takes a flood; the tests of connections get it",
    ),
];

/// The start that fails if `DataDir` cannot be written; no other can be made to fail from outside.
const FAILING_START: &str = "/api/v1/scenarios/disk_io/start";

const PROBLEM: &str = "application/problem+json";
const STREAM: &str = "text/event-stream";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A daemon whose answers are all checked against its own description.
struct Described {
    daemon: Daemon,
    /// The one that is asked.
    listener: SocketAddr,
    document: Value,
    /// By schema: compiling one takes longer than all requests that use it.
    validators: RefCell<HashMap<String, Arc<jsonschema::Validator>>>,
    seen: BTreeSet<Documented>,
}

/// Method, path, status, media type and kind of problem of an answer, as documented.
type Documented = (String, String, String, String, String);

impl Described {
    fn start(yaml: &str) -> Self {
        let daemon = Daemon::builder().file(yaml).start();
        let document = daemon.get("/openapi.json").body;
        Self {
            listener: daemon.service,
            daemon,
            document,
            validators: RefCell::default(),
            seen: BTreeSet::new(),
        }
    }

    fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", &[])
    }

    fn post(&mut self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &body.to_string(), &[])
    }

    /// Sends a request and checks the answer against the description.
    fn ask(&mut self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let response = send(
            &agent(),
            method,
            self.listener,
            path,
            body.as_bytes(),
            headers,
        );
        let answer = if header_of(&response, "content-type") == STREAM {
            // A stream does not end.
            Answer {
                status: response.status().as_u16(),
                content_type: STREAM.to_owned(),
                body: "".into(),
            }
        } else {
            Answer::read(response)
        };
        let place = format!("{method} {path} {body} gave {answer:?}");
        let template = self.template_of(path);
        let operation = &self.document["paths"][&template][method.to_lowercase()];
        assert!(operation.is_object(), "{place}: not documented");
        let status = answer.status.to_string();
        let range = format!("{}XX", &status[..1]);
        let responses = &operation["responses"];
        let key = [status, range]
            .into_iter()
            .find(|key| responses[key].is_object());
        let key = key.unwrap_or_else(|| panic!("{place}: the status is not documented"));
        let media = &self.resolved(&responses[&key])["content"][&answer.content_type];
        assert!(media.is_object(), "{place}: the type is not documented");
        self.assert_valid(&media["schema"], &answer.body, &place);
        let seen = (
            method.to_owned(),
            template,
            key,
            answer.content_type.clone(),
            kind_of(&answer),
        );
        self.seen.insert(seen);
        answer
    }

    /// The documented path that matches `path`; one without parameters comes first.
    fn template_of(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap_or_default();
        let matches = |template: &&String| {
            let (mut known, mut asked) = (template.split('/'), path.split('/'));
            known
                .by_ref()
                .zip(asked.by_ref())
                .all(|(k, a)| k == a || k.starts_with('{'))
                && template.split('/').count() == path.split('/').count()
        };
        let templates = members(&self.document["paths"]).keys().filter(matches);
        let template = templates.min_by_key(|template| template.matches('{').count());
        template
            .unwrap_or_else(|| panic!("{path} is not documented"))
            .clone()
    }

    fn resolved<'d>(&'d self, value: &'d Value) -> &'d Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let target = self.document.pointer(reference.trim_start_matches('#'));
                target.unwrap_or_else(|| panic!("{reference} does not resolve"))
            }
            None => value,
        }
    }

    fn assert_valid(&self, schema: &Value, value: &Value, place: &str) {
        let validator = self.validator(schema);
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {errors:?}");
    }

    fn validator(&self, schema: &Value) -> Arc<jsonschema::Validator> {
        let compile = || {
            let whole = json!({
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "components": self.document["components"],
                "allOf": [schema],
            });
            let options = jsonschema::options().should_validate_formats(true);
            Arc::new(options.build(&whole).unwrap())
        };
        let mut validators = self.validators.borrow_mut();
        Arc::clone(validators.entry(schema.to_string()).or_insert_with(compile))
    }

    /// Each operation: path, method in capitals, and its description.
    fn operations(&self) -> impl Iterator<Item = (&String, String, &Value)> {
        members(&self.document["paths"])
            .iter()
            .flat_map(|(path, item)| {
                members(item)
                    .iter()
                    .map(move |(method, operation)| (path, method.to_uppercase(), operation))
            })
    }

    /// Every answer that the document allows.
    fn documented(&self) -> BTreeSet<Documented> {
        let mut all = BTreeSet::new();
        for (path, method, operation) in self.operations() {
            for (status, response) in members(&operation["responses"]) {
                for (media, content) in members(&self.resolved(response)["content"]) {
                    let kinds = content["schema"]["properties"]["type"]["enum"].as_array();
                    let kinds = kinds.map_or(vec![String::new()], |kinds| {
                        kinds.iter().map(end_of_type).collect()
                    });
                    for kind in kinds {
                        let (path, status) = (path.clone(), status.clone());
                        all.insert((method.clone(), path, status, media.clone(), kind));
                    }
                }
            }
        }
        all
    }
}

fn members(value: &Value) -> &Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("not an object: {value}"))
}

fn kind_of(answer: &Answer) -> String {
    if answer.content_type == PROBLEM {
        end_of_type(&answer.body["type"])
    } else {
        String::new()
    }
}

fn end_of_type(uri: &Value) -> String {
    let uri = uri.as_str().unwrap();
    uri.rsplit(':').next().unwrap().to_owned()
}

/// Provokes every refusal of a body that all POSTs share.
fn refused_bodies(described: &mut Described, path: &str) {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(described.ask("POST", path, "{", &[]).status, 400);
    assert_eq!(described.ask("POST", path, &large, &[]).status, 413);
    let coded = [("content-encoding", "gzip")];
    assert_eq!(described.ask("POST", path, "{}", &coded).status, 415);
    assert_eq!(described.post(path, json!({ "unknown": 1 })).status, 422);
    assert_eq!(described.post(path, json!([])).status, 422);
}

fn reads(described: &mut Described) {
    for path in [
        "/api/v1/scenarios",
        "/api/v1/composite/status",
        "/openapi.json",
        "/docs",
        "/version",
        "/api/v1/mock-service",
        "/api/v1/test/sleep10ms",
        "/api/v1/test/sleep30ms",
        "/metrics",
    ] {
        assert_eq!(described.get(path).status, 200);
    }
    for path in PROBES {
        assert_eq!(described.get(path).status, 200);
    }
    let open_metrics = [("accept", "application/openmetrics-text")];
    let scrape = described.ask("GET", "/metrics", "", &open_metrics);
    assert_eq!(scrape.status, 200);
}

/// The routes of every scenario while it runs, and of no scenario.
fn single_starts(described: &mut Described) {
    for plugin in scenarios::ALL {
        let at = |end: &str| format!("/api/v1/scenarios/{}{end}", plugin.name());
        assert_eq!(described.get(&at("")).status, 200);
        assert_eq!(described.get(&at("/status")).status, 200);
        refused_bodies(described, &at("/start"));
        let mut params = harmless(*plugin);
        if plugin.silences_service() {
            params["duration"] = json!(0.3);
        }
        let started = described.post(&at("/start"), params);
        assert_eq!(started.status, 200);
        if plugin.silences_service() {
            described.daemon.wait_for_end(plugin.name());
        } else {
            assert_eq!(described.get(&at("/status")).body["running"], true);
        }
        for path in ["/api/v1/scenarios", "/api/v1/composite/status"] {
            assert_eq!(described.get(path).status, 200);
        }
        let stopped = described.ask("POST", &at("/stop"), "", &[]);
        assert_eq!(stopped.body["running"], false);
        assert!(described.get(&at("/status")).body["end"].is_object());
    }
    for (name, status) in [("no_such", 404), ("%ff", 400)] {
        let at = |end: &str| format!("/api/v1/scenarios/{name}{end}");
        assert_eq!(described.get(&at("")).status, status);
        assert_eq!(described.get(&at("/status")).status, status);
        let stopped = described.ask("POST", &at("/stop"), "", &[]);
        assert_eq!(stopped.status, status);
    }
    refused_bodies(described, "/api/v1/scenarios/crash/stop");
}

/// All scenarios at once.
fn whole_set(described: &mut Described) {
    let entry = |plugin: &&dyn Plugin| {
        let params = harmless(*plugin);
        json!({ "name": plugin.name(), "params": params, "duration": 3600 })
    };
    let set: Vec<Value> = together().iter().map(entry).collect();
    refused_bodies(described, "/api/v1/composite/start");
    let started = described.post("/api/v1/composite/start", json!({ "scenarios": set }));
    assert_eq!(started.body["status"], "success", "{started:?}");
    assert_eq!(described.get("/api/v1/composite/status").status, 200);
    refused_bodies(described, "/api/v1/composite/stop");
    let stopped = described.post("/api/v1/composite/stop", json!({}));
    assert_eq!(stopped.status, 200);
}

/// Starts beside what they cannot run beside, over the admin listener: some silence the service.
fn conflicts(described: &mut Described) {
    described.listener = described.daemon.admin;
    for plugin in scenarios::ALL {
        let conflicts = conflicts_of(scenarios::ALL, *plugin);
        let others = scenarios::ALL.iter();
        let mut others = others.filter(|of| conflicts.iter().any(|known| known.name == of.name()));
        if let Some(other) = others.next() {
            let started = described.post(&start_path(other.name()), harmless(*other));
            assert_eq!(started.status, 200);
            let refused = described.post(&start_path(plugin.name()), harmless(*plugin));
            assert_eq!(refused.status, 409);
            let path = "/api/v1/composite/stop";
            assert_eq!(described.post(path, json!({})).status, 200);
        }
    }
    described.listener = described.daemon.service;
}

/// Probes and calls that a fault answers.
fn failing_service(described: &mut Described) {
    for status in [418, 503] {
        let fails = json!({ "status_code": status, "probes": ["health", "ready", "startup"] });
        let started = described.post(&start_path("health_check"), fails);
        assert_eq!(started.status, 200);
        for path in PROBES {
            assert_eq!(described.get(path).status, status);
        }
    }
    let fails = json!({ "failure_type": "error" });
    let started = described.post(&start_path("dependency"), fails);
    assert_eq!(started.status, 200);
    assert_eq!(described.get("/api/v1/mock-service").status, 500);
}

/// Lease, dry run, halt and rearm.
fn guard_rails(described: &mut Described) {
    let renew = "/api/v1/composite/renew";
    let leased = json!({ "latency_ms": 1, "lease": 3600, "abort_when": { "achieved_above": {} } });
    let started = described.post(&start_path("network_latency"), leased);
    assert_eq!(started.status, 200);
    refused_bodies(described, renew);
    assert_eq!(described.post(renew, json!({})).status, 200);
    let dry_run = json!({ "dry_run": true, "lease": 1 });
    let planned = described.post(&start_path("crash"), dry_run);
    assert_eq!(planned.body["status"], "dry_run");
    for path in ["/api/v1/halt", "/api/v1/rearm"] {
        refused_bodies(described, path);
        assert_eq!(described.post("/api/v1/halt", json!({})).status, 200);
    }
    assert_eq!(described.post(renew, json!({})).status, 409);
    let session = described.get("/api/v1/composite/status").body;
    assert!(session["halted_since"].is_string());
    for plugin in scenarios::ALL {
        let refused = described.post(&start_path(plugin.name()), harmless(*plugin));
        assert_eq!(refused.status, 409);
    }
    let set = json!({ "scenarios": [{ "name": "dependency" }] });
    let refused = described.post("/api/v1/composite/start", set);
    assert_eq!(refused.status, 409);
    assert_eq!(described.post("/api/v1/rearm", json!({})).status, 200);
}

fn ledger(described: &mut Described) {
    let ndjson = [("accept", "application/x-ndjson")];
    let events = "/api/v1/events";
    let written = described.get(&format!("{events}?limit=10000"));
    let written = written.body["events"].as_array().unwrap().len();
    assert!(written > 30, "only {written} events were seen");
    assert_eq!(described.ask("GET", events, "", &ndjson).status, 200);
    for bad in ["since=-1", "limit=0", "scenario=no_such", "unknown=1"] {
        assert_eq!(described.get(&format!("{events}?{bad}")).status, 422);
    }
    let stream = "/api/v1/events/stream";
    let last = |id| [("last-event-id", id)];
    assert_eq!(described.get(stream).status, 200);
    assert_eq!(described.ask("GET", stream, "", &last("1")).status, 200);
    assert_eq!(described.ask("GET", stream, "", &last("x")).status, 422);

    assert_eq!(described.get("/api/v1/live").status, 200);

    let all = described.get("/api/v1/sessions").body;
    let latest = all["sessions"][0]["session_id"].as_str().unwrap();
    let one = format!("/api/v1/sessions/{latest}");
    for path in ["/api/v1/sessions", &one] {
        assert_eq!(described.get(path).status, 200);
        assert_eq!(described.get(&format!("{path}?format=csv")).status, 200);
        assert_eq!(described.get(&format!("{path}?format=xml")).status, 422);
    }
    assert_eq!(described.get("/api/v1/sessions/no_such").status, 404);
    assert_eq!(described.get("/api/v1/sessions/%ff").status, 400);
}

/// A daemon that wants a token, and whose disk cannot be written.
fn locked() -> Described {
    let yaml = "DataDir: /proc\nAuth: {Token: t, ProtectReads: true}\n";
    let mut locked = Described::start(yaml);
    // Where all of them need the token.
    locked.listener = locked.daemon.admin;
    let token = [("authorization", "Bearer t")];
    let foreign = [("sec-fetch-site", "cross-site")];
    let guarded: Vec<(String, String)> = locked
        .operations()
        .filter(|(_, _, operation)| operation["security"].is_array())
        .map(|(path, method, _)| {
            let path = path.replace("{name}", "crash").replace("{id}", "none");
            (method, path)
        })
        .collect();
    for (method, path) in guarded {
        assert_eq!(locked.ask(&method, &path, "", &[]).status, 401);
        assert_eq!(locked.ask(&method, &path, "", &foreign).status, 403);
    }
    assert_eq!(locked.ask("POST", FAILING_START, "", &token).status, 500);
    let set = json!({ "scenarios": [{ "name": "disk_io" }] }).to_string();
    let failed = locked.ask("POST", "/api/v1/composite/start", &set, &token);
    assert_eq!(failed.status, 500);
    locked
}

/// The answers where an operator allows one scenario only, or one at a time.
fn seen_under_limits() -> BTreeSet<Documented> {
    let mut seen = BTreeSet::new();
    for one in [scenarios::ALL[0], scenarios::ALL[1]] {
        let only = format!("Limits: {{Scenarios: [{}]}}\n", one.name());
        let mut listed = Described::start(&only);
        let mut single = Described::start("Limits: {ConcurrentScenarios: 1}\n");
        let started = single.post(&start_path(one.name()), harmless(one));
        assert_eq!(started.status, 200);
        let others = scenarios::ALL.iter();
        for other in others.filter(|plugin| plugin.name() != one.name()) {
            let start = start_path(other.name());
            assert_eq!(listed.post(&start, harmless(*other)).status, 403);
            assert_eq!(single.post(&start, harmless(*other)).status, 409);
        }
        seen.extend(listed.seen);
        seen.extend(single.seen);
    }
    seen
}

/// The routes of drills, over the admin listener of a blind service.
fn drills() -> Described {
    let mut described = Described::start("");
    let posted = described.post("/api/v1/drills", json!({}));
    assert_eq!(kind_of(&posted), "not-blind");
    // A blind one answers it as any service does.
    assert_eq!(described.get("/api/v1/drills/%ff/report").status, 400);
    for end in ["answers", "events", "close"] {
        let path = format!("/api/v1/drills/%ff/{end}");
        assert_eq!(described.post(&path, json!({})).status, 400);
    }
    described.daemon = Daemon::builder()
        .file("Name: orders\nBlind: true\n")
        .start();
    described.listener = described.daemon.admin;
    let current = |end: &str| format!("/api/v1/drills/current{end}");
    for (path, status) in [
        ("/api/v1/presets", 200),
        ("/api/v1/drills", 200),
        ("/api/v1/drills?limit=0", 422),
        (&current(""), 404),
        (&current("/report"), 404),
    ] {
        assert_eq!(described.get(path).status, status, "{path}");
    }
    refused_bodies(&mut described, "/api/v1/drills");
    for (preset, kind) in [("no_such", "no-drill"), ("cpu_throttled", "needs-limit")] {
        let refused = described.post("/api/v1/drills", json!({ "preset": preset }));
        // A machine may have such a limit.
        match kind_of(&refused).as_str() {
            "" => drop(described.post(&current("/close"), json!({}))),
            found => assert_eq!(found, kind),
        }
    }
    one_drill(&mut described);
    described
}

/// A control from before its opening to after its close.
fn one_drill(described: &mut Described) {
    let at = |id: &str, end: &str| format!("/api/v1/drills/{id}{end}");
    let current = |end: &str| at("current", end);
    assert_eq!(described.post("/api/v1/halt", json!({})).status, 200);
    let control = json!({ "preset": "control_quiet", "max_answers": 1, "traffic_rps": 0 });
    assert_eq!(
        described.post("/api/v1/drills", control.clone()).status,
        409
    );
    assert_eq!(described.post("/api/v1/rearm", json!({})).status, 200);
    let opened = described.post("/api/v1/drills", control.clone());
    assert_eq!(opened.status, 201);
    let id = opened.body["drill_id"].as_str().unwrap().to_owned();
    assert_eq!(described.post("/api/v1/drills", control).status, 409);
    assert_eq!(described.get(&current("")).status, 200);
    assert_eq!(described.get(&at(&id, "/report")).status, 409);
    let healthy = json!({ "detected": false, "findings": [], "decision": "promote" });
    let act = json!({ "kind": "promoted" });
    for end in ["/answers", "/events", "/close"] {
        refused_bodies(described, &current(end));
    }
    for status in [202, 429] {
        assert_eq!(
            described.post(&current("/answers"), healthy.clone()).status,
            status
        );
    }
    assert_eq!(described.post(&current("/events"), act.clone()).status, 202);
    assert_eq!(described.post(&current("/close"), json!({})).status, 200);
    assert_eq!(described.get(&at(&id, "/report")).status, 200);
    assert_eq!(described.get("/api/v1/drills").status, 200);
    for (id, status) in [(id.as_str(), 410), ("d-0000000000", 404)] {
        assert_eq!(
            described.post(&at(id, "/answers"), healthy.clone()).status,
            status
        );
        assert_eq!(
            described.post(&at(id, "/events"), act.clone()).status,
            status
        );
        let closed = described.post(&at(id, "/close"), json!({}));
        assert_eq!(closed.status, if status == 410 { 200 } else { status });
    }
}

#[test]
fn every_documented_answer_is_given_and_every_answer_is_documented() {
    let mut described = Described::start("");
    reads(&mut described);
    single_starts(&mut described);
    whole_set(&mut described);
    conflicts(&mut described);
    failing_service(&mut described);
    guard_rails(&mut described);
    ledger(&mut described);
    let documented = described.documented();
    let locked = locked();
    assert_eq!(locked.document, described.document);

    let mut seen = described.seen;
    seen.extend(locked.seen);
    seen.extend(seen_under_limits());
    seen.extend(drills().seen);
    let out_of_reach = |(_, path, _, _, kind): &&Documented| {
        OUT_OF_REACH
            .iter()
            .any(|(of, known, _)| kind == known && path.contains(of))
            || kind == "start-failed" && path == "/api/v1/drills"
            || kind == "needs-limit"
            || kind == "start-failed" && path.contains("scenarios") && path != FAILING_START
    };
    let never: Vec<&Documented> = documented
        .difference(&seen)
        .filter(|answer| !out_of_reach(answer))
        .collect();
    assert!(never.is_empty(), "documented and never seen: {never:#?}");
}

#[test]
fn a_route_takes_the_documented_methods_and_no_other() {
    let described = Described::start("");
    let agent = agent();
    for (path, item) in members(&described.document["paths"]) {
        let mut documented: BTreeSet<String> = members(item)
            .keys()
            .map(|method| method.to_uppercase())
            .collect();
        if documented.contains("GET") {
            documented.insert("HEAD".to_owned());
        }
        let real = path.replace("{name}", "crash").replace("{id}", "1");
        for method in METHODS
            .iter()
            .filter(|method| !documented.contains(**method))
        {
            let refused = send(&agent, method, described.daemon.service, &real, b"", &[]);
            let allowed: BTreeSet<String> = header_of(&refused, "allow")
                .split(',')
                .map(str::to_owned)
                .collect();
            assert_eq!(allowed, documented, "{method} {path}");
            if *method != "HEAD" {
                let context = format!("{method} {path}");
                assert_problem(Answer::read(refused), 405, "method-not-allowed", &context);
            }
        }
    }
}

#[test]
fn both_listeners_serve_the_same_description() {
    let daemon = Daemon::start();
    let document = daemon.get("/openapi.json");
    assert_eq!(
        (document.status, document.content_type.as_str()),
        (200, "application/json")
    );
    assert_eq!(daemon.admin_get("/openapi.json"), document);
    let page = daemon.admin_get("/docs");
    assert_eq!(
        (page.status, page.content_type.as_str()),
        (200, "text/html; charset=utf-8")
    );
}

/// The text between `<tag>` and its end, which must be there once.
fn only<'t>(html: &'t str, tag: &str) -> &'t str {
    let (before, after) = (format!("<{tag}>"), format!("</{tag}>"));
    let parts: Vec<&str> = html.split(&before).collect();
    assert_eq!(parts.len(), 2, "{tag}");
    parts[1].split(&after).next().unwrap()
}

#[test]
fn the_documentation_page_allows_only_its_own_script_and_style() {
    let daemon = Daemon::start();
    let mut page = send(&agent(), "GET", daemon.service, "/docs", b"", &[]);
    let policy = header_of(&page, "content-security-policy");
    let html = page.body_mut().read_to_string().unwrap();
    let hash = |text: &str| {
        let hash = BASE64.encode(Sha256::digest(text));
        format!("'sha256-{hash}'")
    };
    let (script, style) = (hash(only(&html, "script")), hash(only(&html, "style")));
    assert_eq!(
        policy,
        format!(
            "default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    );
    for forbidden in ["https://", " style=\"", " onclick", " src="] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert_eq!(Value::from(html), daemon.get("/docs").body);
}

/// The names of all members of an object, those of objects in it included.
fn names_in(schema: &Value, names: &mut BTreeSet<String>) {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        names.insert(name.clone());
        names_in(member, names);
    }
}

#[test]
fn the_documentation_page_is_complete_without_its_script() {
    let described = Described::start("");
    let page = described.daemon.get("/docs").body;
    let html = page.as_str().unwrap().split("<script>").next().unwrap();
    let shows = |text: &str| assert!(html.contains(text), "{text} is missing");
    for (path, _, operation) in described.operations() {
        shows(&format!("<code>{path}</code>"));
        shows(operation["summary"].as_str().unwrap());
    }
    let mut names = BTreeSet::new();
    for plugin in scenarios::ALL {
        shows(&format!("/api/v1/scenarios/{}/start", plugin.name()));
        names_in(&plugin.schema(), &mut names);
    }
    for name in &names {
        shows(&format!("<code>{name}</code>"));
    }
    assert!(names.len() > 30, "only {} parameters", names.len());
    let line = format!(
        "curl -X POST http://{}/api/v1/halt",
        described.daemon.service
    );
    shows(&line);
    // The conditions of a start do not bury its parameters: one row for all scenarios.
    shows("<code>&lt;name&gt;</code>");
}

#[test]
fn the_documentation_page_asks_for_a_token_where_one_is_needed() {
    let field = |daemon: &Daemon| {
        let page = daemon.get("/docs").body;
        page.as_str().unwrap().contains("type=\"password\"")
    };
    assert!(!field(&Daemon::start()));
    let locked = Daemon::builder().file("Auth: {Token: secret}\n").start();
    assert!(field(&locked));
}

#[test]
fn every_example_is_valid_and_every_name_is_used_once() {
    let described = Described::start("");
    let mut ids = BTreeSet::new();
    let mut examples = 0;
    for (path, method, operation) in described.operations() {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{place}: {id} is used twice");
        assert!(operation["summary"].is_string(), "{place}");
        let bodies = operation.get("requestBody").into_iter();
        let responses = members(&operation["responses"]).values();
        for content in bodies.chain(responses).map(|part| described.resolved(part)) {
            for (media, form) in members(&content["content"]) {
                let several = form["examples"]
                    .as_object()
                    .into_iter()
                    .flat_map(Map::values);
                let several = several.map(|example| &example["value"]);
                for example in form.get("example").into_iter().chain(several) {
                    described.assert_valid(&form["schema"], example, &place);
                    examples += 1;
                }
                let is_json = ["application/json", PROBLEM].contains(&media.as_str());
                assert!(!is_json || form.get("example").or(form.get("examples")).is_some());
            }
        }
    }
    assert!(examples > 100, "only {examples} examples were seen");
}

/// Members that every single start has, with values that are valid or not.
const START_MEMBERS: [(&str, &str, bool); 16] = [
    ("duration", "0.25", true),
    ("duration", "-1", false),
    ("duration", "31536001", false),
    ("duration", r#""1""#, false),
    ("after", "3600", true),
    ("after", r#""1x""#, false),
    ("end", r#""each""#, false),
    ("dry_run", "true", true),
    ("dry_run", "1", false),
    ("lease", "60", true),
    ("lease", "0", false),
    ("abort_when", r#"{"achieved_above": {"crash": 9}}"#, true),
    ("abort_when", "null", false),
    ("abort_when", r#"{"x": 1}"#, false),
    ("abort_when", r#"{"achieved_above": null}"#, false),
    ("unknown", "1", false),
];

/// Bodies of POSTs that are valid or not.
const BODIES: [(&str, &str, bool); 28] = [
    ("scenarios/cpu_burner/start", r#"{"cores": 0.01}"#, true),
    (
        "scenarios/cpu_burner/start",
        r#"{"cores": 0.01, "target_percent": 1}"#,
        false,
    ),
    (
        "scenarios/cpu_burner/start",
        r#"{"target_percent": 1.0}"#,
        true,
    ),
    (
        "scenarios/cpu_burner/start",
        r#"{"target_percent": 100.5}"#,
        false,
    ),
    (
        "scenarios/dependency/start",
        r#"{"duration": 1e-12}"#,
        false,
    ),
    (
        "scenarios/dependency/start",
        r#"{"duration": "365d", "lease": "24h"}"#,
        true,
    ),
    (
        "scenarios/dependency/start",
        r#"{"duration": "365.1d"}"#,
        false,
    ),
    ("scenarios/dependency/start", r#"{"duration": "5"}"#, false),
    ("scenarios/dependency/start", r#"{"lease": "0s"}"#, false),
    (
        "scenarios/memory_leaker/start",
        r#"{"target_mb": 1, "target_percent_of_limit": 0.001}"#,
        false,
    ),
    ("scenarios/crash/stop", "{}", true),
    ("scenarios/crash/stop", r#"{"duration": 1}"#, false),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency"}, {"name": "dependency"}]}"#,
        false,
    ),
    ("composite/start", r#"{"scenarios": []}"#, false),
    ("composite/start", r#"{"scenarios": ["dependency"]}"#, false),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "no_such"}]}"#,
        false,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"params": {}}]}"#,
        false,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency", "params": null}]}"#,
        false,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency", "extra": 1}]}"#,
        false,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "crash", "params": {"exit_code": 256}}]}"#,
        false,
    ),
    ("composite/start", "{}", false),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency"}], "dry_run": true}"#,
        true,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency"}], "duration": 1}"#,
        false,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency", "after": 3600}], "end": "each"}"#,
        true,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency"}], "end": "never"}"#,
        false,
    ),
    (
        "composite/start",
        r#"{"scenarios": [{"name": "dependency"}], "after": 1}"#,
        false,
    ),
    ("composite/stop", "{}", true),
    ("composite/stop", r#"{"scenarios": []}"#, false),
];

/// Checks that the schema of a body and the daemon both accept it, or both refuse it.
fn assert_judged_alike(described: &Described, path: &str, body: &Value, is_valid: bool) {
    let post = &described.document["paths"][described.template_of(path)]["post"];
    let schema = &post["requestBody"]["content"]["application/json"]["schema"];
    let by_schema = described.validator(schema).is_valid(body);
    assert_eq!(by_schema, is_valid, "{path} {body}: schema");
    let answer = described.daemon.post(path, body.to_string());
    let expected = if is_valid { 200 } else { 422 };
    assert_eq!(answer.status, expected, "{path} {body}: {answer:?}");
}

#[test]
fn the_schema_of_a_body_and_the_daemon_agree() {
    let described = Described::start("");
    for plugin in scenarios::ALL.iter().filter(|of| !of.silences_service()) {
        let start = start_path(plugin.name());
        assert_judged_alike(&described, &start, &harmless(*plugin), true);
        for (member, value, is_valid) in START_MEMBERS {
            let mut body = harmless(*plugin);
            body[member] = serde_json::from_str(value).unwrap();
            assert_judged_alike(&described, &start, &body, is_valid);
        }
        let stop = format!("/api/v1/scenarios/{}/stop", plugin.name());
        assert_judged_alike(&described, &stop, &json!({}), true);
    }
    let entry = |plugin: &&dyn Plugin| {
        let params = harmless(*plugin);
        json!({ "name": plugin.name(), "params": params })
    };
    let entries: Vec<Value> = together().iter().map(entry).collect();
    let set = json!({ "scenarios": entries });
    assert_judged_alike(&described, "/api/v1/composite/start", &set, true);
    for (path, body, is_valid) in BODIES {
        let body = serde_json::from_str(body).unwrap();
        assert_judged_alike(&described, &format!("/api/v1/{path}"), &body, is_valid);
    }
}
