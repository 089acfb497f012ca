//! The causes and the decision.

use std::collections::{BTreeMap, BTreeSet};

use crate::exam::answer::Finding;
use crate::exam::preset::Decision;
use crate::exam::record::{GivenAnswer, Item, Record};
use crate::exam::report::{Identification, rounded};

/// The observable causes.
pub(super) fn causes(record: &Record) -> Vec<&Item> {
    let expected = &record.opened.plan.expect.causes;
    let items = record.items.iter();
    let causes = items.filter(|item| item.is_observable && expected.contains(&item.scenario));
    causes.collect()
}

/// The names that an answer may have without credit or blame: consequences, and causes that could not be seen.
pub(super) fn neutral(record: &Record) -> BTreeSet<&str> {
    let expect = &record.opened.plan.expect;
    let seen: BTreeSet<_> = causes(record)
        .into_iter()
        .map(|item| item.scenario.as_str())
        .collect();
    let unseen = expect
        .causes
        .iter()
        .filter(|name| !seen.contains(name.as_str()));
    let neutral = unseen.chain(&expect.derived);
    neutral
        .map(String::as_str)
        .filter(|name| !seen.contains(name))
        .collect()
}

/// What the standing answer names as causes, the surest first, without what is neutral.
pub(super) struct Named<'r> {
    pub(super) findings: Vec<&'r Finding>,
    pub(super) causes: BTreeSet<&'r str>,
    is_answered: bool,
}

impl<'r> Named<'r> {
    pub(super) fn of(record: &'r Record, last: Option<&'r GivenAnswer>) -> Self {
        let neutral = neutral(record);
        let mut findings = last.map_or_else(Vec::new, |given| given.answer.causes());
        findings.retain(|finding| !neutral.contains(finding.scenario.as_str()));
        let causes = causes(record).into_iter();
        Self {
            findings,
            causes: causes.map(|item| item.scenario.as_str()).collect(),
            is_answered: last.is_some(),
        }
    }

    fn right(&self, first: usize) -> usize {
        let first = self.findings.iter().take(first);
        first
            .filter(|finding| self.causes.contains(finding.scenario.as_str()))
            .count()
    }

    pub(super) fn identification(&self, record: &Record) -> Identification {
        if !self.is_answered {
            return Identification::default();
        }
        let (named, causes) = (self.findings.len(), self.causes.len());
        let right = self.right(named) as f64;
        let of = |all: usize| (all > 0).then(|| rounded(right / all as f64));
        let ac_at = |k: usize| {
            let most = k.min(causes);
            (most > 0).then(|| rounded(self.right(k) as f64 / most as f64))
        };
        Identification {
            precision: of(named),
            recall: of(causes),
            f1: Some(rounded(f1(right, named, causes))),
            exact: Some(right as usize == causes && named == causes),
            ac_at: BTreeMap::from([("1", ac_at(1)), ("3", ac_at(3))]),
            tti_s: None,
            brier: Some(rounded(self.brier(&record.opened.plan.vocabulary))),
        }
    }

    fn brier(&self, vocabulary: &[String]) -> f64 {
        let square = |name: &String| {
            let finding = self
                .findings
                .iter()
                .find(|finding| finding.scenario == *name);
            let sure = finding.map_or(0.0, |finding| finding.sureness());
            let truth = f64::from(u8::from(self.causes.contains(name.as_str())));
            (sure - truth).powi(2)
        };
        let sum: f64 = vocabulary.iter().map(square).sum();
        sum / vocabulary.len().max(1) as f64
    }
}

impl Default for Identification {
    fn default() -> Self {
        Self {
            precision: None,
            recall: None,
            f1: None,
            exact: None,
            ac_at: BTreeMap::from([("1", None), ("3", None)]),
            tti_s: None,
            brier: None,
        }
    }
}

/// 1 where nothing is wrong and nothing is named.
pub(super) fn f1(right: f64, named: usize, causes: usize) -> f64 {
    match named + causes {
        0 => 1.0,
        all => 2.0 * right / all as f64,
    }
}

/// What the decision `answered` is worth where `expected` is right.
pub(super) fn decision_score(expected: Decision, answered: Decision) -> f64 {
    use Decision::{Hold, None, Promote, Restart, Rollback};
    match (expected, answered) {
        (_, None) => 0.0,
        (Rollback, Rollback) | (Hold, Hold) | (Promote, Promote) => 1.0,
        (Rollback | Promote, Hold) | (Hold, Rollback) => 0.5,
        (Rollback | Hold, Restart) | (Hold, Promote) => 0.3,
        (Promote, Restart) => 0.2,
        (Rollback, Promote) | (Promote, Rollback) => 0.0,
        // No preset expects them.
        (Restart | None, _) => f64::from(u8::from(expected == answered)),
    }
}

/// 0 where what had to be rolled back is promoted.
pub(super) fn gate(expected: Decision, answered: Decision) -> f64 {
    let is_fatal = (expected, answered) == (Decision::Rollback, Decision::Promote);
    f64::from(u8::from(!is_fatal))
}
