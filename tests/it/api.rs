//! Every route, byte for byte where the documentation shows it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use time::{Date, Month, OffsetDateTime};

use crate::support::{Daemon, PROBES, exclusive, request, scenario_names};

/// Every body that the documentation posts to a single start, as printed.
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

/// Every body that the documentation posts to a composite start, as printed.
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

/// The content types that clients give a body: none, that of `curl -d`, that of the documentation.
const CONTENT_TYPES: [&[(&str, &str)]; 3] = [
    &[],
    &[("content-type", "application/x-www-form-urlencoded")],
    &[("content-type", "application/json")],
];

fn keys(value: &Value) -> Vec<&str> {
    let members = value.as_object().unwrap();
    members.keys().map(String::as_str).collect()
}

/// Milliseconds since 1970 of an RFC 3339 time in UTC; anything else fails the test.
fn millis(time: &Value) -> i128 {
    let text = time.as_str().unwrap();
    let number = |range: std::ops::Range<usize>| -> u16 {
        text.get(range)
            .and_then(|digits| digits.parse().ok())
            .unwrap_or_else(|| panic!("not RFC 3339: {text}"))
    };
    let byte = |n: u16| u8::try_from(n).unwrap();
    let mut shape = text.to_owned();
    shape.retain(|c| !c.is_ascii_digit());
    assert!(
        shape == "--T::Z" || shape == "--T::.Z",
        "not RFC 3339 in UTC: {text}"
    );
    let month = Month::try_from(byte(number(5..7))).unwrap();
    let day = Date::from_calendar_date(number(0..4).into(), month, byte(number(8..10)));
    let at = day.unwrap().with_hms(
        byte(number(11..13)),
        byte(number(14..16)),
        byte(number(17..19)),
    );
    let seconds = at.unwrap().assume_utc().unix_timestamp_nanos() / 1_000_000;
    let fraction: f64 = format!("0{}", &text[19..text.len() - 1]).parse().unwrap();
    seconds + (fraction * 1000.0).round() as i128
}

fn now_millis() -> i128 {
    OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000
}

// === What the documentation prints ===

#[test]
fn every_single_start_of_the_documentation_runs_with_its_values_whatever_the_content_type() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    for (name, body) in SINGLE_STARTS {
        for headers in CONTENT_TYPES {
            let path = format!("/api/v1/scenarios/{name}/start");
            let started = request("POST", daemon.service, &path, body, headers);
            assert_eq!(
                (started.status, &started.body["status"]),
                (200, &json!("success")),
                "{body}"
            );
            assert_eq!(started.body["scenarios"], json!([name]));
            assert_eq!(daemon.running(), [name]);

            let shown = daemon.status(name);
            let sent: Value = serde_json::from_str(body).unwrap();
            for (key, value) in sent.as_object().unwrap() {
                if key == "duration" {
                    let lasts = millis(&shown["expires_at"]) - millis(&shown["start_time"]);
                    assert_eq!(lasts, 300_000);
                } else {
                    assert_eq!(&shown["params"][key], value, "{name} {key}");
                }
            }

            let stop = format!("/api/v1/scenarios/{name}/stop");
            let stopped = request("POST", daemon.service, &stop, "", headers);
            assert_eq!(
                (stopped.status, &stopped.body["running"]),
                (200, &json!(false))
            );
            assert!(daemon.running().is_empty());
        }
    }
}

#[test]
fn every_composite_start_of_the_documentation_runs_its_set_whatever_the_content_type() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    for (body, names) in SET_STARTS {
        for headers in CONTENT_TYPES {
            let path = "/api/v1/composite/start";
            let started = request("POST", daemon.service, path, body, headers);
            assert_eq!(
                (started.status, &started.body["status"]),
                (200, &json!("success")),
                "{body}"
            );
            assert_eq!(started.body["scenarios"], json!(names));
            // The set before it has ended.
            assert_eq!(daemon.running(), names);
            assert_eq!(daemon.session()["scenarios"], json!(names));
        }
    }
    assert_eq!(
        daemon.stop_all().body["status"],
        json!("all scenarios stopped")
    );
    assert!(daemon.running().is_empty());
}

