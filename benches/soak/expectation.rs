//! Which answers are correct.

use serde_json::{Value, json};

use crate::client::DRY_DURATION_S;
use crate::halts::PossibleHalt;

/// The leases that clients ask for, in seconds: short ones expire within the round, the long one does not.
pub(crate) const LEASES_S: [f64; 3] = [1.0 / 256.0, 0.25, 30.0];

const PROBLEM_TYPE: &str = "urn:mockserver:problem:";

/// The outcomes that a request may have.
#[derive(Debug, Clone)]
pub(crate) enum Expectation {
    /// It succeeds.
    Done,
    /// It is refused with a problem.
    Refused,
    /// It is served, or answered by a fault.
    Faulted,
    /// At least one scenario runs, a later request called the start off, or what runs or a halt refuses it.
    Started,
    /// The plan of this set is returned, or a halt refuses it.
    Planned(Value),
    /// A lease is renewed, or there is none.
    Renewed,
    /// Everything is stopped, and starts are refused.
    Halted,
    /// Starts are accepted.
    Armed,
}

/// An answer, and the states that the daemon may have been in.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) on_service: bool,
    pub(crate) status: u16,
    pub(crate) text: &'a str,
    pub(crate) halt: PossibleHalt,
}

impl Expectation {
    pub(crate) fn matches(&self, observed: &Observed<'_>) -> bool {
        let &Observed {
            on_service,
            status,
            text,
            halt,
            ..
        } = observed;
        let body = || serde_json::from_str::<Value>(text).unwrap_or_default();
        let is_halted = || halt.on && is_problem(&body(), "halted");
        let is_refused = || is_problem(&body(), "conflict") || is_halted();
        match self {
            Self::Done => status == 200,
            Self::Refused => (400..500).contains(&status) && text.contains(PROBLEM_TYPE),
            Self::Faulted if status == 200 => true,
            // A fault answers with an error as the service would; a problem document is the daemon's.
            Self::Faulted if status == 404 => text.contains("unknown-route"),
            Self::Faulted => {
                on_service && (400..600).contains(&status) && !text.contains(PROBLEM_TYPE)
            }
            Self::Started => match status {
                200 => halt.off && runs(&body()),
                500 => halt.off && was_called_off(&body()),
                409 => is_refused(),
                _ => false,
            },
            Self::Planned(start) => match status {
                200 => halt.off && is_plan_of(start, &body()),
                409 => is_refused(),
                _ => false,
            },
            Self::Renewed => match status {
                200 => body()["lease_s"]
                    .as_f64()
                    .is_some_and(|lease_s| LEASES_S.contains(&lease_s)),
                409 => is_problem(&body(), "no-lease"),
                _ => false,
            },
            Self::Halted => {
                let body = body();
                let is_complete = body["halted_since"].is_string() && body["stopped"].is_array();
                status == 200 && body["status"] == "halted" && is_complete
            }
            Self::Armed => status == 200 && body() == json!({ "status": "armed" }),
        }
    }
}

pub(crate) fn is_problem(body: &Value, kind: &str) -> bool {
    body["type"] == format!("{PROBLEM_TYPE}{kind}")
}

/// Whether this is the report of a start with at least one running scenario.
fn runs(body: &Value) -> bool {
    let scenarios = body["scenarios"].as_array();
    let some = scenarios.is_some_and(|scenarios| !scenarios.is_empty());
    some && (body["status"] == "success" || body["status"] == "partial")
}

/// Whether a start failed only because a later request called it off.
fn was_called_off(body: &Value) -> bool {
    let details = body["details"].as_array();
    details.is_some_and(|details| {
        let by_later = "the start was called off by a later request";
        !details.is_empty() && details.iter().all(|detail| detail["error"] == by_later)
    })
}

/// Whether a dry run returned the whole set `start`, which would end after [`DRY_DURATION_S`].
fn is_plan_of(start: &Value, body: &Value) -> bool {
    let names = start["scenarios"].as_array().into_iter().flatten();
    let plan = body["plan"].as_array().into_iter().flatten();
    let planned = plan.map(|run| (&run["name"], run["duration_s"].as_f64()));
    planned.eq(names.map(|entry| (&entry["name"], Some(DRY_DURATION_S))))
        && body["status"] == "dry_run"
        && body.get("lease_s") == start.get("lease")
        && body.get("abort_when") == start.get("abort_when")
}
