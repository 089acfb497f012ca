//! Memory that was freed and that the allocator still keeps for later.
//!
//! glibc gives back the end of a heap by itself, not the free pages in its middle: after five thousand
//! requests that waited, 80 MiB would stay, and tell of a fault that is over. Whoever has freed much at
//! once says so here, and it is given back a moment later. Other allocators are left to themselves.

use std::thread;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::debug;

/// How long after the first word memory is given back: what is freed together goes together.
const SOON: Duration = Duration::from_millis(100);
/// How long it then rests, however much more is freed.
const REST: Duration = Duration::from_millis(400);

// One for the process, as its allocator is.
static FREED: Notify = Notify::const_new();

/// Says that much was freed. Never waits.
pub fn note_freed() {
    FREED.notify_one();
}

/// Gives back what was freed whenever somebody says so, for ever; to be run once.
pub async fn keep_giving_back() {
    loop {
        FREED.notified().await;
        sleep(SOON).await;
        // Aside: it may take milliseconds, which no runtime's thread has.
        let thread = thread::Builder::new().name("give-back".to_owned());
        if let Err(error) = thread.spawn(give_back) {
            debug!(%error, "No thread to give memory back; it is kept for later.");
        }
        sleep(REST).await;
    }
}

/// Gives the whole free pages of all heaps back to the system.
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
