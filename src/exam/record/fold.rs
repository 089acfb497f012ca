//! From events to the record of one drill.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::facts::{AnswerFacts, ClosedFacts, MeasuredFacts, ProbeFacts, ReleaseFacts, TaintFacts};
use super::item::Measured;
use super::{GivenAnswer, Item, OpenedFacts, Record, RecordError};
use crate::exam::record::{CloseReason, ReleaseAct};
use crate::ledger::event::{Event, EventKind, LastEnd};
use crate::ledger::history::{History, Interval, PastRun, Wanted};
use crate::run::{Initiator, Timestamp};

/// For how long a fault must be effective to be seen, in seconds at a time scale of 1.
const SEEN_AFTER_S: f64 = 45.0;
/// How many requests it must touch, where it touches any.
const SEEN_REQUESTS: u64 = 20;
/// How often a drill probes, in seconds at a time scale of 1, and how long each may take.
const PROBED_EVERY_S: f64 = 10.0;
const PROBE_TIMEOUT_S: f64 = 1.0;
/// What a run of memory that the kernel ended is cleared by.
const OUT_OF_MEMORY: &str = "out_of_memory";
const ROLLED_BACK: &str = "rolled_back";

/// What is known so far.
struct Fold {
    record: Record,
    history: History,
    is_closed: bool,
    last: Timestamp,
    /// When the process was down.
    down: Vec<(Timestamp, Timestamp)>,
    /// When a probe began to fail, or to succeed again.
    flips: Vec<Timestamp>,
    /// When the process ended, and whether the kernel ended it for its memory.
    ends: Vec<(Timestamp, bool)>,
    samples: Vec<(Timestamp, super::Sample)>,
}

impl Record {
    /// The drill whose opening is the first among `events`; what is before that and after its close is not looked at.
    ///
    /// # Errors
    /// The opening or the close is missing, or an event of the drill is not what this version writes.
    pub(crate) fn fold<'e>(
        events: impl IntoIterator<Item = &'e Event>,
    ) -> Result<Self, RecordError> {
        let mut events = events.into_iter();
        let opening = events.find(|event| event.kind == EventKind::DrillOpened);
        let mut fold = Fold::begin(opening.ok_or(RecordError::NoOpening)?)?;
        for event in events {
            fold.see(event)?;
            if fold.is_closed {
                return Ok(fold.end());
            }
        }
        Err(RecordError::NotClosed(fold.record.drill_id))
    }
}

fn facts_of<T: DeserializeOwned>(event: &Event) -> Result<T, RecordError> {
    let facts = event.drill.as_deref().cloned().unwrap_or_default();
    serde_json::from_value(Value::Object(facts)).map_err(|error| RecordError::BadFacts {
        seq: event.seq,
        kind: event.kind,
        reason: error.to_string(),
    })
}

impl Fold {
    fn begin(opening: &Event) -> Result<Self, RecordError> {
        let opened: OpenedFacts = facts_of(opening)?;
        let items = opened.plan.scenarios.iter().map(|planned| Item {
            scenario: planned.name.clone(),
            params: planned.params.clone(),
            graded: planned.graded.clone(),
            planned_at: opening.time.plus_seconds(planned.after_s),
            ..Item::default()
        });
        let closed = ClosedFacts {
            reason: CloseReason::Aborted,
            because: None,
        };
        let mut history = History::default();
        history.apply(opening);
        Ok(Self {
            record: Record {
                drill_id: opening.drill_id.clone().unwrap_or_default(),
                opened_at: opening.time,
                items: items.collect(),
                opened,
                answers: Vec::new(),
                acts: Vec::new(),
                tainted: Vec::new(),
                contaminated: Vec::new(),
                is_clock_suspect: false,
                restarts: 0,
                closed_at: opening.time,
                closed,
            },
            history,
            is_closed: false,
            last: opening.time,
            down: Vec::new(),
            flips: Vec::new(),
            ends: Vec::new(),
            samples: Vec::new(),
        })
    }

