use std::collections::BTreeSet;

use mockserver::scenarios;
use serde_json::{Map, Value, json};

use crate::common::{Answer, Daemon, PROBES, agent, answer, eventually, header_of, send};

/// Documented answers that no request from here can bring about, each with the reason.
const OUT_OF_REACH: &[(&str, &str, &str)] = &[
    ("", "internal", "a defect, if there were one"),
    (
        "",
        "shutting-down",
        "there are milliseconds for it; other tests meet it",
    ),
    (
        "",
        "body-too-slow",
        "it takes ten seconds; the tests of connections meet it",
    ),
    (
        "",
        "too-many-bodies",
        "it takes a flood; the tests of connections meet it",
    ),
];

/// The start that fails where `DataDir` cannot be written; no other can be made to fail from outside.
const FAILING_START: &str = "/api/v1/scenarios/disk_io/start";

const PROBLEM: &str = "application/problem+json";
const STREAM: &str = "text/event-stream";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// A daemon whose every answer is held to the document that it serves.
struct Described {
    daemon: Daemon,
    document: Value,
    /// What was met: method, path as documented, status as documented, media type, kind of problem.
    met: BTreeSet<Met>,
}

type Met = (String, String, String, String, String);

impl Described {
    fn start(yaml: &str, env: &[(&str, &str)]) -> Self {
        let daemon = Daemon::start_with(yaml, env);
        let document = daemon.get("/openapi.json").body;
        Self {
            daemon,
            document,
            met: BTreeSet::new(),
        }
    }

    fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", &[])
    }

    fn post(&mut self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &body.to_string(), &[])
    }

    /// Sends a request and holds the answer to the document.
    fn ask(&mut self, method: &str, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let to = self.daemon.service;
        let response = send(&agent(), method, to, path, body.as_bytes(), headers);
        let answer = if header_of(&response, "content-type") == STREAM {
            // It has no end.
            Answer {
                status: response.status().as_u16(),
                content_type: STREAM.to_owned(),
                body: "".into(),
            }
        } else {
            answer(response)
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
        let met = (
            method.to_owned(),
            template,
            key,
            answer.content_type.clone(),
            kind_of(&answer),
        );
        self.met.insert(met);
        answer
    }

    /// The documented path that `path` is meant by; one without parameters goes before.
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
                target.unwrap_or_else(|| panic!("{reference} leads nowhere"))
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

    fn validator(&self, schema: &Value) -> jsonschema::Validator {
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": self.document["components"],
            "allOf": [schema],
        });
        let options = jsonschema::options().should_validate_formats(true);
        options.build(&whole).expect("a schema")
    }

    /// Each operation: path, method in capitals, and what is said of it.
    fn operations(&self) -> impl Iterator<Item = (&String, String, &Value)> {
        members(&self.document["paths"])
            .iter()
            .flat_map(|(path, item)| {
                members(item)
                    .iter()
                    .map(move |(method, operation)| (path, method.to_uppercase(), operation))
            })
    }

    /// Everything that the document says may be answered.
    fn documented(&self) -> BTreeSet<Met> {
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
        .unwrap_or_else(|| panic!("an object, not {value}"))
}

fn kind_of(answer: &Answer) -> String {
    if answer.content_type == PROBLEM {
        end_of_type(&answer.body["type"])
    } else {
        String::new()
    }
}

fn end_of_type(uri: &Value) -> String {
    let uri = uri.as_str().expect("a type");
    uri.rsplit(':').next().expect("an end").to_owned()
}

/// A start that does no harm for the moment that it runs.
fn harmless(name: &str) -> Value {
    match name {
        "cpu_burner" => json!({ "target_percent": 1 }),
        "memory_leaker" => json!({ "target_mb": 1 }),
        "network_latency" => json!({ "latency_ms": 1 }),
        "disk_io" => json!({ "write_rate_mb": 1 }),
        "crash" => json!({ "crash_delay": 3600 }),
        "goroutine_leak" => json!({ "goroutines_per_second": 1 }),
        _ => json!({}),
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    scenarios::ALL.iter().map(|plugin| plugin.name())
}

/// Asks for all that can be had of a POST, whatever it is: the refusals of its body.
fn refusals(described: &mut Described, path: &str) {
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(70_000));
    assert_eq!(described.ask("POST", path, "{", &[]).status, 400);
    assert_eq!(described.ask("POST", path, &large, &[]).status, 413);
    assert_eq!(described.post(path, json!({ "unknown": 1 })).status, 422);
    assert_eq!(described.post(path, json!([])).status, 422);
}

