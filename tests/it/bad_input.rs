//! Every kind of bad input: what the answer is, and that running faults go on.

use mockserver::scenarios;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    Answer, Daemon, PROBES, agent, assert_problem, connect_and_write, header_of, scenario_names,
    send, send_raw, start_path,
};

const COMPOSITE: &str = "/api/v1/composite/start";

/// A daemon on which two faults run, which no refused request may touch.
struct Busy {
    daemon: Daemon,
    session: Value,
    runs: [Value; 2],
}

impl Busy {
    fn start() -> Self {
        let daemon = Daemon::start();
        daemon.start_set(json!([
            { "name": "health_check", "params": { "status_code": 599 } },
            { "name": "dependency", "params": { "failure_type": "error" } },
        ]));
        let session = daemon.session();
        let runs = Self::runs(&daemon);
        Self {
            daemon,
            session,
            runs,
        }
    }

    fn runs(daemon: &Daemon) -> [Value; 2] {
        ["health_check", "dependency"].map(|name| {
            let status = daemon.status(name);
            json!([status["running"], status["start_time"], status["params"]])
        })
    }

    /// Checks that the session and its runs are the same, and that both faults are in effect.
    fn assert_untouched(&self) {
        assert_eq!(self.daemon.session(), self.session);
        assert_eq!(Self::runs(&self.daemon), self.runs);
        assert_eq!(self.daemon.get("/ready").status, 599);
        assert_eq!(self.daemon.get("/api/v1/mock-service").status, 500);
    }

    /// Posts `body`, which must be refused with this status and kind and change nothing.
    fn refused(&self, path: &str, body: impl AsRef<[u8]>, status: u16, kind: &str) -> Value {
        let answer = self.daemon.post(path, body);
        let problem = assert_problem(answer, status, kind, path);
        self.assert_untouched();
        problem
    }

    /// Posts `body`, of which exactly the values at `pointers` must be refused.
    fn invalid(&self, path: &str, body: &Value, pointers: &[&str]) {
        let problem = self.refused(path, body.to_string(), 422, "invalid-params");
        assert_eq!(pointers_of(&problem), sorted(pointers), "{body}: {problem}");
    }

    /// The same for a single start, and for a composite start with `params` in its second entry.
    fn invalid_params(&self, name: &str, params: &Value, pointers: &[&str]) {
        self.invalid(&start_path(name), params, pointers);
        let good = if name == "crash" {
            "dependency"
        } else {
            "crash"
        };
        let set = json!({ "scenarios": [
            { "name": good },
            { "name": name, "params": params },
        ] });
        let within: Vec<String> = pointers
            .iter()
            .map(|pointer| format!("/scenarios/1/params{pointer}"))
            .collect();
        let within: Vec<&str> = within.iter().map(String::as_str).collect();
        self.invalid(COMPOSITE, &set, &within);
    }
}

fn pointers_of(problem: &Value) -> Vec<String> {
    let errors = problem["errors"].as_array().unwrap();
    let mut pointers: Vec<String> = errors
        .iter()
        .map(|error| {
            assert!(
                error["detail"]
                    .as_str()
                    .is_some_and(|detail| !detail.is_empty())
            );
            error["pointer"].as_str().unwrap().to_owned()
        })
        .collect();
    pointers.sort();
    pointers
}

fn sorted(pointers: &[&str]) -> Vec<String> {
    let mut pointers: Vec<String> = pointers.iter().map(|&pointer| pointer.to_owned()).collect();
    pointers.sort();
    pointers
}

// === Values ===

