//! One planned scenario, as it went.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::exam::preset::Truth;
use crate::input::{Fields, Shape};
use crate::run::Timestamp;

/// The last bound of the histograms of times, in ms: more than that cannot be read from them.
const LAST_BUCKET_MS: f64 = 60_000.0;
/// How finely the mean of a shape is taken.
const POINTS: u32 = 200;

/// One planned scenario, as it went over all restarts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Item {
    pub scenario: String,
    pub params: Map<String, Value>,
    pub graded: BTreeMap<String, Truth>,
    pub planned_at: Timestamp,
    /// When it first began.
    pub started_at: Option<Timestamp>,
    /// When at least half of what was asked was first measured.
    pub effective_at: Option<Timestamp>,
    /// When the most was measured.
    pub peak_at: Option<Timestamp>,
    /// When the last of it was gone.
    pub cleared_at: Option<Timestamp>,
    /// By what.
    pub cleared_by: Option<String>,
    /// How long it was effective, in all.
    pub effective_s: f64,
    /// Requests that it touched; none of a scenario that touches none.
    pub touched: Option<u64>,
    pub first_touched_at: Option<Timestamp>,
    /// Whether the process ended by it, or a probe failed while it was effective.
    pub is_seen_by_its_end: bool,
    /// What it measured: when, asked and achieved.
    pub samples: Vec<Measured>,
    /// Whether it could be seen from outside.
    pub is_observable: bool,
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub run_id: u64,
    pub at: Timestamp,
    pub asked: f64,
    pub achieved: Option<f64>,
}

impl Item {
    /// The true value of the graded parameter `name` up to `until`: a number, or another value as it is. None where there
    /// is none.
    pub(crate) fn truth_of(&self, name: &str, until: Timestamp) -> Option<Value> {
        let number = match self.graded.get(name)? {
            Truth::Achieved => self.mean_achieved(until),
            Truth::Slope => self.slope(until),
            Truth::Asked => return self.asked(name, until),
        }?;
        let is_time = name.ends_with("_ms");
        let number = if is_time {
            number.min(LAST_BUCKET_MS)
        } else {
            number
        };
        Some(number.into())
    }

    /// What was measured from when it was effective to `until`, or what was measured first where that was later.
    fn measured(&self, until: Timestamp) -> Vec<&Measured> {
        let from = self.effective_at.unwrap_or(self.planned_at);
        let all = self.samples.iter().filter(|one| one.achieved.is_some());
        let within = |one: &&Measured| (from..=until).contains(&one.at);
        let mut found: Vec<_> = all.clone().filter(within).collect();
        if found.is_empty() {
            found.extend(all.take(1));
        }
        found
    }

    fn mean_achieved(&self, until: Timestamp) -> Option<f64> {
        let all = self.measured(until);
        let sum: f64 = all.iter().filter_map(|one| one.achieved).sum();
        (!all.is_empty()).then(|| sum / all.len() as f64)
    }

    /// How much what its first run measured grew in a second, up to its peak.
    fn slope(&self, until: Timestamp) -> Option<f64> {
        let all = self.measured(until);
        let run_id = all.first()?.run_id;
        let start = self.started_at?;
        let of_run = all.into_iter().filter(|one| one.run_id == run_id);
        let figures = of_run.filter_map(|one| Some((one.at, one.achieved?)));
        let (at, most) = figures.reduce(|most, one| if one.1 > most.1 { one } else { most })?;
        let took_s = at.seconds_since(start);
        (took_s > 0.0).then_some(most / took_s)
    }

    /// The value of the plan, and the mean of one that is a shape.
    fn asked(&self, name: &str, until: Timestamp) -> Option<Value> {
        let value = self.params.get(name)?;
        if !value.is_object() {
            return Some(value.clone());
        }
        let given = Map::from_iter([("value".to_owned(), value.clone())]);
        let mut fields = Fields::new("", given).only_read();
        let shape: Shape = fields.field("value", "").shape(.., 0.0);
        let from = self.started_at.unwrap_or(self.planned_at);
        let lasts_s = until.seconds_since(from).max(0.0);
        let at = |n: u32| Duration::from_secs_f64(lasts_s * f64::from(n) / f64::from(POINTS));
        let sum: f64 = (0..=POINTS).map(|n| shape.value_at(at(n))).sum();
        Some((sum / f64::from(POINTS + 1)).into())
    }
}
