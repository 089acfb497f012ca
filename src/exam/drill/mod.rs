//! Opens, keeps and closes the one open drill of the process.
//!
//! A drill starts its faults through the manager as any client does, and what happens is in the ledger. From its
//! opening to its close one task, the [`Keeper`](keeper::Keeper), copies the events to the drill's file, measures its
//! runs, and closes it: asked to, at its deadline, or because it cannot go on. Without an open drill there is no task, no
//! thread and no timer.
//!
//! ```text
//! Free    => Opening (a request was checked)
//! Opening => Open (its opening is in the ledger, on disk) | Free (it could not be opened)
//! Open    => Free (closed; all that it started is gone)
//! ```
//!
//! The end of the process changes nothing: the next boot reads the file and goes on (`resume.rs`).
//!
//! A drill needs a service that is blind from its birth. What the log, the metrics and the names of the threads of
//! another one have said before the drill cannot be taken back, so that one is refused.

mod error;
mod facts;
mod keeper;
mod open;
mod resume;
mod runs;
mod store;
#[cfg(test)]
mod tests;
mod traffic;
pub(crate) mod view;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::error::ExamError;
use self::facts::{facts_of, map_of};
use self::store::Drills;
pub(crate) use self::traffic::Clients;
use self::view::{Accepted, DrillView, MaskedView, Units};
use super::answer::Answer;
use super::preset::Presets;
use super::record::{
    AnswerFacts, CloseReason, OpenedFacts, Record, ReleaseFacts, Reveal, TaintFacts,
};
use super::score::score;
use crate::host::cgroup::Cgroup;
use crate::ledger::Ledger;
use crate::ledger::event::{Event, EventKind, NewEvent};
use crate::manager::ScenarioManager;
use crate::run::{Initiator, Timestamp};
use crate::sync::Lock;
use crate::workload::WorkloadSpec;

/// The name of the open drill in a path, whatever its id is.
const CURRENT: &str = "current";
/// The most paths that are noted for one drill as asked for by someone other than the examiner.
const MOST_TAINTS: usize = 20;
/// The most characters of such a path that are kept.
const PATH_CHARS: usize = 200;

/// The exam; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Exam(Arc<Inner>);

/// What an exam works with.
#[derive(Debug)]
pub(crate) struct ExamParts {
    pub(crate) manager: ScenarioManager,
    pub(crate) ledger: Ledger,
    pub(crate) presets: Presets,
    pub(crate) clients: Clients,
    /// The limits and the routes that presets may need.
    pub(crate) cgroup: Cgroup,
    pub(crate) workload: Option<WorkloadSpec>,
    /// The service's name and version.
    pub(crate) service: (String, String),
    /// Whether it is blind from its start.
    pub(crate) blind: bool,
    /// Cancelled when the daemon ends.
    pub(crate) end: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    parts: ExamParts,
    drills: Drills,
    slot: Lock<Slot>,
    /// The last drill that could not be kept in a file, closed.
    volatile: Lock<Option<(String, Vec<Arc<Event>>)>>,
    last_id: Lock<u64>,
    /// Made when they are first asked for.
    units: OnceLock<Arc<Units>>,
}

/// The place of the one drill that may be open.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Free,
    /// The drill of this id is about to be open.
    Opening(String),
    Open(Arc<Drill>),
}

/// An open drill, as requests and its keeper share it.
#[derive(Debug)]
struct Drill {
    id: String,
    facts: OpenedFacts,
    opened_at: Timestamp,
    deadline_at: Timestamp,
    /// The same by a clock that nothing sets.
    deadline: Instant,
    state: Lock<DrillState>,
    orders: mpsc::Sender<Order>,
}

/// What requests change of an open drill.
#[derive(Debug, Default)]
struct DrillState {
    /// How many answers were accepted.
    answers: u32,
    /// The paths that were noted.
    tainted: Vec<String>,
    /// Whether nothing more is accepted.
    is_closing: bool,
}

