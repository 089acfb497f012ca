//! The guard rails while no other client is active: the state is known, and so is each answer.

use serde_json::{Value, json};

use crate::expectation::is_problem;
use crate::support::Daemon;

const START: &str = "/api/v1/scenarios/dependency/start";
const SET: &str = "/api/v1/composite/start";
const RENEW: &str = "/api/v1/composite/renew";
const HALT: &str = "/api/v1/halt";
const REARM: &str = "/api/v1/rearm";

/// Goes through halt, rearm, lease and dry run while nothing runs and starts are accepted, and leaves the daemon so;
/// returns what failed.
pub(crate) fn check(daemon: &Daemon) -> Vec<String> {
    let mut failures = Vec::new();
    let mut ask = |path: &str, body: Value, kind: Option<&str>| {
        let answer = daemon.admin_post(path, body.to_string());
        let is_correct = match kind {
            None => answer.status == 200,
            Some(kind) => answer.status == 409 && is_problem(&answer.body, kind),
        };
        if !is_correct {
            failures.push(format!(
                "without other clients, {path} {body} was answered with {answer:?}"
            ));
        }
        answer.body
    };
    let set = json!({ "scenarios": [{ "name": "dependency" }] });

    ask(RENEW, json!({}), Some("no-lease"));
    ask(START, json!({ "dry_run": true, "lease": 30 }), None);
    ask(RENEW, json!({}), Some("no-lease"));
    ask(START, json!({}), None);
    ask(RENEW, json!({}), Some("no-lease"));
    ask(
        START,
        json!({ "lease": 30, "abort_when": { "probe_failing_for_s": 30 } }),
        None,
    );
    let renewed = ask(RENEW, json!({}), None);
    let session = daemon.session();
    let halted = ask(HALT, json!({}), None);
    ask(RENEW, json!({}), Some("no-lease"));
    for dry_run in [false, true] {
        ask(START, json!({ "dry_run": dry_run }), Some("halted"));
        let mut set = set.clone();
        set["dry_run"] = dry_run.into();
        ask(SET, set, Some("halted"));
    }
    let again = ask(HALT, json!({}), None);
    let still = daemon.session();
    ask(REARM, json!({}), None);
    ask(SET, set, None);
    ask("/api/v1/composite/stop", json!({}), None);

    for key in ["session_id", "lease_expires_at"] {
        if renewed[key] != session[key] || !session[key].is_string() {
            failures.push(format!("the renewal {renewed} is not of {session}"));
        }
    }
    if halted["stopped"] != json!(["dependency"]) || again["stopped"] != json!([]) {
        failures.push(format!("two halts returned {halted} and {again}"));
    }
    let since = [&again, &still].map(|report| &report["halted_since"]);
    if since != [&halted["halted_since"]; 2] {
        failures.push(format!(
            "{halted}, {again} and {still} differ about one halt"
        ));
    }
    failures
}
