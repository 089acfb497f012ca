//! The open connections of a listener: what each is at, since when, and which has to go.
//!
//! A connection notes what it is at with one store, without a clock or a lock of its own; whoever looks
//! after all of them once a second finds those that are overdue. No request pays for a timer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::host::allocator;

/// How long the head of a request may take from its first byte, or from the connection's begin.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection is kept on which nothing comes after an answer. Load balancers that keep
/// theirs for a minute must not find it closed.
const KEPT_IDLE: Duration = Duration::from_secs(75);
/// How long a client may take nothing of an answer.
const TAKES_WITHIN: Duration = Duration::from_secs(60);
/// How long a request is answered before one looks whether its client is still there, where the server
/// does not see that: long enough for a command to be handed over, hang-up or not.
const DEAF_MS: u64 = 1000;
/// The share of quiet connections that make room at once, so that a flood does not have every
/// connection looked at for each new one.
const ROOM_SHARE: usize = 64;
/// From when on a connection counts as old: a second at least, as the clock is a second late at most.
const OLD: Duration = Duration::from_secs(2);
/// How many have to have left for their memory to be worth giving back: some hundred KiB at least.
const MANY: usize = 32;

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// The head of a request is to come, whole or in part.
    Head,
    /// The last request is answered and nothing has come since.
    Idle,
    /// A request is being answered.
    Answer,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Head, Self::Idle, Self::Answer];

    /// How long it may last; none is no bound.
    fn within(self) -> Option<Duration> {
        match self {
            Self::Head => Some(HEAD_WITHIN),
            Self::Idle => Some(KEPT_IDLE),
            Self::Answer => None,
        }
    }
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Stay,
    /// Close as soon as no request is being answered.
    Leave,
    /// Close now.
    Break,
}

impl Order {
    const ALL: [Self; 3] = [Self::Stay, Self::Leave, Self::Break];
}

/// The milliseconds since a listener began, as of the last look.
#[derive(Debug)]
struct Clock {
    begin: Instant,
    now_ms: AtomicU64,
}

impl Clock {
    fn refresh(&self) -> u64 {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.store(now, Ordering::Relaxed);
        now
    }

    fn last(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

/// One connection, as it and the listener see it.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Arc<Clock>,
    /// The phase in the lowest two bits, above them since when.
    at: AtomicU64,
    /// Since when the client takes nothing of an answer, plus one; 0 when it does.
    stuck: AtomicU64,
    /// Whether a request is being answered behind which more has come: then the server reads no further
    /// and does not see a hang-up.
    deaf: AtomicBool,
    /// Whether it shall look for one.
    look: AtomicBool,
    order: AtomicU8,
    task: AtomicWaker,
}

impl Watch {
    fn new(clock: Arc<Clock>) -> Self {
        let watch = Self {
            clock,
            at: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            deaf: AtomicBool::new(false),
            look: AtomicBool::new(false),
            order: AtomicU8::new(Order::Stay as u8),
            task: AtomicWaker::new(),
        };
        watch.enter(Phase::Head);
        watch
    }

    /// Notes that a phase begins.
    pub(super) fn enter(&self, phase: Phase) {
        let at = (self.clock.last() << 2) | phase as u64;
        self.at.store(at, Ordering::Relaxed);
    }

    /// Notes that a request begins to be answered.
    pub(super) fn enter_answer(&self) {
        self.enter(Phase::Answer);
        self.deaf.store(true, Ordering::Relaxed);
    }

    /// Notes that the server reads.
    pub(super) fn note_reading(&self) {
        self.deaf.store(false, Ordering::Relaxed);
    }

    /// Whether a hang-up is to be looked for, once.
    pub(super) fn shall_look(&self) -> bool {
        self.look.load(Ordering::Relaxed) && self.look.swap(false, Ordering::Relaxed)
    }

