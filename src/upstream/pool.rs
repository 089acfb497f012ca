//! The bound on the calls to an upstream that are in progress at once: one connection each.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics::calls::PoolMeter;

/// The places of a pool. Without a bound there is always one.
#[derive(Debug)]
pub(super) struct Pool {
    bound: Option<(Semaphore, PoolMeter)>,
    /// What an unused place is: an open connection, or room for one.
    is_always_open: bool,
}

impl Pool {
    /// A pool of so many places, all unused. Where it `is_always_open`, each of them is a connection.
    pub(super) fn new(bound: Option<(u32, PoolMeter)>, is_always_open: bool) -> Self {
        let bound = bound.map(|(most, meter)| {
            if is_always_open {
                meter.add_idle(most.into());
            }
            let most = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
            (Semaphore::new(most), meter)
        });
        Self {
            bound,
            is_always_open,
        }
    }

    /// The next free place, in the order of the calls.
    pub(super) async fn place(&self) -> Option<Place<'_>> {
        let (places, meter) = self.bound.as_ref()?;
        let permit = match places.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _pending = Pending::begin(meter);
                // It is never closed.
                places.acquire().await.ok()?
            }
        };
        meter.add_used(1);
        if self.is_always_open {
            meter.add_idle(-1);
        }
        Some(Place {
            pool: self,
            meter,
            _permit: permit,
        })
    }

    /// Counts a call that got no place in time.
    pub(super) fn note_timeout(&self) {
        if let Some((_, meter)) = &self.bound {
            meter.note_timeout();
        }
    }
}

/// A place that a call holds.
#[derive(Debug)]
pub(super) struct Place<'p> {
    pool: &'p Pool,
    meter: &'p PoolMeter,
    _permit: SemaphorePermit<'p>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.meter.add_used(-1);
        if self.pool.is_always_open {
            self.meter.add_idle(1);
        }
    }
}

/// A call that waits for a place.
struct Pending<'p>(&'p PoolMeter);

impl<'p> Pending<'p> {
    fn begin(meter: &'p PoolMeter) -> Self {
        meter.add_pending(1);
        Self(meter)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.add_pending(-1);
    }
}
