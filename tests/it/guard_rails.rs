//! The guard rails: limits, dry run, lease, `abort_when` and halt.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Answer, Daemon, assert_problem, eventually};

/// Checks a refusal and that its detail, or that of its first bad value, contains `detail`. Returns the pointer of the
/// bad value; a problem without bad values has none.
fn assert_refused(answer: Answer, status: u16, kind: &str, detail: &str) -> String {
    let problem = assert_problem(answer, status, kind, detail);
    let error = problem["errors"].get(0).unwrap_or(&problem);
    let text = error["detail"].as_str().unwrap();
    assert!(text.contains(detail), "{text} does not contain {detail}");
    error["pointer"].as_str().unwrap_or_default().to_owned()
}

// === Limits ===

/// A limit, the scenario that it limits, parameters that it allows, and parameters that it refuses.
const LIMITS: [(&str, &str, &str, &str); 16] = [
    (
        "CpuPercent: 30",
        "cpu_burner",
        r#"{ "target_percent": 1 }"#,
        r#"{ "target_percent": 31 }"#,
    ),
    (
        "CpuCores: 0.1",
        "cpu_burner",
        r#"{ "cores": 0.01 }"#,
        r#"{ "cores": 0.11 }"#,
    ),
    // A resource with two units is limited in both.
    (
        "CpuPercent: 1",
        "cpu_burner",
        r#"{ "cores": 0.001 }"#,
        r#"{ "cores": 1024 }"#,
    ),
    (
        "MemoryMb: 64",
        "memory_leaker",
        r#"{ "target_mb": 1 }"#,
        r#"{ "target_percent_of_limit": 1000 }"#,
    ),
    (
        "MemoryPercent: 1",
        "memory_leaker",
        r#"{ "target_mb": 1 }"#,
        r#"{ "target_percent_of_limit": 1.5 }"#,
    ),
    (
        "DiskMbPerSecond: 2",
        "disk_io",
        r#"{ "write_rate_mb": 1 }"#,
        r#"{ "write_rate_mb": 2.5 }"#,
    ),
    (
        "TasksPerSecond: 10",
        "goroutine_leak",
        r#"{ "goroutines_per_second": 10 }"#,
        r#"{ "goroutines_per_second": 11 }"#,
    ),
    (
        "Tasks: 1000",
        "goroutine_leak",
        r#"{ "max_goroutines": 1000 }"#,
        r#"{ "max_goroutines": 1001 }"#,
    ),
    (
        "Descriptors: 5",
        "fd_leak",
        r#"{ "max": 5 }"#,
        r#"{ "max": 6 }"#,
    ),
    (
        "DiskMb: 5",
        "disk_fill",
        r#"{ "size_mb": 5 }"#,
        r#"{ "size_mb": 6 }"#,
    ),
    (
        "Threads: 5",
        "thread_leak",
        r#"{ "max": 5 }"#,
        r#"{ "max": 6 }"#,
    ),
    (
        "LatencyMs: 20",
        "network_latency",
        r#"{ "latency_ms": 20 }"#,
        r#"{ "latency_ms": 21 }"#,
    ),
    (
        "LatencyMs: 20",
        "health_check",
        r#"{ "failure_mode": "delayed" }"#,
        r#"{ "failure_mode": "delayed", "delay_ms": 21 }"#,
    ),
    (
        "LatencyMs: 20",
        "runtime_stall",
        r#"{ "stall_ms": 20 }"#,
        r#"{ "stall_ms": 21 }"#,
    ),
    (
        "MaxDuration: 60",
        "dependency",
        r#"{ "duration": 60 }"#,
        r#"{ "duration": 61 }"#,
    ),
    (
        "MaxDuration: 60",
        "dependency",
        r#"{}"#,
        r#"{ "duration": 0 }"#,
    ),
];

