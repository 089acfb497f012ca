//! The mark: a pure function of what happened.
//!
//! `total = D · G · (0.25·A + 0.75·F1·(0.6 + 0.2·S + 0.2·V))`, each part from 0 to 1: D whether anything was found, G
//! nothing where a fault that had to be rolled back was promoted, A the decision, F1 the causes, S their parameters, V
//! the speed. On a control that is answered right S and V are 1, and S is 1 where no parameter is asked for.

mod aggregate;
mod floor;
mod parts;
mod severity;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use self::parts::{Named, decision_score, gate};
use self::standing::Standing;
use super::record::{CloseReason, Item, Record, ReleaseAct};
use super::report::{
    Decided, Detection, Identification, Mitigation, Onset, Outcome, Report, SCORING, Severity,
    Truth, rounded,
};
use crate::run::Timestamp;

pub(crate) use self::aggregate::{Aggregate, aggregate};

/// Weights of the total.
const OF_DECISION: f64 = 0.25;
const OF_CAUSES: f64 = 0.75;
const BASE: f64 = 0.6;
const OF_SEVERITY: f64 = 0.2;
const OF_SPEED: f64 = 0.2;
/// Seconds at a time scale of 1: how late a detection costs nothing, and in how much more half of the speed is lost.
const FREE_S: f64 = 45.0;
const HALF_S: f64 = 120.0;
/// For how long nothing may be wrong after an act, so that it has ended the faults.
const CALM_S: f64 = 60.0;

/// Marks one drill.
pub(crate) fn score(record: &Record) -> Report {
    let plan = &record.opened.plan;
    let floor = floor::of(&plan.pool, &plan.vocabulary);
    let marks = Marks::of(record);
    let total = marks.total(record);
    let lift = total.map(|total| (total - floor.best) / (1.0 - floor.best).max(1e-9));
    Report {
        drill_id: record.drill_id.clone(),
        scoring: SCORING,
        generator: plan.generator,
        seed: record.opened.seed.clone(),
        salt: record.opened.salt.clone(),
        commitment: record.opened.commitment.clone(),
        commitment_ok: is_committed(record),
        blind: true,
        preset: plan.preset.clone(),
        service: record.opened.service.clone(),
        service_version: record.opened.service_version.clone(),
        note: record.opened.note.clone(),
        opened_at: record.opened_at,
        closed_at: record.closed_at,
        closed: record.closed.reason,
        because: record.closed.because.clone(),
        tainted: record.tainted.clone(),
        contaminated: record.contaminated.clone(),
        clock_suspect: record.is_clock_suspect,
        restarts: record.restarts,
        truth: record
            .items
            .iter()
            .map(|item| truth_of(item, record))
            .collect(),
        expected: plan.expect.clone(),
        answers: record.answers.len(),
        detection: marks.detection,
        identification: marks.identification,
        severity: marks.severity,
        onset: marks.onset,
        decision: marks.decision,
        mitigation: mitigation(record),
        speed: marks.speed.map(rounded),
        total: total.map(rounded),
        floor,
        lift: lift.map(rounded),
    }
}

/// The parts of the mark.
struct Marks {
    detection: Detection,
    identification: Identification,
    severity: Severity,
    onset: Onset,
    decision: Decided,
    speed: Option<f64>,
}

impl Marks {
    fn of(record: &Record) -> Self {
        let standing = Standing::of(record);
        let outcome = outcome(record, &standing);
        let (acted_at, acted) = record.acts.last().copied().unzip();
        let last = standing.last();
        let decided = last.map(|given| given.answer.decision);
        let has_mark = outcome != Outcome::Void;
        let expected = record.opened.plan.expect.decision;
        let score = decided.map(|decided| decision_score(expected, decided));
        let named = Named::of(record, last);
        let ttd = standing.detected_at().zip(first_effect(record));
        let ttd_s = ttd.map(|(at, effect)| at.seconds_since(effect));
        let started = record.items.iter().filter_map(|item| item.started_at).min();
        let from_start = standing.detected_at().zip(started);
        let tti = standing.exact_at().zip(first_effect(record));
        let is_right_control = outcome == Outcome::Tn;
        let mut identification = match has_mark {
            true => named.identification(record),
            false => Identification::default(),
        };
        identification.tti_s = tti.map(|(at, effect)| rounded(at.seconds_since(effect)));
        Self {
            detection: Detection {
                outcome,
                ttd_s: ttd_s.map(rounded),
                ttd_from_start_s: from_start.map(|(at, start)| rounded(at.seconds_since(start))),
                premature: standing.is_premature(),
            },
            identification,
            severity: severity::of(record, &named, standing.detected_at()),
            onset: severity::onset(record, &named),
            decision: Decided {
                answer: decided,
                score: score.filter(|_| has_mark),
                acted,
                acted_at,
            },
            speed: match is_right_control {
                true => Some(1.0),
                false => ttd_s.map(|ttd_s| speed(record, ttd_s)),
            },
        }
    }

