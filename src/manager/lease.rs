//! A lease: a session ends unless its client renews it in time, so that a test runner that dies never leaves a
//! fault burning.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::input::{Fields, above};
use crate::run::Timestamp;
use crate::sync::Lock;

/// The longest lease in seconds: a day.
const LONGEST_LEASE_S: f64 = 86_400.0;

/// Reads the member `lease` of a start: the period of the lease.
pub(super) fn read_lease(fields: &mut Fields) -> Option<Duration> {
    let about = "Ends the session unless it is renewed within this time, again and again.";
    let lease = fields.field("lease", about).optional();
    lease.seconds(above(0.0, LONGEST_LEASE_S))
}

/// The lease of one session. The actor ends it and the handlers renew it: a renewal never waits for a busy actor.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    /// How long it lasts from each renewal.
    pub period: Duration,
    state: Arc<Lock<LeaseState>>,
}

#[derive(Debug)]
struct LeaseState {
    ends: Instant,
    ends_at: Timestamp,
    is_over: bool,
}

impl LeaseState {
    fn from_now(period: Duration) -> Self {
        Self {
            ends: Instant::now() + period,
            ends_at: Timestamp::now().plus(period),
            is_over: false,
        }
    }
}

impl Lease {
    pub(crate) fn new(period: Duration) -> Self {
        let state = Arc::new(Lock::new(LeaseState::from_now(period)));
        Self { period, state }
    }

    /// Extends the lease to its full period from now. Returns the new end, or none when the lease is over.
    pub(crate) fn renew(&self) -> Option<Timestamp> {
        let mut state = self.state.lock();
        if state.is_over {
            return None;
        }
        *state = LeaseState::from_now(self.period);
        Some(state.ends_at)
    }

    /// Ends the lease if its time is over; from then on it cannot be renewed.
    pub(crate) fn end_if_over(&self) -> bool {
        let mut state = self.state.lock();
        state.is_over |= state.ends <= Instant::now();
        state.is_over
    }

    /// When the lease ends unless it is renewed.
    pub(crate) fn ends(&self) -> Instant {
        self.state.lock().ends
    }

    /// The same by the wall clock.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.state.lock().ends_at
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
