//! The async runtimes of this process and how busy they are.
//!
//! A scenario that has a runtime of its own enters it here, so that its tasks count as the process's.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, RuntimeMetrics};

/// All runtimes that live now; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtimes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    // A std mutex: taken when a runtime comes or goes and when metrics are read.
    live: Mutex<Live>,
    /// Threads of the runtime that serves, workers and others.
    threads: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Live {
    /// The runtime that serves requests.
    serving: Option<RuntimeMetrics>,
    others: Vec<(u64, RuntimeMetrics)>,
    next_number: u64,
}

/// What the runtimes do now. All but the tasks is of the runtime that serves requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Tasks of all runtimes that have not ended.
    pub tasks: usize,
    /// Threads that run tasks.
    pub workers: usize,
    /// Threads for work that blocks.
    pub blocking_threads: usize,
    /// Tasks in the queue that all workers share.
    pub queued: usize,
    /// How long the workers were busy so far, summed up.
    pub busy: Duration,
}

/// How many threads serve requests: one for each CPU that this process may use, a quota counted, and at
/// least 1.
pub(crate) fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

impl Runtimes {
    /// Builds the runtime that serves requests.
    ///
    /// # Errors
    /// The system has no threads to give.
    pub(crate) fn build_serving(
        &self,
        builder: &mut Builder,
    ) -> std::io::Result<tokio::runtime::Runtime> {
        let (came, went) = (Arc::clone(&self.0.threads), Arc::clone(&self.0.threads));
        // Tokio tells the number of its blocking threads to unstable builds only.
        let runtime = builder
            .on_thread_start(move || {
                came.fetch_add(1, Ordering::Relaxed);
            })
            .on_thread_stop(move || {
                went.fetch_sub(1, Ordering::Relaxed);
            })
            .build()?;
        self.lock().serving = Some(runtime.metrics());
        Ok(runtime)
    }

    /// Counts the tasks of another runtime until the returned value is dropped.
    pub(crate) fn enter(&self, runtime: &Handle) -> RuntimeGuard {
        let mut live = self.lock();
        live.next_number += 1;
        let number = live.next_number;
        live.others.push((number, runtime.metrics()));
        drop(live);
        RuntimeGuard {
            runtimes: self.clone(),
            number,
        }
    }

    /// What the runtimes do now.
    pub(crate) fn load(&self) -> Load {
        let live = self.lock();
        let others = live.others.iter().map(|(_, other)| other.num_alive_tasks());
        let tasks = others.sum();
        let Some(serving) = &live.serving else {
            return Load {
                tasks,
                ..Load::default()
            };
        };
        let workers = serving.num_workers();
        let threads = self.0.threads.load(Ordering::Relaxed);
        Load {
            tasks: tasks + serving.num_alive_tasks(),
            workers,
            blocking_threads: threads.saturating_sub(workers),
            queued: serving.global_queue_depth(),
            busy: (0..workers)
                .map(|worker| serving.worker_total_busy_duration(worker))
                .sum(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A runtime that is counted.
#[derive(Debug)]
pub(crate) struct RuntimeGuard {
    runtimes: Runtimes,
    number: u64,
}

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        let mut live = self.runtimes.lock();
        live.others.retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_of_every_runtime_count_until_it_is_gone() {
        let runtimes = Runtimes::default();
        assert_eq!(runtimes.load(), Load::default());
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
        assert_eq!(runtimes.lock().others.len(), 0);
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
        // The worker may be on its way up still.
        while runtimes.0.threads.load(Ordering::Relaxed) < 2 {
            std::thread::yield_now();
        }
        assert_eq!(runtimes.load().blocking_threads, 1);
    }
}
