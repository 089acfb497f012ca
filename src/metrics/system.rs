//! The process, its runtimes and its container as the system sees them, read at each scrape.

use std::fmt;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::{counter, gauge};
use crate::host::cgroup::Cgroup;
use crate::host::process::{ProcessMeter, process_cpu};
use crate::host::runtimes::Runtimes;
use crate::host::{process, runtimes};
use crate::sync::Lock;

/// The period of the CPU quota in microseconds: the kernel's default.
const CPU_PERIOD_US: f64 = 100_000.0;
/// The least time over which the busy ratio is taken.
const BUSY_OVER: Duration = Duration::from_secs(1);

/// `process_*`.
#[derive(Debug, Default)]
pub(super) struct ProcessMetrics {
    meter: Lock<ProcessMeter>,
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut meter = self.meter.lock();
        // Zeros if `/proc` cannot be read.
        let usage = meter.usage().unwrap_or_default();
        let e = &mut encoder;
        let cpu = process_cpu().as_secs_f64();
        let help = "CPU time of all threads, in user and kernel mode";
        counter(e, "process_cpu_seconds", help, cpu)?;
        let help = "Memory in RAM";
        let resident = usage.resident as f64;
        gauge(e, "process_resident_memory_bytes", help, resident)?;
        let help = "Mapped memory";
        gauge(e, "process_virtual_memory_bytes", help, usage.mapped as f64)?;
        let help = "Open file descriptors";
        gauge(e, "process_open_fds", help, usage.open_files as f64)?;
        let help = "Limit of open file descriptors";
        gauge(e, "process_max_fds", help, usage.most_files as f64)?;
        let help = "Threads of the operating system";
        gauge(e, "process_threads", help, process::threads() as f64)?;
        let help = "Start of the process in seconds since 1970";
        let start = usage.started_at as f64;
        gauge(e, "process_start_time_seconds", help, start)?;
        let help = "Bytes read from disk";
        counter(e, "process_disk_read_bytes", help, usage.disk_read as f64)?;
        let help = "Bytes written to disk";
        let written = usage.disk_written as f64;
        counter(e, "process_disk_write_bytes", help, written)
    }
}

/// `tokio_*`: the runtime that serves requests, but the tasks of all runtimes.
#[derive(Debug)]
pub(super) struct TokioMetrics {
    runtimes: Runtimes,
    marks: Lock<[BusyMark; 2]>,
}

/// How long all workers together had been busy at `at`.
#[derive(Debug, Clone, Copy)]
struct BusyMark {
    at: Instant,
    total: Duration,
}

impl TokioMetrics {
    pub(super) fn new(runtimes: Runtimes) -> Self {
        let start = BusyMark {
            at: Instant::now(),
            total: Duration::ZERO,
        };
        Self {
            runtimes,
            marks: Lock::new([start; 2]),
        }
    }

    /// The busy share of the workers' time since the scrape before last, or longer if scrapes follow each other
    /// closely.
    fn busy_ratio(&self, now: BusyMark, workers: usize) -> f64 {
        let mut marks = self.marks.lock();
        let [older, newer] = *marks;
        if now.at - newer.at >= BUSY_OVER {
            *marks = [newer, now];
        }
        let available = (now.at - older.at).as_secs_f64() * workers as f64;
        let busy = now.total.saturating_sub(older.total).as_secs_f64();
        if available > 0.0 {
            (busy / available).min(1.0)
        } else {
            0.0
        }
    }
}

impl Collector for TokioMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let runtimes::RuntimeLoad {
            tasks,
            workers,
            blocking_threads,
            queued,
            busy,
            lag,
        } = self.runtimes.load();
        let now = BusyMark {
            at: Instant::now(),
            total: busy,
        };
        let e = &mut encoder;
        let help = "Tasks that have not ended";
        gauge(e, "tokio_num_alive_tasks", help, tasks as f64)?;
        let help = "Threads that run tasks";
        gauge(e, "tokio_num_workers", help, workers as f64)?;
        let help = "Threads for work that blocks";
        let blocking = blocking_threads as f64;
        gauge(e, "tokio_num_blocking_threads", help, blocking)?;
        let help = "Tasks that wait in the queue of all workers";
        gauge(e, "tokio_global_queue_depth", help, queued as f64)?;
        let help = "Share of the workers' time that was busy lately";
        gauge(e, "tokio_busy_ratio", help, self.busy_ratio(now, workers))?;
        let help = "The longest in 15 s that a task waited for a worker after its time had come";
        gauge(e, "tokio_event_loop_lag_seconds", help, lag.as_secs_f64())
    }
}

/// `container_*`: the cgroup of this process.
#[derive(Debug)]
pub(super) struct ContainerMetrics(pub(super) Cgroup);

impl Collector for ContainerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let throttled = self.0.throttled();
        let of = |figure: fn(&crate::host::cgroup::Throttled) -> f64| {
            throttled.as_ref().map_or(0.0, figure)
        };
        let e = &mut encoder;
        let help = "Periods of the CPU quota in which anything ran";
        let periods = of(|t| t.periods as f64);
        counter(e, "container_cpu_cfs_periods", help, periods)?;
        let help = "Periods in which the CPU quota was used up";
        let periods = of(|t| t.throttled_periods as f64);
        counter(e, "container_cpu_cfs_throttled_periods", help, periods)?;
        let help = "Time that the CPU quota held the container back";
        let seconds = of(|t| t.time.as_secs_f64());
        counter(e, "container_cpu_cfs_throttled_seconds", help, seconds)?;
        let help =
            "CPU time in microseconds that may be used in each period: the quota, or all CPUs";
        let quota = self.0.cpu_limit().cores * CPU_PERIOD_US;
        gauge(e, "container_spec_cpu_quota", help, quota)?;
        let help = "The period of the CPU quota in microseconds";
        gauge(e, "container_spec_cpu_period", help, CPU_PERIOD_US)?;
        let help = "Memory in use that the kernel cannot simply reclaim";
        let used = self.0.memory_used().unwrap_or(0);
        gauge(e, "container_memory_working_set_bytes", help, used as f64)?;
        let help = "How often memory came to memory.high, from where on the kernel slows the container down";
        let events = self.0.memory_high_events().unwrap_or(0);
        counter(e, "container_memory_high_events", help, events as f64)?;
        let help = "Memory limit; 0 is none";
        let limit = self.0.memory_limit().unwrap_or(0);
        gauge(e, "container_spec_memory_limit_bytes", help, limit as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_ratio_covers_the_last_seconds_and_not_all_time() {
        let tokio = TokioMetrics::new(Runtimes::default());
        let start = tokio.marks.lock()[0].at;
        let ratio = |after_s: f64, busy_s: f64| {
            let now = BusyMark {
                at: start + Duration::from_secs_f64(after_s),
                total: Duration::from_secs_f64(busy_s),
            };
            tokio.busy_ratio(now, 2)
        };
        assert_eq!(ratio(0.0, 0.0), 0.0);
        assert_eq!(ratio(10.0, 5.0), 0.25);
        // A second scraper at the same moment reads the same figure and adds no mark.
        assert_eq!(ratio(10.0, 5.0), 0.25);
        // Since the scrape before last.
        assert_eq!(ratio(20.0, 25.0), 0.625);
        assert_eq!(ratio(30.0, 65.0), 1.0);
    }
}
