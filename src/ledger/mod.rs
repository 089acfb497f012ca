//! The ledger: what really happened to faults and to the daemon, in order, kept over its death.
//!
//! Whoever makes something happen hands a [`NewEvent`] to [`Ledger::note`], which fixes its place and
//! returns at once; whoever is about to tell a client of it awaits [`Ledger::synced`] first, so that
//! all that was told survives `kill -9`. One OS thread owns the files: a sync on a busy disk may take
//! seconds, and nobody but that thread ever waits for it longer than [`SYNC_LIMIT`]. When the disk is
//! slow, full or not there, the ledger goes on in memory, says why in its log and in
//! [`Ledger::not_durable`], and catches up when it can: no fault is ever kept on by it.
//!
//! Readers see an event when it is on disk, or when it was given up to wait for that. They read from
//! memory, which holds as much as the files do.

pub(crate) mod event;
pub(crate) mod history;
mod journal;
pub(crate) mod phase;
mod previous_end;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use event::{BootFacts, Event, EventKind, NewEvent};
use journal::{Bounds, Found, Journal, Store};

use crate::lifecycle::panics::panic_text;

/// The longest that anybody waits for the disk.
pub(crate) const SYNC_LIMIT: Duration = Duration::from_secs(1);
/// After how long a noted event is written though nobody waits for it. Long enough that all events of
/// one start or stop go in one write and one sync.
const LAZY: Duration = Duration::from_millis(100);
/// How long the disk is left alone after it has refused something.
const RETRY: Duration = Duration::from_secs(1);
/// The files: eight megabytes, some twenty thousand events.
const BOUNDS: Bounds = Bounds {
    segment_bytes: 1 << 20,
    segments: 8,
};
/// How many bytes of lines are kept in memory, for readers and for a disk that comes back.
const KEPT_BYTES: usize = BOUNDS.segment_bytes as usize * BOUNDS.segments;

/// A handle to the ledger; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    // A std mutex: held to push, to look or to copy references, never over a write or an await.
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    shown: watch::Sender<Shown>,
    boot_id: String,
    booted: tokio::time::Instant,
}

/// How far readers may read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The newest event that they may see.
    pub newest: u64,
    /// Nothing will come after it.
    pub closed: bool,
}

#[derive(Debug)]
struct State {
    /// Oldest first; those after `Shown::newest` are not to be seen yet.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Lines that are not on disk, oldest first.
    unwritten: VecDeque<(u64, String)>,
    unwritten_bytes: usize,
    next_seq: u64,
    /// The present life's first event.
    boot_seq: u64,
    durability: Durability,
    /// When the thread is to write; none when there is nothing to write.
    write_at: Option<Instant>,
    closed: bool,
}

#[derive(Debug)]
struct Kept {
    event: Arc<Event>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Durability {
    OnDisk,
    /// For good.
    MemoryOnly(String),
    /// Until the disk takes what is waiting.
    Failing(String),
}

/// Some events, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    /// The events.
    pub events: Vec<Arc<Event>>,
    /// After which event this page begins. Not what was asked for when events in between are gone, or
    /// when the ledger was begun anew since.
    pub since: u64,
    /// After which event the next page begins.
    pub next: u64,
}

impl Ledger {
    /// Opens the ledger in `folder` and notes the boot. It never fails: without the folder it lives in
    /// memory.
    pub(crate) fn open(folder: &Path, facts: BootFacts) -> Self {
        match Journal::open(folder, BOUNDS) {
            Ok((journal, found)) => Self::with_store(Box::new(journal), found, facts),
            Err(error) => {
                let reason = format!("no ledger can be kept in {}: {error}", folder.display());
                warn!(
                    reason,
                    "The ledger lives in memory only: it ends with the process."
                );
                Self::in_memory(reason, facts)
            }
        }
    }

    /// A ledger that ends with the process, for the given reason.
    pub(crate) fn in_memory(reason: impl Into<String>, facts: BootFacts) -> Self {
        let nothing = Found {
            next_seq: 1,
            ..Found::default()
        };
        Self::new(Durability::MemoryOnly(reason.into()), nothing, facts)
    }

    fn with_store(store: Box<dyn Store>, found: Found, facts: BootFacts) -> Self {
        let ledger = Self::new(Durability::OnDisk, found, facts);
        let writer = ledger.clone();
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let write = move || {
            let written = catch_unwind(AssertUnwindSafe(|| writer.write(store)));
            if let Err(panic) = written {
                let text = panic_text(&*panic);
                writer.go_on_in_memory(format!("what writes the ledger panicked: {text}"));
            }
        };
        if let Err(error) = thread.spawn(write) {
            ledger.go_on_in_memory(format!("no thread to write the ledger with: {error}"));
        }
        ledger
    }

