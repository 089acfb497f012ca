//! Logs: to standard output or to one file a day, as text or as JSON lines.
//!
//! Lines are written in the call and not from a background thread, so that the last words before a
//! crash are there.

use std::io;
use std::path::PathBuf;

use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{Log, LogFormat, LogMode};

/// Sets up logging for the whole process; to be called once.
///
/// # Errors
/// The folder of the log files cannot be made or written.
pub fn init(log: &Log) -> io::Result<()> {
    let writer = match log.mode {
        LogMode::Console => BoxMakeWriter::new(io::stdout),
        LogMode::File => BoxMakeWriter::new(daily_file(&log.path)?),
    };
    let base = tracing_subscriber::fmt()
        .with_max_level(log.level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(writer);
    match log.format {
        LogFormat::Text => base.init(),
        LogFormat::Json => base.json().flatten_event(true).init(),
    }
    Ok(())
}

fn daily_file(folder: &PathBuf) -> io::Result<RollingFileAppender> {
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix("mockserver")
        .filename_suffix("log")
        .build(folder)
        .map_err(io::Error::other)
}
