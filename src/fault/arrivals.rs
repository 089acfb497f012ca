//! Counts the requests that come to the service listener, and wakes tasks that wait for a number of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

/// The count of requests; cheap to clone. While no task waits, a request costs one addition and one load.
#[derive(Debug, Clone)]
pub(crate) struct Arrivals(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    count: AtomicU64,
    /// The lowest count that a task waits for.
    awaited: AtomicU64,
    reached: Notify,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self(Arc::new(Counter {
            count: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
        }))
    }
}

impl Arrivals {
    pub(crate) fn note(&self) {
        let count = self.0.count.fetch_add(1, SeqCst) + 1;
        if count >= self.0.awaited.load(SeqCst) {
            // A task that wakes too early registers again.
            self.0.awaited.store(u64::MAX, SeqCst);
            self.0.reached.notify_waiters();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(SeqCst)
    }

    /// Waits until `count` requests have come, including those before the call.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn reach(&self, count: u64) {
        loop {
            let mut reached = std::pin::pin!(self.0.reached.notified());
            // Before the count is read, so that a request that comes in between wakes this task.
            reached.as_mut().enable();
            self.0.awaited.fetch_min(count, SeqCst);
            if self.count() >= count {
                return;
            }
            reached.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_task_wakes_at_the_count_it_waits_for() {
        let arrivals = Arrivals::default();
        arrivals.reach(0).await;
        let waiting = |count| {
            let arrivals = arrivals.clone();
            tokio::spawn(async move {
                arrivals.reach(count).await;
                arrivals.count()
            })
        };
        let (second, fifth) = (waiting(2), waiting(5));
        for _ in 0..5 {
            arrivals.note();
            tokio::task::yield_now().await;
        }
        let in_time = tokio::time::timeout(Duration::from_secs(10), fifth);
        assert_eq!(in_time.await.expect("woken").expect("no panic"), 5);
        assert!(second.await.expect("no panic") >= 2);
    }
}
