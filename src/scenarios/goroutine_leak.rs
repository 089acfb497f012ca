//! `goroutine_leak`: async tasks are created that never end.
//!
//! The name on the wire is the one of the service's first edition, written in Go; here a goroutine is
//! an async task. The tasks live on a runtime of their own. Dropping that runtime drops all of them in
//! one go, where aborting each of a million would first queue a million wake-ups before the requests.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::input::Resource;
use crate::input::{FieldError, Fields, above};
use crate::plugin::guard::StopFlag;
use crate::plugin::pace::Pace;
use crate::plugin::{
    Active, Params, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};

/// How often what is due is made up for.
const STEP: Duration = Duration::from_millis(10);
/// What a leaked task takes, as `cargo bench --bench fidelity -- tasks` measures it.
const TASK_BYTES: f64 = 315.0;
/// The largest number that can be asked for: about 300 GiB.
const MOST: u32 = 1_000_000_000;
/// How many tasks are made between two looks at the stop flag.
const BATCH: u64 = 1_000;
/// How far behind its schedule, in seconds of it, a leak may be before it says so.
const TOLERANCE_S: f64 = 0.1;

/// Leaks tasks.
#[derive(Debug)]
pub(super) struct GoroutineLeak;

#[derive(Debug)]
pub(super) struct GoroutineLeakParams {
    per_second: f64,
    most: Option<u32>,
}

impl Params for GoroutineLeakParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "How many tasks that never end are created in each second.";
        let field = fields.field("goroutines_per_second", about).unit("tasks/s");
        let per_second = field
            .asks_for(Resource::TasksPerSecond)
            .number(above(0.0, 1_000_000.0), 100.0);
        let is_limited = fields.is_limited(Resource::Tasks);
        let about = match is_limited {
            true => "How many there are in the end.",
            false => "How many there are in the end; without it, ever more.",
        };
        let field = fields.field("max_goroutines", about).unit("tasks");
        let field = field.asks_for(Resource::Tasks);
        let most = match is_limited {
            true => Some(field.integer(1..=MOST, MOST)),
            false => field.optional().integer(1..=MOST),
        };
        Self { per_second, most }
    }
}

impl Scenario for GoroutineLeak {
    const NAME: &'static str = "goroutine_leak";
    const SUMMARY: &'static str = "Continuously creates async tasks that never end";
    type Params = GoroutineLeakParams;

    fn preflight(
        params: &GoroutineLeakParams,
        context: PreflightContext<'_>,
    ) -> Result<Option<String>, FieldError> {
        let seconds = context.duration.map(|duration| duration.as_secs_f64());
        let in_time = seconds.map_or(f64::INFINITY, |seconds| params.per_second * seconds);
        let tasks = in_time.min(params.most.map_or(f64::INFINITY, f64::from));
        // Whoever asks for one without an end knows how it ends.
        let is_bounded = tasks.is_finite();
        let bytes = (tasks * TASK_BYTES) as u64;
        let warning = is_bounded.then(|| super::more_than_is_left(bytes, context.cgroup));
        Ok(warning.flatten())
    }

    async fn start(params: GoroutineLeakParams, cx: RunContext) -> Result<Active, StartError> {
        let leak = Arc::new(Leak {
            per_second: params.per_second,
            most: params.most.map(f64::from),
            pace: Pace::new(
                Instant::now(),
                params.per_second,
                params.most.map_or(f64::INFINITY, f64::from),
            ),
            alive: AtomicU64::new(0),
        });
        let runtimes = cx.runtimes().clone();
        let work = Arc::clone(&leak);
        let mut threads = cx.threads();
        threads
            .spawn("tasks", move |stop| {
                // Made here and dropped here: a runtime must not be dropped on another's thread.
                let runtime = Builder::new_current_thread().build();
                let runtime = runtime.map_err(|error| format!("no runtime to leak on: {error}"))?;
                let counted = runtimes.enter(runtime.handle());
                work.run(runtime, stop);
                drop(counted);
                Ok(())
            })
            .map_err(|error| StartError::new(format!("no thread to leak from: {error}")))?;
        Ok(Active::new(leak, threads.run_until(cx.stop)))
    }
}

#[derive(Debug)]
struct Leak {
    per_second: f64,
    most: Option<f64>,
    pace: Pace,
    alive: AtomicU64,
}

impl Leak {
    /// The life of the leak's thread: make what is due, let it run to its endless wait, sleep.
    fn run(&self, runtime: Runtime, stop: &StopFlag) {
        let mut step_at = Instant::now();
        loop {
            let due = self.pace.due(Instant::now());
            while self.alive.load(Ordering::Relaxed) < due && !stop.is_set() {
                let batch = (due - self.alive.load(Ordering::Relaxed)).min(BATCH);
                for _ in 0..batch {
                    // The handle is dropped and the task is forgotten: that is the leak.
                    drop(runtime.spawn(pending::<()>()));
                }
                runtime.block_on(settle(batch));
                self.alive.fetch_add(batch, Ordering::Relaxed);
            }
            step_at = (step_at + STEP).max(Instant::now());
            if stop.sleep_until(step_at) {
                break;
            }
        }
        drop(runtime);
        self.alive.store(0, Ordering::Relaxed);
    }
}

/// Yields until `tasks` new tasks have each been polled once. The runtime polls at least one other
/// task for each time this one yields.
async fn settle(tasks: u64) {
    for _ in 0..tasks {
        tokio::task::yield_now().await;
    }
}

impl Probe for Leak {
    fn read(&self) -> Reading {
        let alive = self.alive.load(Ordering::Relaxed);
        let asked = self.pace.due(Instant::now());
        let behind = asked.saturating_sub(alive) as f64;
        Reading {
            asked: asked as f64,
            achieved: Some(alive as f64),
            unit: "tasks",
            shortfall: (behind > 1.0 + self.per_second * TOLERANCE_S)
                .then_some(Shortfall::Contended),
            metrics: super::object(json!({ "current_goroutines": alive })),
        }
    }

    fn target(&self) -> Option<f64> {
        self.most
    }

    fn left(&self) -> Option<f64> {
        Some(self.alive.load(Ordering::Relaxed) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::Cgroup;

    #[test]
    fn a_leak_that_will_not_fit_is_foreseen_and_one_without_an_end_is_not() {
        let root = tempfile::tempdir().expect("a folder");
        // Room for 3,328 tasks.
        for (file, bytes) in [("memory.max", "1048576"), ("memory.current", "0")] {
            std::fs::write(root.path().join(file), bytes).expect("a file");
        }
        let cgroup = Cgroup::at(root.path(), root.path());
        let warns = |most, seconds: Option<u64>| {
            let params = GoroutineLeakParams {
                per_second: 1000.0,
                most,
            };
            let context = PreflightContext {
                cgroup: &cgroup,
                duration: seconds.map(Duration::from_secs),
            };
            let warning = GoroutineLeak::preflight(&params, context).expect("it can be had");
            warning.is_some()
        };
        assert!(!warns(None, None));
        assert!(warns(Some(4000), None) && !warns(Some(3000), None));
        assert!(warns(None, Some(4)) && !warns(None, Some(3)));
        assert!(!warns(Some(4000), Some(3)) && !warns(Some(3000), Some(4)));
    }
}