/// A request to the keeper to close its drill.
#[derive(Debug)]
struct Order {
    reason: CloseReason,
    because: Option<String>,
    by: Option<Initiator>,
    /// Answered when the drill is closed.
    done: oneshot::Sender<()>,
}

impl Drill {
    /// Accepts nothing once it is closing, or its deadline is over.
    fn check_open(&self, state: &DrillState) -> Result<(), ExamError> {
        match state.is_closing || Instant::now() >= self.deadline {
            true => Err(ExamError::Closed(self.id.clone())),
            false => Ok(()),
        }
    }
}

impl Exam {
    /// With the files of drills in `data_dir`. No drill is open.
    pub(crate) fn new(parts: ExamParts, data_dir: &Path) -> Self {
        Self(Arc::new(Inner {
            parts,
            drills: Drills::new(data_dir),
            slot: Lock::default(),
            volatile: Lock::default(),
            last_id: Lock::default(),
            units: OnceLock::new(),
        }))
    }

    /// What a drill can be.
    pub(crate) fn presets(&self) -> &Presets {
        &self.0.parts.presets
    }

    /// The open drill as a candidate sees it. Looking it up takes as long for a control as for a fault.
    pub(crate) fn current(&self) -> Option<MaskedView> {
        let drill = self.open_drill()?;
        let answers = {
            let state = drill.state.lock();
            drill.check_open(&state).ok()?;
            state.answers
        };
        Some(self.masked(&drill, answers))
    }

