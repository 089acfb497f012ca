//! The one task that keeps an open drill: it copies the ledger's events to the drill's file, measures the drill's runs,
//! and closes the drill.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use super::facts::map_of;
use super::runs::{Change, Runs};
use super::store::Store;
use super::traffic::DrillTraffic;
use super::{Drill, Exam, ExamError, Order, Slot};
use crate::exam::record::{CloseReason, ClosedFacts, MeasuredFacts, Sample};
use crate::ledger::Visible;
use crate::ledger::event::{Event, EventKind, NewEvent};
use crate::manager::view::LatestRun;
use crate::run::Initiator;

/// How many events are copied at a time.
const BATCH: usize = 1000;
/// How often the runs are measured, in seconds at a time scale of 1, and the least and the most at any.
const MEASURE_EVERY_S: f64 = 5.0;
const LEAST_MEASURE_S: f64 = 0.25;
/// How soon the first request that a run touches is noted; its stamp is exact.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LEAST_LOOK: Duration = Duration::from_millis(20);

/// How a drill ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) reason: CloseReason,
    pub(super) because: Option<String>,
    pub(super) by: Option<Initiator>,
}

impl End {
    pub(super) fn of(reason: CloseReason) -> Self {
        Self {
            reason,
            because: None,
            by: None,
        }
    }

    pub(super) fn because(self, because: impl Into<String>) -> Self {
        Self {
            because: Some(because.into()),
            ..self
        }
    }
}

/// What a keeper starts first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Faults {
    /// All that is planned. What ran before ends, for a control too.
    All,
    /// What is still to come so many seconds after the opening.
    From(f64),
    /// Nothing.
    None,
}

/// Keeps one drill.
#[derive(Debug)]
pub(super) struct Keeper {
    exam: Exam,
    drill: Arc<Drill>,
    store: Store,
    visible: watch::Receiver<Visible>,
    /// The last event that was copied.
    since: u64,
    runs: Runs,
    /// The runs whose first touch was noted.
    touched: BTreeSet<u64>,
    next_measure: Instant,
    traffic: Option<DrillTraffic>,
}

impl Keeper {
    /// Of `drill`, whose events up to `since` the `store` has.
    pub(super) fn new(exam: &Exam, drill: &Arc<Drill>, store: Store, since: u64) -> Self {
        Self {
            visible: exam.0.parts.ledger.visible(),
            exam: exam.clone(),
            drill: Arc::clone(drill),
            store,
            since,
            runs: Runs::default(),
            touched: BTreeSet::new(),
            next_measure: Instant::now(),
            traffic: None,
        }
    }

    pub(super) fn drill(&self) -> &Arc<Drill> {
        &self.drill
    }

    /// Holds the traffic until the drill is closed.
    pub(super) fn attend(&mut self, traffic: DrillTraffic) {
        self.traffic = Some(traffic);
    }

    /// Starts what there is to start, which `started` hears of, and keeps the drill until it is closed or the daemon
    /// ends.
    pub(super) async fn keep(
        mut self,
        faults: Faults,
        mut orders: mpsc::Receiver<Order>,
        started: oneshot::Sender<Result<(), ExamError>>,
    ) {
        let daemon_ends = self.exam.0.parts.end.clone();
        // If it ever panics, everything ends: no fault goes on that nothing would stop.
        let ends_all = daemon_ends.clone().drop_guard();
        let mut ordered = None;
        let end = tokio::select! {
            biased;
            () = daemon_ends.cancelled() => None,
            end = self.live(faults, &mut orders, (started, &mut ordered)) => Some(end),
        };
        // Otherwise the next boot goes on.
        if let Some(end) = end {
            self.close(end).await;
            orders.close();
            let late = std::iter::from_fn(|| orders.try_recv().ok().map(|order| order.done));
            for done in ordered.into_iter().chain(late) {
                // A client that hung up needs no answer.
                done.send(()).ok();
            }
        }
        ends_all.disarm();
    }

