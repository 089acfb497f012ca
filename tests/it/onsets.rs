//! Starts that come later than the request.

use serde_json::{Value, json};

use crate::support::{Daemon, assert_problem, event_labels, eventually};

fn latency(after: f64, duration: f64) -> Value {
    json!({ "name": "network_latency", "params": { "latency_ms": 1 }, "after": after, "duration": duration })
}

#[test]
fn a_planned_run_is_shown_starts_at_its_time_and_ends_with_its_set() {
    let daemon = Daemon::start();
    let set = json!([{ "name": "dependency", "duration": 1 }, latency(1.0, 1.5)]);
    let report = daemon.start_set(set);
    assert_eq!(report["status"], "success");
    assert_eq!(
        report["scenarios"],
        json!(["dependency", "network_latency"])
    );
    let [first, later] = [0, 1].map(|i| &report["details"][i]);
    assert!(first.get("starts_at").is_none(), "{report}");
    assert!(later["starts_at"].is_string(), "{report}");
    assert_eq!(first["expires_at"], later["expires_at"]);
    let status = daemon.status("network_latency");
    assert_eq!(
        (&status["running"], &status["start_time"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(status["planned"]["starts_at"], later["starts_at"]);
    assert_eq!(status["planned"]["params"]["latency_ms"], 1);
    let session = daemon.get("/api/v1/composite/status").body;
    assert_eq!(session["scenarios"], json!(["dependency"]));
    assert_eq!(session["expires_at"], later["expires_at"]);
    let planned = daemon.events_of("planned").remove(0);
    assert_eq!(planned["starts_at"], later["starts_at"]);
    assert_eq!(planned["duration_s"], 1.5);

    let started = daemon.wait_for_event_of("network_latency", "started");
    assert!(
        started["time"].as_str() >= later["starts_at"].as_str(),
        "{started}"
    );
    let status = daemon.status("network_latency");
    assert_eq!(status["running"], true);
    assert!(status.get("planned").is_none(), "{status}");
    assert_eq!(status["expires_at"], later["expires_at"]);
    // The first outlives its own duration.
    assert_eq!(daemon.status("dependency")["running"], true);
    for name in ["dependency", "network_latency"] {
        let end = daemon.wait_for_event_of(name, "expired");
        assert!(
            end["time"].as_str() >= later["expires_at"].as_str(),
            "{end}"
        );
    }
    let sessions = daemon.get("/api/v1/sessions").body;
    let past = &sessions["sessions"][0]["runs"][1];
    assert_eq!(past["planned"]["from"], planned["starts_at"]);
    assert_eq!(past["end"], "expired");
}

#[test]
fn each_run_of_a_set_may_end_at_its_own_time() {
    let daemon = Daemon::start();
    let entries = json!([{ "name": "dependency", "duration": 0.3 }, latency(0.6, 3600.0)]);
    let set = json!({ "scenarios": entries, "end": "each" });
    assert_eq!(daemon.try_start_set(set).status, 200);
    daemon.wait_for_event_of("dependency", "expired");
    // Nothing runs, and the session lives.
    let session = daemon.get("/api/v1/composite/status").body;
    assert!(session["session_id"] != "" || daemon.status("network_latency")["running"] == true);
    daemon.wait_for_event_of("network_latency", "started");
    assert_eq!(daemon.status("network_latency")["running"], true);
}

#[test]
fn a_stop_before_the_onset_calls_it_off_and_the_ledger_says_so() {
    let daemon = Daemon::start();
    let later = json!({ "failure_type": "error", "after": 3600, "duration": 5 });
    for stop in ["one", "all"] {
        let report = daemon.start_scenario("dependency", later.clone());
        assert!(report["details"][0]["starts_at"].is_string(), "{report}");
        match stop {
            "one" => drop(daemon.stop_scenario("dependency")),
            _ => drop(daemon.stop_all()),
        }
        let status = daemon.status("dependency");
        assert!(status.get("planned").is_none() && status["running"] == false);
        assert_eq!(
            daemon.get("/api/v1/composite/status").body["session_id"],
            ""
        );
    }
    let mut events = daemon.events();
    events.retain(|event| event["scenario"] == "dependency");
    let once = ["accepted", "planned", "stopping", "cleared"];
    let expected = once
        .iter()
        .chain(&once)
        .map(|kind| format!("{kind} dependency"));
    assert!(event_labels(&events).into_iter().eq(expected), "{events:?}");
    assert_eq!(events[2]["because"], "it was planned and had not started");
    assert_eq!(events[3]["reason"], "stopped");
    assert_eq!(daemon.get("/api/v1/mock-service").status, 200);
}

#[test]
fn an_onset_that_fails_later_is_a_failed_run() {
    let daemon = Daemon::start_with(crate::support::UNUSABLE_DATA_DIR, &[]);
    let entries = json!([{ "name": "dependency" }, { "name": "disk_io", "after": 0.2 }]);
    let report = daemon.start_set(entries);
    assert_eq!(report["status"], "success");
    let failed = daemon.wait_for_event_of("disk_io", "failed");
    assert!(failed["error"].is_string(), "{failed}");
    let session = eventually("the session shows it", || {
        let session = daemon.get("/api/v1/composite/status").body;
        (session["status"] == "partial").then_some(session)
    });
    assert_eq!(session["scenarios"], json!(["dependency"]));
    assert_eq!(session["details"][1]["error"], failed["error"]);
}

#[test]
fn a_dry_run_shows_the_times() {
    let daemon = Daemon::start();
    let dry = |body: Value| {
        let answer = daemon.try_start_set(body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body["plan"].clone()
    };
    let entries = json!([{ "name": "dependency", "duration": 60 }, latency(30.0, 90.0)]);
    let together = dry(json!({ "scenarios": entries, "dry_run": true }));
    let each = dry(json!({ "scenarios": entries, "dry_run": true, "end": "each" }));
    let durations = |plan: &Value| [0, 1].map(|i| plan[i]["duration_s"].as_f64());
    assert_eq!(durations(&together), [Some(120.0), Some(90.0)]);
    assert_eq!(durations(&each), [Some(60.0), Some(90.0)]);
    assert_eq!(together[0]["expires_at"], together[1]["expires_at"]);
    assert_ne!(each[0]["expires_at"], each[1]["expires_at"]);
    for plan in [together, each] {
        assert!(plan[0].get("starts_at").is_none() && plan[1]["starts_at"].is_string());
    }
    assert!(daemon.events_of("accepted").is_empty());
}

#[test]
fn bad_onsets_are_refused_where_they_are_bad() {
    let daemon = Daemon::builder()
        .file("Limits: {MaxDuration: 100}\n")
        .start();
    let refused = |body: Value, at: &str| {
        let problem = assert_problem(daemon.try_start_set(body), 422, "invalid-params", at);
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{problem}");
        assert_eq!(errors[0]["pointer"], at);
    };
    let with = |second: Value| {
        let first = json!({ "name": "dependency", "duration": 60 });
        json!({ "scenarios": [first, second] })
    };
    // The set is over by then.
    refused(
        with(json!({ "name": "network_latency", "after": 60 })),
        "/scenarios/1/after",
    );
    // The first would last for 110 s.
    refused(with(latency(50.0, 60.0)), "/scenarios/1/after");
    refused(with(latency(-1.0, 60.0)), "/scenarios/1/after");
    refused(with(latency(101.0, 60.0)), "/scenarios/1/after");
    let mut body = with(latency(1.0, 1.0));
    body["end"] = json!("never");
    refused(body, "/end");
    let inside = json!({ "name": "crash", "params": { "after": 1 }, "duration": 9 });
    refused(with(inside), "/scenarios/1/params/after");
    let answer = daemon.try_start("dependency", json!({ "after": "1x" }));
    let problem = assert_problem(answer, 422, "invalid-params", "a single start");
    assert_eq!(problem["errors"][0]["pointer"], "/after");
    let answer = daemon.try_start("dependency", json!({ "end": "each" }));
    assert_problem(answer, 422, "invalid-params", "end in a single start");
    assert!(daemon.events_of("accepted").is_empty());
    // Each is within the limit.
    let mut body = with(latency(50.0, 60.0));
    body["end"] = json!("each");
    body["dry_run"] = json!(true);
    assert_eq!(daemon.try_start_set(body).status, 200);
}
