//! `runtime_stall`: the workers of the service's runtime are blocked again and again, as by a call that does not yield.
//!
//! A stall is a task that sleeps without yielding: as many as there are workers to block. The control runtime and its
//! admin listener have a thread of their own and are not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::metrics;
use crate::host::lived::LivedClock;
use crate::host::runtimes::{Runtimes, workers};
use crate::input::{FieldError, Fields, Resource, Shape, above};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::shaped::Shaped;
use crate::plugin::{
    Active, Exit, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall,
    StartError,
};

/// A worker that was blocked for less than this share of the time was busy with something else.
const TOLERANCE: f64 = 0.9;
/// The shortest time between two stalls.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// Blocks workers.
#[derive(Debug)]
pub(super) struct RuntimeStall {
    stall_ms: Shape,
    every: Duration,
    share: f64,
}

impl Scenario for RuntimeStall {
    const NAME: &'static str = "runtime_stall";
    const GROUP: Group = Group::Process;
    const SUMMARY: &'static str = "Blocks the workers of the service's runtime again and again";
    const EXAMPLE: &'static str = r#"{"stall_ms": 200, "every_ms": 1000}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How long each stall lasts.";
        let field = fields.field("stall_ms", about);
        let field = field.asks_for(Resource::LatencyMs);
        let stall_ms = field.shape_of_milliseconds(0.0..=60_000.0, 200.0);
        let about = "The time from the begin of a stall to that of the next; one that a stall outlasts is left out.";
        let every = fields.field("every_ms", about);
        let every = every.milliseconds(10.0..=600_000.0, 1000.0);
        let about = "Share of the service's workers that is blocked, rounded up.";
        Self {
            stall_ms,
            every,
            share: fields.field("workers", about).number(above(0.0, 1.0), 1.0),
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let all = workers();
        if blocked(self.share, all) == all && !context.has_admin {
            let detail = format!(
                "would block all {all} workers of the service, and there is no admin listener to stop it"
            );
            return Err(FieldError::new("/workers", detail));
        }
        Ok(None)
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let stalls = Arc::new(Stalls {
            stall_ms: self.stall_ms,
            every: self.every,
            share: self.share,
            asked: Gauge::default(),
            achieved: Gauge::default(),
            count: AtomicU64::new(0),
        });
        let (runtimes, clock) = (cx.runtimes().clone(), cx.lived().clone());
        let live = cx.live_guard();
        let probe = Arc::clone(&stalls);
        Ok(Active::new(probe, async move {
            let _live = live;
            stalls.run(&runtimes, &clock, &cx.stop).await;
            Exit::Stopped
        }))
    }
}

/// How many of `all` workers a share of them is.
fn blocked(share: f64, all: usize) -> usize {
    // From 1 to all, since the share is above 0 and at most 1.
    ((share * all as f64).ceil() as usize).clamp(1, all)
}

/// The stalls and their figures, in milliseconds.
#[derive(Debug)]
struct Stalls {
    stall_ms: Shape,
    every: Duration,
    share: f64,
    asked: Gauge,
    /// Of the latest: how long the workers were blocked in the mean.
    achieved: Gauge,
    count: AtomicU64,
}

impl Stalls {
    async fn run(&self, runtimes: &Runtimes, clock: &LivedClock, stop: &CancellationToken) {
        let stall_ms = Shaped::begin(self.stall_ms.clone(), clock);
        let mut next = tokio::time::Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            let ms = stall_ms.now();
            self.asked.set(ms);
            // A boot profile may start this before the service has a runtime.
            if let Some(service) = runtimes.serving().filter(|_| ms > 0.0) {
                let length = Duration::from_secs_f64(ms / 1000.0);
                let workers = blocked(self.share, runtimes.load().workers.max(1));
                let stall = Stall::begin(&service, workers, length);
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep_until(stall.until.into()) => {}
                }
                let mean = stall.end().await;
                if stop.is_cancelled() {
                    return;
                }
                self.achieved.set(mean.as_secs_f64() * 1000.0);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            let earliest = tokio::time::Instant::now() + SHORTEST_PAUSE;
            next += self.every;
            while next < earliest {
                next += self.every;
            }
        }
    }
}

