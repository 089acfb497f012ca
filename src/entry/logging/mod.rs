//! Logs: to standard output or to files, as text or as JSON lines.
//!
//! A dedicated thread writes them. Logging never waits for the reader: when that is slow or stuck, lines are dropped, and
//! when it is gone, all are; the daemon goes on. What goes to standard error follows the log's format.

mod files;
mod format;
mod json;
mod writer;

use std::fmt::{self, Display};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Level, Metadata, Subscriber, error};
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use self::files::LogFiles;
use self::json::{JsonFormat, JsonLine};
use self::writer::{FedQueue, GatedQueue, PIPE_BUF, Queue, WriterEnd};
use crate::config::{Config, Log, LogFormat, LogMode};
use crate::host::threads;
use crate::lifecycle::panics::{self, Shown};
use crate::lifecycle::termination::Termination;
use crate::lifecycle::{LAST_WORDS, is_of_service, termination};
use crate::plugin::Hooks;
use crate::run::{ServiceClock, Timestamp};
use crate::sync::Lock;
use crate::traces::Traces;

/// A log file takes one line as a whole or not at all.
const ONE_LINE: usize = 0;

/// The log of the process, once it is set up.
static LOG: OnceLock<Running> = OnceLock::new();

struct Running {
    format: LogFormat,
    /// Whether others may read the service's own lines only.
    is_blind: bool,
    /// Of the service, unless its log goes to standard output.
    files: Option<LogFiles>,
    /// Of the daemon's own lines, where they have a file.
    admin_files: Option<LogFiles>,
    /// Of the service's lines.
    clock: ServiceClock,
    set_levels: Vec<SetLevel>,
    /// Flush the lines that wait when they are dropped.
    writers: Lock<Vec<WriterEnd>>,
}

type SetLevel = Box<dyn Fn(Level) + Send + Sync>;

/// Whether a log has a line.
type IsWanted = fn(&Metadata<'_>) -> bool;

/// Sets up logging for the whole process, panics included, and `traces` beside it; to be called once. Faults have the
/// service's lines through `hooks`, and set the clock by which they are written.
///
/// # Errors
/// The folder of the log files cannot be made or written, or the system refuses a thread.
pub(super) fn init(config: &Config, traces: &Traces, hooks: &Hooks) -> io::Result<()> {
    let log = &config.log;
    let files = match log.mode {
        LogMode::Console => None,
        LogMode::File => {
            let files = LogFiles::open(log, "Log.Path", &log.path, &stem(config), 0o666);
            Some(files?)
        }
    };
    let admin_files = log.admin.as_deref().map(|file| admin_files(log, file));
    let admin_files = admin_files.transpose()?;
    let (queue, end) = match &files {
        Some(files) => Queue::start(files.clone(), ONE_LINE)?,
        None => Queue::start(StandardOutput, PIPE_BUF)?,
    };
    let (mut set_levels, mut writers) = (Vec::new(), vec![end]);
    hooks.log.connect(FedQueue {
        queue: queue.clone(),
        format: log.format,
    });
    // Spans are for the traces: a line about something within one is the same line as without.
    let is_split = config.blind || admin_files.is_some();
    let of_service: IsWanted = match is_split {
        true => |what| !what.is_span() && is_of_service(what.target()),
        false => |what| !what.is_span(),
    };
    let gated = queue.gated(hooks.log.clone());
    let service = lines(log, gated, of_service, &hooks.clock, &mut set_levels);
    let admin = match admin_files.clone() {
        Some(files) => {
            let (queue, end) = Queue::start(files, ONE_LINE)?;
            writers.push(end);
            let is_own: IsWanted = |what| !what.is_span() && !is_of_service(what.target());
            let clock = ServiceClock::default();
            Some(lines(log, queue.ungated(), is_own, &clock, &mut set_levels))
        }
        None => None,
    };
    tracing_subscriber::registry()
        .with(traces.layer())
        .with(service)
        .with(admin)
        .init();
    let running = Running {
        format: log.format,
        is_blind: config.blind,
        files,
        admin_files,
        clock: hooks.clock.clone(),
        set_levels,
        writers: Lock::new(writers),
    };
    // It was not set before: this is called once.
    LOG.set(running).ok();
    install_panic_hook(config);
    Ok(())
}

/// The layer that writes the lines that are `wanted`, by `clock`; what sets its level later is added to `set_levels`.
fn lines<S>(
    log: &Log,
    writer: GatedQueue,
    wanted: IsWanted,
    clock: &ServiceClock,
    set_levels: &mut Vec<SetLevel>,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_timer(Timer(clock.clone()))
        // They would go to standard error, which may be as gone as the reader of the log.
        .log_internal_errors(false)
        .with_writer(writer);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.event_format(JsonFormat(clock.clone())).boxed(),
    };
    let (level, handle) = reload::Layer::new(LevelFilter::from_level(log.level));
    set_levels.push(Box::new(move |level| {
        // It fails only without a subscriber, and this one lasts as long as the process.
        handle.reload(LevelFilter::from_level(level)).ok();
    }));
    let wanted = filter_fn(wanted).with_max_level_hint(LevelFilter::TRACE);
    lines.with_filter(level.and(wanted)).boxed()
}

