//! A bounded pool of places, such as connections to a database, that requests go through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::timer::FineTimer;
use crate::sync::Lock;

/// The upper ends, in seconds, by which waits for a place are counted.
const WAIT_ENDS_S: [f64; 11] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// How large a pool is, and how long it is waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolSpec {
    /// The name in the metrics.
    pub name: String,
    /// The most requests that hold a place at once.
    pub size: u32,
    /// The most requests that wait for one.
    pub queue: u32,
    /// How long a request holds a place before its route is called; it gives it back when it is answered.
    pub hold: Duration,
    /// How long a request waits for a place.
    pub timeout: Duration,
}

/// A pool, with its figures.
#[derive(Debug)]
pub struct Pool {
    spec: PoolSpec,
    places: Arc<Semaphore>,
    pending: AtomicU64,
    timeouts: AtomicU64,
    waits: [AtomicU64; WAIT_ENDS_S.len() + 1],
    waited_us: AtomicU64,
}

impl PartialEq for Pool {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Pool {
    /// A pool with all its places free.
    #[must_use]
    pub fn new(spec: PoolSpec) -> Arc<Self> {
        let places = usize::try_from(spec.size).unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            spec,
            pending: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            waits: Default::default(),
            waited_us: AtomicU64::new(0),
        })
    }

    /// What it was made of.
    #[must_use]
    pub fn spec(&self) -> &PoolSpec {
        &self.spec
    }

    /// The places that requests hold now.
    #[must_use]
    pub fn used(&self) -> u32 {
        let free = u32::try_from(self.places.available_permits()).unwrap_or(u32::MAX);
        self.spec.size.saturating_sub(free)
    }

    /// The requests that wait for a place now.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending.load(Relaxed)
    }

    /// The requests that got no place in time, or found the queue full.
    #[must_use]
    pub fn timeouts(&self) -> u64 {
        self.timeouts.load(Relaxed)
    }

    /// The waits of the requests that got a place: their sum in seconds, their number, and how many ended up to
    /// each upper end and above the one before.
    pub(crate) fn waits(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let ends = WAIT_ENDS_S.into_iter().chain([f64::INFINITY]);
        let counts: Vec<_> = ends
            .zip(self.waits.iter().map(|count| count.load(Relaxed)))
            .collect();
        let count = counts.iter().map(|(_, count)| count).sum();
        (self.waited_us.load(Relaxed) as f64 / 1e6, count, counts)
    }

    /// A place, held for the pool's time already, and how long it was waited for; none where none came in time.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place back.
    pub(super) async fn place(self: &Arc<Self>, timer: &FineTimer) -> Option<(Place, Duration)> {
        let start = Instant::now();
        let Some(place) = self.next_place(timer, start).await else {
            self.timeouts.fetch_add(1, Relaxed);
            return None;
        };
        let waited = start.elapsed();
        self.note(waited);
        if !self.spec.hold.is_zero() {
            timer.sleep_until(Instant::now() + self.spec.hold).await;
        }
        Some((place, waited))
    }

    async fn next_place(&self, timer: &FineTimer, start: Instant) -> Option<Place> {
        let places = Arc::clone(&self.places);
        if let Ok(permit) = Arc::clone(&places).try_acquire_owned() {
            return Some(Place(permit));
        }
        let _pending = Pending::begin(self)?;
        tokio::select! {
            biased;
            // It is never closed.
            permit = places.acquire_owned() => permit.ok().map(Place),
            () = timer.sleep_until(start + self.spec.timeout) => None,
        }
    }

    fn note(&self, waited: Duration) {
        let at = WAIT_ENDS_S.partition_point(|end| *end < waited.as_secs_f64());
        self.waits[at].fetch_add(1, Relaxed);
        let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(us, Relaxed);
    }
}

/// A place that a request holds until this is dropped.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// A request in the queue.
struct Pending<'p>(&'p Pool);

impl<'p> Pending<'p> {
    /// None where the queue is full.
    fn begin(pool: &'p Pool) -> Option<Self> {
        let most = u64::from(pool.spec.queue);
        let next = |pending| (pending < most).then_some(pending + 1);
        let joined = pool.pending.fetch_update(Relaxed, Relaxed, next);
        joined.is_ok().then(|| Self(pool))
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

/// The pools that there are now, for the metrics; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pools(Arc<Lock<Vec<Arc<Pool>>>>);

impl Pools {
    /// Shows `pool` until the guard is dropped.
    pub(crate) fn show(&self, pool: &Arc<Pool>) -> ShownPool {
        self.0.lock().push(Arc::clone(pool));
        ShownPool {
            pools: self.clone(),
            pool: Arc::clone(pool),
        }
    }

    pub(crate) fn now(&self) -> Vec<Arc<Pool>> {
        self.0.lock().clone()
    }
}

/// A pool in the metrics until this is dropped.
#[derive(Debug)]
pub struct ShownPool {
    pools: Pools,
    pool: Arc<Pool>,
}

impl Drop for ShownPool {
    fn drop(&mut self) {
        self.pools
            .0
            .lock()
            .retain(|pool| !Arc::ptr_eq(pool, &self.pool));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(size: u32, queue: u32, timeout_ms: u64) -> Arc<Pool> {
        Pool::new(PoolSpec {
            name: "db".to_owned(),
            size,
            queue,
            hold: Duration::ZERO,
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_holder_is_gone() {
        let (pool, timer) = (pool(1, 1, 60_000), FineTimer::start().expect("a thread"));
        let first = pool.place(&timer).await.expect("a place");
        assert_eq!(pool.used(), 1);
        let waiting = {
            let (pool, timer) = (Arc::clone(&pool), timer.clone());
            tokio::spawn(async move { pool.place(&timer).await.is_some() })
        };
        while pool.pending() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(pool.place(&timer).await.is_none(), "the queue is full");
        drop(first);
        assert!(waiting.await.expect("no panic"));
        assert_eq!((pool.used(), pool.pending(), pool.timeouts()), (0, 0, 1));
        assert_eq!(pool.waits().1, 2);
    }

    #[tokio::test]
    async fn a_wait_ends_at_its_time_and_one_that_is_dropped_leaves_the_queue() {
        let (pool, timer) = (pool(1, 5, 20), FineTimer::start().expect("a thread"));
        let _held = pool.place(&timer).await.expect("a place");
        let start = Instant::now();
        assert!(pool.place(&timer).await.is_none());
        assert!(start.elapsed() >= Duration::from_millis(20));
        let mut dropped = Box::pin(pool.place(&timer));
        assert!(futures_util::poll!(&mut dropped).is_pending());
        assert_eq!(pool.pending(), 1);
        drop(dropped);
        assert_eq!(pool.pending(), 0);
    }

    #[test]
    fn a_pool_is_shown_as_long_as_its_guard() {
        let (pools, pool) = (Pools::default(), pool(1, 1, 1));
        let shown = pools.show(&pool);
        assert_eq!(pools.now().len(), 1);
        drop(shown);
        assert!(pools.now().is_empty());
    }
}
