//! `memory_leaker`: resident memory grows steadily to a target and stays there.
//!
//! The memory is mapped directly and not taken from the allocator, so that no other allocation can hold a page of it
//! when it goes back to the kernel: see [`held`]. A target that is a share of the memory limit follows the limit, up and
//! down, and no target is followed above `memory.high`: see [`HighLine`].

mod held;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use self::held::HeldMemory;
use super::{MIB, metrics};
use crate::host::cgroup::Cgroup;
use crate::host::process::ProcessMeter;
use crate::host::{MemoryLimit, memory_limit};
use crate::input::{FieldError, Fields, Resource, Shape, above};
use crate::plugin::effort::{Effort, Work};
use crate::plugin::guard::StopFlag;
use crate::plugin::high_line::HighLine;
use crate::plugin::pace::Pace;
use crate::plugin::shaped::Shaped;
use crate::plugin::{
    Active, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::run::MEMORY_UNIT;
use crate::sync::Lock;

/// Fifty steps per second look like a line to anything that samples memory; a fast leak takes more steps, of about a
/// mebibyte each.
const LONGEST_STEP: Duration = Duration::from_millis(20);
const SHORTEST_STEP: Duration = Duration::from_millis(2);
/// How often resident memory and the limits are read.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What the memory of a process may vary by on its own.
const NOISE_MB: f64 = 1.0;
/// How far behind its schedule a leak may be before the reading has a shortfall.
const TOLERANCE_MB: f64 = 2.0;
/// More threads than this get in each other's way in the kernel.
const MOST_THREADS: f64 = 4.0;

/// Leaks memory.
#[derive(Debug)]
pub(super) struct MemoryLeaker {
    target: Target,
    leak_rate_mb: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Mb(f64),
    /// Of the memory limit, and no more than so many MiB where the operator says so.
    PercentOfLimit {
        percent: f64,
        most_mb: f64,
    },
}

impl Target {
    /// In bytes, under a memory limit of `limit` bytes.
    fn bytes(self, limit: u64) -> u64 {
        match self {
            Self::Mb(mb) => (mb * MIB as f64) as u64,
            Self::PercentOfLimit { percent, most_mb } => {
                (limit as f64 * percent / 100.0).min(most_mb * MIB as f64) as u64
            }
        }
    }

    fn is_share(self) -> bool {
        matches!(self, Self::PercentOfLimit { .. })
    }

    /// Under the limits as they are now.
    fn now(self, cgroup: &Cgroup) -> CurrentTarget {
        let share_of = match self.is_share() {
            true => memory_limit(cgroup),
            false => None,
        };
        CurrentTarget {
            bytes: self.bytes(share_of.map_or(0, |limit| limit.bytes)),
            share_of,
        }
    }
}

/// A target as it is now.
#[derive(Debug, Clone, Copy)]
struct CurrentTarget {
    bytes: u64,
    /// The limit that it is a share of, if it is one.
    share_of: Option<MemoryLimit>,
}

impl CurrentTarget {
    fn metrics(self) -> Map<String, Value> {
        // A share is shown in whole MiB, and a target as it was given.
        let target_mb = match self.share_of.is_none() && !self.bytes.is_multiple_of(MIB) {
            true => (self.bytes as f64 / MIB as f64).into(),
            false => (self.bytes / MIB).into(),
        };
        let mut figures = metrics([("target_mb", target_mb)]);
        if let Some(limit) = self.share_of {
            figures.extend(metrics([
                ("limit_mb", (limit.bytes / MIB).into()),
                ("limit_source", limit.source.into()),
            ]));
        }
        figures
    }
}

impl Scenario for MemoryLeaker {
    const NAME: &'static str = "memory_leaker";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Continuously leaks memory at specified rate";
    const EXAMPLE: &'static str = r#"{"target_mb": 512, "leak_rate_mb": 20}"#;

    fn read(fields: &mut Fields) -> Self {
        fields.either("target_mb", "target_percent_of_limit");
        let mb = fields
            .field("target_mb", "How far resident memory grows.")
            .unit("MiB")
            .asks_for(Resource::MemoryMb)
            .number(1.0..=1_048_576.0, 1024.0);
        let percent = fields
            .field(
                "target_percent_of_limit",
                "The same as a share of the memory limit, instead of target_mb; may exceed it.",
            )
            .unit("percent of the memory limit")
            .asks_for(Resource::MemoryPercent)
            .optional()
            .number(above(0.0, 1000.0));
        let most_mb = fields
            .lasting_ceiling(Resource::MemoryMb)
            .unwrap_or(f64::INFINITY);
        let target = match percent {
            Some(percent) => {
                fields.withdraw("target_mb");
                Target::PercentOfLimit { percent, most_mb }
            }
            None => Target::Mb(mb),
        };
        let leak_rate_mb = fields
            .field("leak_rate_mb", "How fast it grows.")
            .unit("MiB/s")
            .shape(above(0.0, 65_536.0), 10.0);
        Self {
            target,
            leak_rate_mb,
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let target = self.target.now(context.cgroup);
        Ok(context.memory_warning(target.bytes))
    }

    fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value> {
        self.target.now(context.cgroup).metrics()
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let target = self.target.now(cx.cgroup());
        if target.share_of.is_none() && self.target.is_share() {
            return Err(StartError::new("the memory limit cannot be read now"));
        }
        let rate_mb = Shaped::begin(self.leak_rate_mb, cx.lived());
        let leak = Arc::new(MemoryLeak {
            cgroup: cx.cgroup().clone(),
            asked: self.target,
            most_rate_mb: rate_mb.shape().largest(),
            target: Lock::new(target),
            schedule: Lock::new(Pace::following(&rate_mb, MIB as f64, target.bytes as f64)),
            rate_mb,
            shortfall: Lock::new(Shortfall::Saturated),
            touched: AtomicU64::new(0),
            resident_before: AtomicU64::new(0),
            resident: AtomicU64::new(0),
            live: AtomicBool::new(true),
        });
        let mut threads = cx.threads();
        let work = Arc::clone(&leak);
        threads.spawn("heap", move |stop| work.run(stop))?;
        Ok(Active::new(leak, threads.run_until(cx.stop)))
    }
}

/// A leak and its figures, in bytes.
#[derive(Debug)]
struct MemoryLeak {
    cgroup: Cgroup,
    asked: Target,
    rate_mb: Shaped,
    most_rate_mb: f64,
    target: Lock<CurrentTarget>,
    /// What is asked by now.
    schedule: Lock<Pace>,
    /// Why the leak is behind its schedule, in case it is.
    shortfall: Lock<Shortfall>,
    touched: AtomicU64,
    /// Of the whole process: before the leak, and at the last measurement.
    resident_before: AtomicU64,
    resident: AtomicU64,
    live: AtomicBool,
}

impl MemoryLeak {
    /// The work of the thread: grows by the bytes due, holds them, and gives them back at the stop.
    fn run(&self, stop: &StopFlag) -> Result<(), String> {
        // Dropped before the figures say that nothing is left.
        let grown = HeldMemory::new()
            .map_err(|error| format!("the system refused memory: {error}"))
            .and_then(|mut held| self.grow_and_hold(&mut held, stop));
        self.touched.store(0, Ordering::Relaxed);
        self.live.store(false, Ordering::Relaxed);
        grown
    }

    fn grow_and_hold(&self, held: &mut HeldMemory, stop: &StopFlag) -> Result<(), String> {
        let mut meter = ProcessMeter::default();
        let before = meter.resident_bytes().unwrap_or(0);
        self.resident_before.store(before, Ordering::Relaxed);
        // Growth keeps to the schedule, unless it is held back: then it does not make up for that in a burst.
        let mut growth = self.schedule.lock().clone();
        let mut line = HighLine::new(&self.cgroup);
        let mut effort = Effort::new(&self.cgroup);
        let mut threads = self.threads();
        let mut look_at = Instant::now();
        let mut step_at = look_at;
        loop {
            let now = Instant::now();
            if now >= look_at {
                self.resident
                    .store(meter.resident_bytes().unwrap_or(0), Ordering::Relaxed);
                self.follow_limit(&mut growth);
                threads = self.threads();
                look_at = now + LOOK_EVERY;
            }
            let most = line.most(held.touched());
            let due = growth.due_within(most);
            held.shrink(due);
            let work = self.grow(held, due, threads, look_at, stop)?;
            let cause = effort.cause(work);
            let is_held_back = growth.due() + MIB < self.schedule.lock().due();
            *self.shortfall.lock() = if is_held_back {
                Shortfall::MemoryHigh
            } else {
                cause
            };
            // Once the target is reached, only the measuring goes on.
            step_at = if held.touched() >= self.target.lock().bytes {
                look_at
            } else {
                (step_at + self.step()).max(now)
            };
            if stop.sleep_until(step_at) {
                return Ok(());
            }
        }
    }

    /// Grows to `due` bytes, as far as it comes by `until`.
    fn grow(
        &self,
        held: &mut HeldMemory,
        due: u64,
        threads: usize,
        until: Instant,
        stop: &StopFlag,
    ) -> Result<Work, String> {
        let mut work = Work::default();
        self.touched.store(held.touched(), Ordering::Relaxed);
        while held.touched() < due && !stop.is_set() && Instant::now() < until {
            let done = held.grow(due, threads, stop);
            work.join(done.map_err(|error| self.refused(held, &error))?);
            self.touched.store(held.touched(), Ordering::Relaxed);
        }
        Ok(work)
    }

    /// A share of the limit changes with the limit, in place too.
    fn follow_limit(&self, growth: &mut Pace) {
        let target = self.asked.now(&self.cgroup);
        // None: it is no share, or the limit cannot be read now, which is still there.
        if target.share_of.is_some() {
            *self.target.lock() = target;
            self.schedule.lock().set_most(target.bytes as f64);
            growth.set_most(target.bytes as f64);
        }
    }

    /// How many threads can fill memory at once, where one is too slow: whole cores only, since a thread that waits for
    /// its share of one would hold the others up.
    fn threads(&self) -> usize {
        self.cgroup.cpu_limit().cores.clamp(1.0, MOST_THREADS) as usize
    }

    fn step(&self) -> Duration {
        let mebibyte = Duration::from_secs_f64((1.0 / self.most_rate_mb).min(1.0));
        mebibyte.clamp(SHORTEST_STEP, LONGEST_STEP)
    }

    fn refused(&self, held: &HeldMemory, error: &std::io::Error) -> String {
        let (held, target) = (held.touched() / MIB, self.target.lock().bytes / MIB);
        format!("the system refused more memory at {held} of {target} MiB: {error}")
    }
}

impl Probe for MemoryLeak {
    fn read(&self) -> Reading {
        let mb = |bytes: u64| bytes as f64 / MIB as f64;
        let rounded = |mb: f64| (mb * 100.0).round() / 100.0;
        let live = self.live.load(Ordering::Relaxed);
        let asked = if live {
            mb(self.schedule.lock().due())
        } else {
            0.0
        };
        let current = mb(self.touched.load(Ordering::Relaxed));
        // Touched pages that have gone to swap do not count as achieved.
        let resident = self.resident.load(Ordering::Relaxed);
        let grown = mb(resident.saturating_sub(self.resident_before.load(Ordering::Relaxed)));
        // Pages touched since the last measurement count as resident.
        let lag = self.most_rate_mb * LOOK_EVERY.as_secs_f64() * 2.0;
        let achieved = if current - grown > lag.max(TOLERANCE_MB) {
            grown
        } else {
            current
        };
        let behind = asked - achieved
            > TOLERANCE_MB.max(self.most_rate_mb * self.step().as_secs_f64() * 2.0);
        let mut figures = metrics([("current_mb", rounded(current).into())]);
        figures.extend(self.target.lock().metrics());
        figures.extend(metrics([
            ("leak_rate_mb", self.rate_mb.now().into()),
            ("resident_mb", rounded(mb(resident)).into()),
        ]));
        Reading {
            asked,
            achieved: Some(achieved),
            unit: MEMORY_UNIT,
            shortfall: behind.then(|| *self.shortfall.lock()),
            metrics: figures,
        }
    }

    fn target(&self) -> Option<f64> {
        Some(self.target.lock().bytes as f64 / MIB as f64)
    }

    fn noise(&self) -> f64 {
        NOISE_MB
    }

    fn left(&self) -> Option<f64> {
        Some(self.touched.load(Ordering::Relaxed) as f64 / MIB as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<MemoryLeaker>(json!({ "target_mb": 1024, "leak_rate_mb": 10 }));
    }

    /// A rate whose reciprocal is no longer a number, and the fastest one.
    #[tokio::test]
    async fn the_lowest_and_the_highest_rate_start_and_stop() {
        for rate in [1e-9, 65_536.0] {
            let given = json!({ "leak_rate_mb": rate, "target_mb": 1 });
            starts_and_stops::<MemoryLeaker>(given).await;
        }
    }
}