    /// Notes that bytes have come.
    pub(super) fn note_bytes(&self) {
        if self.at().0 == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Notes whether the client took some of what is to be sent.
    pub(super) fn note_sent(&self, some: bool) {
        let since = if some { 0 } else { self.clock.last() + 1 };
        let stuck = self.stuck.load(Ordering::Relaxed);
        if (stuck == 0) != some {
            self.stuck.store(since, Ordering::Relaxed);
        }
    }

    /// What it is told, now or later: then `task` is woken.
    pub(super) fn order(&self, task: &Waker) -> Order {
        self.task.register(task);
        Order::ALL[usize::from(self.order.load(Ordering::Acquire))]
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.task.wake();
    }

    fn at(&self) -> (Phase, u64) {
        let at = self.at.load(Ordering::Relaxed);
        // What was stored is a phase; there are four values for three of them.
        let phase = Phase::ALL.get((at & 3) as usize).copied();
        (phase.unwrap_or(Phase::Head), at >> 2)
    }

    /// Has a hang-up looked for that the server does not see.
    fn have_looked(&self, now_ms: u64) {
        let (phase, since) = self.at();
        let long = now_ms.saturating_sub(since) >= DEAF_MS;
        if phase == Phase::Answer && long && self.deaf.load(Ordering::Relaxed) {
            self.look.store(true, Ordering::Relaxed);
            self.task.wake();
        }
    }

    /// What it has to be told because it takes too long.
    fn overdue(&self, now_ms: u64) -> Option<Order> {
        let over = |since: u64, within: Duration| {
            Duration::from_millis(now_ms.saturating_sub(since)) > within
        };
        let stuck = self.stuck.load(Ordering::Relaxed);
        if stuck > 0 && over(stuck - 1, TAKES_WITHIN) {
            return Some(Order::Break);
        }
        let (phase, since) = self.at();
        over(since, phase.within()?).then_some(match phase {
            // A request that comes at this very moment is still answered.
            Phase::Idle => Order::Leave,
            _ => Order::Break,
        })
    }
}

/// A connection among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Member {
    connections: Arc<Connections>,
    number: u64,
    pub(super) watch: Arc<Watch>,
    /// Given back last.
    _slot: OwnedSemaphorePermit,
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.connections.lock().leave(self.number) {
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
    // A std mutex: taken when a connection comes or goes and when one looks after all of them.
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    members: HashMap<u64, Arc<Watch>>,
    next_number: u64,
    /// The most there were since many left.
    peak: usize,
}

impl Live {
    /// Takes one in under a number of its own.
    fn enter(&mut self, watch: Arc<Watch>) -> u64 {
        self.next_number += 1;
        self.members.insert(self.next_number, watch);
        self.peak = self.peak.max(self.members.len());
        self.next_number
    }

    /// Whether, with this one, many have left: half of those that there were.
    fn leave(&mut self, number: u64) -> bool {
        self.members.remove(&number);
        let left = self.peak - self.members.len();
        let many = left >= MANY && left >= self.members.len();
        if many {
            self.peak = self.members.len();
        }
        many
    }
}

impl Connections {
    /// Room for `most` connections.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most,
            slots: Arc::new(Semaphore::new(most as usize)),
            clock: Arc::new(Clock {
                begin: Instant::now(),
                now_ms: AtomicU64::new(0),
            }),
            live: Mutex::default(),
        }
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        self.slots.available_permits() < self.most as usize
    }

    /// A slot if there is a free one.
    pub(super) fn free_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// The next slot that is free.
    pub(super) async fn next_slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Takes a new connection in.
    pub(super) fn join(self: &Arc<Self>, slot: OwnedSemaphorePermit) -> Member {
        self.clock.refresh();
        let watch = Arc::new(Watch::new(Arc::clone(&self.clock)));
        let number = self.lock().enter(Arc::clone(&watch));
        Member {
            connections: Arc::clone(self),
            number,
            watch,
            _slot: slot,
        }
    }

    /// Closes the connections that take too long.
    pub(super) fn close_overdue(&self) {
        let now_ms = self.clock.refresh();
        for watch in self.lock().members.values() {
            if let Some(order) = watch.overdue(now_ms) {
                watch.tell(order);
            }
            watch.have_looked(now_ms);
        }
    }

    /// Closes those that have been quiet the longest; where all are being answered, the one that has
    /// waited the longest.
    pub(super) fn make_room(&self) {
        self.make_room_of(Duration::ZERO);
    }

    /// The same among those that have been at what they are at for a while, if there are any: a client
    /// that has just been accepted is not to pay for what others hold.
    pub(super) fn make_room_of_old(&self) {
        self.make_room_of(OLD);
    }

    fn make_room_of(&self, age: Duration) {
        let last_ms = self.clock.last();
        let is_old = |since: u64| Duration::from_millis(last_ms.saturating_sub(since)) >= age;
        let live = self.lock();
        let mut all: Vec<_> = live.members.values().map(|w| (w.at(), w)).collect();
        all.retain(|((_, since), _)| is_old(*since));
        all.sort_unstable_by_key(|((phase, since), _)| (*phase == Phase::Answer, *since));
        let quiet = all.partition_point(|((phase, _), _)| *phase != Phase::Answer);
        for (_, watch) in all.iter().take((quiet / ROOM_SHARE).max(1)) {
            watch.tell(Order::Break);
        }
    }

    /// Tells all to leave once they have answered.
    pub(super) fn let_all_leave(&self) {
        for watch in self.lock().members.values() {
            watch.tell(Order::Leave);
        }
    }

