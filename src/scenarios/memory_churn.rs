//! `memory_churn`: memory is taken, touched and given back again and again, as by a program that lives off its allocator.
//!
//! The memory is mapped directly and unmapped whole, so each time costs its page faults anew and nothing is left of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapOptions};

use super::{MIB, metrics};
use crate::host::cgroup::Cgroup;
use crate::host::lived::LivedClock;
use crate::input::{FieldError, Fields, Resource, Shape};
use crate::plugin::effort::{Effort, Work};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::high_line::HighLine;
use crate::plugin::shaped::Shaped;
use crate::plugin::{
    Active, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::sync::Lock;

/// The least size of a page.
const PAGE: usize = 4096;
/// How much is touched between two checks of the stop flag.
const PIECE: usize = 256 * 1024;
/// The longest time between two looks at the schedule.
const LONGEST_STEP: Duration = Duration::from_millis(50);
/// The time over which the rate is measured, and the least number of times in it.
const REPORT_OVER_S: f64 = 1.0;
const TIMES_TO_REPORT: f64 = 4.0;
/// The longest time over which the rate is measured.
const LONGEST_REPORT_S: f64 = 60.0;
/// A rate below this share of the asked one is a shortfall.
const TOLERANCE: f64 = 0.9;

/// Churns memory.
#[derive(Debug)]
pub(super) struct MemoryChurn {
    mb: f64,
    per_second: Shape,
}

impl Scenario for MemoryChurn {
    const NAME: &'static str = "memory_churn";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Takes memory, touches it and gives it back, again and again";
    const EXAMPLE: &'static str = r#"{"mb": 64, "per_second": 5}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How much is taken each time.";
        let field = fields.field("mb", about).unit("MiB");
        let mb = field
            .asks_for(Resource::MemoryMb)
            .number(1.0..=1_048_576.0, 64.0);
        let about = "How often it is taken, touched and given back in each second.";
        let field = fields.field("per_second", about).unit("times/s");
        Self {
            mb,
            per_second: field.shape(0.0..=10_000.0, 2.0),
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        Ok(context.memory_warning((self.mb * MIB as f64) as u64))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let churn = Arc::new(Churn {
            of: self,
            asked: Gauge::default(),
            recent: Gauge::default(),
            recent_asked: Gauge::default(),
            is_measured: AtomicBool::new(false),
            times: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            shortfall: Lock::new(Shortfall::Saturated),
        });
        let (clock, cgroup) = (cx.lived().clone(), cx.cgroup().clone());
        let work = Arc::clone(&churn);
        let mut threads = cx.threads();
        threads.spawn("heap", move |stop| {
            let ran = work.run(&clock, &cgroup, stop);
            ran.map_err(|error| format!("the system refused memory: {error}"))
        })?;
        Ok(Active::new(churn, threads.run_until(cx.stop)))
    }
}

/// A churn while it runs.
#[derive(Debug)]
struct Churn {
    of: MemoryChurn,
    /// Times a second.
    asked: Gauge,
    recent: Gauge,
    /// What was asked in the time of `recent`.
    recent_asked: Gauge,
    is_measured: AtomicBool,
    times: AtomicU64,
    /// Bytes in all.
    touched: AtomicU64,
    /// Why the rate is too low, in case it is.
    shortfall: Lock<Shortfall>,
}

impl Churn {
    fn run(&self, clock: &LivedClock, cgroup: &Cgroup, stop: &StopFlag) -> io::Result<()> {
        let wanted = (self.of.mb * MIB as f64) as usize;
        let mut line = HighLine::new(cgroup);
        let mut effort = Effort::new(cgroup);
        let per_second = Shaped::begin(self.of.per_second.clone(), clock);
        let mut report = Report::default();
        // How many times are due, as a sum over the shape; what is more than one late is left out.
        let (mut seen, mut due) = (clock.now(), 1.0_f64);
        loop {
            let now = clock.now();
            let rate = per_second.now();
            let lived = now.saturating_sub(seen).as_secs_f64();
            due = (due + rate * lived).min(2.0);
            seen = now;
            self.asked.set(rate);
            if due >= 1.0 && rate > 0.0 {
                due -= 1.0;
                let room = usize::try_from(line.most(0)).unwrap_or(usize::MAX);
                let (work, done) = Work::of(|| self.once(wanted.min(room), stop));
                done?;
                let cause = effort.cause(work);
                *self.shortfall.lock() = match room < wanted {
                    true => Shortfall::MemoryHigh,
                    false => cause,
                };
                // What was not taken for want of room does not count.
                report.times += if room < wanted { 0.0 } else { 1.0 };
            }
            report.asked += rate * lived;
            report.lived_s += lived;
            if report.is_due() {
                self.recent.set(report.times / report.lived_s);
                self.is_measured.store(true, Ordering::Relaxed);
                self.recent_asked.set(report.asked / report.lived_s);
                report = Report::default();
            }
            let wait = Duration::try_from_secs_f64((1.0 - due).max(0.0) / rate);
            let wait = wait.unwrap_or(LONGEST_STEP).min(LONGEST_STEP);
            if stop.sleep_until(Instant::now() + wait) {
                self.recent.set(0.0);
                return Ok(());
            }
        }
    }

    /// Takes `bytes`, touches each page and gives them back.
    fn once(&self, bytes: usize, stop: &StopFlag) -> io::Result<()> {
        if bytes < PAGE {
            return Ok(());
        }
        let mut memory = MmapOptions::new().len(bytes).map_anon()?;
        // Each page has a fault of its own. A kernel without huge pages refuses the advice; that is fine.
        memory.advise(Advice::NoHugePage).ok();
        for piece in memory.chunks_mut(PIECE) {
            if stop.is_set() {
                break;
            }
            for page in piece.chunks_mut(PAGE) {
                page[0] = 1;
            }
            self.touched
                .fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        self.times.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The time over which the rate is measured.
#[derive(Debug, Default)]
struct Report {
    times: f64,
    asked: f64,
    lived_s: f64,
}

impl Report {
    fn is_due(&self) -> bool {
        let is_long = self.lived_s >= REPORT_OVER_S && self.asked >= TIMES_TO_REPORT;
        is_long || self.lived_s >= LONGEST_REPORT_S
    }
}

impl Probe for Churn {
    fn read(&self) -> Reading {
        let (asked, recent) = (self.asked.get(), self.recent.get());
        let is_measured = self.is_measured.load(Ordering::Relaxed);
        let touched = self.touched.load(Ordering::Relaxed) / MIB;
        Reading {
            asked,
            achieved: is_measured.then_some(recent),
            unit: "times/s",
            shortfall: (is_measured && recent < self.recent_asked.get() * TOLERANCE)
                .then(|| *self.shortfall.lock()),
            metrics: metrics([
                ("times", self.times.load(Ordering::Relaxed).into()),
                ("touched_mb", touched.into()),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<MemoryChurn>(json!({ "mb": 64, "per_second": 2 }));
    }

    #[tokio::test]
    async fn a_slow_and_a_fast_churn_start_and_stop() {
        for per_second in [0.0, 0.001, 10_000.0] {
            let params = json!({ "mb": 1, "per_second": per_second });
            starts_and_stops::<MemoryChurn>(params).await;
        }
    }
}
