//! Which answers are right.

use serde_json::{Value, json};

use crate::client::{DRY_DURATION_S, MOCK};
use crate::halts::Possible;

/// How long a lease lasts that the clients ask for, in seconds: one ends by itself within the round,
/// another needs an end of the session.
pub(crate) const LEASES_S: [f64; 3] = [1.0 / 256.0, 0.25, 30.0];

/// What a request must come to.
#[derive(Debug, Clone)]
pub(crate) enum Right {
    /// It is done.
    Done,
    /// It is refused, and told why.
    Refused,
    /// It is served, or what a fault makes of it.
    Faulted,
    /// Something runs; or nothing does because a later request called it off, or because of a halt.
    Started,
    /// What this set would do is told, or that a halt refuses it.
    Planned(Value),
    /// A lease is prolonged, or there is none.
    Renewed,
    /// Everything is off, and starts are refused.
    Halted,
    /// Starts are taken.
    Armed,
}

/// An answer and what is known of its moment.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) path: &'a str,
    pub(crate) on_service: bool,
    pub(crate) status: u16,
    pub(crate) text: &'a str,
    pub(crate) halt: Possible,
}

impl Right {
    pub(crate) fn fits(&self, given: &Given<'_>) -> bool {
        let &Given {
            on_service,
            status,
            text,
            halt,
            ..
        } = given;
        let body = || serde_json::from_str::<Value>(text).unwrap_or_default();
        let is_halted = || halt.on && is_problem(&body(), "halted");
        match self {
            Self::Done => status == 200,
            Self::Refused => {
                (400..500).contains(&status) && text.contains("urn:mockserver:problem:")
            }
            Self::Faulted if status == 200 => true,
            Self::Faulted if given.path == MOCK => on_service && status == 500,
            Self::Faulted => {
                on_service && (400..600).contains(&status) && text.contains("\"unhealthy\"")
            }
            Self::Started => match status {
                200 => halt.off && runs(&body()),
                500 => halt.off && was_called_off(&body()),
                409 => is_halted(),
                _ => false,
            },
            Self::Planned(start) => match status {
                200 => halt.off && is_plan_of(start, &body()),
                409 => is_halted(),
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
                let is_told = body["halted_since"].is_string() && body["stopped"].is_array();
                status == 200 && body["status"] == "halted" && is_told
            }
            Self::Armed => status == 200 && body() == json!({ "status": "armed" }),
        }
    }
}

pub(crate) fn is_problem(body: &Value, kind: &str) -> bool {
    body["type"] == format!("urn:mockserver:problem:{kind}")
}

/// Whether it is the report of a start by which at least one scenario runs.
fn runs(body: &Value) -> bool {
    let scenarios = body["scenarios"].as_array();
    let some = scenarios.is_some_and(|scenarios| !scenarios.is_empty());
    some && (body["status"] == "success" || body["status"] == "partial")
}

/// Whether a start failed for nothing else than that a later request wanted something else.
fn was_called_off(body: &Value) -> bool {
    let details = body["details"].as_array();
    details.is_some_and(|details| {
        let by_later = "the start was called off by a later request";
        !details.is_empty() && details.iter().all(|detail| detail["error"] == by_later)
    })
}

/// Whether a dry run told all of the set `start`, which would end after [`DRY_DURATION_S`].
fn is_plan_of(start: &Value, body: &Value) -> bool {
    let names = start["scenarios"].as_array().into_iter().flatten();
    let plan = body["plan"].as_array().into_iter().flatten();
    let told = plan.map(|run| (&run["name"], run["duration_s"].as_f64()));
    told.eq(names.map(|entry| (&entry["name"], Some(DRY_DURATION_S))))
        && body["status"] == "dry_run"
        && body.get("lease_s") == start.get("lease")
        && body.get("abort_when") == start.get("abort_when")
}
