//! `deadlock`: each worker of the service holds a lock and waits for that of the next.
//!
//! The service neither answers nor ends. The control runtime and its admin listener have a thread of their own, so a
//! stop there, or the end of the run, breaks the ring.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::host::runtimes::Runtimes;
use crate::input::{FieldError, Fields};
use crate::plugin::{
    Active, Conflicts, Exit, Group, PreflightContext, Probe, Reading, RunContext, Scenario,
    Shortfall, StartError,
};
use crate::sync::{Condvar, Lock, PoisonError};

/// How long the answer to the start has to leave over the service listener itself.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// How often to look whether the service has begun, which a boot profile may precede.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Deadlocks the service.
#[derive(Debug)]
pub(super) struct Deadlock;

impl Scenario for Deadlock {
    const NAME: &'static str = "deadlock";
    const GROUP: Group = Group::Process;
    const SUMMARY: &'static str =
        "Makes every worker of the service wait for ever for a lock of another";
    const EXAMPLE: &'static str = r#"{}"#;
    const CONFLICTS: Conflicts = &[(
        "runtime_stall",
        "a worker that waits for ever cannot be blocked again and again",
    )];
    const SILENCES_SERVICE: bool = true;

    fn read(_fields: &mut Fields) -> Self {
        Self
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        match context.has_admin {
            true => Ok(None),
            false => Err(FieldError::new(
                "",
                "the service would never answer again: there is no admin listener to stop it",
            )),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let ring = Arc::new(Ring::default());
        let probe = Arc::clone(&ring);
        let live = cx.live_guard();
        let runtimes = cx.runtimes().clone();
        Ok(Active::new(probe, async move {
            let _live = live;
            let guard = BreakUp(ring);
            let service = tokio::select! {
                biased;
                () = cx.stop.cancelled() => return Exit::Stopped,
                service = async {
                    cx.begun().await;
                    tokio::time::sleep(ANSWER_WITHIN).await;
                    serving(&runtimes).await
                } => service,
            };
            hold(&guard.0, &service, runtimes.load().workers.max(1), &cx.stop).await;
            Exit::Stopped
        }))
    }
}

async fn serving(runtimes: &Runtimes) -> Handle {
    loop {
        if let Some(service) = runtimes.serving() {
            return service;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Deadlocks all `workers` of `service` until `stop`.
async fn hold(ring: &Arc<Ring>, service: &Handle, workers: usize, stop: &CancellationToken) {
    ring.begin(workers);
    let task = |worker| {
        let ring = Arc::clone(ring);
        // No await: a task blocks the worker that takes it, so each is taken by another one.
        service.spawn(async move { ring.lock_own_and_next(worker) })
    };
    let tasks: Vec<_> = (0..workers).map(task).collect();
    stop.cancelled().await;
    ring.break_up();
    for task in tasks {
        // It is cancelled where the service's runtime is gone.
        task.await.ok();
    }
}

/// A lock for each worker. They can be broken up, which no mutex can.
#[derive(Debug, Default)]
struct Ring {
    state: Lock<RingState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct RingState {
    /// Of each worker, whether its lock is held.
    held: Vec<bool>,
    is_broken: bool,
}

impl Ring {
    fn begin(&self, workers: usize) {
        self.state.lock().held = vec![false; workers];
    }

    /// Takes the lock of `worker`, and once all have theirs, that of the next. Returns when the ring is broken up.
    fn lock_own_and_next(&self, worker: usize) {
        let mut state = self.state.lock();
        state.held[worker] = true;
        self.changed.notify_all();
        let next = (worker + 1) % state.held.len();
        while !state.is_broken && (state.held[next] || state.held.contains(&false)) {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.held[worker] = false;
    }

    fn break_up(&self) {
        self.state.lock().is_broken = true;
        self.changed.notify_all();
    }
}

/// Breaks the ring up when it is dropped.
struct BreakUp(Arc<Ring>);

impl Drop for BreakUp {
    fn drop(&mut self) {
        self.0.break_up();
    }
}

impl Probe for Ring {
    fn read(&self) -> Reading {
        let state = self.state.lock();
        let waiting = state.held.iter().filter(|held| **held).count();
        let all = state.held.len();
        Reading {
            asked: all as f64,
            achieved: (all > 0).then_some(waiting as f64),
            unit: "workers",
            // A worker is busy with something that does not yield.
            shortfall: (waiting < all && !state.is_broken).then_some(Shortfall::Contended),
            metrics: metrics([("waiting_workers", waiting.into())]),
        }
    }

    fn left(&self) -> Option<f64> {
        let state = self.state.lock();
        Some(state.held.iter().filter(|held| **held).count() as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<Deadlock>(json!({}));
    }

    #[tokio::test]
    async fn it_starts_and_stops_without_a_service() {
        starts_and_stops::<Deadlock>(json!({})).await;
    }

    #[test]
    fn a_ring_holds_until_it_is_broken_up() {
        for workers in [1, 3] {
            let ring = Arc::new(Ring::default());
            ring.begin(workers);
            let lock = |worker| {
                let ring = Arc::clone(&ring);
                std::thread::spawn(move || ring.lock_own_and_next(worker))
            };
            let threads: Vec<_> = (0..workers).map(lock).collect();
            while ring.read().achieved != Some(workers as f64) {
                std::thread::yield_now();
            }
            assert!(threads.iter().all(|thread| !thread.is_finished()));
            ring.break_up();
            for thread in threads {
                thread.join().expect("no panic");
            }
            assert_eq!(ring.left(), Some(0.0));
        }
    }
}