#[test]
fn the_reads_of_the_documentation_answer_200_on_both_listeners() {
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
fn the_version_is_the_configured_one_beside_that_of_the_program() {
    let yaml = "Name: checkout\nVersion: 1.4.2-canary\n";
    let answer = Daemon::builder().file(yaml).start().get("/version");
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
fn the_mock_dependency_is_ok_when_nothing_runs() {
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
fn the_list_has_the_order_and_the_shape_of_the_documentation() {
    let daemon = Daemon::start();
    daemon.start_scenario("memory_leaker", json!({ "target_mb": 1 }));
    let list = daemon.get("/api/v1/scenarios").body;
    assert_eq!(keys(&list), ["scenarios"]);
    let rows = list["scenarios"].as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.into_iter().eq(scenario_names()));
    for row in rows {
        assert_eq!(keys(row), ["name", "description", "running", "group"]);
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
fn every_scenario_describes_its_parameters_and_their_defaults() {
    let daemon = Daemon::start();
    for name in scenario_names() {
        let answer = daemon.get(&format!("/api/v1/scenarios/{name}"));
        assert_eq!(answer.status, 200);
        let members = keys(&answer.body);
        assert_eq!(
            members[..5],
            ["name", "description", "running", "group", "params_schema"]
        );
        assert!(
            members.len() == 5 || members[5..] == ["conflicts"],
            "{members:?}"
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
        // An empty body means the defaults of the schema.
        let defaults: serde_json::Map<_, _> = schema["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, spec)| !spec["default"].is_null())
            .map(|(key, spec)| (key.clone(), spec["default"].clone()))
            .collect();
        daemon.start_scenario(name, json!({}));
        let effective = daemon.stop_scenario(name)["params"].take();
        assert_eq!(effective, Value::Object(defaults), "{name}");
    }
}

/// Documented parameters with their range and their default.
const RANGES: [(&str, &str, f64, f64, f64); 11] = [
    ("cpu_burner", "target_percent", 0.0, 100.0, 50.0),
    ("memory_leaker", "target_mb", 1.0, 1_048_576.0, 1024.0),
    ("memory_leaker", "leak_rate_mb", 0.0, 65_536.0, 10.0),
    ("network_latency", "latency_ms", 0.0, 600_000.0, 100.0),
    ("health_check", "status_code", 400.0, 599.0, 503.0),
    ("health_check", "fail_rate", 0.0, 1.0, 0.5),
    ("health_check", "delay_ms", 0.0, 600_000.0, 10_000.0),
    (
        "goroutine_leak",
        "goroutines_per_second",
        0.0,
        1_000_000.0,
        100.0,
    ),
    ("disk_io", "write_rate_mb", 0.0, 100_000.0, 50.0),
    ("crash", "crash_delay", 0.0, 86_400.0, 10.0),
    ("crash", "exit_code", 0.0, 255.0, 1.0),
];

#[test]
fn the_schema_has_range_default_and_unit_of_the_documented_parameters() {
    let daemon = Daemon::start();
    for (name, parameter, least, most, default) in RANGES {
        let described = daemon.get(&format!("/api/v1/scenarios/{name}")).body;
        let spec = &described["params_schema"]["properties"][parameter];
        let low = spec.get("exclusiveMinimum").or_else(|| spec.get("minimum"));
        let ends = (low.and_then(Value::as_f64), spec["maximum"].as_f64());
        assert_eq!(ends, (Some(least), Some(most)), "{name} {parameter}");
        assert_eq!(
            spec["default"].as_f64(),
            Some(default),
            "{name} {parameter}"
        );
        let has_unit = !["status_code", "fail_rate", "exit_code"].contains(&parameter);
        assert_eq!(spec["unit"].is_string(), has_unit, "{name} {parameter}");
    }
    let described = daemon.get("/api/v1/scenarios/health_check").body;
    let modes = &described["params_schema"]["properties"]["failure_mode"]["enum"];
    assert_eq!(*modes, json!(["always", "intermittent", "delayed"]));
    let described = daemon.get("/api/v1/scenarios/dependency").body;
    let types = &described["params_schema"]["properties"]["failure_type"]["enum"];
    let documented = &types.as_array().unwrap()[..3];
    assert_eq!(documented, ["timeout", "error", "slow"]);
}

#[test]
fn a_status_before_the_first_run_has_no_times() {
    let daemon = Daemon::start();
    for name in scenario_names() {
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
    daemon.start_scenario(
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
    daemon.start_scenario(
        "dependency",
        json!({ "failure_type": "slow", "duration": 90 }),
    );
    let during = daemon.status("dependency");
    let stopped = daemon.stop_scenario("dependency");
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
        daemon.start_scenario("dependency", body);
        assert_eq!(daemon.status("dependency")["expires_at"], Value::Null);
        assert_eq!(daemon.session()["expires_at"], Value::Null);
    }
}

#[test]
fn running_scenarios_report_the_documented_metrics() {
    let _turn = exclusive();
    let daemon = Daemon::start();
    daemon.start_set(json!([
        { "name": "cpu_burner", "params": { "target_percent": 10 } },
        { "name": "memory_leaker", "params": { "target_mb": 4, "leak_rate_mb": 100 } },
        { "name": "goroutine_leak", "params": { "goroutines_per_second": 500 } },
    ]));
    let above_zero = |name: &str, metric: &str| daemon.wait_for_metric(name, metric, |v| v > 0.0);
    assert!(above_zero("cpu_burner", "current_cpu_percent") <= 100.0);
    above_zero("memory_leaker", "current_mb");
    above_zero("goroutine_leak", "current_goroutines");
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

    let mut report = daemon.start_set(json!([
        { "name": "dependency", "params": { "failure_type": "error" }, "duration": 60 },
        { "name": "goroutine_leak", "params": { "goroutines_per_second": 1 } },
    ]));
    let id = report["session_id"].as_str().unwrap().to_owned();
    let digits = id.strip_prefix("session-").unwrap();
    assert!(
        !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()),
        "{id}"
    );
    let mut session = daemon.session();
    let end = &session["expires_at"];
    assert_eq!(
        report,
        json!({
            "session_id": id,
            "scenarios": ["dependency", "goroutine_leak"],
            "status": "success",
            "details": [
                {
                    "name": "dependency", "success": true,
                    "expires_at": end, "params": { "failure_type": "error" },
                },
                {
                    "name": "goroutine_leak", "success": true,
                    "expires_at": end, "params": { "goroutines_per_second": 1 },
                },
            ],
        })
    );

    let began = millis(&session["started_at"]);
    let expires = millis(&session["expires_at"]);
    // The daemon reads the clock twice.
    assert!((59_000..=60_500).contains(&(expires - began)), "{session}");
    for key in ["started_at", "expires_at"] {
        session.as_object_mut().unwrap().remove(key);
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
    let report = daemon.start_scenario("dependency", json!({}));
    assert_eq!(
        report,
        json!({
            "session_id": daemon.session()["session_id"],
            "scenarios": ["dependency"],
            "status": "success",
            "details": [
                { "name": "dependency", "success": true, "params": { "failure_type": "timeout" } },
            ],
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
fn stopping_a_scenario_that_does_not_run_is_200() {
    let daemon = Daemon::start();
    for name in scenario_names() {
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
fn each_listener_shows_and_stops_what_the_other_started() {
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
        let report = daemon.start_set(json!([{ "name": "dependency" }]));
        let id = report["session_id"].as_str().unwrap();
        let number: u64 = id["session-".len()..].parse().unwrap();
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