    /// None where the drill has no mark.
    fn total(&self, record: &Record) -> Option<f64> {
        let is_found = match self.detection.outcome {
            Outcome::Void => return None,
            Outcome::Tp | Outcome::Tn => true,
            Outcome::Fp | Outcome::Fn | Outcome::NoAnswer => false,
        };
        let Some(decided) = self.decision.answer.filter(|_| is_found) else {
            return Some(0.0);
        };
        let gate = gate(record.opened.plan.expect.decision, decided);
        let decision = self.decision.score.unwrap_or_default();
        let causes = self.identification.f1.unwrap_or_default();
        let severity = self.severity.score.unwrap_or(1.0);
        let speed = self.speed.unwrap_or_default();
        Some(total(gate, decision, causes, severity, speed))
    }
}

/// The formula of the total, of what was found.
fn total(gate: f64, decision: f64, causes: f64, severity: f64, speed: f64) -> f64 {
    let quality = BASE + OF_SEVERITY * severity + OF_SPEED * speed;
    gate * (OF_DECISION * decision + OF_CAUSES * causes * quality)
}

fn speed(record: &Record, ttd_s: f64) -> f64 {
    let late_s = (ttd_s - record.scaled_s(FREE_S)).max(0.0);
    (-late_s / record.scaled_s(HALF_S)).exp2()
}

fn outcome(record: &Record, standing: &Standing<'_>) -> Outcome {
    let is_control = record.opened.plan.is_control();
    let is_wrong = !parts::causes(record).is_empty();
    if record.closed.reason == CloseReason::Aborted || (!is_control && !is_wrong) {
        return Outcome::Void;
    }
    let detected = standing.last().map(|given| given.answer.detected);
    match (is_wrong, detected) {
        (true, Some(true)) => Outcome::Tp,
        (true, _) => Outcome::Fn,
        (false, Some(true)) => Outcome::Fp,
        (false, Some(false)) => Outcome::Tn,
        (false, None) => Outcome::NoAnswer,
    }
}

/// When the first observable cause had effect.
fn first_effect(record: &Record) -> Option<Timestamp> {
    let causes = parts::causes(record).into_iter();
    causes.filter_map(|item| item.effective_at).min()
}

fn is_committed(record: &Record) -> bool {
    let text = &record.opened.salt;
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..16).map(byte).collect();
    let salt: Option<[u8; 16]> = bytes.and_then(|bytes| bytes.try_into().ok());
    let plan = &record.opened.plan;
    salt.is_some_and(|salt| plan.commitment(&salt) == record.opened.commitment)
}

fn truth_of(item: &Item, record: &Record) -> Truth {
    let until = item.cleared_at.unwrap_or(record.closed_at);
    let params = item.graded.keys().filter_map(|name| {
        let value = item.truth_of(name, until)?;
        Some((name.clone(), severity::shown(value)))
    });
    Truth {
        scenario: item.scenario.clone(),
        planned_at: item.planned_at,
        started_at: item.started_at,
        effective_at: item.effective_at,
        peak_at: item.peak_at,
        cleared_at: item.cleared_at,
        cleared_by: item.cleared_by.clone(),
        effective_s: rounded(item.effective_s),
        touched: item.touched,
        first_touched_at: item.first_touched_at,
        observable: item.is_observable,
        params: params.collect::<BTreeMap<_, _>>(),
    }
}

/// Where an act of the release system ended the last fault, and nothing was wrong for long enough after it.
fn mitigation(record: &Record) -> Mitigation {
    let nothing = Mitigation {
        ttm_s: None,
        held_s: None,
        by: None,
    };
    let causes = parts::causes(record);
    let last = causes.iter().max_by_key(|item| item.cleared_at);
    let ended = last.and_then(|item| item.cleared_at.zip(first_effect(record)));
    let Some((item, (cleared, effect))) = last.zip(ended) else {
        return nothing;
    };
    let is_from_outside = item.cleared_by.as_deref() == Some("rolled_back")
        || record.acts.iter().any(|(at, act)| {
            is_act(*act) && *at <= cleared && item.cleared_by.as_deref() != Some("expired")
        });
    let held_s = record.closed_at.seconds_since(cleared);
    match is_from_outside && held_s >= record.scaled_s(CALM_S) {
        true => Mitigation {
            ttm_s: Some(rounded(cleared.seconds_since(effect))),
            held_s: Some(rounded(held_s)),
            by: item.cleared_by.clone(),
        },
        false => nothing,
    }
}

fn is_act(act: ReleaseAct) -> bool {
    matches!(act, ReleaseAct::RolledBack | ReleaseAct::Restarted)
}
