//! What is answered while nobody else asks: there the state is known, and so is each answer.

use serde_json::{Value, json};

use crate::common::Daemon;
use crate::right::is_problem;

const START: &str = "/api/v1/scenarios/dependency/start";
const SET: &str = "/api/v1/composite/start";
const RENEW: &str = "/api/v1/composite/renew";
const HALT: &str = "/api/v1/halt";
const REARM: &str = "/api/v1/rearm";

/// Goes through halt and rearm, lease and dry run at a moment at which nothing runs and starts are
/// taken, and ends at such a one; gives what was not right.
pub(crate) fn check(daemon: &Daemon) -> Vec<String> {
    let mut faults = Vec::new();
    let mut ask = |path: &str, body: Value, kind: Option<&str>| {
        let answer = daemon.admin_post(path, body.to_string());
        let is_right = match kind {
            None => answer.status == 200,
            Some(kind) => answer.status == 409 && is_problem(&answer.body, kind),
        };
        if !is_right {
            faults.push(format!(
                "by itself, {path} {body} was answered with {answer:?}"
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
            faults.push(format!("the renewal {renewed} is not of {session}"));
        }
    }
    if halted["stopped"] != json!(["dependency"]) || again["stopped"] != json!([]) {
        faults.push(format!("two halts stopped {halted} and {again}"));
    }
    let since = [&again, &still].map(|told| &told["halted_since"]);
    if since != [&halted["halted_since"]; 2] {
        faults.push(format!("{halted}, {again} and {still} are of one halt"));
    }
    faults
}
