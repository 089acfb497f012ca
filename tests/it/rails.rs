use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Answer, Daemon, eventually};

/// The end of a problem's type and what it says of its first bad value, or of itself.
fn refusal(answer: &Answer) -> (u16, String, String, String) {
    let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let kind = of(&answer.body["type"]);
    let kind = kind.rsplit(':').next().unwrap_or_default().to_owned();
    match answer.body["errors"].get(0) {
        Some(error) => (
            answer.status,
            kind,
            of(&error["pointer"]),
            of(&error["detail"]),
        ),
        None => (
            answer.status,
            kind,
            String::new(),
            of(&answer.body["detail"]),
        ),
    }
}

fn start(daemon: &Daemon, name: &str, body: Value) -> Answer {
    daemon.post(&format!("/api/v1/scenarios/{name}/start"), body.to_string())
}

fn start_set(daemon: &Daemon, body: Value) -> Answer {
    daemon.post("/api/v1/composite/start", body.to_string())
}

// === Limits ===

#[test]
fn each_limit_refuses_what_is_beyond_it_by_its_key_and_allows_what_is_not() {
    let table = [
        (
            "CpuPercent: 30",
            "cpu_burner",
            json!({ "target_percent": 1 }),
            json!({ "target_percent": 31 }),
        ),
        (
            "CpuCores: 0.1",
            "cpu_burner",
            json!({ "cores": 0.01 }),
            json!({ "cores": 0.11 }),
        ),
        // What may be asked for in two units is limited in both.
        (
            "CpuPercent: 1",
            "cpu_burner",
            json!({ "cores": 0.001 }),
            json!({ "cores": 1024 }),
        ),
        (
            "MemoryMb: 64",
            "memory_leaker",
            json!({ "target_mb": 1 }),
            json!({ "target_percent_of_limit": 1000 }),
        ),
        (
            "MemoryPercent: 1",
            "memory_leaker",
            json!({ "target_mb": 1 }),
            json!({ "target_percent_of_limit": 1.5 }),
        ),
        (
            "DiskMbPerSecond: 2",
            "disk_io",
            json!({ "write_rate_mb": 1 }),
            json!({ "write_rate_mb": 2.5 }),
        ),
        (
            "TasksPerSecond: 10",
            "goroutine_leak",
            json!({ "goroutines_per_second": 10 }),
            json!({ "goroutines_per_second": 11 }),
        ),
        (
            "Tasks: 1000",
            "goroutine_leak",
            json!({ "max_goroutines": 1000 }),
            json!({ "max_goroutines": 1001 }),
        ),
        (
            "LatencyMs: 20",
            "network_latency",
            json!({ "latency_ms": 20 }),
            json!({ "latency_ms": 21 }),
        ),
        (
            "LatencyMs: 20",
            "health_check",
            json!({ "failure_mode": "delayed" }),
            json!({ "failure_mode": "delayed", "delay_ms": 21 }),
        ),
        (
            "MaxDuration: 60",
            "dependency",
            json!({ "duration": 60 }),
            json!({ "duration": 61 }),
        ),
        (
            "MaxDuration: 60",
            "dependency",
            json!({}),
            json!({ "duration": 0 }),
        ),
    ];
    for (limit, name, good, bad) in table {
        let daemon = Daemon::start_with(&format!("Limits: {{{limit}}}\n"), &[]);
        let key = format!("(Limits.{})", limit.split(':').next().expect("a key"));
        let (status, kind, pointer, detail) = refusal(&start(&daemon, name, bad.clone()));
        assert_eq!((status, kind.as_str()), (422, "invalid-params"), "{limit}");
        assert!(detail.contains(&key), "{limit}: {detail}");
        let set = json!({ "scenarios": [{ "name": name, "params": bad }] });
        if !bad.as_object().expect("an object").contains_key("duration") {
            let (status, _, in_set, detail) = refusal(&start_set(&daemon, set));
            assert_eq!(
                (status, in_set),
                (422, format!("/scenarios/0/params{pointer}"))
            );
            assert!(detail.contains(&key), "{limit}: {detail}");
        }
        assert_eq!(daemon.session()["session_id"], "", "{limit}");
        let answer = start(&daemon, name, good);
        assert_eq!(answer.status, 200, "{limit}: {answer:?}");
    }
}

#[test]
fn a_limit_shows_in_the_schema_and_ends_the_default() {
    let env = [("MOCKSERVER_LIMITS_LATENCY_MS", "40")];
    let daemon = Daemon::start_with("", &env);
    let schema = daemon.get("/api/v1/scenarios/network_latency").body;
    let latency = &schema["params_schema"]["properties"]["latency_ms"];
    assert_eq!(
        (&latency["maximum"], &latency["default"]),
        (&json!(40), &json!(40))
    );
    daemon.started("network_latency", json!({}));
    assert_eq!(
        daemon.status("network_latency")["params"],
        json!({ "latency_ms": 40 })
    );
}

