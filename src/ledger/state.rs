//! What the ledger holds in memory: the newest events, the lines that are not on disk yet, and how the disk is doing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::clock_watch::WallClock;
use super::event::Event;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Oldest first; readers see those up to `Visible::newest`.
    pub(super) kept: VecDeque<Kept>,
    pub(super) kept_bytes: usize,
    /// The lines of the newest events that are not on disk, oldest first.
    pub(super) unwritten: VecDeque<String>,
    /// The line of the last readings, where it is not written yet.
    pub(super) readings: Option<String>,
    /// The number of the newest event.
    pub(super) newest: u64,
    /// The number of the last event before this boot.
    pub(super) before_boot: u64,
    pub(super) durability: Durability,
    pub(super) wall_clock: WallClock,
    /// When the thread writes next; none while there is nothing to write.
    pub(super) write_at: Option<Instant>,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) event: Arc<Event>,
    /// The length of its line.
    pub(super) bytes: usize,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum Durability {
    #[default]
    OnDisk,
    /// For good.
    MemoryOnly(String),
    /// Until the disk takes what is waiting.
    Failing(String),
}

/// What the thread writes next.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) batch: Option<Batch>,
    pub(super) readings: Option<String>,
}

/// Lines to be written in one go.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) lines: String,
}

impl State {
    /// Keeps the newest event, and drops the oldest where more than `most_bytes` are kept.
    pub(super) fn push(&mut self, event: Event, most_bytes: usize) -> Arc<Event> {
        let line = line_of(&event);
        self.kept_bytes += line.len();
        let event = Arc::new(event);
        self.kept.push_back(Kept {
            event: Arc::clone(&event),
            bytes: line.len(),
        });
        if !matches!(self.durability, Durability::MemoryOnly(_)) {
            self.unwritten.push_back(line);
        }
        while self.kept_bytes > most_bytes
            && let Some(oldest) = self.kept.pop_front()
        {
            self.kept_bytes -= oldest.bytes;
        }
        // A disk that comes back late gets no more than readers can still read.
        let too_many = self.unwritten.len().saturating_sub(self.kept.len());
        self.unwritten.drain(..too_many);
        event
    }

    /// Events from number `seq` on are no longer on disk.
    pub(super) fn write_again_from(&mut self, seq: u64) {
        let lost = self.kept.iter().filter(|kept| kept.event.seq >= seq);
        self.unwritten = lost.map(|kept| line_of(&kept.event)).collect();
    }

    /// Everything that is not on disk; none when all is.
    pub(super) fn batch(&self) -> Option<Batch> {
        (!self.unwritten.is_empty()).then(|| Batch {
            first: self.first_unwritten(),
            last: self.newest,
            lines: self.unwritten.iter().map(String::as_str).collect(),
        })
    }

    pub(super) fn mark_written(&mut self, last: u64) {
        let count = (last + 1).saturating_sub(self.first_unwritten());
        self.unwritten.drain(..count as usize);
    }

    fn first_unwritten(&self) -> u64 {
        self.newest + 1 - self.unwritten.len() as u64
    }
}

fn line_of(event: &Event) -> String {
    // Numbers, strings and lists of them always serialize.
    serde_json::to_string(event).unwrap_or_default() + "\n"
}