#[test]
fn no_wrong_value_is_accepted_as_an_integer() {
    let busy = Busy::start();
    for value in [
        json!(-1),
        json!(399),
        json!(600),
        json!(503.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!("503"),
        json!(null),
        json!(true),
        json!([503]),
        json!({}),
    ] {
        busy.invalid_params(
            "health_check",
            &json!({ "status_code": value }),
            &["/status_code"],
        );
    }
}

#[test]
fn every_parameter_of_every_scenario_refuses_what_lies_outside_its_range() {
    let busy = Busy::start();
    for (name, params) in [
        ("cpu_burner", json!({ "target_percent": 100.1 })),
        ("cpu_burner", json!({ "target_percent": "80" })),
        ("cpu_burner", json!({ "cores": 0 })),
        ("memory_leaker", json!({ "target_mb": 0 })),
        ("memory_leaker", json!({ "target_mb": 1_048_577 })),
        ("memory_leaker", json!({ "leak_rate_mb": 0 })),
        ("memory_leaker", json!({ "leak_rate_mb": -1 })),
        ("network_latency", json!({ "latency_ms": -1 })),
        ("network_latency", json!({ "latency_ms": 600_001 })),
        ("health_check", json!({ "failure_mode": "sometimes" })),
        ("health_check", json!({ "failure_mode": "Always" })),
        ("health_check", json!({ "status_code": 399 })),
        ("health_check", json!({ "status_code": 600 })),
        ("health_check", json!({ "fail_rate": 1.01 })),
        ("health_check", json!({ "fail_rate": -0.01 })),
        ("health_check", json!({ "delay_ms": 600_001 })),
        ("health_check", json!({ "probes": [] })),
        ("health_check", json!({ "probes": ["health", "health"] })),
        ("health_check", json!({ "probes": "health" })),
        ("health_check", json!({ "seed": -1 })),
        ("goroutine_leak", json!({ "goroutines_per_second": 0 })),
        (
            "goroutine_leak",
            json!({ "goroutines_per_second": 1_000_001 }),
        ),
        ("goroutine_leak", json!({ "max_goroutines": 0 })),
        ("goroutine_leak", json!({ "max_goroutines": 1.5 })),
        ("goroutine_leak", json!({ "max_goroutines": 1_000_000_001 })),
        ("disk_io", json!({ "write_rate_mb": -1 })),
        ("disk_io", json!({ "write_rate_mb": 0 })),
        ("disk_io", json!({ "write_rate_mb": 100_001 })),
        ("crash", json!({ "crash_delay": -1 })),
        ("crash", json!({ "crash_delay": 86_401 })),
        ("crash", json!({ "exit_code": 256 })),
        ("crash", json!({ "exit_code": 3, "mode": "panic" })),
        ("crash", json!({ "after_requests": 0 })),
        ("crash", json!({ "mode": "sigsegv" })),
        ("crash", json!({ "scrape_window": 3_601 })),
        ("shutdown_hang", json!({ "mode": "" })),
        ("shutdown_hang", json!({ "drain_seconds": -1 })),
        ("dependency", json!({ "failure_type": "" })),
        ("dependency", json!({ "failure_type": 1 })),
    ] {
        let key = params.as_object().and_then(|o| o.keys().next()).unwrap();
        busy.invalid_params(name, &params, &[&format!("/{key}")]);
    }
}

#[test]
fn an_unknown_key_is_refused_wherever_it_is() {
    let busy = Busy::start();
    busy.invalid_params("dependency", &json!({ "typo": 1 }), &["/typo"]);
    busy.invalid(
        COMPOSITE,
        &json!({ "scenarios": [{ "name": "dependency", "param": {} }], "also": 1 }),
        &["/also", "/scenarios/0/param"],
    );
}

#[test]
fn a_pointer_escapes_the_key_that_it_names() {
    let busy = Busy::start();
    busy.invalid_params("dependency", &json!({ "a/b~c": 1 }), &["/a~1b~0c"]);
    busy.invalid(
        COMPOSITE,
        &json!({ "scenarios": [{ "name": "dependency", "x/y": 1 }], "~": 1 }),
        &["/~0", "/scenarios/0/x~1y"],
    );
}

#[test]
fn a_duration_is_a_number_of_seconds_and_nothing_else() {
    let busy = Busy::start();
    for duration in [json!(-1), json!("5"), json!(null), json!(1e9), json!([1])] {
        let body = json!({ "duration": duration });
        busy.invalid(&start_path("dependency"), &body, &["/duration"]);
        let set = json!({ "scenarios": [{ "name": "dependency", "duration": duration }] });
        busy.invalid(COMPOSITE, &set, &["/scenarios/0/duration"]);
    }
}

#[test]
fn all_bad_values_of_a_single_start_are_reported_at_once() {
    let busy = Busy::start();
    busy.invalid(
        &start_path("health_check"),
        &json!({
            "failure_mode": "never", "status_code": 200, "fail_rate": "half", "delay_ms": -5,
            "probes": ["live"], "duration": -1, "unknown": true,
        }),
        &[
            "/failure_mode",
            "/status_code",
            "/fail_rate",
            "/delay_ms",
            "/probes",
            "/duration",
            "/unknown",
        ],
    );
}

#[test]
fn all_bad_values_of_a_set_are_reported_at_once() {
    let busy = Busy::start();
    busy.invalid(
        COMPOSITE,
        &json!({ "scenarios": [
            { "name": "cpu_burner", "params": { "target_percent": 500 }, "duration": "long" },
            { "name": "no_such_thing", "params": {} },
            { "params": { "latency_ms": 5 } },
            { "name": "disk_io", "params": { "write_rate_mb": -1, "where": "/" }, "extra": 1 },
            { "name": "dependency", "params": [] },
            { "name": 7 },
            "crash",
            null,
        ] }),
        &[
            "/scenarios/0/params/target_percent",
            "/scenarios/0/duration",
            "/scenarios/1/name",
            "/scenarios/2/name",
            "/scenarios/3/params/write_rate_mb",
            "/scenarios/3/params/where",
            "/scenarios/3/extra",
            "/scenarios/4/params",
            "/scenarios/5/name",
            "/scenarios/6",
            "/scenarios/7",
        ],
    );
}

#[test]
fn a_set_with_the_same_scenario_twice_is_refused() {
    let busy = Busy::start();
    let set = json!({ "scenarios": [{ "name": "crash" }, { "name": "crash" }] });
    busy.invalid(COMPOSITE, &set, &["/scenarios/1/name"]);
    // Other errors of the second entry are reported too.
    let set = json!({ "scenarios": [
        { "name": "crash" }, { "name": "crash", "params": { "exit_code": -1 } },
    ] });
    let pointers = ["/scenarios/1/name", "/scenarios/1/params/exit_code"];
    busy.invalid(COMPOSITE, &set, &pointers);
}

#[test]
fn a_set_without_scenarios_is_refused() {
    let busy = Busy::start();
    for body in [
        json!({}),
        json!({ "scenarios": [] }),
        json!({ "scenarios": null }),
        json!({ "scenarios": {} }),
        json!({ "scenarios": "crash" }),
    ] {
        busy.invalid(COMPOSITE, &body, &["/scenarios"]);
    }
    let problem = busy.refused(COMPOSITE, "", 422, "invalid-params");
    assert_eq!(pointers_of(&problem), ["/scenarios"]);
}

#[test]
fn two_parameters_that_exclude_each_other_are_refused_together() {
    let busy = Busy::start();
    busy.invalid_params(
        "cpu_burner",
        &json!({ "target_percent": 5, "cores": 1 }),
        &["/cores"],
    );
}

// === Bodies ===

#[test]
fn a_body_that_is_not_an_object_is_refused_as_a_whole() {
    let busy = Busy::start();
    for path in [start_path("dependency"), COMPOSITE.to_owned()] {
        for body in ["[]", "null", "1", "\"x\"", "true", "[{\"name\":\"crash\"}]"] {
            let problem = busy.refused(&path, body, 422, "invalid-params");
            assert_eq!(pointers_of(&problem), [""]);
        }
    }
}

#[test]
fn a_body_that_is_not_json_is_refused_with_its_line_and_column() {
    let busy = Busy::start();
    for path in [start_path("network_latency"), COMPOSITE.to_owned()] {
        for body in [
            "{",
            "latency_ms=5",
            "{\"latency_ms\": NaN}",
            "{\"latency_ms\": Infinity}",
            "{\"latency_ms\": -Infinity}",
            "{\"latency_ms\": 1e400}",
            "{\"latency_ms\": 05}",
            "{\"latency_ms\": 5,}",
            "{'latency_ms': 5}",
            "{\"latency_ms\": 5} {}",
            "{\n\"latency_ms\": 5,\n\"latency_ms\": 6}",
            "{\"scenarios\": [], \"scenarios\": []}",
        ] {
            let problem = busy.refused(&path, body, 400, "malformed-body");
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains("line ") && detail.contains("column "),
                "{body}: {detail}"
            );
        }
    }
}

