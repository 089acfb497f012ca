use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::{Date, Month, OffsetDateTime};

use crate::common::{Daemon, PROBES, SCENARIOS, agent, alone, answer, eventually, send};

/// Every body that the document posts to a single start, as printed.
const SINGLE_STARTS: [(&str, &str); 12] = [
    ("cpu_burner", r#"{"target_percent": 80}"#),
    ("cpu_burner", r#"{"target_percent": 80, "duration": 300}"#),
    (
        "memory_leaker",
        r#"{"target_mb": 2048, "leak_rate_mb": 50}"#,
    ),
    ("network_latency", r#"{"latency_ms": 500}"#),
    (
        "health_check",
        r#"{"failure_mode": "always", "status_code": 503}"#,
    ),
    (
        "health_check",
        r#"{"failure_mode": "intermittent", "fail_rate": 0.5}"#,
    ),
    ("health_check", r#"{"failure_mode": "delayed"}"#),
    ("goroutine_leak", r#"{"goroutines_per_second": 100}"#),
    ("disk_io", r#"{"write_rate_mb": 100}"#),
    ("crash", r#"{"crash_delay": 10}"#),
    ("dependency", r#"{"failure_type": "timeout"}"#),
    ("dependency", r#"{}"#),
];

/// Every body that the document posts to a composite start, as printed.
const SET_STARTS: [(&str, &[&str]); 4] = [
    (
        r#"{
    "scenarios": [
      {
        "name": "cpu_burner",
        "params": {"target_percent": 80},
        "duration": 300
      },
      {
        "name": "memory_leaker",
        "params": {"target_mb": 2048, "leak_rate_mb": 50},
        "duration": 300
      }
    ]
  }"#,
        &["cpu_burner", "memory_leaker"],
    ),
    (
        r#"{
    "scenarios": [
      {
        "name": "cpu_burner",
        "params": {"target_percent": 70},
        "duration": 600
      },
      {
        "name": "memory_leaker",
        "params": {"target_mb": 1024, "leak_rate_mb": 20},
        "duration": 600
      },
      {
        "name": "network_latency",
        "params": {"latency_ms": 300},
        "duration": 600
      },
      {
        "name": "health_check",
        "params": {"failure_mode": "intermittent", "fail_rate": 0.3},
        "duration": 600
      }
    ]
  }"#,
        &[
            "cpu_burner",
            "memory_leaker",
            "network_latency",
            "health_check",
        ],
    ),
    (
        r#"{"scenarios":[{"name":"cpu_burner","params":{"target_percent":80}}]}"#,
        &["cpu_burner"],
    ),
    (
        r#"{
    "scenarios": [
      {"name":"memory_leaker","params":{"target_mb":2048,"leak_rate_mb":50}},
      {"name":"network_latency","params":{"latency_ms":500}}
    ]
  }"#,
        &["memory_leaker", "network_latency"],
    ),
];

/// What a client may say of a body: nothing, what `curl -d` says, what the document says.
const CONTENT_TYPES: [&[(&str, &str)]; 3] = [
    &[],
    &[("content-type", "application/x-www-form-urlencoded")],
    &[("content-type", "application/json")],
];

fn post(daemon: &Daemon, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let response = send(
        &agent(),
        "POST",
        daemon.service,
        path,
        body.as_bytes(),
        headers,
    );
    let answer = answer(response);
    (answer.status, answer.body)
}

fn running(daemon: &Daemon) -> Vec<String> {
    let list = daemon.admin_get("/api/v1/scenarios").body;
    let rows = list["scenarios"].as_array().expect("a list");
    rows.iter()
        .filter(|row| row["running"] == true)
        .map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn keys(value: &Value) -> Vec<&str> {
    let members = value.as_object().expect("an object");
    members.keys().map(String::as_str).collect()
}

/// Milliseconds since 1970 of an RFC 3339 time in UTC; nothing else is let pass.
fn millis(time: &Value) -> i128 {
    let text = time.as_str().expect("a time");
    let number = |range: std::ops::Range<usize>| -> u16 {
        text.get(range)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("not RFC 3339: {text}"))
    };
    let byte = |n: u16| u8::try_from(n).expect("two digits");
    let mut shape = text.to_owned();
    shape.retain(|c| !c.is_ascii_digit());
    assert!(
        shape == "--T::Z" || shape == "--T::.Z",
        "not RFC 3339 in UTC: {text}"
    );
    let month = Month::try_from(byte(number(5..7))).expect("a month");
    let day = Date::from_calendar_date(number(0..4).into(), month, byte(number(8..10)));
    let at = day.expect("a day").with_hms(
        byte(number(11..13)),
        byte(number(14..16)),
        byte(number(17..19)),
    );
    let seconds = at.expect("a time").assume_utc().unix_timestamp_nanos() / 1_000_000;
    let fraction: f64 = format!("0{}", &text[19..text.len() - 1])
        .parse()
        .expect("a fraction");
    seconds + (fraction * 1000.0).round() as i128
}

fn now_millis() -> i128 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000
}

// === What the document prints ===

#[test]
fn every_single_start_of_the_document_runs_with_its_values_whatever_the_content_type() {
    let _turn = alone();
    let daemon = Daemon::start();
    for (name, body) in SINGLE_STARTS {
        for headers in CONTENT_TYPES {
            let path = format!("/api/v1/scenarios/{name}/start");
            let (status, report) = post(&daemon, &path, body, headers);
            assert_eq!(
                (status, &report["status"]),
                (200, &json!("success")),
                "{body}"
            );
            assert_eq!(report["scenarios"], json!([name]));
            assert_eq!(running(&daemon), [name]);

            let shown = daemon.status(name);
            let sent: Value = serde_json::from_str(body).expect("JSON");
            for (key, value) in sent.as_object().expect("an object") {
                if key == "duration" {
                    let lasts = millis(&shown["expires_at"]) - millis(&shown["start_time"]);
                    assert_eq!(lasts, 300_000);
                } else {
                    assert_eq!(&shown["params"][key], value, "{name} {key}");
                }
            }

            let stop = format!("/api/v1/scenarios/{name}/stop");
            let (status, stopped) = post(&daemon, &stop, "", headers);
            assert_eq!((status, &stopped["running"]), (200, &json!(false)));
            assert!(running(&daemon).is_empty());
        }
    }
}

#[test]
fn every_composite_start_of_the_document_runs_its_set_whatever_the_content_type() {
    let _turn = alone();
    let daemon = Daemon::start();
    for (body, names) in SET_STARTS {
        for headers in CONTENT_TYPES {
            let (status, report) = post(&daemon, "/api/v1/composite/start", body, headers);
            assert_eq!(
                (status, &report["status"]),
                (200, &json!("success")),
                "{body}"
            );
            assert_eq!(report["scenarios"], json!(names));
            // Nothing of the set before it is left.
            assert_eq!(running(&daemon), names);
            assert_eq!(daemon.session()["scenarios"], json!(names));
        }
    }
    let (status, stopped) = post(&daemon, "/api/v1/composite/stop", "", &[]);
    assert_eq!(
        (status, &stopped["status"]),
        (200, &json!("all scenarios stopped"))
    );
    assert!(running(&daemon).is_empty());
}

#[test]
fn the_reads_of_the_document_answer_200_on_both_listeners() {
    let daemon = Daemon::start();
    for path in [
        "/api/v1/composite/status",
        "/api/v1/scenarios",
        "/api/v1/scenarios/cpu_burner/status",
        "/health",
        "/ready",
        "/startup",
        "/version",
        "/api/v1/mock-service",
        "/api/v1/test/sleep10ms",
        "/api/v1/test/sleep30ms",
    ] {
        let (service, admin) = (daemon.get(path), daemon.admin_get(path));
        assert_eq!(
            (service.status, service.content_type.as_str()),
            (200, "application/json"),
            "{path}"
        );
        assert_eq!(service, admin, "{path}");
    }
}

// === Shapes ===

#[test]
fn probes_answer_healthy_under_all_their_names_on_both_listeners() {
    let daemon = Daemon::start();
    for path in PROBES {
        for answer in [daemon.get(path), daemon.admin_get(path)] {
            assert_eq!(
                (answer.status, answer.body),
                (200, json!({ "status": "healthy" })),
                "{path}"
            );
        }
    }
}

#[test]
fn the_version_is_that_of_the_configuration_beside_the_program_s() {
    let yaml = "Name: checkout\nVersion: 1.4.2-canary\n";
    let answer = Daemon::start_with(yaml, &[]).get("/version");
    let program = env!("CARGO_PKG_VERSION");
    let expected = json!({ "name": "checkout", "version": "1.4.2-canary", "mockserver": program });
    assert_eq!((answer.status, answer.body), (200, expected));
    let default = Daemon::start().get("/version").body;
    assert_eq!(
        (&default["name"], &default["version"]),
        (&json!("mockserver"), &json!(program))
    );
}

#[test]
fn the_pretended_dependency_is_ok_when_nothing_runs() {
    let daemon = Daemon::start();
    let answer = daemon.get("/api/v1/mock-service");
    assert_eq!(
        (answer.status, answer.body),
        (200, json!({ "status": "ok" }))
    );
}

#[test]
fn the_test_routes_take_their_time_and_say_so() {
    let daemon = Daemon::start();
    for ms in [10, 30] {
        let start = Instant::now();
        let answer = daemon.get(&format!("/api/v1/test/sleep{ms}ms"));
        assert!(start.elapsed() >= Duration::from_millis(ms));
        assert_eq!((answer.status, &answer.body["sleep_ms"]), (200, &json!(ms)));
        assert!(answer.body["message"].is_string());
        assert_eq!(keys(&answer.body), ["message", "sleep_ms"]);
    }
}

#[test]
fn the_list_has_the_order_and_the_shape_of_the_document() {
    let daemon = Daemon::start();
    daemon.started("memory_leaker", json!({ "target_mb": 1 }));
    let list = daemon.get("/api/v1/scenarios").body;
    assert_eq!(keys(&list), ["scenarios"]);
    let rows = list["scenarios"].as_array().expect("a list");
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, SCENARIOS);
    for row in rows {
        assert_eq!(keys(row), ["name", "description", "running"]);
        assert_eq!(row["running"], row["name"] == "memory_leaker");
    }
    assert_eq!(
        rows[0]["description"],
        "Increases CPU usage to specified percentage"
    );
    assert_eq!(
        rows[1]["description"],
        "Continuously leaks memory at specified rate"
    );
}

#[test]
fn describe_gives_the_json_schema_of_every_scenario() {
    let daemon = Daemon::start();
    for name in SCENARIOS {
        let answer = daemon.get(&format!("/api/v1/scenarios/{name}"));
        assert_eq!(answer.status, 200);
        assert_eq!(
            keys(&answer.body),
            ["name", "description", "running", "params_schema"]
        );
        assert_eq!(
            (&answer.body["name"], &answer.body["running"]),
            (&json!(name), &json!(false))
        );
        let schema = &answer.body["params_schema"];
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(
            (&schema["type"], &schema["additionalProperties"]),
            (&json!("object"), &json!(false))
        );
        // A body of the schema's own defaults is what an empty body means.
        let defaults: serde_json::Map<_, _> = schema["properties"]
            .as_object()
            .expect("properties")
            .iter()
            .filter(|(_, spec)| !spec["default"].is_null())
            .map(|(key, spec)| (key.clone(), spec["default"].clone()))
            .collect();
        daemon.started(name, json!({}));
        let effective = daemon.stopped(name)["params"].clone();
        let expected = match name {
            "cpu_burner" => json!({ "target_percent": 50 }),
            "memory_leaker" => json!({ "target_mb": 1024, "leak_rate_mb": 10 }),
            "network_latency" => json!({ "latency_ms": 100 }),
            "health_check" => json!({
                "failure_mode": "always", "status_code": 503, "fail_rate": 0.5,
                "delay_ms": 10_000, "probes": ["health", "ready"],
            }),
            "goroutine_leak" => json!({ "goroutines_per_second": 100 }),
            "disk_io" => json!({ "write_rate_mb": 50 }),
            "crash" => {
                json!({ "mode": "exit", "crash_delay": 10, "exit_code": 1, "scrape_window": 0 })
            }
            "shutdown_hang" => json!({ "mode": "ignore", "drain_seconds": 30 }),
            _ => json!({ "failure_type": "timeout" }),
        };
        assert_eq!(effective, expected, "{name}");
        assert_eq!(Value::Object(defaults), expected, "{name}");
    }
}

#[test]
fn the_schema_tells_range_default_and_unit_of_the_documented_parameters() {
    let daemon = Daemon::start();
    for (name, parameter, range, default) in [
        ("cpu_burner", "target_percent", (0.0, 100.0), json!(50)),
        (
            "memory_leaker",
            "target_mb",
            (1.0, 1_048_576.0),
            json!(1024),
        ),
        ("memory_leaker", "leak_rate_mb", (0.0, 65_536.0), json!(10)),
        (
            "network_latency",
            "latency_ms",
            (0.0, 600_000.0),
            json!(100),
        ),
        ("health_check", "status_code", (400.0, 599.0), json!(503)),
        ("health_check", "fail_rate", (0.0, 1.0), json!(0.5)),
        ("health_check", "delay_ms", (0.0, 600_000.0), json!(10_000)),
        (
            "goroutine_leak",
            "goroutines_per_second",
            (0.0, 1_000_000.0),
            json!(100),
        ),
        ("disk_io", "write_rate_mb", (0.0, 100_000.0), json!(50)),
        ("crash", "crash_delay", (0.0, 86_400.0), json!(10)),
        ("crash", "exit_code", (0.0, 255.0), json!(1)),
    ] {
        let described = daemon.get(&format!("/api/v1/scenarios/{name}")).body;
        let spec = &described["params_schema"]["properties"][parameter];
        let low = spec.get("minimum").or_else(|| spec.get("exclusiveMinimum"));
        let ends = (low.and_then(Value::as_f64), spec["maximum"].as_f64());
        assert_eq!(ends, (Some(range.0), Some(range.1)), "{name} {parameter}");
        assert_eq!(spec["default"], default, "{name} {parameter}");
        let has_unit = !["status_code", "fail_rate", "exit_code"].contains(&parameter);
        assert_eq!(spec["unit"].is_string(), has_unit, "{name} {parameter}");
    }
    let described = daemon.get("/api/v1/scenarios/health_check").body;
    let modes = &described["params_schema"]["properties"]["failure_mode"]["enum"];
    assert_eq!(*modes, json!(["always", "intermittent", "delayed"]));
    let described = daemon.get("/api/v1/scenarios/dependency").body;
    let types = &described["params_schema"]["properties"]["failure_type"]["enum"];
    assert_eq!(*types, json!(["timeout", "error", "slow"]));
}

#[test]
fn a_status_before_the_first_run_has_no_times() {
    let daemon = Daemon::start();
    for name in SCENARIOS {
        let status = daemon.status(name);
        assert_eq!(
            (&status["name"], &status["running"]),
            (&json!(name), &json!(false))
        );
        assert_eq!(
            (&status["start_time"], &status["expires_at"]),
            (&Value::Null, &Value::Null)
        );
        for object in ["params", "metrics"] {
            assert!(status[object].is_object(), "{name} {object}");
        }
    }
}

#[test]
fn a_status_during_a_run_has_its_times_and_all_effective_parameters() {
    let daemon = Daemon::start();
    let before = now_millis();
    daemon.started(
        "health_check",
        json!({ "failure_mode": "delayed", "delay_ms": 5.0, "duration": 90 }),
    );
    let after = now_millis();
    let status = daemon.status("health_check");
    assert_eq!(status["running"], true);
    let began = millis(&status["start_time"]);
    assert!(
        (before..=after).contains(&began),
        "{before} {began} {after}"
    );
    assert_eq!(millis(&status["expires_at"]) - began, 90_000);
    assert_eq!(
        status["params"],
        json!({
            "failure_mode": "delayed", "status_code": 503, "fail_rate": 0.5,
            "delay_ms": 5, "probes": ["health", "ready"],
        })
    );
}

#[test]
fn a_status_after_a_run_keeps_its_start_and_parameters_and_has_no_expiry() {
    let daemon = Daemon::start();
    daemon.started(
        "dependency",
        json!({ "failure_type": "slow", "duration": 90 }),
    );
    let during = daemon.status("dependency");
    let stopped = daemon.stopped("dependency");
    let after = daemon.status("dependency");
    for status in [stopped, after] {
        assert_eq!(status["running"], false);
        assert_eq!(status["start_time"], during["start_time"]);
        assert_eq!(status["params"], json!({ "failure_type": "slow" }));
        assert_eq!(status["expires_at"], Value::Null);
    }
}

#[test]
fn a_run_without_duration_or_with_zero_never_expires() {
    let daemon = Daemon::start();
    for body in [json!({}), json!({ "duration": 0 })] {
        daemon.started("dependency", body);
        assert_eq!(daemon.status("dependency")["expires_at"], Value::Null);
        assert_eq!(daemon.session()["expires_at"], Value::Null);
    }
}

#[test]
fn running_scenarios_report_the_documented_metrics() {
    let _turn = alone();
    let daemon = Daemon::start();
    daemon.started_set(json!([
        { "name": "cpu_burner", "params": { "target_percent": 10 } },
        { "name": "memory_leaker", "params": { "target_mb": 4, "leak_rate_mb": 100 } },
        { "name": "goroutine_leak", "params": { "goroutines_per_second": 500 } },
    ]));
    let above_zero = |name: &str, metric: &str| {
        eventually(&format!("{name} reports {metric}"), || {
            let value = daemon.status(name)["metrics"][metric].as_f64();
            value.filter(|value| *value > 0.0)
        })
    };
    assert!(above_zero("cpu_burner", "current_cpu_percent") <= 100.0);
    assert!(above_zero("memory_leaker", "current_mb") > 0.0);
    assert!(above_zero("goroutine_leak", "current_goroutines") > 0.0);
    let metrics = &daemon.status("memory_leaker")["metrics"];
    assert_eq!(metrics["target_mb"].as_f64(), Some(4.0));
    assert_eq!(metrics["leak_rate_mb"].as_f64(), Some(100.0));
}

#[test]
fn the_composite_answers_have_exactly_the_shape_of_the_contract() {
    let daemon = Daemon::start();
    let idle = json!({"session_id":"","scenarios":[],"status":"no active session","details":[]});
    assert_eq!(daemon.session(), idle);
    assert_eq!(
        keys(&daemon.session()),
        ["session_id", "scenarios", "status", "details"]
    );

    let mut report = daemon.started_set(json!([
        { "name": "dependency", "params": { "failure_type": "error" }, "duration": 60 },
        { "name": "goroutine_leak", "params": { "goroutines_per_second": 1 } },
    ]));
    let id = report["session_id"].as_str().expect("an id").to_owned();
    let digits = id.strip_prefix("session-").expect("the prefix");
    assert!(
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()),
        "{id}"
    );
    assert_eq!(
        report,
        json!({
            "session_id": id,
            "scenarios": ["dependency", "goroutine_leak"],
            "status": "success",
            "details": [
                { "name": "dependency", "success": true },
                { "name": "goroutine_leak", "success": true },
            ],
        })
    );

    let mut session = daemon.session();
    let began = millis(&session["started_at"]);
    let expires = millis(&session["expires_at"]);
    // The two are read one after the other.
    assert!((59_000..=60_500).contains(&(expires - began)), "{session}");
    for key in ["started_at", "expires_at"] {
        session.as_object_mut().expect("an object").remove(key);
    }
    assert_eq!(session, report.take());

    let stopped = daemon.post("/api/v1/composite/stop", "");
    assert_eq!(
        (stopped.status, stopped.body),
        (
            200,
            json!({
                "status": "all scenarios stopped", "stopped": ["dependency", "goroutine_leak"],
            })
        )
    );
    assert_eq!(daemon.session(), idle);
}

#[test]
fn a_single_start_answers_with_a_report_of_its_one_scenario() {
    let daemon = Daemon::start();
    let report = daemon.started("dependency", json!({}));
    assert_eq!(
        report,
        json!({
            "session_id": daemon.session()["session_id"],
            "scenarios": ["dependency"],
            "status": "success",
            "details": [{ "name": "dependency", "success": true }],
        })
    );
}

#[test]
fn an_absent_body_is_an_empty_object() {
    let daemon = Daemon::start();
    for body in ["", " \n", "{}"] {
        let answer = daemon.post("/api/v1/scenarios/dependency/start", body);
        assert_eq!(answer.status, 200, "{body:?} {answer:?}");
    }
}

#[test]
fn stopping_what_does_not_run_is_200() {
    let daemon = Daemon::start();
    for name in SCENARIOS {
        let answer = daemon.post(&format!("/api/v1/scenarios/{name}/stop"), "");
        assert_eq!(
            (answer.status, &answer.body["running"]),
            (200, &json!(false))
        );
    }
    let answer = daemon.post("/api/v1/composite/stop", "");
    assert_eq!(
        (answer.status, answer.body),
        (
            200,
            json!({ "status": "all scenarios stopped", "stopped": [] })
        )
    );
}

#[test]
fn what_one_listener_starts_the_other_shows_and_stops() {
    let daemon = Daemon::start();
    let started = daemon.admin_post("/api/v1/scenarios/dependency/start", "");
    assert_eq!(started.status, 200);
    let shown = daemon.get("/api/v1/composite/status").body;
    assert_eq!(shown["session_id"], started.body["session_id"]);
    assert_eq!(shown, daemon.session());
    assert_eq!(daemon.post("/api/v1/composite/stop", "").status, 200);
    assert_eq!(daemon.session()["status"], "no active session");

    let set = json!({ "scenarios": [{ "name": "dependency" }] });
    let started = daemon.admin_post("/api/v1/composite/start", set.to_string());
    assert_eq!(started.status, 200);
    assert_eq!(
        daemon.get("/api/v1/scenarios/dependency/status").body["running"],
        true
    );
    let stopped = daemon.post("/api/v1/scenarios/dependency/stop", "");
    assert_eq!(
        (stopped.status, &stopped.body["running"]),
        (200, &json!(false))
    );
}

#[test]
fn session_ids_strictly_increase() {
    let daemon = Daemon::start();
    let mut last = 0;
    for _ in 0..20 {
        let report = daemon.started_set(json!([{ "name": "dependency" }]));
        let id = report["session_id"].as_str().expect("an id");
        let number: u64 = id["session-".len()..].parse().expect("digits");
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}

#[test]
fn head_is_answered_where_get_is() {
    let daemon = Daemon::start();
    for path in ["/health", "/ready", "/api/v1/scenarios"] {
        let answer = daemon.ask("HEAD", daemon.service, path, b"");
        assert_eq!((answer.status, answer.body), (200, json!("")), "{path}");
    }
}