/// Asks for all that can be had of the ledger.
fn ledger(described: &mut Described) {
    let ndjson = [("accept", "application/x-ndjson")];
    let events = "/api/v1/events";
    let written = described.get(&format!("{events}?limit=10000"));
    let written = written.body["events"].as_array().expect("events").len();
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

    let all = described.get("/api/v1/sessions").body;
    let latest = all["sessions"][0]["session_id"].as_str().expect("an id");
    let one = format!("/api/v1/sessions/{latest}");
    for path in ["/api/v1/sessions", &one] {
        assert_eq!(described.get(path).status, 200);
        assert_eq!(described.get(&format!("{path}?format=csv")).status, 200);
        assert_eq!(described.get(&format!("{path}?format=xml")).status, 422);
    }
    assert_eq!(described.get("/api/v1/sessions/no_such").status, 404);
    assert_eq!(described.get("/api/v1/sessions/%ff").status, 400);
}

/// What is met where an operator allows one scenario only, or one at a time.
fn met_under_limits() -> BTreeSet<Met> {
    let mut met = BTreeSet::new();
    for one in ["dependency", "crash"] {
        let only = format!("Limits: {{Scenarios: [{one}]}}\n");
        let mut listed = Described::start(&only, &[]);
        let mut single = Described::start("Limits: {ConcurrentScenarios: 1}\n", &[]);
        let start = |name: &str| format!("/api/v1/scenarios/{name}/start");
        assert_eq!(single.post(&start(one), harmless(one)).status, 200);
        for other in names().filter(|name| *name != one) {
            let refused = listed.post(&start(other), harmless(other));
            assert_eq!(refused.status, 403);
            let refused = single.post(&start(other), harmless(other));
            assert_eq!(refused.status, 409);
        }
        met.extend(listed.met);
        met.extend(single.met);
    }
    met
}

