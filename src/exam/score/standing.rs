//! Which answer counts: the last one, and since when it has been right without a break.

use std::collections::BTreeSet;

use super::parts;
use crate::exam::record::{GivenAnswer, Record};
use crate::run::Timestamp;

/// The answers in the order in which they count.
pub(super) struct Standing<'r> {
    answers: Vec<&'r GivenAnswer>,
    /// The causes that are to be named.
    causes: BTreeSet<&'r str>,
    /// Names that are neither credited nor blamed.
    neutral: BTreeSet<&'r str>,
    effect: Option<Timestamp>,
}

impl<'r> Standing<'r> {
    pub(super) fn of(record: &'r Record) -> Self {
        let deadline = record.deadline_at();
        let mut answers: Vec<_> = record.answers.iter().collect();
        answers.retain(|given| given.at <= deadline);
        answers.sort_by_key(|given| (given.at, given.n));
        let causes = parts::causes(record).into_iter();
        Self {
            answers,
            causes: causes.map(|item| item.scenario.as_str()).collect(),
            neutral: parts::neutral(record),
            effect: super::first_effect(record),
        }
    }

    /// The one that is marked.
    pub(super) fn last(&self) -> Option<&'r GivenAnswer> {
        self.answers.last().copied()
    }

    /// Whether a fault was claimed before one had effect, or where none had.
    pub(super) fn is_premature(&self) -> bool {
        let mut claims = self.answers.iter().filter(|given| given.answer.detected);
        let Some(effect) = self.effect else {
            return false;
        };
        claims.any(|given| given.at < effect)
    }

    /// Since when the fault has been detected up to the end.
    pub(super) fn detected_at(&self) -> Option<Timestamp> {
        self.right_since(|given| given.answer.detected)
    }

    /// Since when the causes have been exact up to the end.
    pub(super) fn exact_at(&self) -> Option<Timestamp> {
        self.right_since(|given| {
            let causes = given.answer.causes().into_iter();
            let named = causes.map(|finding| finding.scenario.as_str());
            let named: BTreeSet<_> = named.filter(|name| !self.neutral.contains(name)).collect();
            given.answer.detected && named == self.causes
        })
    }

    /// The first answer after the effect from which on all are right; none where nothing is wrong.
    fn right_since(&self, is_right: impl Fn(&GivenAnswer) -> bool) -> Option<Timestamp> {
        let effect = self.effect?;
        let newest_first = self.answers.iter().rev();
        let right = newest_first.take_while(|given| given.at >= effect && is_right(given));
        right.last().map(|given| given.at)
    }
}
