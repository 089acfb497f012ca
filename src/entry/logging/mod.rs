//! Logs: to standard output or to files, as text or as JSON lines.
//!
//! A dedicated thread writes them. Logging never waits for the reader: when that is slow or stuck, lines are dropped, and
//! when it is gone, all are; the daemon goes on. What goes to standard error follows the log's format.

mod files;
mod json;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing::{Level, error};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use self::files::LogFiles;
use self::json::{JsonFormat, JsonLine};
use crate::config::{Log, LogFormat, LogMode};
use crate::lifecycle::panics;
use crate::lifecycle::termination::Termination;
use crate::sync::Lock;
use crate::traces::Traces;

/// Lines that may wait for the writer: a few seconds of a busy debug log, about a megabyte.
const WAITING_LINES: usize = 8192;

/// The log of the process, once it is set up.
static LOG: OnceLock<Running> = OnceLock::new();

struct Running {
    format: LogFormat,
    /// None where the log goes to standard output.
    files: Option<LogFiles>,
    set_level: Box<dyn Fn(Level) + Send + Sync>,
    /// Flushes the lines that wait when it is dropped.
    writer: Lock<Option<WorkerGuard>>,
}

/// Sets up logging for the whole process, panics included, and `traces` beside it; to be called once.
///
/// # Errors
/// The folder of the log files cannot be made or written.
pub(super) fn init(log: &Log, traces: &Traces) -> io::Result<()> {
    let files = match log.mode {
        LogMode::Console => None,
        LogMode::File => Some(LogFiles::open(log)?),
    };
    let (writer, guard) = match &files {
        Some(files) => non_blocking(files.clone()),
        None => non_blocking(StandardOutput),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        // They would go to standard error, which may be as gone as the reader of the log.
        .log_internal_errors(false)
        .with_writer(writer);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.event_format(JsonFormat).boxed(),
    };
    let (level, level_handle) = reload::Layer::new(LevelFilter::from_level(log.level));
    // Spans are for the traces: a line about something within one is the same line as without.
    let is_line = filter_fn(|what| !what.is_span()).with_max_level_hint(LevelFilter::TRACE);
    tracing_subscriber::registry()
        .with(traces.layer())
        .with(lines.with_filter(level.and(is_line)))
        .init();
    let set_level = move |level| {
        // It fails only without a subscriber, and this one lasts as long as the process.
        level_handle.reload(LevelFilter::from_level(level)).ok();
    };
    let running = Running {
        format: log.format,
        files,
        set_level: Box::new(set_level),
        writer: Lock::new(Some(guard)),
    };
    // It was not set before: this is called once.
    LOG.set(running).ok();
    match log.format {
        LogFormat::Text => panics::install_hook(std::panic::take_hook()),
        LogFormat::Json => panics::install_hook(Box::new(print_panic)),
    }
    Ok(())
}

fn non_blocking(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(writer)
}

/// From now on lines of this level and of more severe ones are written.
pub(super) fn set_level(level: Level) {
    if let Some(log) = LOG.get() {
        (log.set_level)(level);
    }
}

/// Opens the log file anew; false where there is none.
///
/// # Errors
/// It cannot be opened; the log goes on in the one before.
pub(super) fn reopen() -> io::Result<bool> {
    match LOG.get().and_then(|log| log.files.as_ref()) {
        Some(files) => files.reopen().map(|()| true),
        None => Ok(false),
    }
}

/// Ends the log with all lines that wait, so that the last words before an exit are there. Waits about
/// a second at most if the reader is stuck.
pub(super) fn finish() {
    if let Some(log) = LOG.get() {
        drop(log.writer.lock().take());
    }
}

/// Says on standard error why the process ends, and in the log files where there are any.
pub(super) fn fatal(reason: &dyn Display, format: LogFormat) {
    if LOG.get().is_some_and(|log| log.files.is_some()) {
        error!("{reason}");
    }
    complain(Level::ERROR, reason, format);
}

/// One message on standard error.
pub(super) fn complain(level: Level, message: &dyn Display, format: LogFormat) {
    let line = match format {
        LogFormat::Text => format!("mockserver: {message}"),
        LogFormat::Json => JsonLine::new(level)
            .with("message", message.to_string())
            .to_string(),
    };
    print_error(&line);
}

/// Where lines are JSON, keeps the Rust runtime from writing text as the process ends by `termination`.
pub(super) fn keep_runtime_quiet(termination: Termination) {
    if LOG.get().is_none_or(|log| log.format == LogFormat::Text) {
        return;
    }
    match termination {
        Termination::StackOverflow => {
            let message = "thread 'main' has overflowed its stack";
            complain(Level::ERROR, &message, LogFormat::Json);
        }
        Termination::OutOfMemory(_) => {}
        _ => return,
    }
    if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
        // Without it there is a line of text, and the process ends all the same.
        rustix::stdio::dup2_stderr(nowhere).ok();
    }
}

fn print_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let line = JsonLine::new(Level::ERROR)
        .with("message", "Panicked.")
        .with("thread", thread.name())
        .with("location", panic.location().map(ToString::to_string))
        .with("panic", panics::panic_text(panic.payload()));
    print_error(&line.to_string());
}

/// Not `eprintln!`, which panics where standard error is gone.
fn print_error(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

/// Standard output, without an error at the end where its reader is gone: the writer would print that.
struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stdout().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().ok();
        Ok(())
    }
}