#[test]
fn a_start_without_a_duration_gets_the_default_one_and_hears_of_it() {
    let daemon = Daemon::start_with("Limits: {DefaultDuration: 50}\n", &[]);
    let report = daemon.started("dependency", json!({}));
    assert_eq!(report["details"][0]["duration_s"], 50.0);
    assert!(daemon.status("dependency")["expires_at"].is_string());
    // What the request says counts, until stopped included.
    for (duration, ends) in [(0, false), (70, true)] {
        let report = daemon.started("dependency", json!({ "duration": duration }));
        assert_eq!(report["details"][0].get("duration_s"), None);
        let expires_at = &daemon.status("dependency")["expires_at"];
        assert_eq!(expires_at.is_string(), ends);
    }
    let report = daemon.started_set(json!([{ "name": "dependency" }, { "name": "crash" }]));
    assert_eq!(report["details"][1]["duration_s"], 50.0);
    // One duration is enough for a set: all end together.
    let set = json!([{ "name": "dependency", "duration": 5 }, { "name": "crash" }]);
    let report = daemon.started_set(set);
    assert_eq!(report["details"][1].get("duration_s"), None);
}

#[test]
fn only_listed_scenarios_start_and_all_of_them_stop() {
    let env = [("MOCKSERVER_LIMITS_SCENARIOS", "network_latency, dependency")];
    let daemon = Daemon::start_with("", &env);
    let (status, kind, _, detail) = refusal(&start(&daemon, "crash", json!({})));
    assert_eq!((status, kind.as_str()), (403, "scenario-not-allowed"));
    assert!(detail.contains("Limits.Scenarios"), "{detail}");
    let set = json!({ "scenarios": [{ "name": "dependency" }, { "name": "crash" }] });
    let (status, _, pointer, detail) = refusal(&start_set(&daemon, set));
    assert_eq!((status, pointer.as_str()), (422, "/scenarios/1/name"));
    assert!(detail.contains("(Limits.Scenarios)"), "{detail}");
    daemon.started("dependency", json!({}));
    daemon.stopped("crash");
    daemon.stopped("dependency");
}

#[test]
fn no_more_scenarios_run_at_once_than_are_allowed() {
    let daemon = Daemon::start_with("Limits: {ConcurrentScenarios: 2}\n", &[]);
    let three = ["dependency", "crash", "network_latency"];
    let set = three.map(|name| json!({ "name": name }));
    let (status, _, pointer, detail) = refusal(&start_set(&daemon, json!({ "scenarios": set })));
    assert_eq!((status, pointer.as_str()), (422, "/scenarios"));
    assert!(detail.contains("(Limits.ConcurrentScenarios)"), "{detail}");
    daemon.started_set(json!(set[..2]));
    for dry_run in [false, true] {
        let third = json!({ "latency_ms": 1, "dry_run": dry_run });
        let (status, kind, _, detail) = refusal(&start(&daemon, "network_latency", third));
        assert_eq!((status, kind.as_str()), (409, "too-many-scenarios"));
        assert!(detail.contains("(Limits.ConcurrentScenarios)"), "{detail}");
    }
    // One that runs may be replaced by itself.
    daemon.started("dependency", json!({ "failure_type": "error" }));
    daemon.stopped("dependency");
    daemon.started("network_latency", json!({ "latency_ms": 1 }));
}

// === A start that is only told ===

#[test]
fn a_dry_run_warns_of_what_the_start_warns_of() {
    let daemon = Daemon::start();
    for (name, params, warning) in [
        (
            "memory_leaker",
            json!({ "target_percent_of_limit": 1000, "leak_rate_mb": 0.1 }),
            Some("MiB are left under the memory limit"),
        ),
        ("goroutine_leak", json!({}), None),
        (
            "crash",
            json!({ "crash_delay": 60, "duration": 59 }),
            Some("it will not crash: the run ends by itself after 59 s"),
        ),
        (
            "crash",
            json!({ "after_requests": 1_000_000, "scrape_window": 60, "duration": 59 }),
            Some("it will not crash"),
        ),
        (
            "crash",
            json!({ "after_requests": 1_000_000, "duration": 59 }),
            None,
        ),
        ("crash", json!({ "crash_delay": 60, "duration": 61 }), None),
    ] {
        let mut dry = params.clone();
        dry["dry_run"] = json!(true);
        let planned = start(&daemon, name, dry).body;
        let started = start(&daemon, name, params.clone()).body;
        for told in [&planned["plan"][0], &started["details"][0]] {
            let text = told["warning"].as_str();
            assert_eq!(text.is_some(), warning.is_some(), "{params}: {told}");
            assert!(
                text.unwrap_or_default()
                    .contains(warning.unwrap_or_default()),
                "{params}: {told}"
            );
        }
    }
}

