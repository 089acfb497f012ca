//! Returns freed memory to the system.
//!
//! glibc returns the end of a heap by itself, but not the free pages in its middle: after five thousand delayed
//! requests, 80 MiB would stay and look like a fault that is over. Code that frees much at once calls
//! [`schedule_trim`], and a moment later the memory is returned. Other allocators need no help.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, sleep};
use std::time::Duration;

use super::threads;

/// The delay from the first request to a trim, so that memory freed together is returned together.
const TRIM_DELAY: Duration = Duration::from_millis(100);
/// The pause after a trim, however much more is freed.
const TRIM_PAUSE: Duration = Duration::from_millis(400);

// One for the process, like its allocator.
static REQUESTS: OnceLock<SyncSender<()>> = OnceLock::new();

/// Starts the thread that trims, which lives as long as the process. A trim may take milliseconds, more than any other
/// thread can spare, and a thread that runs already cannot be refused when memory or threads are short.
///
/// # Errors
/// The system refuses a thread.
pub(crate) fn start() -> io::Result<()> {
    if cfg!(target_env = "gnu") {
        let (sender, requests) = sync_channel(1);
        let thread = Builder::new().name(threads::name("allocator"));
        thread.spawn(move || trim_on_request(&requests))?;
        // The thread of a second call loses its sender here, and ends.
        REQUESTS.set(sender).ok();
    }
    Ok(())
}

/// Requests a trim, after much was freed. Never waits.
pub(crate) fn schedule_trim() {
    if let Some(requests) = REQUESTS.get() {
        // A full channel holds a request already.
        requests.try_send(()).ok();
    }
}

fn trim_on_request(requests: &Receiver<()>) {
    while requests.recv().is_ok() {
        sleep(TRIM_DELAY);
        requests.try_iter().for_each(drop);
        trim();
        sleep(TRIM_PAUSE);
    }
}

/// Returns the whole free pages of all heaps to the system. A thread that allocates meanwhile waits, for a fraction
/// of a millisecond as a rule.
///
/// Source: `malloc_trim(3)`.
fn trim() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "no crate wraps it safely, and no allocator that returns memory at once is as small"
    )]
    // SAFETY: any thread may call it at any time, and it touches no memory in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
