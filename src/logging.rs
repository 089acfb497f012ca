//! Logs: to standard output or to one file a day, as text or as JSON lines.
//!
//! A thread of its own writes them. Whoever logs never waits for whoever reads: when the reader is slow
//! or stuck, lines are dropped, and when it is gone, all are; the daemon goes on.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};

use crate::config::{Log, LogFormat, LogMode};

/// Lines that may wait for the writer: a few seconds of a busy debug log, about a megabyte.
const WAITING_LINES: usize = 8192;

/// Flushes the lines that wait when it is dropped. One for the process, as its log is.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Sets up logging for the whole process; to be called once.
///
/// # Errors
/// The folder of the log files cannot be made or written.
pub fn init(log: &Log) -> io::Result<()> {
    let builder = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log");
    let (writer, guard) = match log.mode {
        LogMode::Console => builder.finish(io::stdout()),
        LogMode::File => builder.finish(daily_file(&log.path)?),
    };
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let base = tracing_subscriber::fmt()
        .with_max_level(log.level)
        .with_ansi(false)
        .with_target(false)
        // Told on standard error otherwise, which may be as gone as the reader of the log.
        .log_internal_errors(false)
        .with_writer(writer);
    match log.format {
        LogFormat::Text => base.init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Ends the log with all lines that wait, so that the last words before an exit are there. Waits about
/// a second at most, should nobody read them.
pub fn finish() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}

fn daily_file(folder: &Path) -> io::Result<RollingFileAppender> {
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("mockserver")
        .filename_suffix("log")
        .build(folder)
        .map_err(io::Error::other)
}
