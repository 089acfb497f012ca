//! The async runtimes of this process and how busy they are.
//!
//! A scenario with its own runtime enters it here, so that its tasks count as the process's.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::sync::Lock;
use tokio::runtime::{Builder, Handle, RuntimeMetrics};

/// All live runtimes; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtimes {
    live: Arc<Lock<LiveRuntimes>>,
    /// Threads of the runtime that serves requests, workers and others.
    serving_threads: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct LiveRuntimes {
    /// The runtime that serves requests.
    serving: Option<RuntimeMetrics>,
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
        self.live.lock().serving = Some(runtime.metrics());
        Ok(runtime)
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
        let Some(serving) = &live.serving else {
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
        }
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
