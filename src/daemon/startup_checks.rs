//! Checks that the system gives the files and the threads that the daemon needs.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::host::process;
use crate::host::runtimes::workers;
use crate::listener::budget::{OWN_FILES, raise_limit};

/// The log's, the timer's, the control thread, the ledger's, the one that watches the clocks, and the allocator's where
/// it has one.
const OWN_THREADS: usize = if cfg!(target_env = "gnu") { 6 } else { 5 };
/// How long the kernel may take to stop counting a thread that has ended.
const COUNTED_WITHIN: Duration = Duration::from_secs(1);

/// Checks that the process may open as many files as the daemon itself needs: with fewer it might start and then have
/// none left for a connection.
///
/// # Errors
/// It may not; the message names the limit.
pub(crate) fn files() -> io::Result<()> {
    match raise_limit() {
        most if most < OWN_FILES => Err(io::Error::other(format!(
            "only {most} files may be open at a time (RLIMIT_NOFILE, `ulimit -n`); \
             the daemon needs at least {OWN_FILES}"
        ))),
        _ => Ok(()),
    }
}

/// Checks that the process can have all of the daemon's threads, and `more` of what the configuration asks for and of
/// libraries: some hang or abort with one too few.
///
/// # Errors
/// It cannot; the message says how many there are and what may limit them.
pub(crate) fn threads(more: usize) -> io::Result<()> {
    let needed = OWN_THREADS + more + workers();
    can_have(needed).map_err(|(given, error)| {
        io::Error::new(
            error.kind(),
            format!(
                "the system gives {given} of the {needed} threads that the daemon itself needs \
                 (`ulimit -u` and `-v`, the pids limit of a container): {error}"
            ),
        )
    })
}

/// Starts `needed` threads at the same time, for a moment; the error says how many there were.
fn can_have(needed: usize) -> Result<(), (usize, io::Error)> {
    let before = process::threads();
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut threads: Vec<JoinHandle<()>> = Vec::with_capacity(needed);
    let mut outcome = Ok(());
    while threads.len() < needed && outcome.is_ok() {
        let gate = Arc::clone(&gate);
        match Builder::new().spawn(move || drop(gate.lock())) {
            Ok(thread) => threads.push(thread),
            Err(error) => outcome = Err((threads.len(), error)),
        }
    }
    drop(closed);
    for thread in threads {
        // It does nothing that could panic.
        thread.join().ok();
    }
    let ended = Instant::now();
    while process::threads() > before && ended.elapsed() < COUNTED_WITHIN {
        sleep(Duration::from_micros(50));
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_threads_for_the_daemon_can_run_at_once() {
        assert!(can_have(20).is_ok());
    }
}
