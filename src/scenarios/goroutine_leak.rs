//! `goroutine_leak`: creates async tasks that never end.
//!
//! The name comes from the first edition of the service, written in Go; here a goroutine is an async task. The tasks
//! have their own runtime: dropping it drops all of them at once, while aborting a million tasks one by one would queue
//! a million wake-ups before the requests.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::metrics;
use crate::host::cgroup::Cgroup;
use crate::input::{FieldError, Fields, Resource, Shape, above};
use crate::plugin::effort::{Effort, Work};
use crate::plugin::guard::StopFlag;
use crate::plugin::high_line::HighLine;
use crate::plugin::pace::Pace;
use crate::plugin::shaped::Shaped;
use crate::plugin::{
    Active, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::sync::Lock;

/// How often the tasks due are created.
const STEP: Duration = Duration::from_millis(10);
/// The memory of a leaked task, as `cargo bench --bench fidelity -- tasks` measures it.
const TASK_BYTES: f64 = 315.0;
/// The largest number of tasks: about 300 GiB.
const MOST: u32 = 1_000_000_000;
/// How many tasks are created between two checks of the stop flag.
const BATCH: u64 = 1_000;
/// The longest time between two looks at the room that is left.
const LONGEST_GROWTH: Duration = Duration::from_millis(50);
/// How far behind its schedule a leak may be, in seconds, before the reading has a shortfall.
const TOLERANCE_S: f64 = 0.1;

/// Leaks tasks.
#[derive(Debug)]
pub(super) struct GoroutineLeak {
    per_second: Shape,
    most: Option<u32>,
}

impl Scenario for GoroutineLeak {
    const NAME: &'static str = "goroutine_leak";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Continuously creates async tasks that never end";
    const EXAMPLE: &'static str = r#"{"goroutines_per_second": 100, "max_goroutines": 10000}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How many tasks that never end are created in each second.";
        let field = fields.field("goroutines_per_second", about).unit("tasks/s");
        let per_second = field
            .asks_for(Resource::TasksPerSecond)
            .shape(above(0.0, 1_000_000.0), 100.0);
        let is_limited = fields.is_limited(Resource::Tasks);
        let about = match is_limited {
            true => "How many there are in the end.",
            false => "Stops at this number; unlimited if omitted.",
        };
        let field = fields.field("max_goroutines", about).unit("tasks");
        let field = field.asks_for(Resource::Tasks);
        let most = match is_limited {
            true => Some(field.integer(1..=MOST, MOST)),
            false => field.optional().integer(1..=MOST),
        };
        Self { per_second, most }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let in_time = |duration| self.per_second.area(Duration::ZERO, duration);
        let in_time = context.duration.map_or(f64::INFINITY, in_time);
        let tasks = in_time.min(self.most.map_or(f64::INFINITY, f64::from));
        // A leak without an end needs no warning of how it ends.
        let bytes = tasks.is_finite().then_some((tasks * TASK_BYTES) as u64);
        Ok(bytes.and_then(|bytes| context.memory_warning(bytes)))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let most = self.most.map(f64::from);
        let total = most.unwrap_or(f64::INFINITY);
        let leak = Arc::new(TaskLeak {
            most_per_second: self.per_second.largest(),
            most,
            pace: Pace::following(&Shaped::begin(self.per_second, cx.lived()), 1.0, total),
            alive: AtomicU64::new(0),
            shortfall: Lock::new(Shortfall::Saturated),
        });
        let cgroup = cx.cgroup().clone();
        let runtimes = cx.runtimes().clone();
        let work = Arc::clone(&leak);
        let mut threads = cx.threads();
        threads.spawn("tasks", move |stop| {
            // Built and dropped on this thread: a runtime must not be dropped on one of another runtime.
            let runtime = Builder::new_current_thread().build();
            let runtime = runtime.map_err(|error| format!("no runtime to leak on: {error}"))?;
            let _entered = runtimes.enter(runtime.handle());
            work.run(runtime, &cgroup, stop);
            Ok(())
        })?;
        Ok(Active::new(leak, threads.run_until(cx.stop)))
    }
}

#[derive(Debug)]
struct TaskLeak {
    most_per_second: f64,
    most: Option<f64>,
    pace: Pace,
    alive: AtomicU64,
    /// Why the leak is behind its schedule, in case it is.
    shortfall: Lock<Shortfall>,
}

