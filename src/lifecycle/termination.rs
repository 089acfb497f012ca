//! The ways in which the process ends abruptly, each as the real thing does: with its exit status and its
//! last words.

use std::hint::black_box;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

/// A process that a signal ended exits with this plus the signal's number, by the shells' convention.
pub(crate) const EXIT_BY_SIGNAL: i32 = 128;
/// The exit status of a Rust program whose main thread panicked.
const EXIT_BY_PANIC: i32 = 101;
/// How long a signal that the process sends to itself may take to end it.
const SIGNAL_WITHIN: Duration = Duration::from_millis(100);
/// The step in which memory is used up.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Termination {
    /// With this status.
    Exit(i32),
    /// By a panic of the main thread that nobody catches.
    Panic,
    /// By SIGABRT.
    Abort,
    /// By SIGSEGV.
    Segfault,
    /// By SIGKILL.
    Kill,
    /// By calling itself until the stack is used up.
    StackOverflow,
    /// By using up memory until the kernel kills it, but no more than this many bytes.
    OutOfMemory(u64),
}

impl Termination {
    /// The exit status that a shell or a container engine tells of it.
    pub(crate) fn exit_status(self) -> i32 {
        let by = |signal: Signal| EXIT_BY_SIGNAL + signal.as_raw();
        match self {
            Self::Exit(status) => status,
            Self::Panic => EXIT_BY_PANIC,
            // SIGABRT does nothing to process 1; the instruction by which the C library's abort() gives up
            // ends it, and that is another one on each architecture.
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
            Self::Panic => as_main_thread(panic_out_of_bounds),
            Self::Abort => send_to_self(Signal::ABORT),
            Self::Segfault => send_to_self(Signal::SEGV),
            Self::Kill => send_to_self(Signal::KILL),
            Self::StackOverflow => as_main_thread(overflow_the_stack),
            Self::OutOfMemory(most) => use_up_memory(most),
        }
        // Where the real thing does not end it by itself: a panic ends one thread, and the kernel lets
        // no signal that process 1 of a container sends to itself end that.
        std::process::exit(self.exit_status());
    }
}

/// Runs `work` on a thread whose last words are those of a main thread: the real one is busy.
fn as_main_thread(work: fn()) {
    let thread = std::thread::Builder::new().name("main".to_owned());
    if let Ok(thread) = thread.spawn(work) {
        // Its panic was told by the hook.
        drop(thread.join());
    }
}

fn panic_out_of_bounds() {
    let table = black_box(vec![0_u8; 3]);
    black_box(table[black_box(7)]);
}

/// The first of two may only reset the handler that the runtime library has for it.
fn send_to_self(signal: Signal) {
    for _ in 0..2 {
        if kill_process(getpid(), signal).is_err() {
            return;
        }
        std::thread::sleep(SIGNAL_WITHIN);
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

/// Touches every page, until the kernel has no more to give.
fn use_up_memory(most: u64) {
    let mut held = Vec::new();
    let mut bytes = 0;
    while bytes < most {
        // Not zero: such pages need not be there before they are written.
        held.push(black_box(vec![1_u8; CHUNK_BYTES]));
        bytes += CHUNK_BYTES as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_the_status_that_shells_tell() {
        let told = [
            (Termination::Exit(3), 3),
            (Termination::Panic, 101),
            (Termination::Abort, 134),
            (Termination::StackOverflow, 134),
            (Termination::Segfault, 139),
            (Termination::Kill, 137),
            (Termination::OutOfMemory(0), 137),
        ];
        for (death, status) in told {
            assert_eq!(death.exit_status(), status, "{death:?}");
        }
    }
}