    /// Waits until none is left. To be called when nobody joins any more.
    pub(super) async fn all_left(&self) {
        // Never closed, so that there is no other outcome.
        drop(self.slots.acquire_many(self.most).await);
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    struct Listener(Arc<Connections>);

    impl Listener {
        fn of(most: u32) -> Self {
            Self(Arc::new(Connections::new(most)))
        }

        fn at(&self, now_ms: u64) {
            self.0.clock.now_ms.store(now_ms, Ordering::Relaxed);
        }

        /// A connection that has been in `phase` since `since_ms`.
        fn member(&self, phase: Phase, since_ms: u64) -> Member {
            let member = self.0.join(self.0.free_slot().expect("room"));
            self.at(since_ms);
            member.watch.enter(phase);
            member
        }
    }

    fn told(member: &Member) -> Order {
        member.watch.order(Waker::noop())
    }

    #[test]
    fn reading_is_timed_and_answering_is_not() {
        let listener = Listener::of(3);
        let overdue = |phase, age_ms| {
            let member = listener.member(phase, 5);
            member.watch.overdue(5 + age_ms)
        };
        assert_eq!(overdue(Phase::Head, 10 * SECOND), None);
        assert_eq!(overdue(Phase::Head, 10 * SECOND + 1), Some(Order::Break));
        assert_eq!(overdue(Phase::Idle, 75 * SECOND), None);
        assert_eq!(overdue(Phase::Idle, 75 * SECOND + 1), Some(Order::Leave));
        assert_eq!(overdue(Phase::Answer, 3600 * SECOND), None);
    }

    #[test]
    fn bytes_begin_a_head_once_and_do_not_prolong_it() {
        let listener = Listener::of(1);
        let member = listener.member(Phase::Idle, 5);
        listener.at(7);
        member.watch.note_bytes();
        listener.at(9);
        member.watch.note_bytes();
        assert_eq!(member.watch.at(), (Phase::Head, 7));
        member.watch.enter(Phase::Answer);
        member.watch.note_bytes();
        assert_eq!(member.watch.at(), (Phase::Answer, 9));
    }

    #[test]
    fn a_client_that_takes_nothing_of_its_answer_is_overdue_and_one_that_is_slow_is_not() {
        let listener = Listener::of(1);
        let member = listener.member(Phase::Answer, 0);
        for now_ms in [0, 50 * SECOND, 100 * SECOND] {
            listener.at(now_ms);
            member.watch.note_sent(false);
            assert_eq!(member.watch.overdue(now_ms), None);
            member.watch.note_sent(true);
        }
        member.watch.note_sent(false);
        listener.at(140 * SECOND);
        member.watch.note_sent(false);
        assert_eq!(member.watch.overdue(160 * SECOND + 1), Some(Order::Break));
    }

    #[test]
    fn the_longest_quiet_makes_room_and_one_that_waits_for_its_answer_only_when_none_is_quiet() {
        let listener = Listener::of(3);
        let waiting = listener.member(Phase::Answer, 1);
        let older = listener.member(Phase::Head, 2);
        let newer = listener.member(Phase::Idle, 3);
        assert!(listener.0.free_slot().is_none());
        listener.0.make_room();
        assert_eq!(told(&older), Order::Break);
        assert_eq!((told(&newer), told(&waiting)), (Order::Stay, Order::Stay));
        drop((older, newer));
        listener.0.make_room();
        assert_eq!(told(&waiting), Order::Break);
        assert!(listener.0.free_slot().is_some());
    }

    #[test]
    fn a_hang_up_is_looked_for_where_the_server_does_not_read() {
        let listener = Listener::of(1);
        let member = listener.member(Phase::Idle, 0);
        let looks = |now_ms| {
            member.watch.have_looked(now_ms);
            member.watch.shall_look()
        };
        assert!(!looks(2000));
        member.watch.enter_answer();
        assert_eq!((looks(999), looks(1000)), (false, true));
        assert!(!member.watch.shall_look(), "once is enough");
        member.watch.note_reading();
        assert!(!looks(2000));
    }

    #[test]
    fn one_that_has_just_come_makes_no_room_where_old_ones_are_asked_to() {
        let listener = Listener::of(2);
        let new = listener.member(Phase::Head, 2 * SECOND);
        listener.at(3 * SECOND);
        listener.0.make_room_of_old();
        assert_eq!(told(&new), Order::Stay);
        listener.at(4 * SECOND);
        listener.0.make_room_of_old();
        assert_eq!(told(&new), Order::Break);
    }

    #[test]
    fn many_have_left_when_half_of_them_have_and_enough() {
        let watch = Arc::clone(&Listener::of(1).member(Phase::Idle, 0).watch);
        let mut live = Live::default();
        // After how many of a wave it says so.
        let mut told = |count: usize| -> Vec<usize> {
            let enter = |_| live.enter(Arc::clone(&watch));
            let numbers: Vec<u64> = (0..count).map(enter).collect();
            let left = (1..).zip(numbers);
            left.filter_map(|(left, number)| live.leave(number).then_some(left))
                .collect()
        };
        assert!(told(MANY - 1).is_empty());
        assert!(told(MANY - 1).is_empty());
        assert_eq!(told(MANY), [MANY]);
        assert_eq!(told(100), [50, 82]);
    }

    #[test]
    fn an_order_is_never_softened() {
        let listener = Listener::of(1);
        let member = listener.member(Phase::Head, 0);
        listener.0.make_room();
        listener.0.let_all_leave();
        assert_eq!(told(&member), Order::Break);
    }
}
