//! The traffic that the service gets while a drill is open.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Drill;
use super::facts::map_of;
use crate::exam::record::ProbeFacts;
use crate::input::{Fields, Shape};
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::traffic::{
    self, Change, ChangeGuard, Surroundings, Traffic, TrafficControl, TrafficSpec,
};

/// How often a kubelet probes.
const PROBE_EVERY_S: f64 = 10.0;
/// However small the scale of the times is.
const LEAST_PROBE_EVERY_S: f64 = 0.5;
/// The most that a shape multiplies the rate by.
const MOST_FACTOR: f64 = 1000.0;

/// The clients of the service.
#[derive(Debug)]
pub(crate) enum Clients {
    /// Those of the configuration.
    Configured(TrafficControl),
    /// The configuration has none: they come with a drill.
    Own(Box<TrafficSpec>, Surroundings),
}

/// The traffic of an open drill; dropping it brings back what was before.
#[derive(Debug)]
pub(super) struct DrillTraffic {
    _change: ChangeGuard,
    /// Ended after the change, which would start others otherwise.
    _clients: Option<Traffic>,
}

impl Clients {
    /// Begins the traffic of `drill`, which was opened `elapsed_s` ago.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor.
    pub(super) fn attend(
        &self,
        drill: &Drill,
        ledger: &Ledger,
        elapsed_s: f64,
    ) -> io::Result<DrillTraffic> {
        let (control, clients) = match self {
            Self::Configured(control) => (control, None),
            Self::Own(spec, surroundings) => {
                let clients = traffic::start((**spec).clone(), spec.meter(), surroundings.clone());
                (&surroundings.control, Some(clients?))
            }
        };
        Ok(DrillTraffic {
            _change: control.change(change(drill, ledger, elapsed_s)),
            _clients: clients,
        })
    }

    /// What the examiner should know of it before a fault of requests is marked.
    pub(super) fn warning(&self, traffic_rps: Option<f64>) -> Option<String> {
        let is_silent = match self {
            Self::Configured(_) => traffic_rps == Some(0.0),
            Self::Own(spec, _) => traffic_rps == Some(0.0) || !spec.has_routes(),
        };
        is_silent.then(|| {
            "No request will come but those of the probes: a fault of requests will not be observable.".to_owned()
        })
    }
}

fn change(drill: &Drill, ledger: &Ledger, elapsed_s: f64) -> Change {
    let plan = &drill.facts.plan;
    let probe_every_s = (PROBE_EVERY_S * plan.time_scale).max(LEAST_PROBE_EVERY_S);
    let factor = plan.traffic.as_ref();
    let factor = factor.map(|(from_s, shape)| (at(from_s - elapsed_s), shape_of(shape)));
    let (id, ledger) = (drill.id.clone(), ledger.clone());
    Change {
        rps: plan.traffic_rps,
        factor,
        probe_every: Duration::from_secs_f64(probe_every_s),
        on_flip: Arc::new(move |probe, succeeds| {
            let facts = ProbeFacts {
                probe: probe.to_owned(),
                succeeds,
            };
            let facts = map_of(&facts);
            ledger.note(NewEvent::of_drill(EventKind::DrillProbeFlip, &id, facts));
        }),
    }
}

/// The moment in `seconds`, which may be below 0.
fn at(seconds: f64) -> Instant {
    let now = Instant::now();
    let span = Duration::try_from_secs_f64(seconds.abs()).unwrap_or_default();
    let moment = match seconds < 0.0 {
        true => now.checked_sub(span),
        false => now.checked_add(span),
    };
    moment.unwrap_or(now)
}

/// The plan's shape; it was checked when the preset was read.
fn shape_of(shape: &Value) -> Shape {
    let given: Map<_, _> = [("traffic".to_owned(), shape.clone())]
        .into_iter()
        .collect();
    let mut fields = Fields::new("", given);
    let field = fields.field("traffic", "What multiplies the requests.");
    field.shape(0.0..=MOST_FACTOR, 1.0)
}
