//! Memory that was freed and that the allocator still keeps for later.
//!
//! glibc gives back the end of a heap by itself, not the free pages in its middle: after five thousand
//! requests that waited, 80 MiB would stay, and tell of a fault that is over. Whoever has freed much at
//! once says so here, and it is given back a moment later. Other allocators are left to themselves.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, sleep};
use std::time::Duration;

/// How long after the first word memory is given back: what is freed together goes together.
const SOON: Duration = Duration::from_millis(100);
/// How long it then rests, however much more is freed.
const REST: Duration = Duration::from_millis(400);

// One for the process, as its allocator is.
static FREED: OnceLock<SyncSender<()>> = OnceLock::new();

/// Starts the thread that gives back: it may take milliseconds, which no other thread has, and one that
/// is there need not be had when there is none. It lives as long as the process.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start() -> io::Result<()> {
    if cfg!(target_env = "gnu") {
        let (tell, told) = sync_channel(1);
        let thread = Builder::new().name("allocator".to_owned());
        thread.spawn(move || keep_giving_back(&told))?;
        // A second one would find nobody who tells it anything, and end.
        FREED.set(tell).ok();
    }
    Ok(())
}

/// Says that much was freed. Never waits.
pub(crate) fn note_freed() {
    if let Some(freed) = FREED.get() {
        // It was said already where there is no room.
        freed.try_send(()).ok();
    }
}

fn keep_giving_back(told: &Receiver<()>) {
    while told.recv().is_ok() {
        sleep(SOON);
        told.try_iter().for_each(drop);
        give_back();
        sleep(REST);
    }
}

/// Gives the whole free pages of all heaps back to the system. Who allocates from a heap meanwhile waits
/// for it: a fraction of a millisecond as a rule.
///
/// Source: `malloc_trim(3)`.
fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "no crate offers it safely, and no allocator that gives back at once is as small"
    )]
    // SAFETY: any thread may call it at any time, and it touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
