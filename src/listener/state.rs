//! What one connection is doing, and since when.
//!
//! Its task records that with one store, without a lock or a system call, and the listener checks all connections once
//! a second. So no request pays for a timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::fault::Ending;
use crate::run::ServiceClock;

/// How long the head of a request may take, from its first byte or from the start of the connection.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection stays open without a request. Longer than the minute of common load balancers, which must not
/// find their connections closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may read nothing of a response.
const READ_WITHIN: Duration = Duration::from_secs(60);
/// How long a request is answered before the socket is checked for a hang-up that hyper cannot see: long enough for a
/// handler to hand a command over, even if the client has left.
const PEER_CHECK_AFTER_MS: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConnPhase {
    /// The head of a request is missing, in whole or in part.
    Head,
    /// The last request is answered and nothing has come since.
    Idle,
    /// A request is being answered.
    Answer,
}

impl ConnPhase {
    const ALL: [Self; 3] = [Self::Head, Self::Idle, Self::Answer];

    /// How long it may last; none is no bound.
    fn within(self) -> Option<Duration> {
        match self {
            Self::Head => Some(HEAD_WITHIN),
            Self::Idle => Some(KEEP_ALIVE),
            Self::Answer => None,
        }
    }
}

/// What the listener asks of a connection; a later one is stronger and is never taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnCommand {
    Continue,
    /// Close as soon as no request is being answered.
    CloseWhenIdle,
    CloseNow,
}

impl ConnCommand {
    const ALL: [Self; 3] = [Self::Continue, Self::CloseWhenIdle, Self::CloseNow];
}

/// Milliseconds since a listener started, as of the last refresh.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    now_ms: AtomicU64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            now_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn refresh(&self) -> u64 {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.store(now, Ordering::Relaxed);
        now
    }

    pub(super) fn last_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// One connection, shared by its task and the listener.
#[derive(Debug)]
pub(super) struct ConnState {
    clock: Arc<Clock>,
    service_clock: ServiceClock,
    /// The phase in the lowest two bits, its start in milliseconds above them.
    phase_since: AtomicU64,
    /// When the client stopped reading the response, in milliseconds plus one; 0 while it reads.
    stalled_since: AtomicU64,
    /// Whether the client has sent more than hyper has read since the request began, if only the end of its side: hyper
    /// reads no further while it answers, and does not see a hang-up.
    has_unread: AtomicBool,
    /// Whether hyper has written something since the request began.
    answer_begun: AtomicBool,
    /// Whether the connection shall check its socket for a hang-up.
    peer_check: AtomicBool,
    command: AtomicU8,
    /// How the connection ends once all that was written is sent: the place in [`ENDINGS`] plus one; 0 where it goes
    /// on.
    ending: AtomicU8,
    task: AtomicWaker,
}

/// How a fault may end a connection.
const ENDINGS: [Ending; 3] = [Ending::Reset, Ending::Close, Ending::Garbage];

impl ConnState {
    pub(super) fn new(clock: Arc<Clock>, service_clock: ServiceClock) -> Self {
        let state = Self {
            clock,
            service_clock,
            phase_since: AtomicU64::new(0),
            stalled_since: AtomicU64::new(0),
            has_unread: AtomicBool::new(false),
            answer_begun: AtomicBool::new(false),
            peer_check: AtomicBool::new(false),
            command: AtomicU8::new(ConnCommand::Continue as u8),
            ending: AtomicU8::new(0),
            task: AtomicWaker::new(),
        };
        state.enter(ConnPhase::Head);
        state
    }

    /// The date of a response where it is not the true one.
    pub(super) fn wrong_date(&self) -> Option<String> {
        let time = self.service_clock.wrong_now()?;
        Some(time.http_date())
    }

    pub(super) fn enter(&self, phase: ConnPhase) {
        let packed = (self.clock.last_ms() << 2) | phase as u64;
        self.phase_since.store(packed, Ordering::Relaxed);
    }

    /// The current phase, and its start in milliseconds.
    pub(super) fn phase(&self) -> (ConnPhase, u64) {
        let packed = self.phase_since.load(Ordering::Relaxed);
        // `enter` stores no other values.
        let phase = ConnPhase::ALL.get((packed & 3) as usize).copied();
        (phase.unwrap_or(ConnPhase::Head), packed >> 2)
    }