#[test]
fn every_documented_answer_is_given_and_every_answer_is_documented() {
    let mut all = Described::start("", &[]);
    let reads = ["/api/v1/scenarios", "/api/v1/composite/status"];
    let still = ["/openapi.json", "/docs", "/version", "/api/v1/mock-service"];
    let sleeps = ["/api/v1/test/sleep10ms", "/api/v1/test/sleep30ms"];
    for path in reads.iter().chain(&still).chain(&PROBES).chain(&sleeps) {
        assert_eq!(all.get(path).status, 200);
    }
    for name in names() {
        let at = |end: &str| format!("/api/v1/scenarios/{name}{end}");
        assert_eq!(all.get(&at("")).status, 200);
        assert_eq!(all.get(&at("/status")).status, 200);
        refusals(&mut all, &at("/start"));
        assert_eq!(all.post(&at("/start"), harmless(name)).status, 200);
        assert_eq!(all.get(&at("/status")).body["running"], true);
        for path in reads {
            assert_eq!(all.get(path).status, 200);
        }
        assert_eq!(
            all.ask("POST", &at("/stop"), "", &[]).body["running"],
            false
        );
        assert!(all.get(&at("/status")).body["end"].is_object());
    }
    for end in ["", "/status"] {
        assert_eq!(
            all.get(&format!("/api/v1/scenarios/no_such{end}")).status,
            404
        );
        assert_eq!(all.get(&format!("/api/v1/scenarios/%ff{end}")).status, 400);
    }
    assert_eq!(
        all.ask("POST", "/api/v1/scenarios/no_such/stop", "", &[])
            .status,
        404
    );
    assert_eq!(
        all.ask("POST", "/api/v1/scenarios/%ff/stop", "", &[])
            .status,
        400
    );
    refusals(&mut all, "/api/v1/scenarios/crash/stop");

    let set: Vec<Value> = names()
        .map(|name| json!({ "name": name, "params": harmless(name), "duration": 3600 }))
        .collect();
    refusals(&mut all, "/api/v1/composite/start");
    let set = json!({ "scenarios": set });
    let started = all.post("/api/v1/composite/start", set);
    assert_eq!(started.body["status"], "success", "{started:?}");
    assert_eq!(all.get("/api/v1/composite/status").status, 200);
    refusals(&mut all, "/api/v1/composite/stop");
    assert_eq!(all.post("/api/v1/composite/stop", json!({})).status, 200);

    for status in [418, 503] {
        let fails = json!({ "status_code": status, "probes": ["health", "ready", "startup"] });
        assert_eq!(
            all.post("/api/v1/scenarios/health_check/start", fails)
                .status,
            200
        );
        for path in PROBES {
            assert_eq!(all.get(path).status, status);
        }
    }
    let fails = json!({ "failure_type": "error" });
    assert_eq!(
        all.post("/api/v1/scenarios/dependency/start", fails).status,
        200
    );
    assert_eq!(all.get("/api/v1/mock-service").status, 500);

    let renew = "/api/v1/composite/renew";
    let leased = json!({ "latency_ms": 1, "lease": 3600, "abort_when": { "achieved_above": {} } });
    let started = all.post("/api/v1/scenarios/network_latency/start", leased);
    assert_eq!(started.status, 200);
    refusals(&mut all, renew);
    assert_eq!(all.post(renew, json!({})).status, 200);
    let dry_run = json!({ "dry_run": true, "lease": 1 });
    let planned = all.post("/api/v1/scenarios/crash/start", dry_run);
    assert_eq!(planned.body["status"], "dry_run");
    for path in ["/api/v1/halt", "/api/v1/rearm"] {
        refusals(&mut all, path);
        assert_eq!(all.post("/api/v1/halt", json!({})).status, 200);
    }
    assert_eq!(all.post(renew, json!({})).status, 409);
    assert!(all.get("/api/v1/composite/status").body["halted_since"].is_string());
    for name in names() {
        let start = format!("/api/v1/scenarios/{name}/start");
        assert_eq!(all.post(&start, harmless(name)).status, 409);
    }
    let set = json!({ "scenarios": [{ "name": "dependency" }] });
    assert_eq!(all.post("/api/v1/composite/start", set).status, 409);
    assert_eq!(all.post("/api/v1/rearm", json!({})).status, 200);

    ledger(&mut all);
    let open_metrics = [("accept", "application/openmetrics-text")];
    assert_eq!(all.get("/metrics").status, 200);
    assert_eq!(all.ask("GET", "/metrics", "", &open_metrics).status, 200);

    // A daemon that wants a token, and whose disk cannot be written.
    let yaml = "DataDir: /proc\nAuth: {Token: t, ProtectReads: true}\n";
    let mut locked = Described::start(yaml, &[]);
    let token = [("authorization", "Bearer t")];
    let foreign = [("sec-fetch-site", "cross-site")];
    let guarded: Vec<(String, String)> = all
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

    let limited = met_under_limits();

    assert_eq!(locked.document, all.document);
    let out_of_reach = |(_, path, _, _, kind): &&Met| {
        OUT_OF_REACH
            .iter()
            .any(|(of, known, _)| kind == known && path.contains(of))
            || kind == "start-failed" && path.contains("scenarios") && path != FAILING_START
    };
    let met: BTreeSet<Met> = [all.met.clone(), locked.met, limited]
        .into_iter()
        .flatten()
        .collect();
    let documented = all.documented();
    let never: Vec<&Met> = documented
        .difference(&met)
        .filter(|met| !out_of_reach(met))
        .collect();
    assert!(never.is_empty(), "documented and never met: {never:#?}");
}

