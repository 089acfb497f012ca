//! Guards: values whose life is an effect's life. Holding one keeps the effect on, dropping it takes it
//! off.
//!
//! Scenarios use them for whatever must not outlive a run. The [`LiveGuards`] counts them, so that a test
//! and a shut-down can see that nothing was left behind.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Exit;
use crate::lifecycle::panics::panic_text;
use crate::sync::{
    Arc, AtomicBool, AtomicUsize, Builder, Condvar, JoinHandle, Mutex, Ordering, PoisonError,
};

/// Counts the live guards of all runs.
#[derive(Debug, Clone, Default)]
pub struct LiveGuards(Arc<AtomicUsize>);

impl LiveGuards {
    /// How many guards live now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Counts one more until the returned value is dropped.
    #[must_use]
    pub fn enter(&self) -> LiveGuard {
        self.0.fetch_add(1, Ordering::AcqRel);
        LiveGuard(self.clone())
    }
}

/// One counted guard.
#[derive(Debug)]
pub struct LiveGuard(LiveGuards);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A stop signal that an OS thread can look at in nanoseconds and sleep on.
#[derive(Debug, Default)]
pub struct StopFlag {
    set: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl StopFlag {
    /// Whether the stop was given.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Relaxed)
    }

    /// Gives the stop and wakes every sleeper.
    pub fn set(&self) {
        // Under the lock, so that a sleeper cannot miss it between its look and its sleep.
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.set.store(true, Ordering::Relaxed);
        self.wake.notify_all();
    }

    /// Sleeps until `deadline` or the stop; true when it was the stop.
    #[must_use]
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Sleeps until the stop.
    pub fn sleep(&self) {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_set() {
            held = self.wake.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// OS threads that belong to one run.
///
/// Endless work gets threads of its own and never a runtime's: a runtime's worker or blocking thread
/// can be neither spared nor cancelled. Dropping the group tells the threads to end without waiting for
/// them, since a drop may happen on a runtime's thread; [`ThreadGroup::run_until`] waits.
#[derive(Debug)]
pub struct ThreadGroup {
    stop: Arc<StopFlag>,
    threads: Vec<JoinHandle<()>>,
    ends: mpsc::UnboundedReceiver<Result<(), String>>,
    end: mpsc::UnboundedSender<Result<(), String>>,
    census: LiveGuards,
}

impl ThreadGroup {
    /// A group without threads.
    #[must_use]
    pub fn new(census: &LiveGuards) -> Self {
        let (end, ends) = mpsc::unbounded_channel();
        let stop = Arc::new(StopFlag::default());
        Self {
            stop,
            threads: Vec::new(),
            ends,
            end,
            census: census.clone(),
        }
    }

    /// Starts a thread that works until the flag it is given is set.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn spawn(
        &mut self,
        name: impl Into<String>,
        work: impl FnOnce(&StopFlag) -> Result<(), String> + Send + 'static,
    ) -> io::Result<()> {
        let (stop, end) = (Arc::clone(&self.stop), self.end.clone());
        let counted = self.census.enter();
        let thread = Builder::new().name(name.into()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&stop)))
                .unwrap_or_else(|panic| Err(format!("panicked: {}", panic_text(&*panic))));
            drop(counted);
            // The group may be gone already; then nobody asks how the thread ended.
            drop(end.send(outcome));
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits for `stop` or for the first thread that fails, then ends all threads and waits for them.
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
            // It has said its last word, so this waits for the kernel's part only. Panics were caught.
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
        let census = LiveGuards::default();
        let mut group = ThreadGroup::new(&census);
        for i in 0..3 {
            group
                .spawn(format!("t{i}"), |stop| {
                    stop.sleep();
                    Ok(())
                })
                .expect("a thread");
        }
        assert_eq!(census.count(), 3);
        let stop = CancellationToken::new();
        stop.cancel();
        assert_eq!(group.run_until(stop).await, Exit::Stopped);
        assert_eq!(census.count(), 0);
    }

    #[tokio::test]
    async fn the_first_failure_ends_the_group_with_its_reason() {
        let census = LiveGuards::default();
        let mut group = ThreadGroup::new(&census);
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
        assert_eq!(census.count(), 0);
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
    fn a_dropped_group_tells_its_threads_to_end() {
        let census = LiveGuards::default();
        let (done, ended) = std::sync::mpsc::channel();
        let mut group = ThreadGroup::new(&census);
        group
            .spawn("t", move |stop| {
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
    fn a_sleep_ends_at_its_deadline_when_nobody_stops_it() {
        let flag = StopFlag::default();
        let deadline = Instant::now() + Duration::from_millis(5);
        assert!(!flag.sleep_until(deadline));
        assert!(Instant::now() >= deadline);
        flag.set();
        assert!(flag.sleep_until(Instant::now() + Duration::from_secs(60)));
    }
}
