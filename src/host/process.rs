//! What this process uses: CPU clocks, memory, files, threads, disk.
//!
//! Scenarios measure their own effect with it. CPU comes from the kernel's clocks, exact to the
//! nanosecond; memory and I/O come from `/proc` through sysinfo.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::clock::as_duration;

/// CPU time that all threads of this process have used.
pub(crate) fn process_cpu() -> Duration {
    as_duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// CPU time that the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    as_duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// The name of the host, which is the pod's in Kubernetes; empty where there is none.
pub(crate) fn host_name() -> String {
    System::host_name().unwrap_or_default()
}

/// What this process uses at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Bytes of memory in RAM.
    pub resident: u64,
    /// Bytes of mapped memory.
    pub mapped: u64,
    pub open_files: usize,
    /// The limit of open file descriptors.
    pub most_files: usize,
    /// Seconds since 1970.
    pub started_at: u64,
    /// Bytes read from a disk.
    pub disk_read: u64,
    /// Bytes written to a disk.
    pub disk_written: u64,
}

/// How many threads this process has; 0 where that is unknown.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[derive(Debug)]
pub(crate) struct ProcessMeter(Option<(System, Pid)>);

impl Default for ProcessMeter {
    fn default() -> Self {
        Self(System::new().ok().zip(sysinfo::get_current_pid().ok()))
    }
}

impl ProcessMeter {
    /// Resident memory in bytes; none where it cannot be read.
    pub(crate) fn resident_bytes(&mut self) -> Option<u64> {
        let memory = ProcessRefreshKind::nothing().with_memory();
        self.read(memory).map(sysinfo::Process::memory)
    }

    /// None where it cannot be read.
    pub(crate) fn usage(&mut self) -> Option<Usage> {
        let wanted = ProcessRefreshKind::nothing()
            .with_memory()
            .with_disk_usage();
        let process = self.read(wanted)?;
        let disk = process.disk_usage();
        Some(Usage {
            resident: process.memory(),
            mapped: process.virtual_memory(),
            open_files: process.open_files().unwrap_or(0),
            most_files: process.open_files_limit().unwrap_or(0),
            started_at: process.start_time(),
            disk_read: disk.total_read_bytes,
            disk_written: disk.total_written_bytes,
        })
    }

    fn read(&mut self, wanted: ProcessRefreshKind) -> Option<&sysinfo::Process> {
        let (system, pid) = self.0.as_mut()?;
        let only_this = ProcessesToUpdate::Some(&[*pid]);
        system.refresh_processes_specifics(only_this, false, wanted.without_tasks());
        system.process(*pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_that_of_this_process() {
        let mut meter = ProcessMeter::default();
        let before = meter.usage().expect("readable");
        assert!(before.resident > 0 && before.mapped > before.resident);
        assert!(before.most_files > before.open_files);
        let since = std::time::UNIX_EPOCH + Duration::from_secs(before.started_at);
        let age = std::time::SystemTime::now().duration_since(since);
        assert!(age.expect("in the past") < Duration::from_secs(24 * 3600));
        let files: Vec<_> = (0..100)
            .map(|_| std::fs::File::open("/proc/self/stat").expect("a file"))
            .collect();
        // Other tests open and close files meanwhile.
        let opened = meter.usage().expect("readable").open_files;
        assert!(opened > before.open_files + files.len() / 2);
        assert!(threads() >= 1);
    }
}