#[test]
fn a_route_takes_the_documented_methods_and_no_other() {
    let described = Described::start("", &[]);
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
                let answer = answer(refused);
                assert_eq!(
                    (answer.status, answer.content_type.as_str()),
                    (405, PROBLEM)
                );
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

#[test]
fn the_page_lets_no_script_run_but_its_own() {
    let daemon = Daemon::start();
    let nonce_of = || {
        let mut page = send(&agent(), "GET", daemon.service, "/docs", b"", &[]);
        let policy = header_of(&page, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        let nonce = policy.split("script-src 'nonce-").nth(1).expect("a nonce");
        let nonce = nonce.split('\'').next().expect("its end").to_owned();
        let text = page.body_mut().read_to_string().expect("a page");
        assert!(text.contains(&format!("<script nonce=\"{nonce}\">")));
        assert_eq!(text.matches("<script").count(), 1);
        nonce
    };
    assert_ne!(nonce_of(), nonce_of());
}

#[test]
fn every_example_is_valid_and_every_name_is_used_once() {
    let described = Described::start("", &[]);
    let mut ids = BTreeSet::new();
    let mut examples = 0;
    for (path, method, operation) in described.operations() {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect("an id");
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

#[test]
fn the_schema_of_a_body_says_what_the_daemon_says() {
    let described = Described::start("", &[]);
    let mut checked = 0;
    let mut check = |path: &str, body: Value, good: bool| {
        let schema = &described.document["paths"][described.template_of(path)]["post"]["requestBody"]
            ["content"]["application/json"]["schema"];
        let place = format!("{path} {body}");
        assert_eq!(
            described.validator(schema).is_valid(&body),
            good,
            "{place}: schema"
        );
        let answer = described.daemon.post(path, body.to_string());
        assert_eq!(
            answer.status,
            if good { 200 } else { 422 },
            "{place}: {answer:?}"
        );
        checked += 1;
    };
    for name in names() {
        let path = format!("/api/v1/scenarios/{name}/start");
        let with = |key: &str, value: Value| {
            let mut body = harmless(name);
            body[key] = value;
            body
        };
        check(&path, harmless(name), true);
        check(&path, with("duration", json!(0.25)), true);
        check(&path, with("duration", json!(-1)), false);
        check(&path, with("duration", json!(31_536_001)), false);
        check(&path, with("duration", json!("1")), false);
        check(&path, with("dry_run", json!(true)), true);
        check(&path, with("dry_run", json!(1)), false);
        check(&path, with("lease", json!(60)), true);
        check(&path, with("lease", json!(0)), false);
        check(
            &path,
            with("abort_when", json!({ "achieved_above": { "crash": 9 } })),
            true,
        );
        for bad in [
            json!(null),
            json!({ "x": 1 }),
            json!({ "achieved_above": null }),
        ] {
            check(&path, with("abort_when", bad), false);
        }
        check(&path, with("unknown", json!(1)), false);
        check(&format!("/api/v1/scenarios/{name}/stop"), json!({}), true);
        check(
            &format!("/api/v1/scenarios/{name}/stop"),
            json!({ "duration": 1 }),
            false,
        );
    }
    let burner = "/api/v1/scenarios/cpu_burner/start";
    check(burner, json!({ "cores": 0.01 }), true);
    check(burner, json!({ "cores": 0.01, "target_percent": 1 }), false);
    check(burner, json!({ "target_percent": 1.0 }), true);
    check(burner, json!({ "target_percent": 1.5 }), false);
    let leaker = "/api/v1/scenarios/memory_leaker/start";
    check(
        leaker,
        json!({ "target_mb": 1, "target_percent_of_limit": 0.001 }),
        false,
    );

    let set = "/api/v1/composite/start";
    let entry = |name: &str| json!({ "name": name, "params": harmless(name) });
    let scenarios = |entries: &[Value]| json!({ "scenarios": entries });
    check(
        set,
        scenarios(&names().map(entry).collect::<Vec<_>>()),
        true,
    );
    check(
        set,
        scenarios(&[entry("dependency"), entry("dependency")]),
        false,
    );
    check(set, scenarios(&[]), false);
    check(set, scenarios(&[json!("dependency")]), false);
    check(set, scenarios(&[json!({ "name": "no_such" })]), false);
    check(set, scenarios(&[json!({ "params": {} })]), false);
    check(
        set,
        scenarios(&[json!({ "name": "dependency", "params": null })]),
        false,
    );
    check(
        set,
        scenarios(&[json!({ "name": "dependency", "extra": 1 })]),
        false,
    );
    check(
        set,
        scenarios(&[json!({ "name": "crash", "params": { "exit_code": 256 } })]),
        false,
    );
    check(set, json!({}), false);
    check(
        set,
        json!({ "scenarios": [entry("dependency")], "dry_run": true }),
        true,
    );
    check(set, json!({ "dry_run": true }), false);
    check(
        set,
        json!({ "scenarios": [entry("dependency")], "duration": 1 }),
        false,
    );
    check("/api/v1/composite/stop", json!({}), true);
    check("/api/v1/composite/stop", json!({ "scenarios": [] }), false);
    assert!(checked > 80, "only {checked} bodies were checked");
    eventually("nothing runs", || {
        (described.daemon.session()["session_id"] == "").then_some(())
    });
}
