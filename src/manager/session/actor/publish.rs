//! What the outside sees: the fault table, the view, and the measured effects.

use tokio::time::Instant;
use tracing::warn;

use super::ending::Cause;
use super::waiting::WaitingRun;
use super::{Actor, KEEP_EVERY, LiveRun, LiveSession, OBSERVE_EVERY};
use crate::manager::abort::{Measurements, available_memory_mb};
use crate::manager::probe_watch::ProbeWatch;
use crate::manager::report::StartReport;
use crate::manager::view::SessionStatus;
use crate::run::EndReason;

impl LiveSession {
    fn status(&self) -> SessionStatus {
        let expiries = self.runs.iter().map(|run| run.run.expires_at);
        let expiries = expiries.chain(self.waiting.iter().map(WaitingRun::expires_at));
        // None if any of them runs until stopped.
        let expiries: Option<Vec<_>> = expiries.collect();
        SessionStatus {
            report: StartReport {
                scenarios: self.runs.iter().map(LiveRun::name).collect(),
                ..StartReport::new(self.id.clone(), self.details.clone())
            },
            started_at: self.started_at,
            expires_at: expiries.and_then(|all| all.into_iter().max()),
            lease_expires_at: None,
            abort_when: self.abort_when.clone(),
        }
    }
}

impl Actor {
    pub(super) fn store_faults(&self) {
        let live = self.live_runs().filter(|run| run.is_live());
        let armed = live.flat_map(|run| run.armed.iter().cloned());
        self.table.store(armed.collect());
    }

    pub(super) fn publish(&mut self) {
        self.store_faults();
        match &self.session {
            None => self.view.session = None,
            Some(session) if session.is_live() => self.view.session = Some(session.status()),
            // It ends as a whole, and is shown whole until all of it is gone.
            Some(_) => {}
        }
        let planned = self.session.iter().flat_map(LiveSession::planned);
        self.view.planned = planned.collect();
        self.view.lease = self.lease().cloned();
        self.views.push(self.view.clone());
        // Readers see it when this is done.
        let ledger = self.services.ledger.clone();
        self.answers.spawn(async move { ledger.synced().await });
    }

    /// Measures what the runs achieve, and ends the session if a condition of `abort_when` is met.
    pub(super) fn observe(&mut self) {
        // A run whose thread waits for its disk reads no clock, and must not look frozen.
        self.services.lived.now();
        let Some(session) = &mut self.session else {
            return;
        };
        let ledger = &self.services.ledger;
        let is_due = self
            .kept_at
            .is_none_or(|at| at.elapsed() + OBSERVE_EVERY / 2 >= KEEP_EVERY);
        let (mut achieved, mut readings) = (Vec::new(), Vec::new());
        for run in session.runs.iter_mut().filter(|run| run.is_live()) {
            let effect = run.observe(ledger);
            readings.push(run.last_reading(&effect, ledger.now()));
            achieved.extend(effect.reading.achieved.map(|now| (run.name(), now)));
        }
        if is_due {
            ledger.keep_readings(readings);
            self.kept_at = Some(Instant::now());
        }
        let conditions = &session.abort_when;
        if conditions.is_empty() || !session.is_live() {
            return;
        }
        let memory_matters = conditions.memory_available_below_mb.is_some();
        let memory = memory_matters.then(|| available_memory_mb(&self.services.cgroup));
        let probe_watch = session.probe_watch.as_ref();
        let measured = Measurements {
            memory_available_mb: memory.flatten(),
            probe_failing_for: probe_watch.and_then(ProbeWatch::failing_for),
            achieved,
        };
        if let Some(because) = conditions.met(&measured) {
            warn!(session = %session.id, because, "Session aborted: a condition of abort_when is met.");
            let cause = Cause {
                because: Some(because),
                ..Cause::of(EndReason::Aborted, None)
            };
            self.end_all(&cause);
            self.settle();
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let live = self.live_runs().filter(|run| run.is_live());
        live.filter_map(|run| run.deadline).min()
    }
}
