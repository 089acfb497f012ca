//! The ledger: what happened to faults and to the daemon, in order, kept across the death of the process.
//!
//! [`Ledger::note`] numbers an event and returns at once. Before a client hears of the event, the caller awaits
//! [`Ledger::synced`], so that everything a client knows survives `kill -9`. One OS thread owns the files: a sync on
//! a busy disk may take seconds, and every other thread waits [`SYNC_LIMIT`] at most. When the disk is slow, full or
//! missing, the ledger continues in memory, reports why in its log and in [`Ledger::not_durable`], and catches up
//! when it can: no fault stays on because of a disk.
//!
//! Readers see an event when it is on disk, or when the ledger stops waiting for that. They read from memory, which
//! holds as much as the files do.

mod clock_watch;
pub(crate) mod event;
pub(crate) mod history;
mod journal;
mod previous_end;
mod state;

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use event::{BootFacts, Event, EventKind, LastReading, NewEvent};
use history::History;
use journal::{Bounds, Found, Journal, LastReadings, Store};
use state::{Batch, Durability, State, Work};

use crate::host::clock::since_machine_boot;
use crate::host::threads;
use crate::lifecycle::panics::panic_text;
use crate::run::{Moment, Timestamp};
use crate::sync::Lock;

/// The longest that a caller waits for the disk.
const SYNC_LIMIT: Duration = Duration::from_secs(1);
/// When an event is written that no caller waits for. Long enough that all events of one start or stop go in one
/// write and one sync.
const WRITE_DELAY: Duration = Duration::from_millis(100);
/// The pause after the disk refused a write.
const RETRY: Duration = Duration::from_secs(1);
/// The files: eight megabytes, some twenty thousand events.
const BOUNDS: Bounds = Bounds {
    segment_bytes: 1 << 20,
    segments: 8,
};
/// How many bytes of lines stay in memory, for readers and for a disk that comes back.
const KEPT_BYTES: usize = BOUNDS.segment_bytes as usize * BOUNDS.segments;

/// A handle to the ledger; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // A std mutex: held to push, to look or to copy references, never during a write or an await.
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    visible: watch::Sender<Visible>,
    /// Derived from the events when a reader asks for it.
    history: Lock<History>,
    boot_id: String,
    /// By the clock that nothing sets.
    booted: Duration,
}

/// How far readers may read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Visible {
    /// The newest event that they may see.
    pub newest: u64,
    /// Nothing follows it.
    pub closed: bool,
}

/// Consecutive events, oldest first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventSlice {
    pub events: Vec<Arc<Event>>,
    /// The event before the first one here. It differs from what the reader gave where events in between are no
    /// longer kept, or where the ledger began anew.
    pub since: u64,
    /// The `since` of the next slice.
    pub next: u64,
}

impl Ledger {
    /// Opens the ledger in `folder` and notes the boot. Never fails: without the folder it lives in memory.
    pub(crate) fn open(folder: &Path, facts: BootFacts) -> Self {
        let ledger = match Journal::open(folder, BOUNDS) {
            Ok((journal, found)) => Self::with_store(Box::new(journal), found, facts),
            Err(error) => {
                let reason = format!("cannot keep a ledger in {}: {error}", folder.display());
                Self::in_memory(reason, facts)
            }
        };
        clock_watch::begin(&ledger);
        ledger
    }

    /// A ledger that ends with the process, for the given reason.
    pub(crate) fn in_memory(reason: impl Into<String>, facts: BootFacts) -> Self {
        let ledger = Self::new(Found::default(), facts);
        ledger.continue_in_memory(reason.into());
        ledger
    }

    fn with_store(store: Box<dyn Store>, found: Found, facts: BootFacts) -> Self {
        let ledger = Self::new(found, facts);
        let writer = ledger.clone();
        let thread = std::thread::Builder::new().name(threads::name("ledger"));
        let write = move || {
            let written = catch_unwind(AssertUnwindSafe(|| writer.write(store)));
            if let Err(panic) = written {
                let text = panic_text(&*panic);
                writer.continue_in_memory(format!("the ledger's writer panicked: {text}"));
            }
        };
        if let Err(error) = thread.spawn(write) {
            ledger.continue_in_memory(format!("cannot start the ledger's thread: {error}"));
        }
        ledger
    }

