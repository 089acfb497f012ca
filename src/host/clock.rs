//! The clock that nothing can set, and how long a thread has waited for a CPU.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time since the machine booted. It also runs while the machine is suspended, and it never steps.
pub(crate) fn since_machine_boot() -> Duration {
    as_duration(clock_gettime(ClockId::Boottime))
}

pub(super) fn as_duration(time: Timespec) -> Duration {
    // These clocks are never negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Reads how long one thread has been ready to run while no CPU took it.
#[derive(Debug)]
pub(crate) struct CpuWait(File);

impl CpuWait {
    /// Of the calling thread; none where the kernel does not count it.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let meter = Self(File::open("/proc/thread-self/schedstat").ok()?);
        meter.total().map(|_| meter)
    }

    /// Since the thread began.
    pub(crate) fn total(&self) -> Option<Duration> {
        let mut text = [0; 96];
        let length = self.0.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        // Nanoseconds on a CPU, nanoseconds ready to run, number of time slices.
        let waited_ns = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(Duration::from_nanos(waited_ns))
    }
}
