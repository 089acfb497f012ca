//! `memory_leaker`: resident memory grows steadily to a target and stays there.
//!
//! The memory is mapped directly and not taken from the allocator, so that no other allocation can hold a page of it
//! when it goes back to the kernel. Every page is filled with random bytes: they can be neither compressed nor merged
//! nor left unbacked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapMut, MmapOptions};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{MIB, metrics};
use crate::host::memory_limit_bytes;
use crate::host::process::ProcessMeter;
use crate::input::{FieldError, Fields, Resource, above};
use crate::plugin::guard::StopFlag;
use crate::plugin::pace::Pace;
use crate::plugin::{
    Active, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::run::MEMORY_UNIT;

/// Fifty steps per second look like a line to anything that samples memory; a fast leak takes more steps, of about a
/// mebibyte each.
const LONGEST_STEP: Duration = Duration::from_millis(20);
const SHORTEST_STEP: Duration = Duration::from_millis(2);
/// The size of one mapping. The kernel merges neighbouring mappings, so their number is no limit; and virtual memory
/// grows along with resident memory, as in a real leak.
const CHUNK: usize = 16 * MIB as usize;
/// The most bytes written between two checks of the stop flag: a fraction of a millisecond.
const PIECE: usize = 256 * 1024;
/// How often resident memory is read.
const MEASURE_EVERY: Duration = Duration::from_millis(200);
/// How far behind its schedule a leak may be before the reading has a shortfall.
const TOLERANCE_MB: f64 = 2.0;

/// Leaks memory.
#[derive(Debug)]
pub(super) struct MemoryLeaker {
    target: Target,
    leak_rate_mb: f64,
}

#[derive(Debug, Clone, Copy)]
enum Target {
    Mb(u32),
    PercentOfLimit(f64),
}

impl Target {
    /// In bytes, under a memory limit of `limit` bytes.
    fn bytes(self, limit: u64) -> u64 {
        match self {
            Self::Mb(mb) => u64::from(mb) * MIB,
            Self::PercentOfLimit(percent) => (limit as f64 * percent / 100.0) as u64,
        }
    }
}

impl Scenario for MemoryLeaker {
    const NAME: &'static str = "memory_leaker";
    const SUMMARY: &'static str = "Continuously leaks memory at specified rate";

    fn read(fields: &mut Fields) -> Self {
        fields.either("target_mb", "target_percent_of_limit");
        let mb = fields
            .field("target_mb", "How far resident memory grows.")
            .unit("MiB")
            .asks_for(Resource::MemoryMb)
            .integer(1..=1_048_576, 1024);
        let percent = fields
            .field(
                "target_percent_of_limit",
                "The same as a share of the memory limit, instead of target_mb; may exceed it.",
            )
            .unit("percent of the memory limit")
            .asks_for(Resource::MemoryPercent)
            .optional()
            .number(above(0.0, 1000.0));
        let target = match percent {
            Some(percent) => {
                fields.withdraw("target_mb");
                Target::PercentOfLimit(percent)
            }
            None => Target::Mb(mb),
        };
        let leak_rate_mb = fields
            .field("leak_rate_mb", "How fast it grows.")
            .unit("MiB/s")
            .number(above(0.0, 65_536.0), 10.0);
        Self {
            target,
            leak_rate_mb,
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let limit = memory_limit_bytes(context.cgroup);
        Ok(context.memory_warning(self.target.bytes(limit)))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let limit = memory_limit_bytes(cx.cgroup());
        if limit == 0 && matches!(self.target, Target::PercentOfLimit(_)) {
            return Err(StartError::new("the memory limit cannot be read now"));
        }
        let target = self.target.bytes(limit);
        let rate = self.leak_rate_mb * MIB as f64;
        let leak = Arc::new(MemoryLeak {
            pace: Pace::new(cx.lived(), rate, target as f64),
            target,
            rate_mb: self.leak_rate_mb,
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
    pace: Pace,
    target: u64,
    rate_mb: f64,
    touched: AtomicU64,
    /// Of the whole process: before the leak, and at the last measurement.
    resident_before: AtomicU64,
    resident: AtomicU64,
    live: AtomicBool,
}

impl MemoryLeak {
    /// The work of the thread: grows by the bytes due, holds them, and gives them back at the stop.
    fn run(&self, stop: &StopFlag) -> Result<(), String> {
        let mut held = HeldMemory::default();
        let grown = self.grow_and_hold(&mut held, stop);
        drop(held);
        self.touched.store(0, Ordering::Relaxed);
        self.live.store(false, Ordering::Relaxed);
        grown
    }

    fn grow_and_hold(&self, held: &mut HeldMemory, stop: &StopFlag) -> Result<(), String> {
        let mut meter = ProcessMeter::default();
        let before = meter.resident_bytes().unwrap_or(0);
        self.resident_before.store(before, Ordering::Relaxed);
        let mut measure_at = Instant::now();
        let mut step_at = measure_at;
        loop {
            let now = Instant::now();
            if now >= measure_at {
                self.resident
                    .store(meter.resident_bytes().unwrap_or(0), Ordering::Relaxed);
                measure_at = now + MEASURE_EVERY;
            }
            let due = self.pace.due();
            while held.touched < due && !stop.is_set() {
                held.grow(due).map_err(|error| self.refused(held, &error))?;
                self.touched.store(held.touched, Ordering::Relaxed);
            }
            // Once the target is reached, only the measuring goes on.
            step_at = if held.touched >= self.target {
                measure_at
            } else {
                (step_at + self.step()).max(now)
            };
            if stop.sleep_until(step_at) {
                return Ok(());
            }
        }
    }

    fn step(&self) -> Duration {
        let mebibyte = Duration::from_secs_f64((1.0 / self.rate_mb).min(1.0));
        mebibyte.clamp(SHORTEST_STEP, LONGEST_STEP)
    }

    fn refused(&self, held: &HeldMemory, error: &std::io::Error) -> String {
        let (held, target) = (held.touched / MIB, self.target / MIB);
        format!("the system refused more memory at {held} of {target} MiB: {error}")
    }
}

/// The mapped memory. Dropping it gives all of it back to the kernel.
#[derive(Debug)]
struct HeldMemory {
    chunks: Vec<MmapMut>,
    touched: u64,
    random: SmallRng,
}

impl Default for HeldMemory {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            touched: 0,
            random: SmallRng::seed_from_u64(rand::random()),
        }
    }
}

impl HeldMemory {
    /// Touches one more piece, up to `due` bytes in total.
    fn grow(&mut self, due: u64) -> std::io::Result<()> {
        // Chunks have one size, so the number of touched bytes gives the place of the next.
        let within = (self.touched % CHUNK as u64) as usize;
        if within == 0 {
            let chunk = MmapOptions::new().len(CHUNK).map_anon()?;
            // Huge pages would turn the line into steps of two mebibytes. A kernel without them refuses the advice;
            // that is fine.
            drop(chunk.advise(Advice::NoHugePage));
            self.chunks.push(chunk);
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return Ok(());
        };
        let wanted = usize::try_from(due - self.touched).unwrap_or(PIECE);
        let end = (within + wanted.min(PIECE)).min(CHUNK);
        self.random.fill_bytes(&mut chunk[within..end]);
        self.touched += (end - within) as u64;
        Ok(())
    }
}

impl Probe for MemoryLeak {
    fn read(&self) -> Reading {
        let mb = |bytes: u64| bytes as f64 / MIB as f64;
        let live = self.live.load(Ordering::Relaxed);
        let asked = if live { mb(self.pace.due()) } else { 0.0 };
        let current = mb(self.touched.load(Ordering::Relaxed));
        // Touched pages that have gone to swap do not count as achieved.
        let resident = self.resident.load(Ordering::Relaxed);
        let grown = mb(resident.saturating_sub(self.resident_before.load(Ordering::Relaxed)));
        // Pages touched since the last measurement count as resident.
        let lag = self.rate_mb * MEASURE_EVERY.as_secs_f64() * 2.0;
        let achieved = if current - grown > lag.max(TOLERANCE_MB) {
            grown
        } else {
            current
        };
        let behind =
            asked - achieved > TOLERANCE_MB.max(self.rate_mb * self.step().as_secs_f64() * 2.0);
        Reading {
            asked,
            achieved: Some(achieved),
            unit: MEMORY_UNIT,
            shortfall: behind.then_some(Shortfall::Contended),
            metrics: metrics([
                ("current_mb", ((current * 100.0).round() / 100.0).into()),
                ("target_mb", (self.target / MIB).into()),
                ("leak_rate_mb", self.rate_mb.into()),
                (
                    "resident_mb",
                    ((mb(resident) * 100.0).round() / 100.0).into(),
                ),
            ]),
        }
    }

    fn target(&self) -> Option<f64> {
        Some(self.target as f64 / MIB as f64)
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
        for rate in [f64::MIN_POSITIVE, 65_536.0] {
            let given = json!({ "leak_rate_mb": rate, "target_mb": 1 });
            starts_and_stops::<MemoryLeaker>(given).await;
        }
    }

    #[test]
    fn memory_grows_across_chunks_by_exactly_the_bytes_due() {
        let mut held = HeldMemory::default();
        let due = 2 * CHUNK as u64 + 12_345;
        while held.touched < due {
            held.grow(due).expect("33 MiB of memory");
        }
        assert_eq!((held.touched, held.chunks.len()), (due, 3));
        // Random bytes: about half of the bits are set.
        let ones: u64 = held.chunks[1]
            .iter()
            .map(|byte| u64::from(byte.count_ones()))
            .sum();
        let half = CHUNK as u64 * 4;
        assert!(
            ones.abs_diff(half) < half / 100,
            "{ones} of {half} bits are set"
        );
    }
}