    async fn live(
        &mut self,
        faults: Faults,
        orders: &mut mpsc::Receiver<Order>,
        (started, ordered): (
            oneshot::Sender<Result<(), ExamError>>,
            &mut Option<oneshot::Sender<()>>,
        ),
    ) -> End {
        let outcome = self.exam.start(&self.drill, faults).await;
        let failure = outcome.as_ref().err().map(ToString::to_string);
        // A client that hung up sees the drill all the same.
        started.send(outcome.map_err(ExamError::Manager)).ok();
        match failure {
            Some(because) => End::of(CloseReason::Aborted).because(because),
            None => self.watch(orders, ordered).await,
        }
    }

    /// Goes on until the drill is to be closed.
    async fn watch(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        ordered: &mut Option<oneshot::Sender<()>>,
    ) -> End {
        loop {
            if let Some(end) = self.follow() {
                return end;
            }
            let look = self.next_look();
            tokio::select! {
                biased;
                Some(order) = orders.recv() => {
                    let Order { reason, because, by, done } = order;
                    *ordered = Some(done);
                    return End { reason, because, by };
                }
                reason = self.store.failed() => {
                    let because = format!("its events cannot be kept: {reason}");
                    return End::of(CloseReason::Aborted).because(because);
                }
                () = sleep_until(self.drill.deadline) => return End::of(CloseReason::Expired),
                Ok(()) = self.visible.changed() => {}
                () = at(look) => self.look(),
            }
        }
    }

    /// Copies what the ledger shows, and returns how the drill ends by it.
    fn follow(&mut self) -> Option<End> {
        let ledger = self.exam.0.parts.ledger.clone();
        let mut end = None;
        self.visible.mark_unchanged();
        loop {
            let slice = ledger.events_after(self.since, BATCH, |_| true);
            self.since = slice.next;
            if slice.events.is_empty() {
                return end;
            }
            let closed = slice.events.iter().position(|event| self.is_close(event));
            let events = &slice.events[..closed.map_or(slice.events.len(), |at| at + 1)];
            self.store.append(events);
            for event in events {
                let next = self.take_in(event);
                end = end.or(next);
            }
            if closed.is_some() {
                return end;
            }
        }
    }

    fn is_close(&self, event: &Event) -> bool {
        event.kind == EventKind::DrillClosed && event.drill_id.as_deref() == Some(&self.drill.id)
    }

    fn take_in(&mut self, event: &Event) -> Option<End> {
        let end = match self.runs.see(event) {
            Change::Nothing => None,
            Change::Gone(id) => {
                self.measure_gone(id);
                None
            }
            Change::EndedByOthers(id) => {
                self.measure_gone(id);
                let because = "another client stopped or replaced its faults";
                Some(End::of(CloseReason::Stopped).because(because))
            }
        };
        match event.kind {
            EventKind::Halted => {
                let halted = End::of(CloseReason::Aborted).because("everything was halted");
                Some(End {
                    by: event.by,
                    ..halted
                })
            }
            _ => end,
        }
    }

    /// When to look at the runs next; never while none is up.
    fn next_look(&self) -> Option<Instant> {
        if !self.runs.any_is_up() {
            return None;
        }
        let scale = self.drill.facts.plan.time_scale;
        let soon = LOOK_EVERY.mul_f64(scale).clamp(LEAST_LOOK, LOOK_EVERY);
        let soon = self.has_untouched().then(|| Instant::now() + soon);
        soon.into_iter().chain([self.next_measure]).min()
    }

    /// Whether a run is up that may touch its first request at any time.
    fn has_untouched(&self) -> bool {
        let runs = self.latest();
        let mut up = runs.iter().filter(|latest| self.is_up(latest));
        up.any(|latest| {
            let touches = latest.run.probe.touched().is_some();
            touches && !self.touched.contains(&latest.run.tag.run_id)
        })
    }

    /// Notes what the runs measure, where that is due or one has touched its first request.
    fn look(&mut self) {
        let is_due = Instant::now() >= self.next_measure;
        let samples = self.samples();
        let is_new = |sample: &Sample| {
            sample.first_touched_at.is_some() && !self.touched.contains(&sample.run_id)
        };
        if is_due || samples.iter().any(is_new) {
            self.note_measured(samples);
        }
        if is_due {
            let every = MEASURE_EVERY_S * self.drill.facts.plan.time_scale;
            let every = every.clamp(LEAST_MEASURE_S, MEASURE_EVERY_S);
            self.next_measure = Instant::now() + Duration::from_secs_f64(every);
        }
    }

