//! What a start, a query and a path may say, and how a refusal helps to say it right.

use serde_json::{Value, json};

use crate::support::{Daemon, assert_problem, start_path};

const COMPOSITE: &str = "/api/v1/composite/start";

/// The details of a refused POST, by their pointers.
fn refused(daemon: &Daemon, path: &str, body: &Value) -> Vec<(String, String)> {
    let answer = daemon.post(path, body.to_string());
    let problem = assert_problem(answer, 422, "invalid-params", path);
    let errors = problem["errors"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    errors
        .map(|error| (text(&error["pointer"]), text(&error["detail"])))
        .collect()
}

#[test]
fn a_slip_in_a_name_is_answered_with_the_name_that_was_meant() {
    let daemon = Daemon::start();
    let problem = daemon.post(&start_path("cpu-burner"), "{}");
    let problem = assert_problem(problem, 404, "unknown-scenario", "a path");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.ends_with("; did you mean \"cpu_burner\"?"),
        "{detail}"
    );
    let set = json!({ "scenarios": [
        { "name": "cpu-burner" },
        { "name": "memory_leaker", "params": { "target-mb": 1 }, "durations": 5 },
    ], "dryrun": true });
    let single = json!({ "failure_mode": "Always", "probes": ["healthz"], "delayMs": 1 });
    for (path, body, expected) in [
        (
            start_path("cpu_burner"),
            json!({ "target_precent": 5 }),
            vec![("/target_precent", "target_percent")],
        ),
        (
            start_path("health_check"),
            single,
            vec![
                ("/failure_mode", "always"),
                ("/probes", "health"),
                ("/delayMs", "delay_ms"),
            ],
        ),
        (
            COMPOSITE.to_owned(),
            set,
            vec![
                ("/dryrun", "dry_run"),
                ("/scenarios/0/name", "cpu_burner"),
                ("/scenarios/1/durations", "duration"),
                ("/scenarios/1/params/target-mb", "target_mb"),
            ],
        ),
    ] {
        let errors = refused(&daemon, &path, &body);
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (pointer, meant) in expected {
            let error = errors.iter().find(|(at, _)| at == pointer).unwrap();
            let question = format!("; did you mean \"{meant}\"?");
            assert!(error.1.ends_with(&question), "{error:?}");
        }
    }
    let query = daemon.admin_get("/api/v1/events?limits=5");
    let query = assert_problem(query, 422, "invalid-params", "a query");
    let detail = query["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.ends_with("; did you mean \"limit\"?"), "{detail}");
}

#[test]
fn a_refused_key_is_answered_with_all_that_is_allowed_in_a_stable_order() {
    let daemon = Daemon::start();
    let error = |pointer: &str, detail: &str| (pointer.to_owned(), detail.to_owned());
    let single = json!({ "colour": 1, "duration": -1, "params": { "target_percent": 80 }, "lease": 0, "x": 1 });
    let allowed = "unknown key; allowed here: target_percent, cores, duration, after, dry_run, lease, abort_when";
    for _ in 0..3 {
        let errors = refused(&daemon, &start_path("cpu_burner"), &single);
        let pointers: Vec<&str> = errors.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(
            pointers,
            ["/duration", "/lease", "/colour", "/params", "/x"]
        );
        assert_eq!(errors[2].1, allowed);
        let place = "a single start has its parameters here, beside duration, and not in params";
        assert_eq!(errors[3].1, format!("{allowed}; {place}"));
    }
    let set = json!({
        "duration": 5, "x": 1,
        "scenarios": [{ "name": "crash", "crash_delay": 5, "lease": 1, "params": { "duration": 1, "y": 1 } }],
    });
    let entry = "unknown key; allowed here: name, params, duration, after";
    let params =
        "unknown key; allowed here: mode, crash_delay, after_requests, exit_code, scrape_window";
    let top = "unknown key; allowed here: scenarios, end, dry_run, lease, abort_when";
    let expected = [
        error(
            "/duration",
            &format!("{top}; it belongs into the entries of scenarios"),
        ),
        error("/x", top),
        error(
            "/scenarios/0/crash_delay",
            &format!("{entry}; a parameter belongs into params"),
        ),
        error(
            "/scenarios/0/lease",
            &format!("{entry}; it belongs beside scenarios"),
        ),
        error(
            "/scenarios/0/params/duration",
            &format!("{params}; it belongs beside params"),
        ),
        error("/scenarios/0/params/y", params),
    ];
    assert_eq!(refused(&daemon, COMPOSITE, &set), expected);
    for path in [
        "/api/v1/composite/stop",
        "/api/v1/scenarios/crash/stop",
        "/api/v1/halt",
    ] {
        let errors = refused(&daemon, path, &json!({ "x": 1 }));
        assert_eq!(errors, [error("/x", "unknown key; no key is allowed here")]);
    }
}