    pub(super) fn begin_answer(&self) {
        self.enter(ConnPhase::Answer);
        self.has_unread.store(false, Ordering::Relaxed);
        self.answer_begun.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_answering(&self) -> bool {
        self.phase().0 == ConnPhase::Answer
    }

    /// Whether something was written since the request began.
    pub(super) fn is_answer_begun(&self) -> bool {
        self.answer_begun.load(Ordering::Relaxed)
    }

    /// Records that the socket has something that hyper does not read.
    pub(super) fn note_unread(&self) {
        self.has_unread.store(true, Ordering::Relaxed);
    }

    /// Records that bytes have come.
    pub(super) fn note_bytes(&self) {
        if self.phase().0 == ConnPhase::Idle {
            self.enter(ConnPhase::Head);
        }
    }

    /// Records whether the socket took bytes of a response.
    pub(super) fn note_write(&self, progress: bool) {
        self.answer_begun.store(true, Ordering::Relaxed);
        let stalled = self.stalled_since.load(Ordering::Relaxed) != 0;
        if stalled == progress {
            let since = if progress {
                0
            } else {
                self.clock.last_ms() + 1
            };
            self.stalled_since.store(since, Ordering::Relaxed);
        }
    }

    /// Whether to check the socket for a hang-up; true once for each request of the listener.
    pub(super) fn take_peer_check(&self) -> bool {
        self.peer_check.load(Ordering::Relaxed) && self.peer_check.swap(false, Ordering::Relaxed)
    }

    /// Has the connection check for a hang-up if hyper would not see one.
    pub(super) fn request_peer_check(&self, now_ms: u64) {
        let (phase, since) = self.phase();
        let is_due = now_ms.saturating_sub(since) >= PEER_CHECK_AFTER_MS;
        if phase == ConnPhase::Answer && is_due && self.has_unread.load(Ordering::Relaxed) {
            self.peer_check.store(true, Ordering::Relaxed);
            self.task.wake();
        }
    }

    /// The strongest command so far; `task` is woken when another one comes.
    pub(super) fn command(&self, task: &Waker) -> ConnCommand {
        self.task.register(task);
        ConnCommand::ALL[usize::from(self.command.load(Ordering::Acquire))]
    }

    pub(super) fn send(&self, command: ConnCommand) {
        self.command.fetch_max(command as u8, Ordering::AcqRel);
        self.task.wake();
    }

    /// Has the connection end once all that was written is sent. Only its own task calls this.
    pub(super) fn end_by(&self, ending: Ending) {
        let place = ENDINGS.iter().position(|known| *known == ending);
        // A truncated body closes the connection at its end.
        let number = place.and_then(|place| u8::try_from(place + 1).ok());
        self.ending.store(number.unwrap_or(0), Ordering::Relaxed);
    }

    /// How the connection ends now that all is sent; none where it goes on.
    pub(super) fn ending(&self) -> Option<Ending> {
        let number = self.ending.load(Ordering::Relaxed);
        let place = usize::from(number).checked_sub(1)?;
        ENDINGS.get(place).copied()
    }

    /// The command for a connection that has missed a deadline.
    pub(super) fn overdue(&self, now_ms: u64) -> Option<ConnCommand> {
        let is_over = |since: u64, within: Duration| {
            Duration::from_millis(now_ms.saturating_sub(since)) > within
        };
        let stalled = self.stalled_since.load(Ordering::Relaxed);
        if stalled > 0 && is_over(stalled - 1, READ_WITHIN) {
            return Some(ConnCommand::CloseNow);
        }
        let (phase, since) = self.phase();
        is_over(since, phase.within()?).then_some(match phase {
            // A request that arrives at this very moment is still answered.
            ConnPhase::Idle => ConnCommand::CloseWhenIdle,
            _ => ConnCommand::CloseNow,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1000;

    /// A connection that has been in `phase` since `since_ms`.
    fn state_in(phase: ConnPhase, since_ms: u64) -> ConnState {
        let state = ConnState::new(Arc::new(Clock::start()), ServiceClock::default());
        state.clock.set(since_ms);
        state.enter(phase);
        state
    }

    #[test]
    fn reading_has_a_deadline_and_answering_has_none() {
        let overdue = |phase, age_ms| state_in(phase, 5).overdue(5 + age_ms);
        let (now, when_idle) = (ConnCommand::CloseNow, ConnCommand::CloseWhenIdle);
        assert_eq!(overdue(ConnPhase::Head, 10 * SECOND), None);
        assert_eq!(overdue(ConnPhase::Head, 10 * SECOND + 1), Some(now));
        assert_eq!(overdue(ConnPhase::Idle, 75 * SECOND), None);
        assert_eq!(overdue(ConnPhase::Idle, 75 * SECOND + 1), Some(when_idle));
        assert_eq!(overdue(ConnPhase::Answer, 3600 * SECOND), None);
    }

    #[test]
    fn bytes_begin_a_head_once_and_do_not_extend_its_deadline() {
        let state = state_in(ConnPhase::Idle, 5);
        state.clock.set(7);
        state.note_bytes();
        state.clock.set(9);
        state.note_bytes();
        assert_eq!(state.phase(), (ConnPhase::Head, 7));
        state.enter(ConnPhase::Answer);
        state.note_bytes();
        assert_eq!(state.phase(), (ConnPhase::Answer, 9));
    }

    #[test]
    fn a_client_that_reads_nothing_is_overdue_and_a_slow_one_is_not() {
        let state = state_in(ConnPhase::Answer, 0);
        for now_ms in [0, 50 * SECOND, 100 * SECOND] {
            state.clock.set(now_ms);
            state.note_write(false);
            assert_eq!(state.overdue(now_ms), None);
            state.note_write(true);
        }
        state.note_write(false);
        state.clock.set(140 * SECOND);
        state.note_write(false);
        let command = state.overdue(160 * SECOND + 1);
        assert_eq!(command, Some(ConnCommand::CloseNow));
    }

    #[test]
    fn the_socket_is_checked_for_a_hang_up_while_hyper_does_not_read() {
        let state = state_in(ConnPhase::Idle, 0);
        let is_checked = |now_ms| {
            state.request_peer_check(now_ms);
            state.take_peer_check()
        };
        assert!(!is_checked(2000));
        state.begin_answer();
        assert!(!is_checked(2000), "hyper has read all there is");
        state.note_unread();
        assert_eq!((is_checked(999), is_checked(1000)), (false, true));
        assert!(!state.take_peer_check(), "one check for each request");
        state.begin_answer();
        assert!(!is_checked(2000));
    }

    #[test]
    fn a_command_is_never_weakened() {
        let state = state_in(ConnPhase::Head, 0);
        state.send(ConnCommand::CloseNow);
        state.send(ConnCommand::CloseWhenIdle);
        assert_eq!(state.command(Waker::noop()), ConnCommand::CloseNow);
    }
}
