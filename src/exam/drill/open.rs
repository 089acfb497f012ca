//! The opening of a drill.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::facts::map_of;
use super::keeper::{End, Faults, Keeper};
use super::store::Store;
use super::{Drill, DrillState, DrillView, Exam, ExamError, Order, Slot};
use crate::exam::draw;
use crate::exam::patient::Patient;
use crate::exam::plan::Plan;
use crate::exam::record::{CloseReason, OpenedFacts, Reveal};
use crate::exam::request::DrillRequest;
use crate::ledger::event::{Event, EventKind, NewEvent};
use crate::manager::session::SessionError;
use crate::manager::{ManagerError, Started};
use crate::run::{Initiator, Timestamp};

/// Requests to close a drill that may wait for its keeper.
const MAILBOX: usize = 16;
/// The digits of ids, in their order (Crockford's base 32).
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// The scenarios that end the process.
const ENDS_PROCESS: &str = "crash";

/// What a request says of a drill beside what is drawn.
#[derive(Debug)]
pub(super) struct OpeningTerms {
    pub(super) seed: String,
    pub(super) reveal: Reveal,
    pub(super) note: Option<String>,
    /// Whether the open drill is closed first.
    pub(super) replace: bool,
    /// Whether it may end with the process.
    pub(super) volatile: bool,
}

impl Exam {
    /// Opens a drill as `body` asks for. Its faults are planned or up when this returns.
    ///
    /// # Errors
    /// The body is bad, the service is not blind, a drill is open, nothing can be kept in `DataDir`, starts are refused,
    /// or the limits forbid what the plan has.
    pub(crate) async fn open(
        &self,
        body: Map<String, Value>,
        by: Option<Initiator>,
    ) -> Result<DrillView, ExamError> {
        let exam = self.clone();
        // A task: a client that hangs up must not leave half a drill.
        let opening = tokio::spawn(async move { exam.open_now(body, by).await });
        opening.await.map_err(|_| ExamError::Ending)?
    }