#[test]
fn a_time_may_be_a_text_with_a_unit_wherever_there_is_a_time() {
    let daemon = Daemon::start();
    let report = daemon.start_scenario(
        "network_latency",
        json!({ "latency_ms": "0.01s", "duration": "5m" }),
    );
    assert_eq!(report["details"][0]["params"], json!({ "latency_ms": 10 }));
    let status = daemon.status("network_latency");
    assert_eq!(status["params"]["latency_ms"], 10);
    assert_eq!(report["details"][0]["expires_at"], status["expires_at"]);
    let set = json!({
        "dry_run": true, "lease": "1.5h", "abort_when": { "probe_failing_for_s": "500ms" },
        "scenarios": [
            { "name": "crash", "params": { "crash_delay": "1d", "scrape_window": "300s" }, "duration": "1m" },
            { "name": "health_check", "params": { "delay_ms": "10m" } },
            { "name": "shutdown_hang", "params": { "drain_seconds": "0.5m" } },
            { "name": "http_error", "params": { "retry_after_s": "2h" } },
        ],
    });
    let plan = daemon.try_start_set(set).body;
    assert_eq!(plan["lease_s"], 5400.0);
    assert_eq!(plan["abort_when"]["probe_failing_for_s"], 0.5);
    let params = |entry: usize, key: &str| plan["plan"][entry]["params"][key].clone();
    assert_eq!(plan["plan"][0]["duration_s"], 60.0);
    assert_eq!(params(0, "crash_delay"), 86_400);
    assert_eq!(params(0, "scrape_window"), 300);
    assert_eq!(params(1, "delay_ms"), 600_000);
    assert_eq!(params(2, "drain_seconds"), 30);
    assert_eq!(params(3, "retry_after_s"), 7200);
    for text in [
        "5", "", "5 m", "5M", "1h30m", "-5m", "5min", "1e3s", "366d", "+5m",
    ] {
        let body = json!({ "duration": text });
        let errors = refused(&daemon, &start_path("dependency"), &body);
        let rule = "must be a number of seconds from 0 to 31536000, or a text of a number and one unit of ms, s, m, \
                    h and d, such as \"500ms\" or \"1.5h\"";
        assert_eq!(
            errors,
            [("/duration".to_owned(), format!("{rule}, not \"{text}\""))]
        );
    }
}

fn assert_too_small(daemon: &Daemon, path: &str, body: &str) {
    let problem = assert_problem(daemon.post(path, body), 422, "invalid-params", body);
    let detail = problem["errors"][0]["detail"].as_str().unwrap();
    let start = "is below the smallest value above 0, which is 1e-9; ";
    assert!(detail.starts_with(start), "{detail}");
}

