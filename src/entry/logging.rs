//! Logs: to standard output or to one file a day, as text or as JSON lines.
//!
//! A dedicated thread writes them. Logging never waits for the reader: when that is slow or stuck, lines are dropped, and
//! when it is gone, all are; the daemon goes on.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Log, LogFormat, LogMode};
use crate::lifecycle::panics;
use crate::traces::Traces;

/// Lines that may wait for the writer: a few seconds of a busy debug log, about a megabyte.
const WAITING_LINES: usize = 8192;

/// Flushes the lines that wait when it is dropped. One for the process, as its log is.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Sets up logging for the whole process, panics included, and `traces` beside it; to be called once.
///
/// # Errors
/// The folder of the log files cannot be made or written.
pub(super) fn init(log: &Log, traces: &Traces) -> io::Result<()> {
    let builder = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log");
    let (writer, guard) = match log.mode {
        LogMode::Console => builder.finish(io::stdout()),
        LogMode::File => builder.finish(daily_file(&log.path)?),
    };
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        // They would go to standard error, which may be as gone as the reader of the log.
        .log_internal_errors(false)
        .with_writer(writer);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Spans are for the traces: a line about something within one is the same line as without.
    let level = log.level;
    let is_line = filter_fn(move |what| !what.is_span() && *what.level() <= level);
    tracing_subscriber::registry()
        .with(traces.layer())
        .with(lines.with_filter(is_line.with_max_level_hint(level)))
        .init();
    panics::install_hook();
    Ok(())
}

/// Ends the log with all lines that wait, so that the last words before an exit are there. Waits about
/// a second at most if the reader is stuck.
pub(super) fn finish() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}

fn daily_file(folder: &Path) -> io::Result<RollingFileAppender> {
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("mockserver")
        .filename_suffix("log")
        .build(folder)
        .map_err(|error| {
            let folder = folder.display();
            io::Error::other(format!("Log.Path cannot be written to: {folder}: {error}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_written_is_named_with_its_key() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = daily_file(file.path()).expect_err("no folder").to_string();
        let start = format!("Log.Path cannot be written to: {}: ", file.path().display());
        assert!(error.starts_with(&start), "{error}");
    }
}
