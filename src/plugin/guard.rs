//! RAII guards: the effect lasts as long as the guard.
//!
//! Scenarios hold everything that must not outlive a run in guards. [`LiveGuards`] counts them, so that tests and the
//! end of a session can see that nothing is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Exit, StartError};
use crate::host::threads;
use crate::lifecycle::panics::panic_text;
use crate::sync::{
    Arc, AtomicBool, AtomicUsize, Builder, Condvar, JoinHandle, Lock, Ordering, PoisonError,
};

/// Counts the live guards of all runs.
#[derive(Debug, Clone, Default)]
pub struct LiveGuards(Arc<AtomicUsize>);

impl LiveGuards {
    /// How many guards are alive; 0 when every run has released what it held.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// A guard that counts until it is dropped.
    #[must_use]
    pub fn guard(&self) -> LiveGuard {
        self.0.fetch_add(1, Ordering::AcqRel);
        LiveGuard(self.clone())
    }
}

/// Counts as alive until it is dropped. Hold it beside what it counts, and drop it after that is released.
#[derive(Debug)]
pub struct LiveGuard(LiveGuards);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stop signal for OS threads: they can check it in nanoseconds and sleep on it.
#[derive(Debug, Default)]
pub struct StopFlag {
    set: AtomicBool,
    lock: Lock<()>,
    wake: Condvar,
}

impl StopFlag {
    /// Whether the threads must stop.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Sets the flag and wakes every sleeper.
    pub fn set(&self) {
        // Under the lock, so that a sleeper cannot miss it between its check and its sleep.
        let _held = self.lock.lock();
        self.set.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Sleeps until `deadline` or until the flag is set; returns whether it is set.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        let mut held = self.lock.lock();
        loop {
            if self.is_set() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            held = self
                .wake
                .wait_timeout(held, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sleeps until the flag is set.
    pub fn sleep(&self) {
        let mut held = self.lock.lock();
        while !self.is_set() {
            held = self.wake.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// OS threads that belong to one run.
///
/// Endless work runs on dedicated threads, because an async runtime can neither spare nor cancel its threads.
/// Dropping the group stops its threads without waiting for them, since the drop may happen on a runtime's thread;
/// [`ThreadGroup::run_until`] waits.
#[derive(Debug)]
pub struct ThreadGroup {
    stop: Arc<StopFlag>,
    threads: Vec<JoinHandle<()>>,
    ends: mpsc::UnboundedReceiver<Result<(), String>>,
    end: mpsc::UnboundedSender<Result<(), String>>,
    live_guards: LiveGuards,
}

impl ThreadGroup {
    /// A group without threads.
    #[must_use]
    pub fn new(live_guards: &LiveGuards) -> Self {
        let (end, ends) = mpsc::unbounded_channel();
        Self {
            stop: Arc::default(),
            threads: Vec::new(),
            ends,
            end,
            live_guards: live_guards.clone(),
        }
    }

    /// Starts a thread; `work` must return soon after its stop flag is set.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn spawn(
        &mut self,
        name: &str,
        work: impl FnOnce(&StopFlag) -> Result<(), String> + Send + 'static,
    ) -> Result<(), StartError> {
        let (stop, end) = (Arc::clone(&self.stop), self.end.clone());
        let guard = self.live_guards.guard();
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&stop)))
                .unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
            drop(guard);
            // Fails only when the group is gone, and with it the interest in how the thread ended.
            drop(end.send(outcome));
        };
        let thread = Builder::new().name(threads::name(name)).spawn(run);
        let thread = thread.map_err(|error| {
            StartError::new(format!("the system refused a thread for {name}: {error}"))
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits for `stop` or for the first failure of a thread, then stops all threads and waits for them.
    pub async fn run_until(mut self, stop: CancellationToken) -> Exit {
        let mut left = self.threads.len();
        let mut exit = Exit::Stopped;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = Self::first_failure(&mut self.ends, &mut left, &mut exit) => {}
        }
        self.stop.set();
        while left > 0 {
            let end = self.ends.recv().await;
            // The first failure is the cause; others may follow from it.
            if let (Exit::Stopped, Some(Err(reason))) = (&exit, end) {
                exit = Exit::Failed(reason);
            }
            left -= 1;
        }
        for thread in self.threads.drain(..) {
            // It has sent its outcome, so this waits for the kernel only. Panics were caught.
            drop(thread.join());
        }
        exit
    }

    async fn first_failure(
        ends: &mut mpsc::UnboundedReceiver<Result<(), String>>,
        left: &mut usize,
        exit: &mut Exit,
    ) {
        while *left > 0 {
            // Never None: the group holds a sender itself.
            let Some(end) = ends.recv().await else { return };
            *left -= 1;
            if let Err(reason) = end {
                *exit = Exit::Failed(reason);
                return;
            }
        }
        std::future::pending().await
    }
}

impl Drop for ThreadGroup {
    fn drop(&mut self) {
        self.stop.set();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn stopping_a_group_waits_until_every_thread_is_gone() {
        let live_guards = LiveGuards::default();
        let mut group = ThreadGroup::new(&live_guards);
        for i in 0..3 {
            group
                .spawn(&format!("t{i}"), |stop| {
                    stop.sleep();
                    Ok(())
                })
                .expect("a thread");
        }
        assert_eq!(live_guards.count(), 3);
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(group.run_until(stop).await, Exit::Stopped);
        assert_eq!(live_guards.count(), 0);
    }

    #[tokio::test]
    async fn the_first_failure_ends_the_group_with_its_reason() {
        let live_guards = LiveGuards::default();
        let mut group = ThreadGroup::new(&live_guards);
        group
            .spawn("idle", |stop| {
                stop.sleep();
                Ok(())
            })
            .expect("a thread");
        group
            .spawn("fails", |_| Err("the disk is full".to_owned()))
            .expect("a thread");
        let exit = group.run_until(CancellationToken::new()).await;
        assert_eq!(exit, Exit::Failed("the disk is full".to_owned()));
        assert_eq!(live_guards.count(), 0);
    }

    #[tokio::test]
    async fn a_panic_in_a_thread_is_a_failure_with_its_text() {
        let mut group = ThreadGroup::new(&LiveGuards::default());
        group
            .spawn("panics", |_| panic!("no such luck"))
            .expect("a thread");
        let exit = group.run_until(CancellationToken::new()).await;
        assert_eq!(exit, Exit::Failed("panicked: no such luck".to_owned()));
    }

    #[test]
    fn a_dropped_group_stops_its_threads() {
        let live_guards = LiveGuards::default();
        let (done, ended) = std::sync::mpsc::channel();
        let mut group = ThreadGroup::new(&live_guards);
        group
            .spawn("sleeps", move |stop| {
                stop.sleep();
                done.send(()).map_err(|e| e.to_string())
            })
            .expect("a thread");
        drop(group);
        ended
            .recv_timeout(Duration::from_secs(10))
            .expect("the thread ended");
    }

    #[test]
    fn a_sleep_without_a_stop_ends_at_its_deadline() {
        let flag = StopFlag::default();
        let deadline = Instant::now() + Duration::from_millis(5);
        assert!(!flag.sleep_until(deadline));
        assert!(Instant::now() >= deadline);
        flag.set();
        assert!(flag.sleep_until(Instant::now() + Duration::from_secs(60)));
    }
}
