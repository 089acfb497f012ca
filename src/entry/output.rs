//! What the program prints, to readers that may be gone and to disks that may be full: neither is a panic.

use std::io::{self, ErrorKind, Write};

/// Writes `text` to standard output. A reader that has left, such as `head`, has read what it wanted.
///
/// # Errors
/// It cannot be written, as on a full disk.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes());
    finished(written.and_then(|()| output.flush()))
}

/// Writes the answer of the command line's reader, such as the help, to where it belongs.
///
/// # Errors
/// As [`print`].
pub(super) fn print_message(message: &clap::Error) -> io::Result<()> {
    finished(message.print().and_then(|()| io::stdout().flush()))
}

fn finished(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => {
            let detail = format!("cannot write to standard output: {error}");
            Err(io::Error::new(error.kind(), detail))
        }
        Ok(()) => Ok(()),
    }
}