#[test]
fn each_limit_refuses_more_by_its_key_and_allows_less() {
    for (limit, name, good, bad) in LIMITS {
        let [good, bad] = [good, bad].map(|text| serde_json::from_str::<Value>(text).unwrap());
        let yaml = format!("Limits: {{{limit}}}\n");
        let daemon = Daemon::builder().file(&yaml).start();
        let key = format!("(Limits.{})", limit.split(':').next().unwrap());
        let refused = daemon.try_start(name, bad.clone());
        let pointer = assert_refused(refused, 422, "invalid-params", &key);
        if pointer != "/duration" {
            let set = json!({ "scenarios": [{ "name": name, "params": bad }] });
            let in_set = assert_refused(daemon.try_start_set(set), 422, "invalid-params", &key);
            assert_eq!(in_set, format!("/scenarios/0/params{pointer}"));
        }
        assert_eq!(daemon.session()["session_id"], "", "{limit}");
        daemon.start_scenario(name, good);
    }
}

#[test]
fn a_limit_shows_in_the_schema_and_ends_the_default() {
    let env = [("MOCKSERVER_LIMITS_LATENCY_MS", "40")];
    let daemon = Daemon::builder().envs(&env).start();
    let schema = daemon.get("/api/v1/scenarios/network_latency").body;
    let latency = &schema["params_schema"]["properties"]["latency_ms"];
    assert_eq!(
        (&latency["maximum"], &latency["default"]),
        (&json!(40), &json!(40))
    );
    daemon.start_scenario("network_latency", json!({}));
    assert_eq!(
        daemon.status("network_latency")["params"],
        json!({ "latency_ms": 40 })
    );
}

#[test]
fn a_start_without_a_duration_gets_the_default_one_and_reports_it() {
    let daemon = Daemon::builder()
        .file("Limits: {DefaultDuration: 50}\n")
        .start();
    let report = daemon.start_scenario("dependency", json!({}));
    assert_eq!(report["details"][0]["duration_s"], 50.0);
    assert!(daemon.status("dependency")["expires_at"].is_string());
    // A duration of the request wins; 0 means until stopped.
    for (duration, ends) in [(0, false), (70, true)] {
        let report = daemon.start_scenario("dependency", json!({ "duration": duration }));
        assert_eq!(report["details"][0].get("duration_s"), None);
        let expires_at = &daemon.status("dependency")["expires_at"];
        assert_eq!(expires_at.is_string(), ends);
    }
    let report = daemon.start_set(json!([{ "name": "dependency" }, { "name": "crash" }]));
    assert_eq!(report["details"][1]["duration_s"], 50.0);
    // One duration is enough for a set: all end together.
    let set = json!([{ "name": "dependency", "duration": 5 }, { "name": "crash" }]);
    let report = daemon.start_set(set);
    assert_eq!(report["details"][1].get("duration_s"), None);
}

#[test]
fn only_listed_scenarios_start_and_all_of_them_stop() {
    let env = [("MOCKSERVER_LIMITS_SCENARIOS", "network_latency, dependency")];
    let daemon = Daemon::builder().envs(&env).start();
    let refused = daemon.try_start("crash", json!({}));
    assert_refused(refused, 403, "scenario-not-allowed", "Limits.Scenarios");
    let set = json!({ "scenarios": [{ "name": "dependency" }, { "name": "crash" }] });
    let refused = daemon.try_start_set(set);
    let pointer = assert_refused(refused, 422, "invalid-params", "(Limits.Scenarios)");
    assert_eq!(pointer, "/scenarios/1/name");
    daemon.start_scenario("dependency", json!({}));
    daemon.stop_scenario("crash");
    daemon.stop_scenario("dependency");
}

#[test]
fn no_more_scenarios_run_at_once_than_are_allowed() {
    let daemon = Daemon::builder()
        .file("Limits: {ConcurrentScenarios: 2}\n")
        .start();
    let three = ["dependency", "crash", "network_latency"];
    let set = three.map(|name| json!({ "name": name }));
    let limit = "(Limits.ConcurrentScenarios)";
    let refused = daemon.try_start_set(json!({ "scenarios": set }));
    let pointer = assert_refused(refused, 422, "invalid-params", limit);
    assert_eq!(pointer, "/scenarios");
    daemon.start_set(json!(set[..2]));
    for dry_run in [false, true] {
        let third = json!({ "latency_ms": 1, "dry_run": dry_run });
        let refused = daemon.try_start("network_latency", third);
        assert_refused(refused, 409, "too-many-scenarios", limit);
    }
    // A start that replaces a run of the same scenario needs no room.
    daemon.start_scenario("dependency", json!({ "failure_type": "error" }));
    daemon.stop_scenario("dependency");
    daemon.start_scenario("network_latency", json!({ "latency_ms": 1 }));
}