#[test]
fn a_repeated_key_deep_in_a_set_is_refused() {
    let busy = Busy::start();
    let body =
        r#"{"scenarios": [{"name": "crash", "params": {"crash_delay": 1, "crash_delay": 2}}]}"#;
    let problem = busy.refused(COMPOSITE, body, 400, "malformed-body");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("crash_delay"))
    );
}

#[test]
fn a_body_that_is_not_utf_8_is_refused() {
    let busy = Busy::start();
    for path in [start_path("dependency"), COMPOSITE.to_owned()] {
        busy.refused(
            &path,
            b"{\"failure_type\": \"\xff\xfe\"}",
            400,
            "malformed-body",
        );
        busy.refused(&path, b"\xff", 400, "malformed-body");
    }
}

#[test]
fn a_deeply_nested_body_is_refused() {
    let busy = Busy::start();
    for open in ["[", "{\"a\":", "{\"scenarios\":[{\"params\":"] {
        let body = open.repeat(60_000 / open.len());
        busy.refused(COMPOSITE, &body, 400, "malformed-body");
        busy.refused(&start_path("dependency"), &body, 400, "malformed-body");
    }
}

#[test]
fn a_body_of_ten_megabytes_is_refused_and_the_client_gets_the_answer() {
    let busy = Busy::start();
    let body = format!("{{\"a\": \"{}\"}}", "x".repeat(10_000_000));
    for path in [start_path("dependency"), COMPOSITE.to_owned()] {
        busy.refused(&path, &body, 413, "body-too-large");
    }
}