    async fn open_now(
        &self,
        body: Map<String, Value>,
        by: Option<Initiator>,
    ) -> Result<DrillView, ExamError> {
        let parts = &self.0.parts;
        let request = DrillRequest::read(body).map_err(ExamError::Invalid)?;
        if !parts.blind {
            return Err(ExamError::NotBlind);
        }
        let seed = request.seed.clone().unwrap_or_else(random_hex);
        let vocabulary = parts.manager.names();
        let patient = Patient::of(&parts.cgroup, parts.workload.as_ref());
        let allows = |body| parts.manager.allows(body);
        let surroundings: (_, draw::Allows<'_>) = (&patient, &allows);
        let plan = draw::draw(&request, &seed, &parts.presets, surroundings, &vocabulary)?;
        let terms = OpeningTerms {
            seed,
            reveal: request.reveal,
            note: request.note,
            replace: request.replace,
            volatile: request.volatile,
        };
        self.open_drawn(plan, terms, by).await
    }

    /// Opens the drill that was drawn.
    pub(super) async fn open_drawn(
        &self,
        plan: Plan,
        terms: OpeningTerms,
        by: Option<Initiator>,
    ) -> Result<DrillView, ExamError> {
        let parts = &self.0.parts;
        self.check_start(&plan).await?;
        let place = self.reserve(terms.replace, by).await?;
        let store = self.new_store(&place.id, &plan, terms.volatile)?;
        let salt: [u8; 16] = rand::random();
        let facts = OpenedFacts {
            commitment: plan.commitment(&salt),
            salt: hex(&salt),
            seed: terms.seed,
            service: parts.service.0.clone(),
            service_version: parts.service.1.clone(),
            reveal: terms.reveal,
            note: terms.note,
            plan,
        };
        let opened = NewEvent::of_drill(EventKind::DrillOpened, &place.id, map_of(&facts)).by(by);
        let opened = parts.ledger.note(opened);
        parts.ledger.synced().await;
        let now = parts.ledger.now().time;
        let (drill, orders) = Drill::new(place.id.clone(), facts, opened.time, now);
        let drill = Arc::new(drill);
        let is_volatile = matches!(store, Store::Memory(_));
        let keeper = Keeper::new(self, &drill, store, opened.seq - 1);
        self.go_on(keeper, (Faults::All, 0.0), orders).await?;
        let mut warnings: Vec<_> = parts
            .clients
            .warning(drill.facts.plan.traffic_rps)
            .into_iter()
            .collect();
        if is_volatile {
            warnings.push("The drill ends with the process: DataDir cannot be written.".to_owned());
        }
        Ok(DrillView {
            masked: self.masked(&drill, 0),
            note: drill.facts.note.clone(),
            warnings,
        })
    }

    /// Puts the drill of `keeper`, opened `elapsed_s` ago, into its place with its traffic, and starts `faults`. A drill
    /// of which they cannot be started is closed.
    pub(super) async fn go_on(
        &self,
        mut keeper: Keeper,
        (faults, elapsed_s): (Faults, f64),
        orders: mpsc::Receiver<Order>,
    ) -> Result<(), ExamError> {
        let Self(inner) = self;
        let drill = Arc::clone(keeper.drill());
        let traffic = inner
            .parts
            .clients
            .attend(&drill, &inner.parts.ledger, elapsed_s);
        match traffic {
            Ok(traffic) => keeper.attend(traffic),
            Err(error) => {
                let because = format!("its traffic cannot be started: {error}");
                keeper
                    .close(End::of(CloseReason::Aborted).because(because))
                    .await;
                return Err(ExamError::NoTraffic(error));
            }
        }
        *inner.slot.lock() = Slot::Open(drill);
        let (report, started) = oneshot::channel();
        tokio::spawn(keeper.keep(faults, orders, report));
        // Without an answer the daemon ends.
        started.await.unwrap_or(Err(ExamError::Ending))
    }

    /// Starts `faults` of the drill.
    pub(super) async fn start(&self, drill: &Drill, faults: Faults) -> Result<(), ManagerError> {
        let manager = &self.0.parts.manager;
        let by = Some(Initiator::Exam);
        let elapsed_s = match faults {
            Faults::All => 0.0,
            Faults::From(elapsed_s) => elapsed_s,
            Faults::None => return Ok(()),
        };
        match drill.facts.plan.start_body(elapsed_s) {
            Some(body) => manager.start_set(body, by).await.map(drop),
            None if faults == Faults::All => {
                let stopped = manager.sessions.stop_all(by).await;
                stopped.map(drop).map_err(ManagerError::Session)
            }
            None => Ok(()),
        }
    }

    /// Refuses a plan that could not be started.
    async fn check_start(&self, plan: &Plan) -> Result<(), ExamError> {
        let manager = &self.0.parts.manager;
        if let Some(since) = manager.sessions.view().halted_since {
            return Err(ManagerError::Session(SessionError::Halted(since)).into());
        }
        if let Some(mut body) = plan.start_body(0.0) {
            body.insert("dry_run".to_owned(), true.into());
            let checked = manager.start_set(body, Some(Initiator::Exam)).await?;
            debug_assert!(matches!(checked, Started::Planned(_)));
        }
        Ok(())
    }

    /// Takes the place of the open drill; `replace` closes the one that has it.
    async fn reserve(&self, replace: bool, by: Option<Initiator>) -> Result<Place, ExamError> {
        loop {
            let open = {
                let mut slot = self.0.slot.lock();
                match &*slot {
                    Slot::Free => {
                        let id = self.next_id();
                        *slot = Slot::Opening(id.clone());
                        return Ok(Place {
                            exam: self.clone(),
                            id,
                        });
                    }
                    Slot::Open(drill) if replace => Arc::clone(drill),
                    Slot::Opening(id) => return Err(ExamError::Open(id.clone())),
                    Slot::Open(drill) => return Err(ExamError::Open(drill.id.clone())),
                }
            };
            let because = Some("another drill replaces it".to_owned());
            self.order(&open, CloseReason::Aborted, because, by).await?;
        }
    }

    /// Where the events go.
    fn new_store(&self, id: &str, plan: &Plan, volatile: bool) -> Result<Store, ExamError> {
        let reason = match self.0.drills.create(id) {
            Ok(writer) => return Ok(Store::File(writer)),
            Err(error) => error.to_string(),
        };
        let expect = &plan.expect;
        let named = expect.causes.iter().chain(&expect.derived);
        let named = named.chain(plan.scenarios.iter().map(|scenario| &scenario.name));
        match named.into_iter().any(|name| name == ENDS_PROCESS) {
            _ if !volatile => Err(ExamError::NoStore(reason)),
            true => Err(ExamError::NoStoreForEnd {
                preset: plan.preset.clone(),
                reason,
            }),
            false => Ok(Store::Memory(Vec::new())),
        }
    }

    /// An id that holds its time and no more: milliseconds since 1970, moved on when two coincide.
    fn next_id(&self) -> String {
        let now = self.0.parts.ledger.now().time;
        let ms = (now.seconds_since(Timestamp::default()) * 1000.0) as u64;
        let mut last = self.0.last_id.lock();
        *last = ms.max(last.saturating_add(1));
        id_of(*last)
    }
}

/// A place that is free again when it is dropped before its drill is open.
struct Place {
    exam: Exam,
    id: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut slot = self.exam.0.slot.lock();
        if matches!(&*slot, Slot::Opening(id) if *id == self.id) {
            *slot = Slot::Free;
        }
    }
}

