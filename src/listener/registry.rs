//! The open connections of a listener: how many there may be, which are overdue, and which are evicted for a new one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::state::{Clock, ConnCommand, ConnPhase, ConnState};
use crate::host::allocator;
use crate::run::ServiceClock;
use crate::sync::Lock;

/// One in this many quiet connections is evicted at once, so that a flood does not sort all connections for each new
/// one.
const EVICTED_SHARE: usize = 64;
/// So many connections must have closed before their memory is worth returning: some hundred KiB.
const MANY: usize = 32;

/// A connection in the registry until it is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    connections: Arc<Connections>,
    number: u64,
    pub(super) state: Arc<ConnState>,
    /// Released last.
    _slot: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.connections.open.lock().remove(self.number) {
            allocator::schedule_trim();
        }
    }
}

/// All open connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    most: u32,
    slots: Arc<Semaphore>,
    clock: Arc<Clock>,
    service_clock: ServiceClock,
    open: Lock<OpenConnections>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    states: HashMap<u64, Arc<ConnState>>,
    next_number: u64,
    /// The most there were since memory was last returned.
    peak: usize,
}

impl OpenConnections {
    /// Adds a connection and returns its number.
    fn add(&mut self, state: Arc<ConnState>) -> u64 {
        self.next_number += 1;
        self.states.insert(self.next_number, state);
        self.peak = self.peak.max(self.states.len());
        self.next_number
    }

    /// Removes a connection; true if half of the peak, and [`MANY`], have closed by now.
    fn remove(&mut self, number: u64) -> bool {
        self.states.remove(&number);
        let closed = self.peak - self.states.len();
        let many = closed >= MANY && closed >= self.states.len();
        if many {
            self.peak = self.states.len();
        }
        many
    }
}

impl Connections {
    /// Room for `most` connections, whose responses have the date of `service_clock`.
    pub(super) fn new(most: u32, service_clock: ServiceClock) -> Self {
        Self {
            most,
            slots: Arc::new(Semaphore::new(most as usize)),
            clock: Arc::new(Clock::start()),
            service_clock,
            open: Lock::default(),
        }
    }

    /// Whether any connection is open.
    pub(super) fn any(&self) -> bool {
        self.slots.available_permits() < self.most as usize
    }

    pub(super) fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Waits for a free slot.
    pub(super) async fn next_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    pub(super) fn join(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Entry {
        self.clock.refresh();
        let state = ConnState::new(Arc::clone(&self.clock), self.service_clock.clone());
        let state = Arc::new(state);
        let number = self.open.lock().add(Arc::clone(&state));
        Entry {
            connections: Arc::clone(self),
            number,
            state,
            _slot: slot,
        }
    }

    /// Closes the connections that have missed a deadline.
    pub(super) fn close_overdue(&self) {
        let now_ms = self.clock.refresh();
        for state in self.open.lock().states.values() {
            if let Some(command) = state.overdue(now_ms) {
                state.send(command);
            }
            state.request_peer_check(now_ms);
        }
    }

    /// Closes the connections that have been quiet the longest; if all are answering, the one that has done so the
    /// longest. Only those that have been in their phase for `age` count.
    pub(super) fn evict(&self, age: Duration) {
        let last_ms = self.clock.last_ms();
        let is_old = |since: u64| Duration::from_millis(last_ms.saturating_sub(since)) >= age;
        let open = self.open.lock();
        let mut all: Vec<_> = open.states.values().map(|s| (s.phase(), s)).collect();
        all.retain(|((_, since), _)| is_old(*since));
        all.sort_unstable_by_key(|((phase, since), _)| (*phase == ConnPhase::Answer, *since));
        let quiet = all.partition_point(|((phase, _), _)| *phase != ConnPhase::Answer);
        for (_, state) in all.iter().take((quiet / EVICTED_SHARE).max(1)) {
            state.send(ConnCommand::CloseNow);
        }
    }

    pub(super) fn close_all_when_idle(&self) {
        for state in self.open.lock().states.values() {
            state.send(ConnCommand::CloseWhenIdle);
        }
    }

    /// Waits until no connection is open; none may join meanwhile.
    pub(super) async fn all_closed(&self) {
        // The semaphore is never closed, so this cannot fail.
        drop(self.slots.acquire_many(self.most).await);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const SECOND: u64 = 1000;

    fn connections(most: u32) -> Arc<Connections> {
        Arc::new(Connections::new(most, ServiceClock::default()))
    }

    /// A new connection that has been in `phase` since `since_ms`.
    fn join(connections: &Arc<Connections>, phase: ConnPhase, since_ms: u64) -> Entry {
        let entry = connections.join(connections.free_slot().expect("a free slot"));
        connections.clock.set(since_ms);
        entry.state.enter(phase);
        entry
    }

    fn is_evicted(entry: &Entry) -> bool {
        entry.state.command(Waker::noop()) == ConnCommand::CloseNow
    }

    #[test]
    fn the_longest_quiet_connection_is_evicted_and_an_answering_one_only_if_none_is_quiet() {
        let connections = connections(3);
        let answering = join(&connections, ConnPhase::Answer, 1);
        let older = join(&connections, ConnPhase::Head, 2);
        let newer = join(&connections, ConnPhase::Idle, 3);
        assert!(connections.free_slot().is_none());
        connections.evict(Duration::ZERO);
        assert!(is_evicted(&older) && !is_evicted(&newer) && !is_evicted(&answering));
        drop((older, newer));
        connections.evict(Duration::ZERO);
        assert!(is_evicted(&answering));
        assert!(connections.free_slot().is_some());
    }

    #[test]
    fn a_younger_connection_is_not_evicted() {
        let connections = connections(2);
        let new = join(&connections, ConnPhase::Head, 2 * SECOND);
        connections.clock.set(3 * SECOND);
        connections.evict(Duration::from_secs(2));
        assert!(!is_evicted(&new));
        connections.clock.set(4 * SECOND);
        connections.evict(Duration::from_secs(2));
        assert!(is_evicted(&new));
    }

    #[test]
    fn memory_is_returned_when_half_of_the_connections_and_enough_have_closed() {
        let state = Arc::clone(&join(&connections(1), ConnPhase::Idle, 0).state);
        let mut open = OpenConnections::default();
        // Opens `count` connections, closes them all, and lists after how many closings memory is returned.
        let mut returned_after = |count: usize| -> Vec<usize> {
            let add = |_| open.add(Arc::clone(&state));
            let numbers: Vec<u64> = (0..count).map(add).collect();
            let closings = (1..).zip(numbers);
            closings
                .filter_map(|(closed, number)| open.remove(number).then_some(closed))
                .collect()
        };
        assert!(returned_after(MANY - 1).is_empty());
        assert!(returned_after(MANY - 1).is_empty());
        assert_eq!(returned_after(MANY), [MANY]);
        assert_eq!(returned_after(100), [50, 82]);
    }
}
