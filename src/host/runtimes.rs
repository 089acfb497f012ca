//! The async runtimes of this process and how busy they are.
//!
//! A scenario with its own runtime enters it here, so that its tasks count as the process's.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Lock;
use tokio::runtime::{Builder, Handle, RuntimeMetrics};

/// How often the lag of the workers is measured.
const LAG_EVERY: Duration = Duration::from_millis(250);
/// The time over which the longest lag is taken: as long as between two scrapes.
const LAG_OVER: Duration = Duration::from_secs(15);

/// All live runtimes; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtimes {
    live: Arc<Lock<LiveRuntimes>>,
    /// Threads of the runtime that serves requests, workers and others.
    serving_threads: Arc<AtomicUsize>,
    lag: Arc<LagMeter>,
}

#[derive(Debug, Default)]
struct LiveRuntimes {
    /// The runtime that serves requests.
    serving: Option<(Handle, RuntimeMetrics)>,
    others: Vec<(u64, RuntimeMetrics)>,
    next_number: u64,
}

/// How busy the runtimes are. All figures but `tasks` are of the runtime that serves requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RuntimeLoad {
    /// Tasks of all runtimes that have not ended.
    pub tasks: usize,
    /// Threads that run tasks.
    pub workers: usize,
    /// Threads for work that blocks.
    pub blocking_threads: usize,
    /// Tasks in the queue shared by all workers.
    pub queued: usize,
    /// How long the workers have been busy, summed up.
    pub busy: Duration,
    /// The longest that a task lately waited for a worker after its time had come.
    pub lag: Duration,
}

/// How many threads serve requests: one for each CPU that this process may use under its quota, and at least 1.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Runtimes {
    /// Builds the runtime that serves requests.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn build_serving(
        &self,
        builder: &mut Builder,
    ) -> std::io::Result<tokio::runtime::Runtime> {
        let (came, went) = (
            Arc::clone(&self.serving_threads),
            Arc::clone(&self.serving_threads),
        );
        // Tokio reports the number of its blocking threads in unstable builds only.
        let runtime = builder
            .on_thread_start(move || {
                came.fetch_add(1, Ordering::Relaxed);
            })
            .on_thread_stop(move || {
                went.fetch_sub(1, Ordering::Relaxed);
            })
            .build()?;
        self.live.lock().serving = Some((runtime.handle().clone(), runtime.metrics()));
        Ok(runtime)
    }

    /// The runtime that serves requests; none before it is built.
    pub(crate) fn serving(&self) -> Option<Handle> {
        let live = self.live.lock();
        live.serving.as_ref().map(|(handle, _)| handle.clone())
    }

    /// Measures for ever how late a task runs, where this future is spawned.
    pub(crate) fn measure_lag(&self) -> impl Future<Output = ()> + Send + use<> {
        let lag = Arc::clone(&self.lag);
        async move {
            loop {
                let due = Instant::now() + LAG_EVERY;
                *lag.due.lock() = Some(due);
                tokio::time::sleep_until(due.into()).await;
                let now = Instant::now();
                lag.note(now, now - due);
            }
        }
    }

    /// Counts the tasks of another runtime until the returned value is dropped.
    pub(crate) fn enter(&self, runtime: &Handle) -> RuntimeGuard {
        let mut live = self.live.lock();
        live.next_number += 1;
        let number = live.next_number;
        live.others.push((number, runtime.metrics()));
        drop(live);
        RuntimeGuard {
            runtimes: self.clone(),
            number,
        }
    }

    pub(crate) fn load(&self) -> RuntimeLoad {
        let live = self.live.lock();
        let others = live.others.iter().map(|(_, other)| other.num_alive_tasks());
        let tasks = others.sum();
        let Some((_, serving)) = &live.serving else {
            return RuntimeLoad {
                tasks,
                ..RuntimeLoad::default()
            };
        };
        let workers = serving.num_workers();
        let threads = self.serving_threads.load(Ordering::Relaxed);
        RuntimeLoad {
            tasks: tasks + serving.num_alive_tasks(),
            workers,
            blocking_threads: threads.saturating_sub(workers),
            queued: serving.global_queue_depth(),
            busy: (0..workers)
                .map(|worker| serving.worker_total_busy_duration(worker))
                .sum(),
            lag: self.lag.longest(Instant::now()),
        }
    }
}

/// How late a task was that had to run at a known time.
#[derive(Debug, Default)]
struct LagMeter {
    due: Lock<Option<Instant>>,
    /// When it ran, and how late that was.
    noted: Lock<VecDeque<(Instant, Duration)>>,
}

impl LagMeter {
    fn note(&self, now: Instant, late: Duration) {
        let mut noted = self.noted.lock();
        noted.retain(|(at, _)| now.saturating_duration_since(*at) < LAG_OVER);
        noted.push_back((now, late));
    }

    /// The longest lately, that of a task which is late now included.
    fn longest(&self, now: Instant) -> Duration {
        let due = *self.due.lock();
        let pending = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let noted = self.noted.lock();
        let recent = noted.iter();
        let recent = recent.filter(|(at, _)| now.saturating_duration_since(*at) < LAG_OVER);
        recent.map(|(_, late)| *late).fold(pending, Duration::max)
    }
}

/// Keeps a runtime counted.
#[derive(Debug)]
pub(crate) struct RuntimeGuard {
    runtimes: Runtimes,
    number: u64,
}

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        let mut live = self.runtimes.live.lock();
        live.others.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_every_runtime_count_while_it_lives() {
        let runtimes = Runtimes::default();
        assert_eq!(runtimes.load(), RuntimeLoad::default());
        let mut builder = Builder::new_multi_thread();
        let serving = runtimes
            .build_serving(builder.worker_threads(2))
            .expect("a runtime");
        let own = Builder::new_current_thread().build().expect("a runtime");
        let counted = runtimes.enter(own.handle());
        drop(serving.spawn(std::future::pending::<()>()));
        for _ in 0..3 {
            drop(own.spawn(std::future::pending::<()>()));
        }
        let load = runtimes.load();
        assert_eq!((load.tasks, load.workers), (4, 2));
        drop(own);
        assert_eq!(runtimes.load().tasks, 1);
        drop(counted);
        assert_eq!(runtimes.live.lock().others.len(), 0);
    }

    #[test]
    fn the_lag_is_the_longest_lately_or_that_of_now() {
        let (lag, start) = (LagMeter::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let ms = Duration::from_millis;
        assert_eq!(lag.longest(at(0)), Duration::ZERO);
        lag.note(at(1), ms(200));
        lag.note(at(2), ms(1));
        assert_eq!(lag.longest(at(15)), ms(200));
        assert_eq!(lag.longest(at(16)), ms(1));
        *lag.due.lock() = Some(at(17));
        assert_eq!(lag.longest(at(20)), ms(3000));
        lag.note(at(30), ms(2));
        assert_eq!(lag.noted.lock().len(), 1);
    }

    #[test]
    fn a_thread_for_blocking_work_is_no_worker() {
        let runtimes = Runtimes::default();
        let mut builder = Builder::new_multi_thread();
        let serving = runtimes
            .build_serving(builder.worker_threads(1))
            .expect("a runtime");
        let blocking = serving.spawn_blocking(|| ());
        serving.block_on(blocking).expect("no panic");
        // The worker may still be starting.
        while runtimes.serving_threads.load(Ordering::Relaxed) < 2 {
            std::thread::yield_now();
        }
        assert_eq!(runtimes.load().blocking_threads, 1);
    }
}
