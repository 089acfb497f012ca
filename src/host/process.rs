//! What this process uses: CPU clocks, resident memory.
//!
//! Scenarios measure their own effect with it. CPU comes from the kernel's clocks, exact to the
//! nanosecond; memory and I/O come from `/proc` through sysinfo.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// CPU time that all threads of this process have used.
#[must_use]
pub fn process_cpu() -> Duration {
    as_duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU time that the calling thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    as_duration(clock_gettime(ClockId::ThreadCPUTime))
}

fn as_duration(time: Timespec) -> Duration {
    // CPU clocks are never negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Makes the calling thread yield to every ordinary one, and says whether the system agreed.
///
/// Nice 10 has a tenth of the weight of nice 0 (`sched(7)`): enough for probes and the control API to
/// pass by, and not so little that another busy process starves the fault.
pub fn lower_own_priority() -> bool {
    // On Linux the priority of "process 0" is that of the calling thread (setpriority(2), Notes).
    rustix::process::setpriority_process(None, 10).is_ok()
}

/// Reads this process's resident memory.
#[derive(Debug)]
pub struct Meter(Option<(System, Pid)>);

impl Default for Meter {
    fn default() -> Self {
        Self(System::new().ok().zip(sysinfo::get_current_pid().ok()))
    }
}

impl Meter {
    /// Resident memory in bytes now; none where the system does not tell.
    pub fn resident_bytes(&mut self) -> Option<u64> {
        let (system, pid) = self.0.as_mut()?;
        let only_this = ProcessesToUpdate::Some(&[*pid]);
        let memory = ProcessRefreshKind::nothing().with_memory().without_tasks();
        system.refresh_processes_specifics(only_this, false, memory);
        system.process(*pid).map(sysinfo::Process::memory)
    }
}
