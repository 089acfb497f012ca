//! What the API shows of drills.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Drill, Exam, ExamError, facts_of};
use crate::exam::record::{OpenedFacts, Record};
use crate::exam::report::Report;
use crate::exam::score::{Aggregate, aggregate, score};
use crate::host::{process, threads};
use crate::ledger::event::EventKind;
use crate::manager::ScenarioManager;
use crate::run::Timestamp;

/// How many drills a history has at most, where its reader asks for no other number.
const HISTORY: usize = 100;
const INSTRUCTIONS: &str = "A release of this service may or may not be faulty. Name every independent cause among the \
     vocabulary, or none. Mark consequences \"role\": \"symptom\" and passing oddities \"role\": \"benign\": neither is \
     marked. Give since and params in the listed units when you can. Decide promote, hold, rollback or restart. Your last \
     answer before deadline_at counts; time counts from when the fault had effect. \"detected\": false is an answer; \
     silence is not.";

static INSTANCE: LazyLock<String> = LazyLock::new(process::host_name);

/// What a candidate sees of the open drill: of one shape and length whatever it is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct MaskedView {
    /// The drill; it holds the time of its opening and no more.
    pub drill_id: String,
    pub state: DrillPhase,
    /// The host that it is open on: there may be several behind one address.
    pub instance: &'static str,
    pub opened_at: Timestamp,
    /// No answer is accepted from then on.
    pub deadline_at: Timestamp,
    /// The hash of the plan, so that it cannot be changed later.
    pub commitment: String,
    /// How many answers are still accepted.
    pub answers_left: u32,
    /// What is asked.
    pub instructions: &'static str,
    /// The names that an answer may have.
    pub vocabulary: Vec<&'static str>,
    /// The unit of each parameter that has one, by scenario.
    pub units: Arc<Units>,
}

/// Units of parameters, by scenario and parameter.
pub(crate) type Units = BTreeMap<&'static str, BTreeMap<String, String>>;

/// Whether a drill is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DrillPhase {
    Open,
}

/// A drill that was just opened. What was drawn is shown once it is closed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct DrillView {
    #[serde(flatten)]
    pub masked: MaskedView,
    /// The examiner's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why a fault may not be observable, and what will not survive the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The receipt of an answer. It says nothing of whether that is right.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Accepted {
    /// Always.
    pub accepted: bool,
    /// Which answer it is, from 1.
    pub n: u32,
    /// When it came.
    pub received_at: Timestamp,
}

/// Which drills a history has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct HistoryQuery {
    /// Those that were opened then or later.
    pub since: Option<Timestamp>,
    /// Those of this preset.
    pub preset: Option<String>,
    /// The newest so many; 100 by default.
    pub limit: Option<usize>,
}

/// Closed drills and what they add up to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct History {
    /// Their reports, newest first.
    pub drills: Vec<Report>,
    /// Means over them.
    pub aggregate: Aggregate,
    /// The drills whose files make no report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<String>,
}

impl Exam {
    /// The closed drills that `query` asks for, from their files.
    ///
    /// # Errors
    /// The system refuses a thread: reading many files would hold up everything else on this one.
    pub(crate) async fn history(&self, query: HistoryQuery) -> Result<History, ExamError> {
        let (done, history) = oneshot::channel();
        let exam = self.clone();
        let thread = std::thread::Builder::new().name(threads::name("history"));
        // A client that hung up needs no answer.
        let read = thread.spawn(move || drop(done.send(exam.read_history(&query))));
        read.map_err(ExamError::NoThread)?;
        history.await.map_err(|_| ExamError::Ending)
    }

    fn read_history(&self, query: &HistoryQuery) -> History {
        let (mut drills, mut unreadable) = (Vec::new(), Vec::new());
        let ids = self.0.drills.ids();
        let ids = ids.unwrap_or_else(|error| {
            unreadable.push(format!("drills: {error}"));
            Vec::new()
        });
        let most = query.limit.unwrap_or(HISTORY);
        for id in ids {
            if drills.len() >= most {
                break;
            }
            match self.report_for(&id, query) {
                Ok(report) => drills.extend(report),
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        History {
            aggregate: aggregate(&drills),
            drills,
            unreadable,
        }
    }

    /// The report of drill `id`; none where it is open, or `query` does not ask for it.
    fn report_for(&self, id: &str, query: &HistoryQuery) -> Result<Option<Report>, ExamError> {
        let events = self.events_of(id)?.unwrap_or_default();
        let is_closed = events
            .last()
            .is_some_and(|last| last.kind == EventKind::DrillClosed);
        let Some(opened) = events.first().filter(|_| is_closed) else {
            return Ok(None);
        };
        let preset = facts_of::<OpenedFacts>(opened).map(|facts| facts.plan.preset);
        let is_asked_for = query.since.is_none_or(|since| opened.time >= since)
            && query
                .preset
                .as_ref()
                .is_none_or(|asked| preset.as_ref() == Some(asked));
        if !is_asked_for {
            return Ok(None);
        }
        let record = Record::fold(events.iter().map(|event| &**event));
        let record = record.map_err(|reason| ExamError::Unreadable {
            id: id.to_owned(),
            reason,
        })?;
        Ok(Some(score(&record)))
    }

    /// What a candidate sees of `drill` after so many `answers`.
    pub(super) fn masked(&self, drill: &Drill, answers: u32) -> MaskedView {
        let manager = &self.0.parts.manager;
        MaskedView {
            drill_id: drill.id.clone(),
            state: DrillPhase::Open,
            instance: &INSTANCE,
            opened_at: drill.opened_at,
            deadline_at: drill.deadline_at,
            commitment: drill.facts.commitment.clone(),
            answers_left: drill.facts.plan.max_answers.saturating_sub(answers),
            instructions: INSTRUCTIONS,
            vocabulary: manager.names(),
            units: Arc::clone(self.0.units.get_or_init(|| Arc::new(units_of(manager)))),
        }
    }
}

/// The units of all parameters of all scenarios.
fn units_of(manager: &ScenarioManager) -> Units {
    let plugins = manager.registry().iter();
    let units = plugins.map(|plugin| {
        let schema = plugin.schema();
        let params = schema["properties"].as_object().into_iter().flatten();
        let unit = |(name, param): (&String, &Value)| {
            Some((name.clone(), param["unit"].as_str()?.to_owned()))
        };
        (plugin.name(), params.filter_map(unit).collect())
    });
    units.collect()
}