#[test]
fn a_body_that_is_declared_too_large_is_refused_before_it_is_sent() {
    let busy = Busy::start();
    let head = format!(
        "POST {COMPOSITE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 65537\r\nExpect: 100-continue\r\n\r\n"
    );
    let text = send_raw(busy.daemon.service, head.as_bytes());
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains("body-too-large"), "{text}");
    busy.assert_untouched();
}

#[test]
fn a_chunked_body_has_the_same_size_limit() {
    let busy = Busy::start();
    let head = format!(
        "POST {COMPOSITE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let request = format!("{head}{}0\r\n\r\n", chunk.repeat(3));
    let text = send_raw(busy.daemon.service, request.as_bytes());
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains("application/problem+json"), "{text}");
    busy.assert_untouched();
}

#[test]
fn a_body_of_the_largest_size_is_read() {
    let daemon = Daemon::start();
    let path = start_path("dependency");
    let largest = 64 * 1024;
    let body = format!("{{{}}}", " ".repeat(largest - 2));
    assert_eq!(daemon.post(&path, &body).status, 200);
    let answer = daemon.post(&path, format!("{body} "));
    assert_problem(answer, 413, "body-too-large", "one byte more");
}

#[test]
fn parameters_in_a_query_are_refused_and_nothing_is_started() {
    let busy = Busy::start();
    for path in [
        format!("{}?dry_run=true", start_path("dependency")),
        format!("{COMPOSITE}?duration=5"),
        "/api/v1/halt?x".to_owned(),
    ] {
        busy.refused(&path, "{}", 422, "invalid-params");
    }
}

// === Names, routes and methods ===

/// Checks that a text lists all scenarios in their order.
fn assert_names_all(detail: &Value) {
    let text = detail.as_str().unwrap();
    assert!(
        text.contains(&scenario_names().collect::<Vec<_>>().join(", ")),
        "{text}"
    );
}

#[test]
fn an_unknown_scenario_is_404_and_the_known_ones_are_named() {
    let busy = Busy::start();
    for name in [
        "no_such_thing",
        "CPU_BURNER",
        "cpu_burner%20",
        "%2e%2e",
        "cpu%00",
    ] {
        for part in ["start", "stop"] {
            let path = format!("/api/v1/scenarios/{name}/{part}");
            let problem = busy.refused(&path, "{}", 404, "unknown-scenario");
            assert_names_all(&problem["detail"]);
        }
        for part in ["", "/status"] {
            let answer = busy.daemon.get(&format!("/api/v1/scenarios/{name}{part}"));
            let problem = assert_problem(answer, 404, "unknown-scenario", name);
            assert_names_all(&problem["detail"]);
        }
    }
}

#[test]
fn an_unknown_scenario_in_a_set_is_a_bad_value() {
    let busy = Busy::start();
    for name in ["no_such_thing", "", "cpu_burner "] {
        let set = json!({ "scenarios": [{ "name": "crash" }, { "name": name }] });
        let problem = busy.refused(COMPOSITE, set.to_string(), 422, "invalid-params");
        assert_eq!(pointers_of(&problem), ["/scenarios/1/name"]);
        assert_names_all(&problem["errors"][0]["detail"]);
    }
}

