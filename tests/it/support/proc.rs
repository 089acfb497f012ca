//! Processes: children of a test, and any process as `/proc` shows it.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually;

/// A child of this test; dropping it kills the process.
pub(crate) struct ChildGuard(pub(crate) Child);

impl ChildGuard {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the process was not reaped yet");
    }

    /// Waits until the process has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("the process ends", || self.0.try_wait().unwrap())
    }

    /// Whether the process has a handler for SIGTERM.
    pub(crate) fn catches_sigterm(&self) -> bool {
        self.catches(Signal::TERM.as_raw())
    }

    /// Whether the process has a handler for the signal of this number.
    pub(crate) fn catches(&self, number: i32) -> bool {
        let mask = Process(self.0.id()).line("status", "SigCgt:");
        let mask = u64::from_str_radix(&mask, 16).expect("a mask in hexadecimal");
        mask & (1 << (number - 1)) != 0
    }
}

impl Deref for ChildGuard {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for ChildGuard {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// What a process uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) threads: usize,
    pub(crate) open_files: usize,
    pub(crate) resident_mb: f64,
}

impl Usage {
    /// Whether this is no more than `base`, but for `kept_mb` of memory that the allocator may keep.
    pub(crate) fn is_within(self, base: Self, kept_mb: f64) -> bool {
        self.threads <= base.threads
            && self.open_files <= base.open_files
            && self.resident_mb <= base.resident_mb + kept_mb
    }
}

/// A process by its id.
#[derive(Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    pub(crate) fn usage(self) -> Usage {
        Usage {
            threads: self.threads(),
            open_files: self.open_files(),
            resident_mb: self.resident_mb(),
        }
    }

    /// The CPU time of its live threads, to the nanosecond. A thread that ends takes its count along.
    pub(crate) fn live_cpu(self) -> Duration {
        self.sum_of_schedstat(0)
    }

    /// How long its live threads were runnable and did not run because others had the CPU.
    pub(crate) fn waited_for_cpu(self) -> Duration {
        self.sum_of_schedstat(1)
    }

    /// The sum of a field of `schedstat` over all threads, in nanoseconds: 0 is time on a CPU, 1 is time spent
    /// waiting for one.
    fn sum_of_schedstat(self, field: usize) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0));
        let tasks = tasks.unwrap_or_else(|error| panic!("process {}: {error}", self.0));
        let nanos = tasks.flatten().filter_map(|task| {
            let schedstat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().nth(field)?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// Whether a signal has stopped all of its threads.
    pub(crate) fn is_stopped(self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0));
        let tasks = tasks.unwrap_or_else(|error| panic!("process {}: {error}", self.0));
        tasks.flatten().all(|task| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            status.contains("State:\tT")
        })
    }

    /// Resident memory in MiB, counted page by page: the figure in `status` may lag behind.
    pub(crate) fn resident_mb(self) -> f64 {
        self.kilobytes("smaps_rollup", "Rss:") as f64 / 1024.0
    }

    /// The size of its address space.
    pub(crate) fn mapped_bytes(self) -> u64 {
        self.kilobytes("status", "VmSize:") * 1024
    }

    /// Bytes that it has caused to be sent to the storage layer.
    pub(crate) fn written_bytes(self) -> u64 {
        self.line("io", "write_bytes:").parse().unwrap()
    }

    /// Bytes that it has caused to be fetched from the storage layer.
    pub(crate) fn read_bytes(self) -> u64 {
        self.line("io", "read_bytes:").parse().unwrap()
    }

    pub(crate) fn threads(self) -> usize {
        self.entries("task")
    }

    pub(crate) fn open_files(self) -> usize {
        self.entries("fd")
    }

    /// Sets the soft limit of a resource by the name that `prlimit` has for it; the hard limit stays.
    pub(crate) fn limit(self, resource: &str, most: u64) {
        let limited = Command::new("prlimit")
            .args(["--pid", &self.0.to_string()])
            .arg(format!("--{resource}={most}:"))
            .status();
        assert!(limited.unwrap().success(), "prlimit failed");
    }

    /// The figure of a line such as `Rss:  1234 kB`.
    fn kilobytes(self, file: &str, name: &str) -> u64 {
        let line = self.line(file, name);
        let kilobytes = line.strip_suffix(" kB").expect("a line in kB");
        kilobytes.parse().unwrap()
    }

    /// What follows `name` in its line of a file.
    fn line(self, file: &str, name: &str) -> String {
        let text = self.read(file);
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        let rest = rest.unwrap_or_else(|| panic!("no {name} in /proc/{}/{file}", self.0));
        rest.trim().to_owned()
    }

    fn read(self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn entries(self, folder: &str) -> usize {
        let path = format!("/proc/{}/{folder}", self.0);
        let entries = std::fs::read_dir(&path);
        entries
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .count()
    }
}