    fn see(&mut self, event: &Event) -> Result<(), RecordError> {
        if event.time < self.last || event.kind == EventKind::ClockStepped {
            self.record.is_clock_suspect = true;
        }
        // Before the boot ends the runs that it interrupted.
        if event.kind == EventKind::Boot {
            self.boot(event);
        }
        self.history.apply(event);
        self.last = self.last.max(event.time);
        let is_own = event.drill_id.as_deref() == Some(&self.record.drill_id);
        if is_own {
            self.see_own(event)?;
        } else {
            self.see_others(event);
        }
        Ok(())
    }

    /// An event of the drill itself.
    fn see_own(&mut self, event: &Event) -> Result<(), RecordError> {
        let record = &mut self.record;
        match event.kind {
            EventKind::DrillAnswer => {
                let AnswerFacts { n, answer } = facts_of(event)?;
                let was_down = |at: &Timestamp| {
                    let mut down = self.down.iter();
                    *at <= event.time && down.any(|(from, to)| (*from..=*to).contains(at))
                };
                let backdated = answer.at.filter(was_down);
                record.answers.push(GivenAnswer {
                    n,
                    answer,
                    at: backdated.unwrap_or(event.time),
                    is_backdated: backdated.is_some(),
                });
            }
            EventKind::DrillReleaseEvent => {
                let ReleaseFacts { what, .. } = facts_of(event)?;
                record.acts.push((event.time, what));
            }
            EventKind::DrillMeasured => {
                let MeasuredFacts { runs } = facts_of(event)?;
                let runs = runs.into_iter().map(|run| (event.time, run));
                self.samples.extend(runs);
            }
            EventKind::DrillProbeFlip => {
                let ProbeFacts { .. } = facts_of(event)?;
                self.flips.push(event.time);
            }
            EventKind::DrillTainted => {
                let TaintFacts { path } = facts_of(event)?;
                record.tainted.push(path);
            }
            EventKind::DrillClosed => {
                record.closed = facts_of(event)?;
                record.closed_at = event.time;
                self.is_closed = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// An event of faults: those of others than the drill spoil it.
    fn see_others(&mut self, event: &Event) {
        let by_others = matches!(event.by, Some(Initiator::Client(_) | Initiator::Signal));
        let what = match event.kind {
            EventKind::Accepted => "started",
            EventKind::Stopping | EventKind::Replaced if event.run_id.is_some() => "ended",
            _ => return,
        };
        if by_others {
            let scenario = event.scenario.as_deref().unwrap_or_default();
            let text = format!("{scenario} was {what} by another than the drill");
            self.record.contaminated.push(text);
        }
    }

    /// The process before this boot is over.
    fn boot(&mut self, boot: &Event) {
        self.record.restarts += 1;
        self.down.push((self.last, boot.time));
        let previous = boot.boot.as_ref().and_then(|boot| boot.previous.as_ref());
        let end = previous.map(|previous| previous.end);
        self.ends
            .push((self.last, end == Some(LastEnd::SuspectedOutOfMemory)));
        let has_live = self.runs().iter().any(|run| run.end.is_none());
        if end == Some(LastEnd::Unclean) && !has_live {
            let text = "the process ended without a fault of the drill on";
            self.record.contaminated.push(text.to_owned());
        }
    }

    /// The runs that the drill started, in the order in which they were accepted.
    fn runs(&self) -> Vec<PastRun> {
        let page = self.history.page(Wanted {
            since: 0,
            limit: usize::MAX,
            newest_first: false,
        });
        let runs = page.sessions.into_iter().flat_map(|session| session.runs);
        runs.filter(|run| run.by == Some(Initiator::Exam)).collect()
    }

    fn end(mut self) -> Record {
        let runs = self.runs();
        let mut items = std::mem::take(&mut self.record.items);
        for item in &mut items {
            let own = runs.iter().filter(|run| run.scenario == item.scenario);
            self.fill(item, &own.collect::<Vec<_>>());
        }
        self.record.items = items;
        self.record
    }

    fn fill(&self, item: &mut Item, runs: &[&PastRun]) {
        let closed_at = self.record.closed_at;
        item.started_at = runs.iter().find_map(|run| run.started_at);
        let measured = runs.iter().flat_map(|run| &run.measured);
        let spans =
            measured.filter_map(|Interval { from, to }| Some(((*from)?, to.unwrap_or(closed_at))));
        let spans: Vec<_> = spans.collect();
        item.effective_at = spans.first().map(|(from, _)| *from);
        let lasted = spans
            .iter()
            .map(|(from, to)| to.seconds_since(*from).max(0.0));
        item.effective_s = lasted.sum();
        self.fill_measured(item, runs);
        if let Some(last) = runs.last() {
            item.cleared_at = last.ended_at.or(last.ended_before);
            item.cleared_by = last.end.map(|end| end.name().to_owned());
        }
        self.name_the_end(item);
        let was_effective =
            |at: &Timestamp| spans.iter().any(|(from, to)| (*from..=*to).contains(at));
        let ended = self.ends.iter().any(|(at, _)| was_effective(at));
        // The probe that finds it gone comes a period later.
        let period_s = self.record.scaled_s(PROBED_EVERY_S) + PROBE_TIMEOUT_S;
        let has_flip = |at: &Timestamp| {
            let mut spans = spans.iter();
            spans.any(|(from, to)| (*from..=to.plus_seconds(period_s)).contains(at))
        };
        item.is_seen_by_its_end = ended || self.flips.iter().any(has_flip);
        let lasts = item.effective_s >= self.record.scaled_s(SEEN_AFTER_S);
        let touches = item.touched.is_none_or(|touched| touched >= SEEN_REQUESTS);
        item.is_observable = !spans.is_empty() && (lasts && touches || item.is_seen_by_its_end);
    }

    fn fill_measured(&self, item: &mut Item, runs: &[&PastRun]) {
        let is_own = |id: u64| runs.iter().any(|run| run.run_id == id);
        let own = self
            .samples
            .iter()
            .filter(|(_, sample)| is_own(sample.run_id));
        for (at, sample) in own.clone() {
            item.samples.push(Measured {
                run_id: sample.run_id,
                at: *at,
                asked: sample.asked,
                achieved: sample.achieved,
            });
        }
        item.first_touched_at = own.clone().find_map(|(_, sample)| sample.first_touched_at);
        let touched = runs.iter().filter_map(|run| {
            let of_run = own
                .clone()
                .filter(|(_, sample)| sample.run_id == run.run_id);
            of_run.filter_map(|(_, sample)| sample.touched).max()
        });
        item.touched = touched.reduce(|a, b| a + b);
        let figures = item
            .samples
            .iter()
            .filter_map(|one| Some((one.at, one.achieved?)));
        let peak = figures.reduce(|most, one| if one.1 > most.1 { one } else { most });
        item.peak_at = peak.map(|(at, _)| at);
    }

    /// Says what ended the item where its own end does not.
    fn name_the_end(&self, item: &mut Item) {
        let Some(at) = item.cleared_at else { return };
        let is_out_of_memory = self
            .ends
            .last()
            .is_some_and(|(end, oom)| *oom && *end <= at);
        if is_out_of_memory && item.cleared_by.as_deref() == Some("unclean") {
            item.cleared_by = Some(OUT_OF_MEMORY.to_owned());
        }
        let acts = self.record.acts.iter();
        let mut rolled_back = acts.filter(|(_, act)| *act == ReleaseAct::RolledBack);
        let is_rolled_back = self.record.closed.reason == CloseReason::RolledBack
            || rolled_back.any(|(act_at, _)| *act_at <= at);
        let is_by_its_end = matches!(item.cleared_by.as_deref(), Some("expired" | OUT_OF_MEMORY));
        if is_rolled_back && !is_by_its_end {
            item.cleared_by = Some(ROLLED_BACK.to_owned());
        }
    }
}