// === Dry runs ===

/// Starts, and a part of the warning that each gives, if any.
const WARNINGS: [(&str, &str, Option<&str>); 8] = [
    (
        "memory_leaker",
        r#"{ "target_percent_of_limit": 1000, "leak_rate_mb": 0.1 }"#,
        Some("MiB are left under the memory limit"),
    ),
    ("goroutine_leak", "{}", None),
    (
        "cpu_burner",
        r#"{ "cores": 1000 }"#,
        Some("cores cannot be burnt"),
    ),
    ("cpu_burner", r#"{ "cores": 0.01 }"#, None),
    (
        "crash",
        r#"{ "crash_delay": 60, "duration": 59 }"#,
        Some("it will not crash: the run ends by itself after 59 s"),
    ),
    (
        "crash",
        r#"{ "after_requests": 1000000, "scrape_window": 60, "duration": 59 }"#,
        Some("it will not crash"),
    ),
    (
        "crash",
        r#"{ "after_requests": 1000000, "duration": 59 }"#,
        None,
    ),
    ("crash", r#"{ "crash_delay": 60, "duration": 61 }"#, None),
];

#[test]
fn a_dry_run_gives_the_warning_of_the_start() {
    let daemon = Daemon::start();
    for (name, params, warning) in WARNINGS {
        let params: Value = serde_json::from_str(params).unwrap();
        let mut dry = params.clone();
        dry["dry_run"] = json!(true);
        let planned = daemon.try_start(name, dry).body;
        let started = daemon.start_scenario(name, params.clone());
        for report in [&planned["plan"][0], &started["details"][0]] {
            let text = report["warning"].as_str();
            assert_eq!(text.is_some(), warning.is_some(), "{params}: {report}");
            let (text, part) = (text.unwrap_or_default(), warning.unwrap_or_default());
            assert!(text.contains(part), "{params}: {report}");
        }
    }
}

/// The answer to a dry run of runs that end, without the times at which they would, and without figures of the machine.
fn without_ends(mut answer: Value) -> Value {
    for run in answer["plan"].as_array_mut().unwrap() {
        run.as_object_mut().unwrap().remove("metrics");
        let end = run.as_object_mut().unwrap().remove("expires_at");
        assert!(end.is_some_and(|end| end.is_string()));
    }
    answer
}

#[test]
fn a_dry_run_returns_the_effective_plan_and_has_no_effect() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    let before = (daemon.session(), daemon.admin_get("/api/v1/events").body);
    let answer = daemon.try_start("cpu_burner", json!({ "dry_run": true, "duration": 5 }));
    let plan = json!({
        "status": "dry_run",
        "plan": [{ "name": "cpu_burner", "params": { "target_percent": 50 }, "duration_s": 5.0 }],
        "replaces": [],
    });
    assert_eq!((answer.status, without_ends(answer.body)), (200, plan));
    let answer = daemon.try_start("dependency", json!({ "dry_run": true }));
    assert_eq!(answer.body["replaces"], json!(["dependency"]));
    let set = json!({ "dry_run": true, "scenarios": [
        { "name": "goroutine_leak", "duration": 5 },
        { "name": "network_latency", "params": { "latency_ms": 7 }, "duration": 9 },
    ] });
    let answer = daemon.try_start_set(set);
    let plan = json!({
        "status": "dry_run",
        "plan": [
            { "name": "goroutine_leak", "params": { "goroutines_per_second": 100 }, "duration_s": 9.0 },
            { "name": "network_latency", "params": { "latency_ms": 7 }, "duration_s": 9.0 },
        ],
        "replaces": ["dependency"],
    });
    assert_eq!((answer.status, without_ends(answer.body)), (200, plan));
    // A dry run is checked like a start.
    let bad = daemon.try_start(
        "cpu_burner",
        json!({ "dry_run": true, "target_percent": 101 }),
    );
    assert_eq!(bad.status, 422);
    let bad = daemon.try_start("cpu_burner", json!({ "dry_run": 1 }));
    let pointer = assert_refused(bad, 422, "invalid-params", "");
    assert_eq!(pointer, "/dry_run");
    assert_eq!(
        (daemon.session(), daemon.admin_get("/api/v1/events").body),
        before
    );
}

// === The emergency stop ===

/// Kind and initiator of the events after the boot that belong to no run.
fn daemon_events(daemon: &Daemon) -> Vec<String> {
    let events = daemon.events_page("since=1");
    let events = events["events"].as_array().unwrap();
    let of_daemon = events.iter().filter(|event| event["scenario"].is_null());
    of_daemon
        .map(|event| format!("{} {}", event["kind"], event["by"]).replace('"', ""))
        .collect()
}

fn halted_metric(daemon: &Daemon) -> String {
    let page = daemon.admin_get("/metrics").body;
    let page = page.as_str().unwrap();
    let line = page
        .lines()
        .find(|line| line.starts_with("mockserver_halted "));
    line.unwrap().to_owned()
}

#[test]
fn a_halt_ends_everything_and_refuses_every_start_until_a_rearm() {
    let daemon = Daemon::start();
    assert_eq!(halted_metric(&daemon), "mockserver_halted 0.0");
    daemon.start_set(json!([{ "name": "cpu_burner" }, { "name": "dependency" }]));
    let halted = daemon.post("/api/v1/halt", "");
    assert_eq!(halted.status, 200);
    assert_eq!(halted.body["stopped"], json!(["cpu_burner", "dependency"]));
    assert_eq!(daemon.status("cpu_burner")["end"]["reason"], "stopped");
    let since = &halted.body["halted_since"];
    assert_eq!(daemon.session()["halted_since"], *since);
    assert_eq!(halted_metric(&daemon), "mockserver_halted 1.0");
    for dry_run in [false, true] {
        let body = json!({ "dry_run": dry_run });
        let refused = daemon.try_start("dependency", body);
        assert_refused(refused, 409, "halted", "/api/v1/rearm");
        let set = json!({ "scenarios": [{ "name": "crash" }], "dry_run": dry_run });
        assert_refused(daemon.try_start_set(set), 409, "halted", "");
    }
    // A second halt changes nothing, and a stop still works.
    let again = daemon.admin_post("/api/v1/halt", "").body;
    assert_eq!(
        (&again["halted_since"], &again["stopped"]),
        (since, &json!([]))
    );
    assert_eq!(daemon.stop_all().status, 200);

    for _ in 0..2 {
        let armed = daemon.admin_post("/api/v1/rearm", "");
        assert_eq!(
            (armed.status, armed.body),
            (200, json!({ "status": "armed" }))
        );
    }
    assert_eq!(daemon.session().get("halted_since"), None);
    daemon.start_scenario("dependency", json!({}));
    let events = daemon_events(&daemon);
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].starts_with("halted 127.0.0.1:"), "{events:?}");
    assert!(events[1].starts_with("rearmed 127.0.0.1:"), "{events:?}");
}