/// The times of text lines.
struct Timer(ServiceClock);

impl FormatTime for Timer {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{}", self.0.now())
    }
}

/// The time of a line that does not go through the log.
fn now() -> Timestamp {
    LOG.get().map_or_else(Timestamp::now, |log| log.clock.now())
}

/// How the names of the service's log files begin.
fn stem(config: &Config) -> String {
    match config.blind {
        true => config.name.replace(['/', '\0'], "-"),
        false => env!("CARGO_PKG_NAME").to_owned(),
    }
}

fn admin_files(log: &Log, file: &Path) -> io::Result<LogFiles> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".log").unwrap_or(&name);
    // What is in it gives faults away.
    LogFiles::open(log, "Log.Admin", folder, stem, 0o600)
}

fn install_panic_hook(config: &Config) {
    let print: panics::PrintPanic = match (config.log.format, config.blind) {
        (LogFormat::Json, _) => Box::new(|_, shown| print_panic(shown)),
        (LogFormat::Text, true) => Box::new(|_, shown| print_as_runtime(shown)),
        (LogFormat::Text, false) => {
            let print = std::panic::take_hook();
            Box::new(move |panic, _| print(panic))
        }
    };
    panics::install_hook(config.blind.then(|| config.name.clone()), print);
}

/// From now on lines of this level and of more severe ones are written.
pub(super) fn set_level(level: Level) {
    if let Some(log) = LOG.get() {
        for set_level in &log.set_levels {
            set_level(level);
        }
    }
}

/// Opens the log files anew; false where there are none.
///
/// # Errors
/// One cannot be opened; the log goes on in the one before.
pub(super) fn reopen() -> io::Result<bool> {
    let Some(log) = LOG.get() else {
        return Ok(false);
    };
    let all = || log.files.iter().chain(&log.admin_files);
    all().try_for_each(LogFiles::reopen)?;
    Ok(all().next().is_some())
}

/// Ends the log with all lines that wait, so that the last words before an exit are there. Waits about
/// a second at most if the reader is stuck.
pub(super) fn finish() {
    if let Some(log) = LOG.get() {
        drop(std::mem::take(&mut *log.writers.lock()));
    }
}

/// Says on standard error why the process ends, and in the log files where there are any. A blind service says no more
/// than what kind of error it is: the reason names keys of the configuration.
pub(super) fn fatal(error: &io::Error, format: LogFormat) {
    let log = LOG.get();
    let reason: &dyn Display = match log.is_some_and(|log| log.is_blind) {
        true => {
            error!("{error}");
            &error.kind()
        }
        false => error,
    };
    if log.is_some_and(|log| log.files.is_some()) {
        error!(target: LAST_WORDS, "{reason}");
    }
    complain(Level::ERROR, reason, format);
}

/// One message on standard error.
pub(super) fn complain(level: Level, message: &dyn Display, format: LogFormat) {
    let line = match format {
        LogFormat::Text => format!("{}: {message}", program()),
        LogFormat::Json => JsonLine::at(now(), level)
            .with("message", message.to_string())
            .to_string(),
    };
    print_error(&line);
}

/// The name under which this program was started.
fn program() -> String {
    let path = std::env::args_os().next();
    let name = path.as_deref().and_then(|path| Path::new(path).file_name());
    name.map_or_else(
        || env!("CARGO_PKG_NAME").to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Where lines are JSON, keeps the Rust runtime from writing text as the process ends by `termination`.
pub(super) fn keep_runtime_quiet(termination: Termination) {
    if LOG.get().is_none_or(|log| log.format == LogFormat::Text) {
        return;
    }
    match termination {
        Termination::StackOverflow => {
            let thread = threads::name(termination::MAIN);
            let message = format!("thread '{thread}' has overflowed its stack");
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

fn print_panic(shown: &Shown) {
    let line = JsonLine::at(now(), Level::ERROR)
        .with("message", "Panicked.")
        .with("thread", shown.thread.as_deref())
        .with("location", shown.location.as_deref())
        .with("panic", &*shown.text);
    print_error(&line.to_string());
}

/// As the Rust runtime does in a program without symbols, whose backtrace is empty.
fn print_as_runtime(shown: &Shown) {
    static IS_LATER: AtomicBool = AtomicBool::new(false);
    let is_first = !IS_LATER.swap(true, Ordering::Relaxed);
    let wanted = std::env::var_os("RUST_BACKTRACE").filter(|wanted| wanted != "0");
    let note = match wanted {
        Some(_) => {
            "\nstack backtrace:\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace."
        }
        None if is_first => {
            "\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace"
        }
        None => "",
    };
    let thread = shown.thread.as_deref().unwrap_or("<unnamed>");
    let id = rustix::thread::gettid().as_raw_nonzero();
    let location = shown.location.as_deref().unwrap_or("src/main.rs");
    let text = &shown.text;
    print_error(&format!(
        "\nthread '{thread}' ({id}) panicked at {location}:\n{text}{note}"
    ));
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
