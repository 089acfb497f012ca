//! `lock_contention`: threads that all want one lock.
//!
//! The lock goes to those who wait in the order of their arrival, so the threads form a convoy: each release wakes a
//! sleeping thread, and the one that released it sleeps next. The time goes into the system, and less gets done than by
//! one thread alone. (The standard library's mutex would mostly go back to the thread that has just released it.)

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Thread, current, park};
use std::time::{Duration, Instant};

use super::metrics;
use crate::input::{Fields, Resource};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::{Active, Group, Probe, Reading, RunContext, Scenario, Shortfall, StartError};
use crate::sync::Lock;

/// The time over which the figures are measured.
const REPORT_OVER: Duration = Duration::from_secs(1);

/// Contends for a lock.
#[derive(Debug)]
pub(super) struct LockContention {
    threads: u32,
    hold: Duration,
}

impl Scenario for LockContention {
    const NAME: &'static str = "lock_contention";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Lets threads contend for one lock";
    const EXAMPLE: &'static str = r#"{"threads": 16, "hold_us": 20}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How many threads want the lock.";
        let field = fields.field("threads", about).unit("threads");
        let threads = field.asks_for(Resource::Threads).integer(1..=256, 8);
        let about = "How long each computes while it has the lock.";
        let field = fields.field("hold_us", about).unit("us");
        let hold = field.number(0.0..=1_000_000.0, 10.0);
        Self {
            threads,
            hold: Duration::from_secs_f64(hold / 1e6),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let contention = Arc::new(Contention {
            threads: self.threads,
            lock: FairLock::default(),
            times: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            live: AtomicU64::new(0),
            per_second: Gauge::default(),
            wait_us: Gauge::default(),
        });
        let mut threads = cx.threads();
        for _ in 0..self.threads {
            let work = Arc::clone(&contention);
            threads.spawn("pool", move |stop| {
                work.contend(self.hold, stop);
                Ok(())
            })?;
        }
        let work = Arc::clone(&contention);
        threads.spawn("report", move |stop| {
            work.report(stop);
            Ok(())
        })?;
        Ok(Active::new(contention, threads.run_until(cx.stop)))
    }
}

/// The lock and the figures of those who want it.
#[derive(Debug)]
struct Contention {
    threads: u32,
    lock: FairLock,
    /// How often the lock was taken.
    times: AtomicU64,
    /// How long the threads waited for it and had it, summed up.
    waited_ns: AtomicU64,
    live: AtomicU64,
    per_second: Gauge,
    /// The mean time to get the lock and to hold it.
    wait_us: Gauge,
}

impl Contention {
    /// Takes the lock again and again, and computes while it has it.
    fn contend(&self, hold: Duration, stop: &StopFlag) {
        self.live.fetch_add(1, Ordering::Relaxed);
        let mut from = Instant::now();
        while !stop.is_set() {
            self.lock.take();
            let until = Instant::now() + hold;
            while Instant::now() < until && !stop.is_set() {
                spin_loop();
            }
            self.lock.release();
            let now = Instant::now();
            let took = u64::try_from((now - from).as_nanos()).unwrap_or(u64::MAX);
            from = now;
            self.waited_ns.fetch_add(took, Ordering::Relaxed);
            self.times.fetch_add(1, Ordering::Relaxed);
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    /// Measures until the stop.
    fn report(&self, stop: &StopFlag) {
        let mut before = (Instant::now(), 0, 0);
        while !stop.sleep_until(before.0 + REPORT_OVER) {
            let now = Instant::now();
            let times = self.times.load(Ordering::Relaxed);
            let waited = self.waited_ns.load(Ordering::Relaxed);
            let seconds = (now - before.0).as_secs_f64();
            let (new, waited_ns) = (times - before.1, (waited - before.2) as f64);
            self.per_second.set(new as f64 / seconds);
            self.wait_us.set(waited_ns / 1e3 / new.max(1) as f64);
            before = (now, times, waited);
        }
    }
}

/// A lock that is handed over in the order of arrival.
#[derive(Debug, Default)]
struct FairLock(Lock<Queue>);

#[derive(Debug, Default)]
struct Queue {
    is_held: bool,
    waiting: VecDeque<Arc<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    thread: Thread,
    has_lock: AtomicBool,
}

impl FairLock {
    /// Waits for the lock.
    fn take(&self) {
        let waiter = {
            let mut queue = self.0.lock();
            if !queue.is_held {
                queue.is_held = true;
                return;
            }
            let waiter = Arc::new(Waiter {
                thread: current(),
                has_lock: AtomicBool::new(false),
            });
            queue.waiting.push_back(Arc::clone(&waiter));
            waiter
        };
        while !waiter.has_lock.load(Ordering::Acquire) {
            park();
        }
    }

    /// Hands the lock over to who has waited the longest.
    fn release(&self) {
        let mut queue = self.0.lock();
        match queue.waiting.pop_front() {
            Some(next) => {
                drop(queue);
                next.has_lock.store(true, Ordering::Release);
                next.thread.unpark();
            }
            None => queue.is_held = false,
        }
    }
}

impl Probe for Contention {
    fn read(&self) -> Reading {
        let live = self.live.load(Ordering::Relaxed) as f64;
        let asked = f64::from(self.threads);
        let rounded = |figure: f64| (figure * 100.0).round() / 100.0;
        Reading {
            asked,
            achieved: Some(live),
            unit: "threads",
            shortfall: (live < asked).then_some(Shortfall::Contended),
            metrics: metrics([
                ("locks_per_second", rounded(self.per_second.get()).into()),
                ("wait_us", rounded(self.wait_us.get()).into()),
            ]),
        }
    }

    fn left(&self) -> Option<f64> {
        Some(self.live.load(Ordering::Relaxed) as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<LockContention>(json!({ "threads": 8, "hold_us": 10 }));
    }

    #[test]
    fn one_at_a_time_has_the_lock_and_each_has_its_turn() {
        let lock = Arc::new(FairLock::default());
        let inside = Arc::new(AtomicU64::new(0));
        let work = || {
            let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    lock.take();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lock.release();
                }
            })
        };
        let threads: Vec<_> = (0..4).map(|_| work()).collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(!lock.0.lock().is_held);
    }

    #[tokio::test]
    async fn a_long_hold_starts_and_stops() {
        starts_and_stops::<LockContention>(json!({ "threads": 3, "hold_us": 1_000_000 })).await;
    }
}
