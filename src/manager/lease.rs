//! A lease: time that a client must prolong again and again, or else its session ends. A test runner
//! that dies never leaves a fault burning.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::run::Timestamp;

/// The longest lease in seconds: a day.
pub(crate) const LONGEST_LEASE_S: f64 = 86_400.0;

/// The lease of one session, shared by the actor, which ends it, and by whoever renews it: a renewal
/// never waits for a session that is busy.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// How long it lasts from each renewal.
    pub period: Duration,
    // A std mutex: held for an assignment.
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    ends: Instant,
    ends_at: Timestamp,
    is_over: bool,
}

impl Lease {
    /// A lease of `period` from now on.
    pub(crate) fn new(period: Duration) -> Self {
        let state = State {
            ends: Instant::now() + period,
            ends_at: Timestamp::now().plus(period),
            is_over: false,
        };
        Self {
            period,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Prolongs it to its full period from now on; tells the new end, or none when it is over.
    pub(crate) fn renew(&self) -> Option<Timestamp> {
        let mut state = self.lock();
        if state.is_over {
            return None;
        }
        state.ends = Instant::now() + self.period;
        state.ends_at = Timestamp::now().plus(self.period);
        Some(state.ends_at)
    }

    /// Ends it when its time is over; from then on it cannot be renewed.
    pub(crate) fn end_if_over(&self) -> bool {
        let mut state = self.lock();
        state.is_over |= state.ends <= Instant::now();
        state.is_over
    }

    /// When it ends unless it is renewed.
    pub(crate) fn ends(&self) -> Instant {
        self.lock().ends
    }

    /// The same by the wall clock.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.lock().ends_at
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_lives_from_renewal_to_renewal_and_not_after_its_end() {
        let second = Duration::from_secs(1);
        let lease = Lease::new(2 * second);
        for _ in 0..3 {
            tokio::time::sleep(second).await;
            assert!(!lease.end_if_over());
            assert!(lease.renew().is_some());
        }
        tokio::time::sleep(2 * second).await;
        assert!(lease.end_if_over());
        assert_eq!(lease.renew(), None);
    }
}
