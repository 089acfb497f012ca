//! The service's log, as faults see it: they may add lines of the service to it, or hold its own lines back.
//!
//! Whatever writes the log connects itself as the [`LogOutput`]; nothing here knows formats, files or queues.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tracing::Level;

use super::SERVICE;
use crate::run::Timestamp;

/// A line of the service, without a format yet.
#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    pub(crate) time: Timestamp,
    pub(crate) level: Level,
    /// Line breaks in it are those of the log where that is text.
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Value)>,
    /// Lines that belong to it, such as a stack trace, without the last line break.
    pub(crate) trace: Option<String>,
}

/// Counts the lines of one feed, as they are written.
#[derive(Debug, Default)]
pub(crate) struct LineTally {
    written: AtomicU64,
    lost: AtomicU64,
}

impl LineTally {
    /// Counts `lines` as written, or as lost.
    pub(crate) fn note(&self, lines: u64, are_written: bool) {
        let counter = if are_written {
            &self.written
        } else {
            &self.lost
        };
        counter.fetch_add(lines, Ordering::Relaxed);
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Those that the reader of the log was too slow for, or that could not be written.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What writes the service's log. No call waits for the log's reader.
pub(crate) trait LogOutput: Send + Sync {
    /// Adds `line` whatever the log's level is, and counts in `tally` what becomes of it. Returns how many lines it is
    /// in the format of the log.
    fn add(&self, line: &LogLine, tally: &Arc<LineTally>) -> u64;

    /// Removes the lines of `tally` that are not written yet.
    fn take_back(&self, tally: &Arc<LineTally>);
}

/// A handle to the service's log; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServiceLog(Arc<Shared>);

#[derive(Default)]
struct Shared {
    output: OnceLock<Box<dyn LogOutput>>,
    /// How many runs hold the service's own lines back.
    silences: AtomicUsize,
    held_back: AtomicU64,
}

impl ServiceLog {
    /// From now on, `output` writes it. Only the first call has an effect.
    pub(crate) fn connect(&self, output: impl LogOutput + 'static) {
        self.0.output.set(Box::new(output)).ok();
    }

    /// Whether a line with this target is held back now, which counts it.
    pub(crate) fn holds_back(&self, target: &str) -> bool {
        let holds = self.0.silences.load(Ordering::Relaxed) > 0 && target == SERVICE;
        if holds {
            self.0.held_back.fetch_add(1, Ordering::Relaxed);
        }
        holds
    }

    /// Lines of the service, until the feed is dropped.
    pub(crate) fn feed(&self) -> LogFeed {
        LogFeed {
            log: self.clone(),
            tally: Arc::default(),
        }
    }

    /// Holds the service's own lines back until the guard is dropped, but not its last words.
    pub(crate) fn silence(&self) -> Silence {
        self.0.silences.fetch_add(1, Ordering::Relaxed);
        Silence(self.clone())
    }

    /// How many lines were held back since the process began.
    pub(crate) fn held_back(&self) -> u64 {
        self.0.held_back.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceLog").finish_non_exhaustive()
    }
}

/// Adds lines to the service's log. Dropping it removes those that are not written yet.
#[derive(Debug)]
pub(crate) struct LogFeed {
    log: ServiceLog,
    tally: Arc<LineTally>,
}

impl LogFeed {
    /// Adds a line, and returns how many lines it is in the format of the log. Never waits.
    pub(crate) fn add(&self, line: &LogLine) -> u64 {
        let output = self.log.0.output.get();
        output.map_or(1, |output| output.add(line, &self.tally))
    }

    /// What has become of the lines.
    pub(crate) fn tally(&self) -> &Arc<LineTally> {
        &self.tally
    }
}

impl Drop for LogFeed {
    fn drop(&mut self) {
        if let Some(output) = self.log.0.output.get() {
            output.take_back(&self.tally);
        }
    }
}

/// Holds the service's own lines back.
#[derive(Debug)]
pub(crate) struct Silence(ServiceLog);

impl Drop for Silence {
    fn drop(&mut self) {
        self.0.0.silences.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::LAST_WORDS;

    #[test]
    fn only_the_service_is_silent_and_only_for_a_while() {
        let log = ServiceLog::default();
        assert!(!log.holds_back(SERVICE));
        let silence = log.silence();
        assert!(log.holds_back(SERVICE) && log.holds_back(SERVICE));
        assert!(!log.holds_back(LAST_WORDS) && !log.holds_back("mockserver::daemon"));
        drop(silence);
        assert!(!log.holds_back(SERVICE));
        assert_eq!(log.held_back(), 2);
    }
}