    /// Nothing is written from now on, for the given reason, and nobody waits for it.
    fn go_on_in_memory(&self, reason: String) {
        warn!(
            reason,
            "The ledger lives in memory only: it ends with the process."
        );
        let mut state = self.lock();
        state.durability = Durability::MemoryOnly(reason);
        state.written(u64::MAX);
        self.show(&state, state.next_seq - 1);
    }

    fn new(durability: Durability, found: Found, mut facts: BootFacts) -> Self {
        facts.healed_bytes = found.healed_bytes;
        facts.unreadable_lines = found.unreadable_lines;
        facts.previous = previous_end::infer(&found.events, facts.oom_kills);
        let previous = facts.previous.as_ref();
        info!(
            events = found.events.len(),
            healed_bytes = facts.healed_bytes,
            unreadable_lines = facts.unreadable_lines,
            last_end = previous.map(|previous| tracing::field::debug(previous.end)),
            because = previous.and_then(|previous| previous.because.as_deref()),
            "The ledger is open."
        );
        let state = State {
            kept_bytes: found.events.iter().map(|(_, bytes)| bytes).sum(),
            kept: found
                .events
                .into_iter()
                .map(|(event, bytes)| Kept {
                    event: Arc::new(event),
                    bytes,
                })
                .collect(),
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            next_seq: found.next_seq,
            boot_seq: found.next_seq,
            durability,
            write_at: None,
            closed: false,
        };
        let shown = Shown {
            newest: state.next_seq - 1,
            closed: false,
        };
        let ledger = Self(Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            shown: watch::Sender::new(shown),
            boot_id: format!("{:016x}", rand::random::<u64>()),
            booted: tokio::time::Instant::now(),
        }));
        let mut boot = NewEvent::new(EventKind::Boot);
        boot.event.boot = Some(Box::new(facts));
        ledger.note(boot);
        // Written at once, while the rest of the daemon starts.
        ledger.lock().write_at = Some(Instant::now());
        ledger
    }

    // === Writing ===

    /// Gives what happened its place, and returns its number. It is written with whatever is synced
    /// next, and soon in any case.
    pub(crate) fn note(&self, draft: NewEvent) -> u64 {
        let NewEvent { at, mut event } = draft;
        let since_boot = at.saturating_duration_since(self.0.booted).as_nanos();
        event.monotonic_ns = u64::try_from(since_boot).unwrap_or(u64::MAX);
        event.boot_id = Cow::Owned(self.0.boot_id.clone());
        let mut state = self.lock();
        let seq = state.next_seq;
        state.next_seq += 1;
        event.seq = seq;
        if event.kind == EventKind::Accepted {
            event.run_id = Some(seq);
        }
        // Numbers, texts and lists of them always have a form in JSON.
        let mut line = serde_json::to_string(&event).unwrap_or_default();
        line.push('\n');
        state.keep(Arc::new(event), line.len());
        match state.durability {
            Durability::MemoryOnly(_) => self.show(&state, seq),
            Durability::OnDisk | Durability::Failing(_) => {
                if state.durability != Durability::OnDisk {
                    self.show(&state, seq);
                }
                state.unwritten_bytes += line.len();
                state.unwritten.push_back((seq, line));
                if state.write_at.is_none() {
                    state.write_at = Some(Instant::now() + LAZY);
                    self.0.work.notify_one();
                }
            }
        }
        seq
    }

    /// Waits until all that was noted is on disk; when the disk does not manage that in time, or is
    /// known not to, it is given up and told.
    ///
    /// # Cancel safety
    /// Dropping this future changes nothing: the events are written all the same.
    pub(crate) async fn synced(&self) {
        self.synced_within(SYNC_LIMIT).await;
    }

    /// As [`Ledger::synced`], with another limit.
    pub(crate) async fn synced_within(&self, limit: Duration) {
        let newest = {
            let mut state = self.lock();
            let newest = state.next_seq - 1;
            if self.0.shown.borrow().newest >= newest {
                return;
            }
            state.write_at = Some(Instant::now());
            self.0.work.notify_one();
            newest
        };
        let mut shown = self.0.shown.subscribe();
        let on_disk = shown.wait_for(|shown| shown.newest >= newest);
        if tokio::time::timeout(limit, on_disk).await.is_err() {
            let mut state = self.lock();
            self.fail(
                &mut state,
                format!("the disk has not synced within {} ms", limit.as_millis()),
            );
        }
    }

    /// Ends the ledger: what was noted is still written, and readers hear that nothing will follow.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.0.work.notify_one();
        let newest = self.0.shown.borrow().newest;
        self.show(&state, newest);
    }

    /// The life of the thread that owns the files.
    fn write(&self, mut store: Box<dyn Store>) {
        while let Some((first, last, lines)) = self.next_batch() {
            let outcome = store.append(first, lines.as_bytes());
            let mut state = self.lock();
            match outcome {
                Ok(()) => {
                    state.written(last);
                    if let Durability::Failing(_) = state.durability {
                        info!("The ledger is on disk again, complete.");
                        state.durability = Durability::OnDisk;
                    }
                    self.show(&state, last);
                }
                Err(error) => self.fail(&mut state, error.to_string()),
            }
        }
    }

    /// Waits until something is to be written: the numbers of the first and the last line, and all
    /// lines. None at the end.
    fn next_batch(&self) -> Option<(u64, u64, String)> {
        let mut state = self.lock();
        loop {
            let ends = state.unwritten.front().zip(state.unwritten.back());
            let Some((first, last)) = ends.map(|((first, _), (last, _))| (*first, *last)) else {
                if state.closed {
                    return None;
                }
                state.write_at = None;
                let woken = self.0.work.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            let wait = state.write_at.unwrap_or(now).saturating_duration_since(now);
            if wait.is_zero() || state.closed {
                state.write_at = None;
                let lines = state.unwritten.iter().map(|(_, line)| line.as_str());
                return Some((first, last, lines.collect()));
            }
            let woken = self.0.work.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The disk did not do its part: nobody waits for it until it does.
    fn fail(&self, state: &mut State, reason: String) {
        if matches!(state.durability, Durability::MemoryOnly(_)) {
            return;
        }
        if state.durability == Durability::OnDisk {
            warn!(reason, "The ledger is not durable: it goes on in memory.");
        }
        state.durability = Durability::Failing(reason);
        if state.closed {
            // Nobody is left who could wait for another try.
            state.written(u64::MAX);
        }
        state.write_at = Some(Instant::now() + RETRY);
        self.show(state, state.next_seq - 1);
    }

    fn show(&self, state: &State, newest: u64) {
        self.0.shown.send_if_modified(|shown| {
            let before = *shown;
            shown.newest = shown.newest.max(newest);
            shown.closed = state.closed;
            *shown != before
        });
    }

    // === Reading ===

    /// Up to `limit` of the events after number `since` that are `wanted`.
    pub(crate) fn page(&self, since: u64, limit: usize, wanted: impl Fn(&Event) -> bool) -> Page {
        let state = self.lock();
        let newest = self.0.shown.borrow().newest;
        // Numbers that are still to come are of a ledger that is gone: all of this life is new.
        let since = if since > newest {
            state.boot_seq.saturating_sub(1)
        } else {
            since
        };
        let first = state.kept.partition_point(|kept| kept.event.seq <= since);
        let since = match state.kept.get(first) {
            Some(kept) => since.max(kept.event.seq - 1),
            None => since,
        };
        let mut page = Page {
            events: Vec::new(),
            since,
            next: newest.max(since),
        };
        for kept in state.kept.range(first..) {
            if kept.event.seq > newest {
                break;
            }
            if page.events.len() >= limit {
                page.next = kept.event.seq - 1;
                break;
            }
            if wanted(&kept.event) {
                page.events.push(Arc::clone(&kept.event));
            }
        }
        page
    }

    /// Every event that is kept, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Event>> {
        self.page(0, usize::MAX, |_| true).events
    }

    /// How far readers may read, now and from now on.
    pub(crate) fn shown(&self) -> watch::Receiver<Shown> {
        self.0.shown.subscribe()
    }

    /// Why the newest events would not survive the process; none when they would.
    pub(crate) fn not_durable(&self) -> Option<String> {
        match &self.lock().durability {
            Durability::OnDisk => None,
            Durability::MemoryOnly(reason) | Durability::Failing(reason) => Some(reason.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn keep(&mut self, event: Arc<Event>, bytes: usize) {
        self.kept_bytes += bytes;
        self.kept.push_back(Kept { event, bytes });
        while self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.bytes;
        }
        // A disk that stays away for long gets no more than readers can still read.
        while self.unwritten_bytes > KEPT_BYTES {
            self.drop_unwritten();
        }
    }

    /// Everything up to `last` needs no more writing.
    fn written(&mut self, last: u64) {
        while self.unwritten.front().is_some_and(|(seq, _)| *seq <= last) {
            self.drop_unwritten();
        }
    }

    fn drop_unwritten(&mut self) {
        if let Some((_, line)) = self.unwritten.pop_front() {
            self.unwritten_bytes -= line.len();
        }
    }
}

#[cfg(test)]
mod tests;
