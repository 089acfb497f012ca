//! The clock, the machine, and a cheap look at a process.

use std::time::Instant;

/// Sleeps until `deadline`, the end of a measured window.
pub(crate) fn sleep_until(deadline: Instant) {
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
}

/// The machine's CPUs.
pub(crate) fn machine_cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64)
}

/// The children of a process with one thread.
pub(crate) fn children(pid: u32) -> impl Iterator<Item = u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let pids = list.unwrap_or_default();
    let pids: Vec<u32> = pids
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    pids.into_iter()
}

/// Resident memory in MiB, cheap to read at any size; off by a quarter of a MiB at most.
pub(crate) fn resident_mb_quickly(pid: u32) -> f64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap() * 4096.0 / 1_048_576.0
}