impl Drill {
    /// A drill that was opened at `opened_at`, and where its keeper gets its orders. It is `now`.
    pub(super) fn new(
        id: String,
        facts: OpenedFacts,
        opened_at: Timestamp,
        now: Timestamp,
    ) -> (Self, mpsc::Receiver<Order>) {
        let deadline_at = opened_at.plus_seconds(facts.plan.deadline_s);
        let left = Duration::try_from_secs_f64(deadline_at.seconds_since(now)).unwrap_or_default();
        let (orders, to_keeper) = mpsc::channel(MAILBOX);
        let drill = Self {
            id,
            facts,
            opened_at,
            deadline_at,
            deadline: Instant::now() + left,
            state: Default::default(),
            orders,
        };
        (drill, to_keeper)
    }

    /// The drill that `events` show, with the answers and the paths that were noted.
    pub(super) fn of(
        events: &[Arc<Event>],
        now: Timestamp,
    ) -> Option<(Self, mpsc::Receiver<Order>)> {
        let opened = events.first()?;
        let (id, facts) = (opened.drill_id.clone()?, super::facts_of(opened)?);
        let (drill, orders) = Self::new(id, facts, opened.time, now);
        *drill.state.lock() = DrillState::of(events);
        Some((drill, orders))
    }
}

impl DrillState {
    fn of(events: &[Arc<Event>]) -> Self {
        let mut state = Self::default();
        for event in events {
            match event.kind {
                EventKind::DrillAnswer => state.answers += 1,
                EventKind::DrillTainted => {
                    let taint = super::facts_of::<super::TaintFacts>(event);
                    state.tainted.extend(taint.map(|taint| taint.path));
                }
                _ => {}
            }
        }
        state
    }
}

fn random_hex() -> String {
    hex(&rand::random::<[u8; 16]>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ten digits, in the order of the numbers until the year 37,000.
fn id_of(ms: u64) -> String {
    let digit = |place: u32| DIGITS[(ms >> (5 * place) & 31) as usize] as char;
    let digits: String = (0..10).rev().map(digit).collect();
    format!("d-{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_their_times() {
        let times = [0, 31, 32, 1_767_600_000_000, 1_767_600_000_001];
        let ids = times.map(id_of);
        assert!(ids.is_sorted() && ids.iter().all(|id| id.len() == 12));
        assert_eq!(ids[2], "d-0000000010");
    }

    #[test]
    fn a_hash_is_written_in_hexadecimal() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
    }
}