    fn new(found: Found, mut facts: BootFacts) -> Self {
        facts.healed_bytes = found.healed_bytes;
        facts.unreadable_lines = found.unreadable_lines;
        let earlier = found.kept.iter().map(|kept| &*kept.event);
        facts.previous = previous_end::infer(
            earlier,
            facts.oom_kills,
            found.last_readings,
            Timestamp::now(),
        );
        let previous = facts.previous.as_ref();
        info!(
            events = found.kept.len(),
            healed_bytes = facts.healed_bytes,
            unreadable_lines = facts.unreadable_lines,
            last_end = previous.map(|previous| previous.end.name()),
            because = previous.and_then(|previous| previous.because.as_deref()),
            "The ledger is open."
        );
        let state = State {
            kept_bytes: found.kept.iter().map(|kept| kept.bytes).sum(),
            kept: found.kept.into(),
            newest: found.last_seq,
            before_boot: found.last_seq,
            ..State::default()
        };
        let visible = Visible {
            newest: state.newest,
            closed: false,
        };
        let ledger = Self(Arc::new(Inner {
            state: Mutex::new(state),
            work: Condvar::new(),
            visible: watch::Sender::new(visible),
            history: Lock::default(),
            boot_id: format!("{:016x}", rand::random::<u64>()),
            booted: since_machine_boot(),
        }));
        ledger.note(NewEvent::boot(facts));
        // Written at once, while the rest of the daemon starts.
        ledger.lock().write_at = Some(Instant::now());
        ledger
    }

    /// From now on nothing is written, for the given reason.
    fn continue_in_memory(&self, reason: String) {
        warn!(
            reason,
            "The ledger lives in memory only: it ends with the process."
        );
        let mut state = self.lock();
        state.durability = Durability::MemoryOnly(reason);
        state.unwritten.clear();
        self.reveal(&state, state.newest);
    }

    /// Records that something happens now, and returns it with its number and time. It is written with the next sync, and
    /// soon in any case.
    pub(crate) fn note(&self, event: NewEvent) -> Arc<Event> {
        let mut state = self.lock();
        // Under the lock, so that times follow the order of the numbers.
        let now = self.now();
        if let Some(step) = state.wall_clock.step_to(now) {
            self.add(&mut state, step, now);
        }
        let event = self.add(&mut state, event, now);
        self.write_soon(&mut state);
        event
    }

    fn write_soon(&self, state: &mut State) {
        if state.durability != Durability::OnDisk {
            self.reveal(state, state.newest);
        }
        if state.write_at.is_none() {
            state.write_at = Some(Instant::now() + WRITE_DELAY);
            self.0.work.notify_one();
        }
    }

    /// Notes the step that the wall clock has made, if it has.
    fn note_clock_step(&self) {
        let mut state = self.lock();
        let now = self.now();
        if let Some(step) = state.wall_clock.step_to(now) {
            self.add(&mut state, step, now);
            self.write_soon(&mut state);
        }
    }

    fn add(&self, state: &mut State, NewEvent(mut event): NewEvent, now: Moment) -> Arc<Event> {
        event.boot_id = Cow::Owned(self.0.boot_id.clone());
        state.newest += 1;
        event.seq = state.newest;
        (event.time, event.monotonic_ns) = (now.time, now.monotonic_ns);
        if event.kind == EventKind::Accepted {
            event.run_id = Some(event.seq);
        }
        state.push(event, KEPT_BYTES)
    }

    /// Now, by both clocks.
    pub(crate) fn now(&self) -> Moment {
        let since_boot = since_machine_boot().saturating_sub(self.0.booted);
        Moment {
            time: Timestamp::now(),
            monotonic_ns: u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Keeps the last measurement of each live run, in place of those kept before, so that it survives the process.
    pub(crate) fn keep_readings(&self, runs: Vec<LastReading>) {
        let boot_id = self.0.boot_id.clone();
        // Numbers and texts always serialize.
        let line = serde_json::to_string(&LastReadings { boot_id, runs }).unwrap_or_default();
        let mut state = self.lock();
        if !matches!(state.durability, Durability::MemoryOnly(_)) {
            state.readings = Some(line + "\n");
            self.0.work.notify_one();
        }
    }

    /// Waits until everything noted so far is on disk. Returns early where the disk is known to fail, or when it
    /// misses [`SYNC_LIMIT`]; [`Ledger::not_durable`] then says so.
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
            if self.0.visible.borrow().newest >= state.newest {
                return;
            }
            state.write_at = Some(Instant::now());
            self.0.work.notify_one();
            state.newest
        };
        let mut visible = self.visible();
        let on_disk = visible.wait_for(|visible| visible.newest >= newest);
        if tokio::time::timeout(limit, on_disk).await.is_err() {
            let reason = format!("the disk has not synced within {} ms", limit.as_millis());
            self.fail(&mut self.lock(), reason);
        }
    }