#[test]
fn a_dry_run_tells_the_effective_plan_and_does_nothing() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({}));
    let before = (daemon.session(), daemon.admin_get("/api/v1/events").body);
    let answer = start(
        &daemon,
        "cpu_burner",
        json!({ "dry_run": true, "duration": 5 }),
    );
    let plan = json!({
        "status": "dry_run",
        "plan": [{ "name": "cpu_burner", "params": { "target_percent": 50 }, "duration_s": 5.0 }],
        "replaces": [],
    });
    assert_eq!((answer.status, answer.body), (200, plan));
    let answer = start(&daemon, "dependency", json!({ "dry_run": true }));
    assert_eq!(answer.body["replaces"], json!(["dependency"]));
    let set = json!({ "dry_run": true, "scenarios": [
        { "name": "goroutine_leak", "duration": 5 },
        { "name": "network_latency", "params": { "latency_ms": 7 }, "duration": 9 },
    ] });
    let answer = start_set(&daemon, set);
    let plan = json!({
        "status": "dry_run",
        "plan": [
            { "name": "goroutine_leak", "params": { "goroutines_per_second": 100 }, "duration_s": 9.0 },
            { "name": "network_latency", "params": { "latency_ms": 7 }, "duration_s": 9.0 },
        ],
        "replaces": ["dependency"],
    });
    assert_eq!((answer.status, answer.body), (200, plan));
    // It is checked as the start would be.
    let bad = start(
        &daemon,
        "cpu_burner",
        json!({ "dry_run": true, "target_percent": 101 }),
    );
    assert_eq!(bad.status, 422);
    let bad = start(&daemon, "cpu_burner", json!({ "dry_run": 1 }));
    assert_eq!(refusal(&bad).2, "/dry_run");
    assert_eq!(
        (daemon.session(), daemon.admin_get("/api/v1/events").body),
        before
    );
}

// === The emergency stop ===

/// The kinds of the ledger's events that name no scenario, after the boot.
fn kinds(daemon: &Daemon) -> Vec<String> {
    let events = daemon.admin_get("/api/v1/events?since=1").body;
    let events = events["events"].as_array().expect("events").clone();
    let of_daemon = events.iter().filter(|event| event["scenario"].is_null());
    of_daemon
        .map(|event| format!("{} {}", event["kind"], event["by"]).replace('"', ""))
        .collect()
}

fn halted_metric(daemon: &Daemon) -> String {
    let page = daemon.admin_get("/metrics").body;
    let page = page.as_str().expect("a page");
    let line = page
        .lines()
        .find(|line| line.starts_with("mockserver_halted "));
    line.expect("the series").to_owned()
}

#[test]
fn a_halt_ends_everything_and_refuses_every_start_until_a_rearm() {
    let daemon = Daemon::start();
    assert_eq!(halted_metric(&daemon), "mockserver_halted 0.0");
    daemon.started_set(json!([{ "name": "cpu_burner" }, { "name": "dependency" }]));
    let halted = daemon.post("/api/v1/halt", "");
    assert_eq!(halted.status, 200);
    assert_eq!(halted.body["stopped"], json!(["cpu_burner", "dependency"]));
    assert_eq!(daemon.status("cpu_burner")["end"]["reason"], "stopped");
    let since = &halted.body["halted_since"];
    assert_eq!(daemon.session()["halted_since"], *since);
    assert_eq!(halted_metric(&daemon), "mockserver_halted 1.0");
    for dry_run in [false, true] {
        let body = json!({ "dry_run": dry_run });
        let (status, kind, _, detail) = refusal(&start(&daemon, "dependency", body));
        assert_eq!((status, kind.as_str()), (409, "halted"));
        assert!(detail.contains("/api/v1/rearm"), "{detail}");
        let set = json!({ "scenarios": [{ "name": "crash" }], "dry_run": dry_run });
        assert_eq!(refusal(&start_set(&daemon, set)).1, "halted");
    }
    // A second halt changes nothing, and a stop is as good as ever.
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
    daemon.started("dependency", json!({}));
    let kinds = kinds(&daemon);
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    assert!(kinds[0].starts_with("halted 127.0.0.1:"), "{kinds:?}");
    assert!(kinds[1].starts_with("rearmed 127.0.0.1:"), "{kinds:?}");
}