#[test]
fn a_number_that_would_round_to_nothing_is_refused() {
    let daemon = Daemon::start();
    for number in [
        "1e-400",
        "5e-324",
        "2E-324",
        "9e-10",
        "0.0000000000000000001",
    ] {
        for (name, key) in [
            ("dependency", "duration"),
            ("dependency", "lease"),
            ("cpu_burner", "cores"),
            ("memory_leaker", "leak_rate_mb"),
            ("goroutine_leak", "goroutines_per_second"),
            ("disk_io", "write_rate_mb"),
        ] {
            assert_too_small(
                &daemon,
                &start_path(name),
                &format!("{{\"{key}\": {number}}}"),
            );
        }
        let set = r#"{"scenarios": [{"name": "dependency", "duration": #}]}"#;
        assert_too_small(&daemon, COMPOSITE, &set.replace('#', number));
        let weight = format!("{{\"statuses\": {{\"503\": {number}}}}}");
        let answer = daemon.post(&start_path("http_error"), &weight);
        assert_problem(answer, 422, "invalid-params", &weight);
    }
    for (number, status) in [
        ("-0.0", 200),
        ("0", 200),
        ("\"0s\"", 200),
        ("-1e-400", 422),
        ("1e400", 400),
    ] {
        let body = format!("{{\"duration\": {number}}}");
        assert_eq!(
            daemon.post(&start_path("dependency"), &body).status,
            status,
            "{number}"
        );
    }
    assert_eq!(daemon.status("dependency")["expires_at"], Value::Null);
}

#[test]
fn the_report_of_a_start_shows_what_runs_and_until_when() {
    let daemon = Daemon::start();
    let set = json!([
        { "name": "dependency", "params": { "failure_type": "error" } },
        { "name": "network_latency", "params": { "latency_ms": 0.5 }, "duration": 300_000 },
    ]);
    let report = daemon.start_set(set);
    let expires_at = &daemon.session()["expires_at"];
    assert!(expires_at.is_string());
    for (i, params) in [
        json!({ "failure_type": "error" }),
        json!({ "latency_ms": 0.5 }),
    ]
    .iter()
    .enumerate()
    {
        let detail = &report["details"][i];
        assert_eq!(
            (&detail["params"], &detail["expires_at"]),
            (params, expires_at)
        );
    }
    let logged = daemon.wait_for_log("the start", |line| line["scenario"] == "network_latency");
    assert_eq!(logged["expires_at"], *expires_at, "{logged}");
    let endless = daemon.start_scenario("dependency", json!({}));
    assert_eq!(
        endless["details"][0]["params"],
        json!({ "failure_type": "timeout" })
    );
    assert_eq!(endless["details"][0].get("expires_at"), None);
    let plan = daemon.start_scenario("crash", json!({ "dry_run": true, "duration": 5 }));
    assert!(plan["plan"][0]["expires_at"].is_string());
    let plan = daemon.start_scenario("crash", json!({ "dry_run": true }));
    assert_eq!(plan["plan"][0]["expires_at"], Value::Null);
}

#[test]
fn a_quantity_may_have_a_fraction_and_is_honoured() {
    let daemon = Daemon::start();
    for (name, params) in [
        ("cpu_burner", json!({ "target_percent": 33.3 })),
        (
            "memory_leaker",
            json!({ "target_mb": 1.5, "leak_rate_mb": 100 }),
        ),
        ("network_latency", json!({ "latency_ms": 2.5 })),
    ] {
        let report = daemon.start_scenario(name, params.clone());
        assert_eq!(report["details"][0]["params"], params);
    }
    assert_eq!(daemon.status("cpu_burner")["effect"]["asked"], 33.3);
    assert_eq!(daemon.status("network_latency")["effect"]["asked"], 2.5);
    let mb = daemon.wait_for_metric("memory_leaker", "current_mb", |mb| mb >= 1.5);
    assert_eq!(mb, 1.5);
    assert_eq!(daemon.status("memory_leaker")["metrics"]["target_mb"], 1.5);
    for (name, count) in [
        ("goroutine_leak", json!({ "max_goroutines": 1.5 })),
        ("crash", json!({ "exit_code": 1.5 })),
        ("health_check", json!({ "seed": 1.5 })),
    ] {
        let errors = refused(&daemon, &start_path(name), &count);
        assert!(errors[0].1.starts_with("must be an integer"), "{errors:?}");
    }
}