    /// Ends the ledger: what was noted is still written, and readers learn that nothing follows.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.0.work.notify_one();
        self.reveal(&state, 0);
    }

    /// The work of the thread that owns the files.
    fn write(&self, mut store: Box<dyn Store>) {
        while let Some(Work { batch, readings }) = self.next_work() {
            // The events first: somebody waits for them.
            if let Some(batch) = batch {
                self.append(&mut *store, &batch);
            }
            if let Some(line) = readings
                && let Err(error) = store.keep_readings(line.as_bytes())
            {
                // The events are what counts; they report a disk that fails.
                debug!(%error, "Could not keep the last readings.");
            }
        }
    }

    fn append(&self, store: &mut dyn Store, batch: &Batch) {
        let outcome = store.append(batch.first, batch.lines.as_bytes());
        let mut state = self.lock();
        match outcome {
            Ok(()) => {
                state.mark_written(batch.last);
                if let Durability::Failing(_) = state.durability {
                    info!("The ledger is on disk again, complete.");
                    state.durability = Durability::OnDisk;
                }
                self.reveal(&state, batch.last);
            }
            Err(error) => {
                if let Some(seq) = store.removed_from() {
                    state.write_again_from(seq);
                }
                self.fail(&mut state, error.to_string());
            }
        }
    }

    /// Waits until there is something to write; none once the ledger is closed and all is written.
    fn next_work(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.unwritten.is_empty() {
                state.write_at = None;
            }
            let wait = state
                .write_at
                .map(|at| at.saturating_duration_since(Instant::now()));
            let is_due = state.closed || wait == Some(Duration::ZERO);
            if is_due || state.readings.is_some() {
                let batch = if is_due { state.batch() } else { None };
                if is_due {
                    state.write_at = None;
                }
                let readings = state.readings.take();
                return (batch.is_some() || readings.is_some()).then_some(Work { batch, readings });
            }
            state = match wait {
                Some(wait) => {
                    let woken = self.0.work.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.0.work.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }

    /// Records that the disk failed: callers stop waiting for it until it works again.
    fn fail(&self, state: &mut State, reason: String) {
        match state.durability {
            Durability::MemoryOnly(_) => return,
            Durability::OnDisk => warn!(
                reason,
                "The ledger is not durable: it continues in memory and keeps trying the disk."
            ),
            Durability::Failing(_) => {}
        }
        state.durability = Durability::Failing(reason);
        if state.closed {
            // No caller is left to wait for another try.
            state.unwritten.clear();
        }
        state.write_at = Some(Instant::now() + RETRY);
        self.reveal(state, state.newest);
    }

    /// Lets readers see the events up to `newest`, and whether more can follow.
    fn reveal(&self, state: &State, newest: u64) {
        self.0.visible.send_if_modified(|visible| {
            let before = *visible;
            visible.newest = visible.newest.max(newest);
            visible.closed = state.closed;
            *visible != before
        });
    }

    /// Up to `limit` of the events after number `since` that are `wanted`.
    pub(crate) fn events_after(
        &self,
        since: u64,
        limit: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> EventSlice {
        let state = self.lock();
        let newest = self.0.visible.borrow().newest;
        // A number that is still to come is from a ledger that is gone: everything since this boot is new.
        let since = if since > newest {
            state.before_boot
        } else {
            since
        };
        let first = state.kept.partition_point(|kept| kept.event.seq <= since);
        let first_seq = state.kept.get(first).map_or(0, |kept| kept.event.seq);
        let since = since.max(first_seq.saturating_sub(1));
        let mut slice = EventSlice {
            events: Vec::new(),
            since,
            next: newest.max(since),
        };
        let visible = state.kept.range(first..).map(|kept| &kept.event);
        for event in visible.take_while(|event| event.seq <= newest) {
            if slice.events.len() >= limit {
                slice.next = event.seq - 1;
                break;
            }
            if wanted(event) {
                slice.events.push(Arc::clone(event));
            }
        }
        slice
    }

    /// The number of the newest event, whether or not readers see it yet.
    pub(crate) fn newest(&self) -> u64 {
        self.lock().newest
    }

    /// The number of the oldest event that is kept.
    fn oldest(&self) -> u64 {
        self.lock().kept.front().map_or(0, |kept| kept.event.seq)
    }

    /// Every event that is kept, oldest first.
    #[cfg(test)]
    pub(crate) fn all(&self) -> Vec<Arc<Event>> {
        self.events_after(0, usize::MAX, |_| true).events
    }

    /// How far readers may read, now and from now on.
    pub(crate) fn visible(&self) -> watch::Receiver<Visible> {
        self.0.visible.subscribe()
    }

    /// Why the newest events would not survive the process; none when they would.
    pub(crate) fn not_durable(&self) -> Option<String> {
        match &self.lock().durability {
            Durability::OnDisk => None,
            Durability::MemoryOnly(reason) | Durability::Failing(reason) => Some(reason.clone()),
        }
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
