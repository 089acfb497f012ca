//! How the process ends abruptly: each way has the exit status and the last output of the real thing.

use std::hint::black_box;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::host::threads;

/// Shells report a process that a signal ended as this plus the signal's number.
pub(crate) const EXIT_BY_SIGNAL: i32 = 128;
/// The exit status of a Rust program whose main thread panicked.
const EXIT_BY_PANIC: i32 = 101;
/// The name of the main thread in the output: another one stands in for it, since the real one is busy.
pub(crate) const MAIN: &str = "main";
/// How long a signal that the process sends to itself may take to end it.
const SIGNAL_GRACE: Duration = Duration::from_millis(100);
/// How much memory is allocated in one step.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Termination {
    /// Exits with this status.
    Exit(i32),
    /// By an uncaught panic of the main thread.
    Panic,
    Abort,
    Segfault,
    Kill,
    /// By calling itself until the stack is used up.
    StackOverflow,
    /// By using up memory until the kernel kills it, but no more than this many bytes.
    OutOfMemory(u64),
}

impl Termination {
    /// The exit status that a shell or a container engine reports.
    pub(crate) fn exit_status(self) -> i32 {
        let by = |signal: Signal| EXIT_BY_SIGNAL + signal.as_raw();
        match self {
            Self::Exit(status) => status,
            Self::Panic => EXIT_BY_PANIC,
            // Process 1 is immune to SIGABRT. The C library's abort() then executes an instruction that faults, which
            // raises SIGSEGV on x86-64.
            Self::StackOverflow if cfg!(target_arch = "x86_64") && std::process::id() == 1 => {
                by(Signal::SEGV)
            }
            Self::Abort | Self::StackOverflow => by(Signal::ABORT),
            Self::Segfault => by(Signal::SEGV),
            Self::Kill | Self::OutOfMemory(_) => by(Signal::KILL),
        }
    }

    /// Ends the process. Nothing is drained, dropped or cleaned up.
    pub(crate) fn carry_out(self) -> ! {
        match self {
            Self::Exit(_) => {}
            Self::Panic => {
                if threads::are_disguised() {
                    // In a service, a handler panics, and main finds its task ended.
                    on_thread(threads::name("handler"), panic_out_of_bounds);
                }
                on_thread(MAIN.to_owned(), panic_out_of_bounds);
            }
            Self::Abort => send_to_self(Signal::ABORT),
            Self::Segfault => send_to_self(Signal::SEGV),
            Self::Kill => send_to_self(Signal::KILL),
            Self::StackOverflow => on_thread(threads::name(MAIN), overflow_the_stack),
            Self::OutOfMemory(most) => use_up_memory(most),
        }
        // The above need not end the process: a panic ends one thread, and process 1 of a container is immune to
        // signals from itself.
        std::process::exit(self.exit_status());
    }
}

/// Runs `work` on a thread of this name, which the output shows.
fn on_thread(name: String, work: fn()) {
    let thread = std::thread::Builder::new().name(name);
    if let Ok(thread) = thread.spawn(work) {
        // The panic hook has logged it.
        drop(thread.join());
    }
}

fn panic_out_of_bounds() {
    let table = black_box(vec![0_u8; 3]);
    black_box(table[black_box(7)]);
}

/// Sends it twice: the first may only reset the handler of the Rust runtime.
fn send_to_self(signal: Signal) {
    for _ in 0..2 {
        if kill_process(getpid(), signal).is_err() {
            return;
        }
        std::thread::sleep(SIGNAL_GRACE);
    }
}

fn overflow_the_stack() {
    black_box(recurse(1));
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 32]);
    recurse(depth + 1) + frame[0]
}

/// Touches every page, until the kernel kills the process or `most` bytes are held.
fn use_up_memory(most: u64) {
    let mut held = Vec::new();
    let mut bytes = 0;
    while bytes < most {
        // Not zero: the allocator may leave pages of zeros untouched.
        held.push(black_box(vec![1_u8; CHUNK_BYTES]));
        bytes += CHUNK_BYTES as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_termination_has_the_status_that_shells_report() {
        let expected = [
            (Termination::Exit(3), 3),
            (Termination::Panic, 101),
            (Termination::Abort, 134),
            (Termination::StackOverflow, 134),
            (Termination::Segfault, 139),
            (Termination::Kill, 137),
            (Termination::OutOfMemory(0), 137),
        ];
        for (termination, status) in expected {
            assert_eq!(termination.exit_status(), status, "{termination:?}");
        }
    }
}
