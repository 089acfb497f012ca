//! Leaks that are counted: things are taken at a rate that may change, held, and all given back at the stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::effort::{Effort, Work};
use super::guard::StopFlag;
use super::high_line::HighLine;
use super::pace::Pace;
use super::shaped::Shaped;
use super::{Active, Probe, Reading, RunContext, Shortfall, StartError};
use crate::host::cgroup::Cgroup;
use crate::host::lived::LivedClock;
use crate::input::Shape;
use crate::sync::Lock;

/// How often what is due is taken.
const STEP: Duration = Duration::from_millis(10);
/// How many are taken between two checks of the stop flag.
const BATCH: u64 = 16;
/// The longest time between two looks at the room that is left.
const LONGEST_GROWTH: Duration = Duration::from_millis(50);
/// How long to wait when something was refused.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a leak may be behind its schedule before the reading has a shortfall.
const TOLERANCE: Duration = Duration::from_millis(100);

/// What is taken and held. Dropping it gives everything back, and returns when that is done.
pub(crate) trait Hoard: Send + 'static {
    /// The memory of each in bytes, that of the kernel included.
    fn bytes_each(&self) -> f64;

    /// How many are held.
    fn held(&self) -> u64;

    /// Takes one more.
    fn take(&mut self) -> Result<(), Refusal>;
}

/// Why no more can be taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Not now.
    ForNow(Shortfall),
    /// Never; a sentence.
    ForGood(String),
}

/// How much of something leaks, and how it is called.
#[derive(Debug, Clone)]
pub(crate) struct Leak {
    /// In each second.
    pub(crate) per_second: Shape,
    /// In the end; none is without an end.
    pub(crate) most: Option<f64>,
    pub(crate) unit: &'static str,
    /// The name of the metric that counts them.
    pub(crate) metric: &'static str,
}

impl Leak {
    /// Leaks on a thread named for `purpose` into what `hoard` makes there.
    pub(crate) fn start<H: Hoard>(
        self,
        cx: RunContext,
        purpose: &str,
        hoard: impl FnOnce() -> H + Send + 'static,
    ) -> Result<Active, StartError> {
        let leak = Arc::new(LiveLeak {
            leak: self,
            asked: AtomicU64::new(0),
            held: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            shortfall: Lock::new(Shortfall::Saturated),
        });
        let (cgroup, clock) = (cx.cgroup().clone(), cx.lived().clone());
        let work = Arc::clone(&leak);
        let mut threads = cx.threads();
        threads.spawn(purpose, move |stop| {
            let mut hoard = hoard();
            let ran = work.run(&mut hoard, &cgroup, &clock, stop);
            drop(hoard);
            work.held.store(0, Ordering::Relaxed);
            work.is_over.store(true, Ordering::Relaxed);
            ran
        })?;
        Ok(Active::new(leak, threads.run_until(cx.stop)))
    }

    /// How many are held after `duration` at most; endless where nothing ends it.
    pub(crate) fn most_within(&self, duration: Option<Duration>) -> f64 {
        let seconds = duration.map_or(f64::INFINITY, |duration| duration.as_secs_f64());
        let in_time = self.per_second.largest() * seconds;
        in_time.min(self.most.unwrap_or(f64::INFINITY))
    }
}

/// A leak while it runs.
#[derive(Debug)]
struct LiveLeak {
    leak: Leak,
    /// How many are due.
    asked: AtomicU64,
    held: AtomicU64,
    is_behind: AtomicBool,
    is_over: AtomicBool,
    /// Why it is behind its schedule, in case it is.
    shortfall: Lock<Shortfall>,
}

impl LiveLeak {
    fn run(
        &self,
        hoard: &mut impl Hoard,
        cgroup: &Cgroup,
        clock: &LivedClock,
        stop: &StopFlag,
    ) -> Result<(), String> {
        let bytes_each = hoard.bytes_each();
        let mut line = HighLine::new(cgroup);
        let mut effort = Effort::new(cgroup);
        let rate = Shaped::begin(self.leak.per_second.clone(), clock);
        let schedule = Pace::following(&rate, 1.0, self.leak.most.unwrap_or(f64::INFINITY));
        // Growth that is held back does not make up for that in a burst.
        let mut growth = schedule.clone();
        let mut step_at = Instant::now();
        let mut in_time_at = step_at;
        loop {
            let held = hoard.held();
            let room = line.most((held as f64 * bytes_each) as u64) as f64 / bytes_each;
            let due = growth.due_within((room as u64).max(held));
            let asked = schedule.due();
            self.asked.store(asked, Ordering::Relaxed);
            let (work, grown) = Work::of(|| self.grow(hoard, due, stop));
            let saturated = effort.cause(work);
            *self.shortfall.lock() = match grown? {
                Some(refused) => {
                    growth.due_within(hoard.held());
                    step_at += PAUSE;
                    refused
                }
                None if growth.due() + BATCH < asked => Shortfall::MemoryHigh,
                None => saturated,
            };
            let now = Instant::now();
            if hoard.held() >= asked {
                in_time_at = now;
            }
            let is_behind = now.duration_since(in_time_at) > TOLERANCE;
            self.is_behind.store(is_behind, Ordering::Relaxed);
            step_at = (step_at + STEP).max(now);
            if stop.sleep_until(step_at) {
                return Ok(());
            }
        }
    }

    /// Takes what is missing to `due`, as much as comes into a few steps; returns why no more could be taken.
    fn grow(
        &self,
        hoard: &mut impl Hoard,
        due: u64,
        stop: &StopFlag,
    ) -> Result<Option<Shortfall>, String> {
        let until = Instant::now() + LONGEST_GROWTH;
        while hoard.held() < due && !stop.is_set() && Instant::now() < until {
            for _ in 0..BATCH.min(due - hoard.held()) {
                let taken = hoard.take();
                self.held.store(hoard.held(), Ordering::Relaxed);
                match taken {
                    Ok(()) => {}
                    Err(Refusal::ForNow(shortfall)) => return Ok(Some(shortfall)),
                    Err(Refusal::ForGood(reason)) => return Err(reason),
                }
            }
        }
        Ok(None)
    }
}

impl Probe for LiveLeak {
    fn read(&self) -> Reading {
        let held = self.held.load(Ordering::Relaxed);
        let is_over = self.is_over.load(Ordering::Relaxed);
        let asked = match is_over {
            true => 0.0,
            false => self.asked.load(Ordering::Relaxed) as f64,
        };
        let is_behind = !is_over && self.is_behind.load(Ordering::Relaxed);
        let metric = (self.leak.metric.to_owned(), Value::from(held));
        Reading {
            asked,
            achieved: Some(held as f64),
            unit: self.leak.unit,
            shortfall: is_behind.then(|| *self.shortfall.lock()),
            metrics: [metric].into_iter().collect(),
        }
    }

    fn target(&self) -> Option<f64> {
        self.leak.most
    }

    fn left(&self) -> Option<f64> {
        Some(self.held.load(Ordering::Relaxed) as f64)
    }
}
