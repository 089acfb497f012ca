//! Memory that was freed and that the allocator still keeps for later.
//!
//! glibc gives back the end of a heap by itself, not the free pages in its middle: after five thousand
//! requests that waited, 80 MiB would stay. Who has freed much at once calls here.

use std::io;

/// Gives the whole free pages of all heaps back to the system. Takes milliseconds for 100 MiB, during
/// which other threads may wait for the heap they allocate from. Does nothing where the allocator is
/// not glibc's.
///
/// Source: `malloc_trim(3)`.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(
        unsafe_code,
        reason = "no crate offers it safely, and no allocator that gives back at once is as small"
    )]
    // SAFETY: it may be called by any thread at any time, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The same on a thread of its own, which ends with it; nobody waits.
///
/// # Errors
/// There is no thread to be had; then nothing is given back.
pub fn give_back_aside() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("give-back".to_owned());
    thread.spawn(give_back).map(drop)
}