#[test]
fn a_name_that_is_not_utf_8_is_a_malformed_path() {
    let busy = Busy::start();
    busy.refused("/api/v1/scenarios/%ff/start", "{}", 400, "malformed-path");
}

#[test]
fn a_wrong_method_is_405_and_the_allow_header_names_the_right_ones() {
    let busy = Busy::start();
    let (posts, gets) = (
        [
            "/api/v1/scenarios/crash/start",
            "/api/v1/scenarios/crash/stop",
            "/api/v1/composite/start",
            "/api/v1/composite/stop",
        ],
        [
            "/api/v1/scenarios",
            "/api/v1/scenarios/crash",
            "/api/v1/scenarios/crash/status",
            "/api/v1/composite/status",
            "/api/v1/mock-service",
            "/api/v1/test/sleep10ms",
            "/api/v1/test/sleep30ms",
        ],
    );
    let posts = posts.map(|path| (path, "POST", ["GET", "PUT", "DELETE"]));
    let gets = gets.map(|path| (path, "GET,HEAD", ["POST", "PUT", "DELETE"]));
    let agent = agent();
    for to in [busy.daemon.service, busy.daemon.admin] {
        for (path, allowed, wrong) in posts.iter().chain(&gets) {
            for method in wrong {
                // The fault answers for this route before the method is checked.
                if *path == "/api/v1/mock-service" && to == busy.daemon.service {
                    continue;
                }
                let response = send(&agent, method, to, path, b"", &[]);
                let allow = header_of(&response, "allow");
                assert_eq!(&allow, allowed, "{method} {path}");
                assert_problem(Answer::read(response), 405, "method-not-allowed", path);
            }
        }
    }
    for probe in PROBES {
        let response = send(&agent, "POST", busy.daemon.admin, probe, b"", &[]);
        assert_eq!(header_of(&response, "allow"), "GET,HEAD", "{probe}");
        assert_problem(Answer::read(response), 405, "method-not-allowed", probe);
    }
    busy.assert_untouched();
}

#[test]
fn an_unknown_route_is_a_404_problem_whatever_the_method() {
    let busy = Busy::start();
    for path in [
        "/nothing",
        "/api/v1",
        "/api/v2/scenarios",
        "/api/v1/scenarios//",
        "/api/v1/scenarios/crash//start",
        "/api/v1/scenarios/crash/restart",
        "/api/v1/composite",
        "//health",
        "/health/../health",
    ] {
        for to in [busy.daemon.service, busy.daemon.admin] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = busy.daemon.ask(method, to, path, b"");
                let problem = assert_problem(answer, 404, "unknown-route", path);
                assert!(
                    problem["detail"].as_str().unwrap().contains("GET /docs"),
                    "{problem}"
                );
            }
        }
    }
    busy.assert_untouched();
}

// === Anything ===

/// Limits under which no start can do harm to the machine.
const TIGHT: &str = "Limits: {CpuPercent: 5, CpuCores: 0.1, MemoryMb: 16, MemoryPercent: 0.1, \
                     DiskMbPerSecond: 1, TasksPerSecond: 1000, Tasks: 10000, DiskMb: 10, Descriptors: 500, \
                     Threads: 50}\n";

/// All words that the schemas of the scenarios know.
struct Vocabulary {
    names: Vec<&'static str>,
    keys: Vec<String>,
    choices: Vec<String>,
}

impl Vocabulary {
    /// Of the scenarios that do not end the process.
    fn of_registry() -> Self {
        let plugins = || {
            scenarios::ALL
                .iter()
                .filter(|plugin| !plugin.ends_process() && !plugin.silences_service())
        };
        let mut keys: Vec<String> = ["name", "params", "duration", "scenarios"]
            .map(str::to_owned)
            .into();
        let mut choices = Vec::new();
        for plugin in plugins() {
            let schema = plugin.schema();
            for (key, spec) in schema["properties"].as_object().unwrap() {
                keys.push(key.clone());
                let of_items = &spec["items"]["enum"];
                let texts = [&spec["enum"], of_items]
                    .into_iter()
                    .filter_map(Value::as_array);
                choices.extend(
                    texts
                        .flatten()
                        .filter_map(|value| value.as_str().map(str::to_owned)),
                );
            }
        }
        Self {
            names: plugins().map(|plugin| plugin.name()).collect(),
            keys,
            choices,
        }
    }