#[test]
fn sigusr1_halts_too() {
    let daemon = Daemon::start();
    daemon.started("dependency", json!({}));
    daemon.signal(Signal::USR1);
    eventually("it halts", || {
        let session = daemon.session();
        (session["session_id"] == "" && session["halted_since"].is_string()).then_some(())
    });
    // The signal has nobody to answer who would wait until it is on disk.
    eventually("it is told", || {
        (kinds(&daemon) == ["halted signal"]).then_some(())
    });
    assert_eq!(start(&daemon, "dependency", json!({})).status, 409);
}

// === What ends by itself ===

/// The ledger's event of this kind on the scenario `name`.
fn told(daemon: &Daemon, kind: &str, name: &str) -> Value {
    eventually("it is told", || {
        let events = daemon.admin_get(&format!("/api/v1/events?scenario={name}"));
        let events = events.body["events"].as_array().expect("events").clone();
        events.into_iter().find(|event| event["kind"] == kind)
    })
}

fn ended(daemon: &Daemon, name: &str) -> Value {
    eventually("it ends", || {
        let end = daemon.status(name)["end"].clone();
        end.is_object().then_some(end)
    })
}

#[test]
fn a_session_whose_lease_is_not_renewed_ends() {
    let daemon = Daemon::start();
    let renew = || daemon.admin_post("/api/v1/composite/renew", "");
    assert_eq!(refusal(&renew()).1, "no-lease");
    daemon.started("crash", json!({ "crash_delay": 3600 }));
    assert_eq!(refusal(&renew()).1, "no-lease");

    let begun = Instant::now();
    let mut last = begun;
    daemon.started("dependency", json!({ "lease": 1 }));
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
    // The whole session ends, with what had been there before.
    for name in ["dependency", "crash"] {
        assert_eq!(ended(&daemon, name)["reason"], "lease_expired");
    }
    assert!(last.elapsed() >= Duration::from_secs(1));
    assert_eq!(refusal(&renew()).1, "no-lease");
    assert_eq!(
        told(&daemon, "stopping", "crash")["reason"],
        "lease_expired"
    );
}

#[test]
fn each_measure_of_abort_when_ends_the_session_and_says_why() {
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
        let answer = start_set(&daemon, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        for name in ["goroutine_leak", "health_check"] {
            let end = ended(&daemon, name);
            assert_eq!(end["reason"], "aborted", "{end}");
            let because = end["because"].as_str().expect("a reason");
            assert!(because.starts_with(why), "{because}");
        }
        assert_eq!(
            told(&daemon, "cleared", "health_check")["reason"],
            "aborted"
        );
        let page = daemon.admin_get("/metrics").body;
        let series = "mockserver_fault_runs_total{scenario=\"health_check\",end=\"aborted\"} 1.0";
        assert!(page.as_str().expect("a page").contains(series));
    }
}

#[test]
fn a_session_may_watch_a_scenario_that_joins_it_later() {
    let watched = json!({ "achieved_above": { "goroutine_leak": 20 } });
    for by_set in [true, false] {
        let daemon = Daemon::start();
        let answer = if by_set {
            let set = json!({ "abort_when": watched, "scenarios": [{ "name": "dependency" }] });
            start_set(&daemon, set)
        } else {
            start(&daemon, "dependency", json!({ "abort_when": watched }))
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        daemon.started("goroutine_leak", json!({}));
        for name in ["dependency", "goroutine_leak"] {
            assert_eq!(ended(&daemon, name)["reason"], "aborted", "{by_set}");
        }
    }
}

#[test]
fn the_probe_of_abort_when_is_no_traffic() {
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
    let end = ended(&daemon, "health_check");
    assert_eq!(end["reason"], "aborted", "it was asked: {end}");
    for name in ["health_check", "network_latency"] {
        let path = format!("/api/v1/events?scenario={name}");
        let events = daemon.admin_get(&path).body.to_string();
        assert!(!events.contains("\"effective\""), "{events}");
    }
    let page = daemon.admin_get("/metrics").body;
    let series = "http_server_request_duration_seconds_count{";
    let lines = page.as_str().expect("a page").lines();
    for line in lines.filter(|line| line.starts_with(series)) {
        assert!(line.ends_with(" 0") || line.ends_with(" 0.0"), "{line}");
    }
}

#[test]
fn a_session_goes_on_while_nothing_that_it_watches_is_met() {
    let daemon = Daemon::start();
    let watched = json!({
        "memory_available_below_mb": 1.0,
        "probe_failing_for_s": 0.0,
        "achieved_above": { "goroutine_leak": 1e9 },
    });
    daemon.started(
        "goroutine_leak",
        json!({ "abort_when": watched, "duration": 2 }),
    );
    assert_eq!(daemon.session()["abort_when"], watched);
    assert_eq!(ended(&daemon, "goroutine_leak")["reason"], "expired");
}