#[test]
fn sigusr1_halts() {
    let daemon = Daemon::start();
    daemon.start_scenario("dependency", json!({}));
    daemon.signal(Signal::USR1);
    eventually("the daemon is halted", || {
        let session = daemon.session();
        (session["session_id"] == "" && session["halted_since"].is_string()).then_some(())
    });
    // A signal has no answer that would wait until the event is on disk.
    eventually("the halt is in the ledger", || {
        (daemon_events(&daemon) == ["halted signal"]).then_some(())
    });
    assert_eq!(daemon.try_start("dependency", json!({})).status, 409);
}

// === Leases and abort_when ===

#[test]
fn a_session_whose_lease_is_not_renewed_ends() {
    let daemon = Daemon::start();
    let renew = || daemon.admin_post("/api/v1/composite/renew", "");
    assert_refused(renew(), 409, "no-lease", "");
    daemon.start_scenario("crash", json!({ "crash_delay": 3600 }));
    assert_refused(renew(), 409, "no-lease", "");

    let begun = Instant::now();
    let mut last = begun;
    daemon.start_scenario("dependency", json!({ "lease": 1 }));
    while begun.elapsed() < Duration::from_secs(2) {
        last = Instant::now();
        let renewed = renew();
        assert_eq!(
            (renewed.status, &renewed.body["lease_s"]),
            (200, &json!(1.0))
        );
        assert_eq!(
            renewed.body["lease_expires_at"],
            daemon.session()["lease_expires_at"]
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    // The whole session ends, the run that was there before the lease included.
    for name in ["dependency", "crash"] {
        assert_eq!(daemon.wait_for_end(name)["reason"], "lease_expired");
    }
    assert!(last.elapsed() >= Duration::from_secs(1));
    assert_refused(renew(), 409, "no-lease", "");
    assert_eq!(
        daemon.wait_for_event_of("crash", "stopping")["reason"],
        "lease_expired"
    );
}

#[test]
fn each_condition_of_abort_when_ends_the_session_with_its_reason() {
    let table = [
        (
            json!({ "memory_available_below_mb": 1e8 }),
            "memory_available_below_mb: ",
        ),
        (
            json!({ "probe_failing_for_s": 1 }),
            "probe_failing_for_s: /health has failed for ",
        ),
        (
            json!({ "achieved_above": { "goroutine_leak": 20 } }),
            "achieved_above: goroutine_leak achieves ",
        ),
    ];
    for (abort_when, why) in table {
        let daemon = Daemon::start();
        let body = json!({ "abort_when": abort_when, "scenarios": [
            { "name": "goroutine_leak" },
            { "name": "health_check" },
        ] });
        let answer = daemon.try_start_set(body);
        assert_eq!(answer.status, 200, "{answer:?}");
        for name in ["goroutine_leak", "health_check"] {
            let end = daemon.wait_for_end(name);
            assert_eq!(end["reason"], "aborted", "{end}");
            let because = end["because"].as_str().unwrap();
            assert!(because.starts_with(why), "{because}");
        }
        assert_eq!(
            daemon.wait_for_event_of("health_check", "cleared")["reason"],
            "aborted"
        );
        let page = daemon.admin_get("/metrics").body;
        let series = "mockserver_fault_runs_total{scenario=\"health_check\",end=\"aborted\"} 1.0";
        assert!(page.as_str().unwrap().contains(series));
    }
}

#[test]
fn a_session_may_watch_a_scenario_that_joins_it_later() {
    let watched = json!({ "achieved_above": { "goroutine_leak": 20 } });
    for by_set in [true, false] {
        let daemon = Daemon::start();
        let answer = if by_set {
            let set = json!({ "abort_when": watched, "scenarios": [{ "name": "dependency" }] });
            daemon.try_start_set(set)
        } else {
            daemon.try_start("dependency", json!({ "abort_when": watched }))
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        daemon.start_scenario("goroutine_leak", json!({}));
        for name in ["dependency", "goroutine_leak"] {
            assert_eq!(daemon.wait_for_end(name)["reason"], "aborted", "{by_set}");
        }
    }
}

#[test]
fn the_probe_of_abort_when_does_not_count_as_traffic() {
    let daemon = Daemon::start();
    let body = json!({ "abort_when": { "probe_failing_for_s": 1 }, "scenarios": [
        { "name": "health_check" },
        { "name": "network_latency", "params": { "latency_ms": 1 } },
        { "name": "crash", "params": { "after_requests": 1 } },
    ] });
    assert_eq!(
        daemon
            .admin_post("/api/v1/composite/start", body.to_string())
            .status,
        200
    );
    let end = daemon.wait_for_end("health_check");
    assert_eq!(end["reason"], "aborted", "{end}");
    for name in ["health_check", "network_latency"] {
        let path = format!("/api/v1/events?scenario={name}");
        let events = daemon.admin_get(&path).body.to_string();
        assert!(!events.contains("\"effective\""), "{events}");
    }
    let page = daemon.admin_get("/metrics").body;
    let series = "http_server_request_duration_seconds_count{";
    let lines = page.as_str().unwrap().lines();
    for line in lines.filter(|line| line.starts_with(series)) {
        assert!(line.ends_with(" 0") || line.ends_with(" 0.0"), "{line}");
    }
}

#[test]
fn a_session_goes_on_while_no_condition_is_met() {
    let daemon = Daemon::start();
    let watched = json!({
        "memory_available_below_mb": 1.0,
        "probe_failing_for_s": 0.0,
        "achieved_above": { "goroutine_leak": 1e9 },
    });
    daemon.start_scenario(
        "goroutine_leak",
        json!({ "abort_when": watched, "duration": 2 }),
    );
    assert_eq!(daemon.session()["abort_when"], watched);
    assert_eq!(daemon.wait_for_end("goroutine_leak")["reason"], "expired");
}