/// A stall under way. Dropping it ends it without waiting.
struct Stall {
    until: Instant,
    over: Arc<StopFlag>,
    /// How long the workers were blocked, in nanoseconds, summed up.
    blocked_ns: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stall {
    /// Blocks as many `workers` of `service` for `length`. A task blocks the worker that takes it, so each is taken by
    /// another one.
    fn begin(service: &Handle, workers: usize, length: Duration) -> Self {
        let until = Instant::now() + length;
        let over = Arc::new(StopFlag::default());
        let blocked_ns = Arc::new(AtomicU64::new(0));
        let task = |_| {
            let (over, blocked_ns) = (Arc::clone(&over), Arc::clone(&blocked_ns));
            service.spawn(async move {
                let from = Instant::now();
                // No await: this is the fault.
                if !over.sleep_until(until) || from < until {
                    let blocked = from.elapsed().as_nanos();
                    let blocked = u64::try_from(blocked).unwrap_or(u64::MAX);
                    blocked_ns.fetch_add(blocked, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..workers).map(task).collect();
        Self {
            until,
            over,
            blocked_ns,
            tasks,
        }
    }

    /// Ends it, waits until every worker is free again, and returns how long they were blocked in the mean.
    async fn end(mut self) -> Duration {
        self.over.set();
        let tasks = std::mem::take(&mut self.tasks);
        let workers = tasks.len().max(1) as u64;
        for task in tasks {
            // It is cancelled where the service's runtime is gone.
            task.await.ok();
        }
        Duration::from_nanos(self.blocked_ns.load(Ordering::Relaxed) / workers)
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.over.set();
    }
}

impl Probe for Stalls {
    fn read(&self) -> Reading {
        let count = self.count.load(Ordering::Relaxed);
        let (asked, achieved) = (self.asked.get(), self.achieved.get());
        let is_measured = count > 0;
        Reading {
            asked,
            achieved: is_measured.then_some(achieved),
            unit: "ms",
            // The workers were busy with other work.
            shortfall: (is_measured && achieved < asked * TOLERANCE)
                .then_some(Shortfall::Contended),
            metrics: metrics([("stalls", count.into())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::host::cgroup::Cgroup;
    use crate::scenarios::tests::{assert_defaults, read, starts_and_stops};

    #[test]
    fn defaults() {
        let defaults = json!({ "stall_ms": 200, "every_ms": 1000, "workers": 1 });
        assert_defaults::<RuntimeStall>(defaults);
    }

    #[tokio::test]
    async fn it_starts_and_stops_without_a_service() {
        starts_and_stops::<RuntimeStall>(json!({})).await;
    }

    #[test]
    fn a_share_of_the_workers_is_at_least_one_and_at_most_all() {
        let of_four = |share| blocked(share, 4);
        assert_eq!([0.01, 0.25, 0.26, 1.0].map(of_four), [1, 1, 2, 4]);
    }

    #[test]
    fn without_an_admin_listener_all_workers_are_not_blocked() {
        let cgroup = Cgroup::at("/nowhere", "/nowhere");
        let (fault, _) = read::<RuntimeStall>(json!({})).expect("good");
        let preflight = |has_admin| {
            fault.preflight(PreflightContext {
                has_admin,
                ..PreflightContext::of(&cgroup)
            })
        };
        assert_eq!(preflight(true), Ok(None));
        assert_eq!(preflight(false).expect_err("refused").pointer, "/workers");
    }

    #[test]
    fn every_worker_is_blocked_at_the_same_time() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let service = builder.worker_threads(3).build().expect("a runtime");
        let control = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let stall = Stall::begin(service.handle(), 3, Duration::from_secs(600));
        let blocked = || {
            stall
                .over
                .sleep_until(Instant::now() + Duration::from_millis(10))
        };
        // A task of the service does not run while all of them sleep.
        loop {
            assert!(!blocked());
            let task = service.spawn(async {});
            assert!(!blocked());
            if !task.is_finished() {
                break;
            }
        }
        let mean = control.block_on(stall.end());
        assert!(mean >= Duration::from_millis(10), "{mean:?}");
        service.block_on(service.spawn(async {})).expect("it runs");
    }
}
