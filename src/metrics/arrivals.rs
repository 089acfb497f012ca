//! Counts requests as they come, and wakes who waits for a number of them.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

/// Requests so far. Where nobody waits, one costs an addition and a look.
#[derive(Debug)]
pub(super) struct Arrivals {
    count: AtomicU64,
    /// The least count that somebody waits for.
    awaited: AtomicU64,
    reached: Notify,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
        }
    }
}

impl Arrivals {
    /// Counts one more.
    pub(super) fn note(&self) {
        let count = self.count.fetch_add(1, SeqCst) + 1;
        if count >= self.awaited.load(SeqCst) {
            // Who is woken and still waits says so again.
            self.awaited.store(u64::MAX, SeqCst);
            self.reached.notify_waiters();
        }
    }

    /// How many have come.
    pub(super) fn count(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Waits until `count` requests have come, those before the call included.
    pub(super) async fn reach(&self, count: u64) {
        loop {
            let mut reached = std::pin::pin!(self.reached.notified());
            // Before the look at the count: whatever comes after it wakes this wait.
            reached.as_mut().enable();
            self.awaited.fetch_min(count, SeqCst);
            if self.count() >= count {
                return;
            }
            reached.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn every_waiter_is_woken_at_its_own_count() {
        let arrivals = Arc::new(Arrivals::default());
        arrivals.reach(0).await;
        let waiting = |count| {
            let arrivals = Arc::clone(&arrivals);
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