    /// What each run of the drill measures that is up.
    fn samples(&self) -> Vec<Sample> {
        let runs = self.latest();
        let up = runs.iter().filter(|latest| self.is_up(latest));
        up.map(sample_of).collect()
    }

    /// Notes what a run that is gone measured last, and all that it touched.
    fn measure_gone(&mut self, id: u64) {
        let runs = self.latest();
        let gone = runs.iter().find(|latest| latest.run.tag.run_id == id);
        let gone = gone.filter(|latest| latest.run.started_at.is_some());
        self.note_measured(gone.map(sample_of).into_iter().collect());
    }

    fn note_measured(&mut self, runs: Vec<Sample>) {
        if runs.is_empty() {
            return;
        }
        let touched = runs.iter().filter(|run| run.first_touched_at.is_some());
        self.touched.extend(touched.map(|run| run.run_id));
        let facts = MeasuredFacts { runs };
        self.exam
            .note(EventKind::DrillMeasured, &self.drill, &facts);
    }

    fn is_up(&self, latest: &LatestRun) -> bool {
        latest.end.is_none() && self.runs.is_up(latest.run.tag.run_id)
    }

    fn latest(&self) -> Vec<LatestRun> {
        let view = self.exam.0.parts.manager.sessions.view();
        view.latest.values().cloned().collect()
    }

    /// Closes the drill: takes its faults off, notes the close and makes sure that it is kept. Its place is free when
    /// this returns.
    pub(super) async fn close(&mut self, end: End) {
        // From now on no answer is noted.
        self.drill.state.lock().is_closing = true;
        self.exam.0.parts.ledger.synced().await;
        self.follow();
        self.note_measured(self.samples());
        self.stop_runs().await;
        self.traffic = None;
        self.exam.0.parts.ledger.synced().await;
        // Their ends, and what follows from them, come before the close.
        self.follow();
        let facts = ClosedFacts {
            reason: end.reason,
            because: end.because.clone(),
        };
        let closed = NewEvent::of_drill(EventKind::DrillClosed, &self.drill.id, map_of(&facts));
        self.exam.0.parts.ledger.note(closed.by(end.by));
        self.exam.0.parts.ledger.synced().await;
        self.follow();
        if let Err(error) = self.store.written().await {
            error!(drill = self.drill.id, %error, "The end of a drill could not be kept.");
        }
        let reason = map_of(&facts).remove("reason");
        info!(drill = self.drill.id, reason = ?reason, because = end.because, "Drill closed.");
        if let Store::Memory(events) = &mut self.store {
            let events = std::mem::take(events);
            *self.exam.0.volatile.lock() = Some((self.drill.id.clone(), events));
        }
        *self.exam.0.slot.lock() = Slot::Free;
    }

    /// Stops the runs of the drill and calls off those to come; not those of others.
    async fn stop_runs(&self) {
        let manager = &self.exam.0.parts.manager;
        let own: BTreeSet<_> = self.runs.scenarios().collect();
        let names = manager.names();
        for name in names.into_iter().filter(|name| own.contains(name)) {
            // Once the daemon ends, all runs end.
            drop(manager.sessions.stop_one(name, Some(Initiator::Exam)).await);
        }
    }
}

/// What a run measures, or measured before its effect was taken off.
fn sample_of(LatestRun { run, end }: &LatestRun) -> Sample {
    let (asked, achieved) = match end {
        Some(end) => (end.effect.reading.asked, end.effect.reading.achieved),
        None => {
            let reading = run.probe.read();
            (reading.asked, reading.achieved)
        }
    };
    let touched = run.probe.touched();
    Sample {
        run_id: run.tag.run_id,
        scenario: run.tag.scenario.to_owned(),
        asked,
        achieved,
        touched: touched.map(|touched| touched.requests),
        first_touched_at: touched.and_then(|touched| touched.first_at),
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