impl TaskLeak {
    /// The work of the thread: creates the tasks due, lets each run to its endless wait, sleeps.
    fn run(&self, runtime: Runtime, cgroup: &Cgroup, stop: &StopFlag) {
        // As in memory_leaker: growth that is held back does not make up for that in a burst.
        let mut growth = self.pace.clone();
        let mut line = HighLine::new(cgroup);
        let mut effort = Effort::new(cgroup);
        let mut step_at = Instant::now();
        loop {
            let alive = self.alive.load(Ordering::Relaxed);
            let most = (line.most((alive as f64 * TASK_BYTES) as u64) as f64 / TASK_BYTES) as u64;
            // Tasks cannot be given back one by one.
            let most = most.max(alive);
            let due = growth.due_within(most);
            let (work, ()) = Work::of(|| self.grow(&runtime, due, stop));
            let cause = effort.cause(work);
            let is_held_back = growth.due() + BATCH < self.pace.due();
            *self.shortfall.lock() = if is_held_back {
                Shortfall::MemoryHigh
            } else {
                cause
            };
            step_at = (step_at + STEP).max(Instant::now());
            if stop.sleep_until(step_at) {
                break;
            }
        }
        drop(runtime);
        self.alive.store(0, Ordering::Relaxed);
    }

    /// Creates the tasks that are missing to `due`, as many as come into a few steps.
    fn grow(&self, runtime: &Runtime, due: u64, stop: &StopFlag) {
        let until = Instant::now() + LONGEST_GROWTH;
        loop {
            let missing = due.saturating_sub(self.alive.load(Ordering::Relaxed));
            if missing == 0 || stop.is_set() || Instant::now() >= until {
                return;
            }
            let batch = missing.min(BATCH);
            for _ in 0..batch {
                // Dropping the handle forgets the task: that is the leak.
                drop(runtime.spawn(pending::<()>()));
            }
            runtime.block_on(settle(batch));
            self.alive.fetch_add(batch, Ordering::Relaxed);
        }
    }
}

/// Yields until each of `tasks` new tasks has been polled once: whenever this one yields, the runtime polls at least
/// one other.
async fn settle(tasks: u64) {
    for _ in 0..tasks {
        tokio::task::yield_now().await;
    }
}

impl Probe for TaskLeak {
    fn read(&self) -> Reading {
        let alive = self.alive.load(Ordering::Relaxed);
        let asked = self.pace.due();
        let behind = asked.saturating_sub(alive) as f64;
        Reading {
            asked: asked as f64,
            achieved: Some(alive as f64),
            unit: "tasks",
            shortfall: (behind > 1.0 + self.most_per_second * TOLERANCE_S)
                .then(|| *self.shortfall.lock()),
            metrics: metrics([("current_goroutines", alive.into())]),
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
    use serde_json::json;

    use super::*;
    use crate::host::cgroup::Cgroup;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<GoroutineLeak>(json!({ "goroutines_per_second": 100 }));
    }

    #[tokio::test]
    async fn the_lowest_rate_starts_and_stops() {
        let lowest = json!({ "goroutines_per_second": 1e-9 });
        starts_and_stops::<GoroutineLeak>(lowest).await;
    }

    #[test]
    fn a_leak_that_will_not_fit_has_a_warning_and_one_without_an_end_has_none() {
        let root = tempfile::tempdir().expect("a folder");
        // Room for 3,328 tasks.
        for (file, bytes) in [("memory.max", "1048576"), ("memory.current", "0")] {
            std::fs::write(root.path().join(file), bytes).expect("a file");
        }
        let cgroup = Cgroup::at(root.path(), root.path());
        let warns = |most, seconds: Option<u64>| {
            let leak = GoroutineLeak {
                per_second: Shape::constant(1000.0),
                most,
            };
            let context = PreflightContext {
                duration: seconds.map(Duration::from_secs),
                ..PreflightContext::of(&cgroup)
            };
            leak.preflight(context).expect("it is possible").is_some()
        };
        assert!(!warns(None, None));
        assert!(warns(Some(4000), None) && !warns(Some(3000), None));
        assert!(warns(None, Some(4)) && !warns(None, Some(3)));
        assert!(!warns(Some(4000), Some(3)) && !warns(Some(3000), Some(4)));
    }
}