    /// Takes an answer to the drill `id`, or to the open one as `current`. It counts as of its receipt, and is on disk
    /// when this returns.
    ///
    /// # Errors
    /// No such drill is open, the answer is bad, which uses up none, or none is left.
    pub(crate) async fn answer(
        &self,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<Accepted, ExamError> {
        let drill = self.find_open(id)?;
        drill.check_open(&drill.state.lock())?;
        let answer = Answer::read(body, &self.0.parts.manager.names());
        let answer = answer.map_err(ExamError::Invalid)?;
        let accepted = {
            let mut state = drill.state.lock();
            drill.check_open(&state)?;
            let most = drill.facts.plan.max_answers;
            if state.answers >= most {
                return Err(ExamError::NoAnswersLeft(most));
            }
            let n = state.answers + 1;
            let facts = AnswerFacts { n, answer };
            // Under the lock, so that nothing follows the close.
            let received_at = self.note(EventKind::DrillAnswer, &drill, &facts).time;
            state.answers = n;
            Accepted {
                accepted: true,
                n,
                received_at,
            }
        };
        self.0.parts.ledger.synced().await;
        Ok(accepted)
    }

    /// Takes down what a release system says that it did.
    ///
    /// # Errors
    /// No such drill is open, or the body is bad.
    pub(crate) async fn release_event(
        &self,
        id: &str,
        body: Map<String, Value>,
    ) -> Result<(), ExamError> {
        let drill = self.find_open(id)?;
        let facts = ReleaseFacts::read(body).map_err(ExamError::Invalid)?;
        {
            let state = drill.state.lock();
            drill.check_open(&state)?;
            self.note(EventKind::DrillReleaseEvent, &drill, &facts);
        }
        self.0.parts.ledger.synced().await;
        Ok(())
    }

    /// Notes that someone other than the examiner asked for `path`, which says the truth; each path once.
    pub(crate) fn taint(&self, path: &str) {
        let Some(drill) = self.open_drill() else {
            return;
        };
        let path: String = path.chars().take(PATH_CHARS).collect();
        let mut state = drill.state.lock();
        if state.is_closing || state.tainted.len() >= MOST_TAINTS || state.tainted.contains(&path) {
            return;
        }
        let facts = TaintFacts { path: path.clone() };
        self.note(EventKind::DrillTainted, &drill, &facts);
        state.tainted.push(path);
    }

    /// Closes the drill `id`, or the open one as `current`, and returns its report; of one that is closed, its report.
    /// What the drill started is gone when this returns.
    ///
    /// # Errors
    /// There is no such drill.
    pub(crate) async fn close(&self, id: &str, by: Option<Initiator>) -> Result<String, ExamError> {
        let open = self.open_drill().filter(|drill| is_it(drill, id));
        let Some(drill) = open else {
            return match id {
                CURRENT => Err(ExamError::NotOpen),
                id => Ok(self.report(id)?.0),
            };
        };
        self.order(&drill, CloseReason::Finished, None, by).await?;
        Ok(self.report(&drill.id)?.0)
    }

    /// Has `drill` closed, and waits until it is.
    async fn order(
        &self,
        drill: &Drill,
        reason: CloseReason,
        because: Option<String>,
        by: Option<Initiator>,
    ) -> Result<(), ExamError> {
        let (done, closed) = oneshot::channel();
        let order = Order {
            reason,
            because,
            by,
            done,
        };
        // A keeper that is gone has closed it, unless the daemon ends.
        if drill.orders.send(order).await.is_ok() {
            closed.await.ok();
        }
        match self.open_drill().is_some_and(|open| open.id == drill.id) {
            true => Err(ExamError::Ending),
            false => Ok(()),
        }
    }

    /// The report of the closed drill `id`, computed from its events, and who may read it.
    ///
    /// # Errors
    /// There is no such drill, or it is open.
    pub(crate) fn report(&self, id: &str) -> Result<(String, Reveal), ExamError> {
        if self.open_drill().is_some_and(|drill| is_it(&drill, id)) {
            return Err(ExamError::StillOpen(id.to_owned()));
        }
        let events = self.events_of(id)?;
        let events = events.ok_or_else(|| ExamError::UnknownDrill(id.to_owned()))?;
        let unreadable = |reason| ExamError::Unreadable {
            id: id.to_owned(),
            reason,
        };
        let record = Record::fold(events.iter().map(|event| &**event)).map_err(unreadable)?;
        let opened = events
            .first()
            .and_then(|event| facts_of::<OpenedFacts>(event));
        let reveal = opened.map_or(Reveal::Admin, |opened| opened.reveal);
        Ok((score(&record).to_text(), reveal))
    }

    /// The events of the closed drill `id`; none where there is no such drill.
    fn events_of(&self, id: &str) -> Result<Option<Vec<Arc<Event>>>, ExamError> {
        if let Some((volatile, events)) = &*self.0.volatile.lock()
            && volatile == id
        {
            return Ok(Some(events.clone()));
        }
        let unread = |reason| ExamError::Unread {
            id: id.to_owned(),
            reason,
        };
        let events = self.0.drills.read(id).map_err(unread)?;
        Ok(events.map(|events| events.into_iter().map(Arc::new).collect()))
    }

    fn open_drill(&self) -> Option<Arc<Drill>> {
        match &*self.0.slot.lock() {
            Slot::Open(drill) => Some(Arc::clone(drill)),
            Slot::Free | Slot::Opening(_) => None,
        }
    }

    /// The open drill, which `id` must name.
    fn find_open(&self, id: &str) -> Result<Arc<Drill>, ExamError> {
        match self.open_drill() {
            Some(drill) if is_it(&drill, id) => Ok(drill),
            _ if id == CURRENT => Err(ExamError::NotOpen),
            _ => match self.events_of(id)? {
                Some(_) => Err(ExamError::Closed(id.to_owned())),
                None => Err(ExamError::UnknownDrill(id.to_owned())),
            },
        }
    }

    fn note(&self, kind: EventKind, drill: &Drill, facts: &impl serde::Serialize) -> Arc<Event> {
        let event = NewEvent::of_drill(kind, &drill.id, map_of(facts));
        self.0.parts.ledger.note(event)
    }
}

fn is_it(drill: &Drill, id: &str) -> bool {
    id == CURRENT || id == drill.id
}
