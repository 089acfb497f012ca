//! How well parameters and beginnings were given.

use serde_json::Value;

use super::parts::{self, Named};
use crate::exam::record::{Item, Record};
use crate::exam::report::{Onset, ParameterMark, Severity, rounded};
use crate::run::Timestamp;

/// A value four times too large or too small is worth nothing: as much as buckets and scrapes allow.
const WORTHLESS_RATIO: f64 = 4.0;
/// Points of a percentage by which it is worth nothing.
const WORTHLESS_POINTS: f64 = 25.0;
/// Seconds at a time scale of 1: how far off a beginning costs nothing, and in how much more half of it is lost.
const FREE_S: f64 = 30.0;
const HALF_S: f64 = 60.0;

/// Of the standing answer, which was right from `detected_at` on.
pub(super) fn of(record: &Record, named: &Named<'_>, detected_at: Option<Timestamp>) -> Severity {
    let (mut per, mut scores) = (Vec::new(), Vec::new());
    let until = detected_at.unwrap_or(record.closed_at);
    for item in parts::causes(record) {
        let finding = named
            .findings
            .iter()
            .find(|finding| finding.scenario == item.scenario);
        let marks = item.graded.keys().filter_map(|param| {
            let given = finding.and_then(|finding| finding.params.get(param));
            mark(item, param, given, until)
        });
        let marks: Vec<_> = marks.collect();
        if !marks.is_empty() {
            let sum: f64 = marks.iter().map(|mark| mark.score).sum();
            scores.push(sum / marks.len() as f64);
        }
        per.extend(marks);
    }
    let is_asked_for = !scores.is_empty();
    let is_false = |name: &str| !named.causes.contains(name);
    let false_ones = named
        .findings
        .iter()
        .filter(|finding| is_false(&finding.scenario));
    scores.extend(false_ones.map(|_| 0.0));
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    Severity {
        score: is_asked_for.then(|| rounded(mean)),
        per,
    }
}

fn mark(
    item: &Item,
    param: &str,
    given: Option<&Value>,
    until: Timestamp,
) -> Option<ParameterMark> {
    let truth = item.truth_of(param, until)?;
    let score = given.map_or(0.0, |given| closeness(param, &truth, given));
    Some(ParameterMark {
        scenario: item.scenario.clone(),
        param: param.to_owned(),
        truth: shown(truth),
        answer: given.cloned().unwrap_or_default(),
        score: rounded(score),
    })
}

/// From 1 where `given` is the truth to 0.
pub(super) fn closeness(param: &str, truth: &Value, given: &Value) -> f64 {
    let Some(truth) = truth.as_f64() else {
        return f64::from(u8::from(truth == given));
    };
    let given = given.as_f64().unwrap_or(f64::NAN);
    let worth = match param.contains("percent") {
        true => 1.0 - (given - truth).abs() / WORTHLESS_POINTS,
        false if truth == given => 1.0,
        false => 1.0 - (given / truth).ln().abs() / WORTHLESS_RATIO.ln(),
    };
    // What is no number, or not above 0 as the truth is, is worth nothing.
    if worth.is_nan() {
        0.0
    } else {
        worth.clamp(0.0, 1.0)
    }
}

/// A number with no more digits than are meant.
pub(super) fn shown(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if !value.is_i64() && !value.is_u64() => rounded(number).into(),
        _ => value,
    }
}

/// How well the beginnings of the right causes were given.
pub(super) fn onset(record: &Record, named: &Named<'_>) -> Onset {
    let causes = parts::causes(record).into_iter();
    let errors = causes.filter_map(|item| {
        let finding = named
            .findings
            .iter()
            .find(|finding| finding.scenario == item.scenario);
        let since = finding?.since?;
        Some(since.seconds_since(item.effective_at?))
    });
    let errors: Vec<f64> = errors.collect();
    let mean = |of: &dyn Fn(f64) -> f64| {
        let sum: f64 = errors.iter().map(|error| of(*error)).sum();
        (!errors.is_empty()).then(|| rounded(sum / errors.len() as f64))
    };
    let free_s = record.scaled_s(FREE_S);
    let half_s = record.scaled_s(HALF_S);
    Onset {
        score: mean(&|error| (-(error.abs() - free_s).max(0.0) / half_s).exp2()),
        error_s: mean(&f64::abs),
    }
}
