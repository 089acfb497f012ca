//! The routes of drills, and what they refuse.

use serde_json::{Value, json};

use super::{control, quick};
use crate::support::{Answer, Daemon, assert_problem};

const BLIND: &str =
    "Name: orders\nVersion: 1.1.0\nBlind: true\nWorkload: {Routes: [{Path: '/work/{id}'}]}\n";
const HEALTHY: &str = r#"{"detected": false, "findings": [], "decision": "promote"}"#;

fn blind() -> Daemon {
    Daemon::start_with(BLIND, &[])
}

fn open(daemon: &Daemon, body: &Value) -> Answer {
    daemon.admin_post("/api/v1/drills", body.to_string())
}

fn id_of(opened: &Answer) -> String {
    assert_eq!(opened.status, 201, "{opened:?}");
    opened.body["drill_id"].as_str().unwrap().to_owned()
}

fn post(daemon: &Daemon, id: &str, what: &str, body: &str) -> Answer {
    daemon.admin_post(&format!("/api/v1/drills/{id}/{what}"), body)
}

#[test]
fn a_second_drill_is_refused_unless_it_replaces_the_first() {
    let daemon = blind();
    let first = id_of(&open(&daemon, &control()));
    let refused = open(&daemon, &control());
    let problem = assert_problem(refused, 409, "drill-open", "a second one");
    assert!(
        problem["detail"].as_str().unwrap().contains(&first),
        "{problem}"
    );
    let mut other = control();
    other["replace"] = true.into();
    let second = id_of(&open(&daemon, &other));
    assert_ne!(first, second);
    assert_eq!(post(&daemon, &first, "answers", HEALTHY).status, 410);
    assert_eq!(post(&daemon, &second, "answers", HEALTHY).status, 202);
}

#[test]
fn a_drill_needs_a_blind_service_and_a_preset_that_it_can_have() {
    let open_service = Daemon::start();
    assert_problem(
        open(&open_service, &control()),
        422,
        "not-blind",
        "not blind",
    );
    let daemon = blind();
    assert_problem(
        open(&daemon, &quick("no_such_preset")),
        422,
        "no-drill",
        "unknown",
    );
    let bad = open(&daemon, &json!({ "onset_s": [5, 1], "max_answers": 0 }));
    let problem = assert_problem(bad, 422, "invalid-params", "bad values");
    assert!(
        problem["errors"].as_array().unwrap().len() >= 2,
        "{problem}"
    );
    assert_eq!(daemon.admin_get("/api/v1/drills/current").status, 404);
}

#[test]
fn answers_are_counted_and_bad_ones_are_not() {
    let daemon = blind();
    let mut body = control();
    body["max_answers"] = 2.into();
    let id = id_of(&open(&daemon, &body));
    assert_problem(
        post(&daemon, "d-0000000000", "answers", HEALTHY),
        404,
        "unknown-drill",
        "id",
    );
    for n in 1..=2 {
        let accepted = post(&daemon, &id, "answers", HEALTHY);
        assert_eq!((accepted.status, &accepted.body["n"]), (202, &json!(n)));
    }
    let more = post(&daemon, &id, "answers", HEALTHY);
    assert_problem(more, 429, "no-answers-left", "a third one");
    let current = daemon.admin_get("/api/v1/drills/current").body;
    assert_eq!(current["answers_left"], 0);
    assert_eq!(post(&daemon, &id, "close", "").status, 200);
    for what in ["answers", "events"] {
        let late = post(&daemon, &id, what, HEALTHY);
        assert_problem(late, 410, "drill-closed", what);
    }
    assert_problem(
        post(&daemon, "current", "answers", HEALTHY),
        404,
        "unknown-drill",
        "none",
    );
}

#[test]
fn a_report_is_the_same_text_at_any_time() {
    let daemon = blind();
    let id = id_of(&open(&daemon, &control()));
    let path = format!("/api/v1/drills/{id}/report");
    assert_problem(daemon.admin_get(&path), 409, "drill-open", "open");
    let closed = post(&daemon, &id, "close", "");
    assert_eq!(closed.content_type, "application/json");
    assert_eq!(daemon.admin_get(&path), closed);
    assert_eq!(post(&daemon, &id, "close", ""), closed);
    let history = daemon
        .admin_get("/api/v1/drills?preset=control_quiet&limit=5")
        .body;
    assert_eq!(history["drills"][0]["drill_id"], id.as_str());
    let none = daemon.admin_get("/api/v1/drills?preset=other").body;
    assert_eq!(none["drills"], json!([]));
    assert!(history["aggregate"].is_object(), "{history}");
}

#[test]
fn a_start_by_hand_contaminates_a_drill() {
    let daemon = blind();
    let id = id_of(&open(&daemon, &control()));
    let current = daemon.admin_get("/api/v1/drills/current").body;
    assert!(
        !current["instance"].as_str().unwrap().is_empty(),
        "{current}"
    );
    let start = daemon.admin_post("/api/v1/scenarios/network_latency/start", "{}");
    assert_eq!(start.status, 200, "{start:?}");
    let report = post(&daemon, &id, "close", "").body;
    let by = report["contaminated"].as_array().unwrap();
    assert_eq!(by.len(), 1, "{report}");
}

#[test]
fn an_unknown_name_in_an_answer_is_refused_with_the_names_that_there_are() {
    let daemon = blind();
    let id = id_of(&open(&daemon, &control()));
    let unknown =
        r#"{"detected": true, "findings": [{"scenario": "gremlins"}], "decision": "hold"}"#;
    let refused = post(&daemon, &id, "answers", unknown);
    let problem = assert_problem(refused, 422, "invalid-params", "a name");
    let error = &problem["errors"][0];
    assert_eq!(error["pointer"], "/findings/0/scenario");
    assert!(
        error["detail"].as_str().unwrap().contains("memory_leaker"),
        "{error}"
    );
    let current = daemon.admin_get("/api/v1/drills/current").body;
    assert_eq!(current["answers_left"], 5);
}

#[test]
fn presets_are_listed() {
    let list = blind().admin_get("/api/v1/presets").body;
    let presets = list["presets"].as_array().unwrap();
    assert!(presets.len() >= 40, "{}", presets.len());
    for preset in presets {
        for key in ["name", "difficulty", "description"] {
            assert!(preset[key].is_string(), "{preset}");
        }
    }
}

#[test]
fn a_halt_aborts_the_drill() {
    let daemon = blind();
    let id = id_of(&open(&daemon, &quick("latency_regression_p50")));
    assert_eq!(daemon.admin_post("/api/v1/halt", "").status, 200);
    let closed = daemon.wait_for_event("drill_closed");
    assert_eq!(
        (&closed["drill_id"], &closed["drill"]["reason"]),
        (&json!(id), &json!("aborted"))
    );
}
