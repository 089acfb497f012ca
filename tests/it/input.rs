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