    /// Names of scenarios, and others.
    fn any_name(&self) -> BoxedStrategy<String> {
        prop_oneof![
            4 => prop::sample::select(self.names.clone()).prop_map(str::to_owned),
            1 => "[a-z_]{0,10}".prop_map(|text| format!("x{text}")),
        ]
        .boxed()
    }

    fn any_key(&self) -> BoxedStrategy<String> {
        prop_oneof![
            4 => prop::sample::select(self.keys.clone()),
            1 => ".{0,6}",
        ]
        .boxed()
    }

    fn any_value(&self) -> BoxedStrategy<Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0..600_i32).prop_map(Value::from),
            (0.0..1.0).prop_map(Value::from),
            self.any_name().prop_map(Value::from),
            prop::sample::select(self.choices.clone()).prop_map(Value::from),
            ".{0,8}".prop_map(|text| Value::from(format!("x{text}"))),
        ];
        let key = self.any_key();
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                any_object(key.clone(), inner),
            ]
        })
        .boxed()
    }

    /// Bodies of composite starts that are nearly right.
    fn any_set(&self) -> BoxedStrategy<Value> {
        let params = any_object(self.any_key(), self.any_value());
        let params = prop_oneof![Just(json!({})), params];
        let entry = (self.any_name(), params, any::<bool>()).prop_map(|(name, params, timed)| {
            let mut entry = json!({ "name": name, "params": params });
            if timed {
                entry["duration"] = json!(1);
            }
            entry
        });
        prop::collection::vec(entry, 0..4)
            .prop_map(|entries| json!({ "scenarios": entries }))
            .boxed()
    }
}

fn any_object(
    key: BoxedStrategy<String>,
    value: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    prop::collection::vec((key, value), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

#[test]
fn whatever_is_posted_is_done_or_refused_as_a_problem() {
    let words = Vocabulary::of_registry();
    let daemon = Daemon::builder().file(TIGHT).start();
    let client = daemon.client();
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let set = prop_oneof![words.any_set(), words.any_value()];
    let bodies = (words.any_name(), words.any_value(), set);
    proptest!(config, |((name, single, set) in bodies)| {
        for (path, body) in [(start_path(&name), single), (COMPOSITE.to_owned(), set)] {
            let answer = client.post(&path, &body.to_string());
            if answer.status != 200 {
                prop_assert!((400..500).contains(&answer.status), "{body}: {answer:?}");
                prop_assert_eq!(&answer.content_type, "application/problem+json");
                prop_assert_eq!(&answer.body["status"], answer.status);
            }
            let session = client.admin_get("/api/v1/composite/status");
            prop_assert_eq!(session.status, 200);
        }
    });
    assert_eq!(daemon.stop_all().status, 200);
}

#[test]
fn bytes_that_are_not_http_disturb_no_other_client() {
    let busy = Busy::start();
    for bytes in [
        &b"\x16\x03\x01\x02\x00"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
    ] {
        connect_and_write(busy.daemon.service, bytes);
    }
    busy.assert_untouched();
}

#[test]
fn a_stop_takes_no_parameters() {
    let daemon = Daemon::start();
    let before = daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
    for path in [
        "/api/v1/composite/stop",
        "/api/v1/scenarios/network_latency/stop",
    ] {
        let answer = daemon.post(path, r#"{"scenarios": ["dependency"]}"#);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.body["errors"][0]["pointer"], "/scenarios");
        assert_eq!(daemon.post(path, "garbage").status, 400);
    }
    assert_eq!(daemon.session()["session_id"], before["session_id"]);
    assert_eq!(daemon.post("/api/v1/composite/stop", "{}").status, 200);
}

#[test]
fn a_body_with_thousands_of_errors_gets_a_bounded_answer() {
    let daemon = Daemon::start();
    let many = format!("{{\"scenarios\": [{}{{}}]}}", "{},".repeat(20_000));
    let answer = daemon.post("/api/v1/composite/start", many);
    assert_eq!(answer.status, 422);
    assert_eq!(
        answer.body["errors"].as_array().map(Vec::len),
        Some(1),
        "{answer:?}"
    );
    let keys: Vec<String> = (0..5_000).map(|i| format!("\"k{i}\": 1")).collect();
    let answer = daemon.post("/api/v1/composite/start", format!("{{{}}}", keys.join(",")));
    assert_eq!(answer.status, 422);
    assert_eq!(answer.body["errors"].as_array().map(Vec::len), Some(100));
}
