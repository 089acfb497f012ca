//! The threads of `cpu_burner`: each burns what its schedule has due, on its own CPU clock.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::schedule::{Next, SLOT, Schedule};
use crate::host::lived::LivedClock;
use crate::host::process;
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;

/// The least share of its time that a thread burns, unless it is the only one.
const LEAST_DUTY: f64 = 0.05;
/// How long a thread off duty sleeps before it checks again.
const OFF_DUTY: Duration = Duration::from_millis(250);

/// The burner threads as the regulator sees them.
#[derive(Debug)]
pub(super) struct Burners {
    /// The clock of the schedules, and its time at their start.
    lived: LivedClock,
    origin: Duration,
    /// How many threads share the work; the others are off duty.
    on_duty: AtomicUsize,
    /// The share of each slot that a thread on duty burns, from 0 to 1.
    duty: Gauge,
    each: Vec<Burner>,
}

/// The books of one thread, in nanoseconds since its start.
#[derive(Debug, Default)]
struct Burner {
    granted: AtomicU64,
    burnt: AtomicU64,
}

impl Burners {
    pub(super) fn new(threads: usize, lived: &LivedClock) -> Arc<Self> {
        let each = std::iter::repeat_with(Burner::default)
            .take(threads.max(1))
            .collect();
        let (on_duty, duty) = (AtomicUsize::new(0), Gauge::default());
        Arc::new(Self {
            origin: lived.now(),
            lived: lived.clone(),
            on_duty,
            duty,
            each,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// How many threads burn `cores` under a CPU limit of `limit` cores: one for each CPU of the limit, as beside other
    /// load each thread gets the share of one; fewer where each would have next to nothing to burn.
    pub(super) fn threads_for(&self, cores: f64, limit: f64) -> usize {
        let most = limit.max(cores).ceil().min(self.each.len() as f64);
        (cores / LEAST_DUTY).floor().clamp(1.0, most.max(1.0)) as usize
    }

    /// Grants `cores` from now on, in equal parts to the first `threads` threads.
    pub(super) fn spread(&self, cores: f64, threads: usize) {
        self.duty.set((cores / threads as f64).min(1.0));
        self.on_duty.store(threads, Ordering::Relaxed);
    }

    /// The CPU time granted to and burnt by all threads.
    pub(super) fn totals(&self) -> (Duration, Duration) {
        let sum = |of: fn(&Burner) -> &AtomicU64| {
            Duration::from_nanos(
                self.each
                    .iter()
                    .map(|b| of(b).load(Ordering::Relaxed))
                    .sum(),
            )
        };
        (sum(|burner| &burner.granted), sum(|burner| &burner.burnt))
    }

    /// The work of one thread, at the priority of any other: in each slot it is granted its share, and burns until its
    /// CPU clock shows that it has used what is due.
    pub(super) fn burn(&self, index: usize, stop: &StopFlag) {
        let books = &self.each[index];
        let born = process::thread_cpu();
        let used = || process::thread_cpu().saturating_sub(born);
        // Threads start their slots one after the other, so that they do not all burn at once.
        let phase = SLOT.mul_f64(index as f64 / self.each.len() as f64);
        // From the start of the run on, however long the thread took to get a CPU.
        let mut schedule = Schedule::new(self.origin, phase);
        while !stop.is_set() {
            let now = self.lived.now();
            if index >= self.on_duty.load(Ordering::Relaxed) {
                schedule.skip_to(now + OFF_DUTY);
                if stop.sleep_until(Instant::now() + OFF_DUTY) {
                    break;
                }
                continue;
            }
            schedule.begin_slot(now, used(), self.duty.get());
            books
                .granted
                .store(nanos(schedule.granted()), Ordering::Relaxed);
            // All threads share the lived clock: once a slot is enough.
            let began = Instant::now();
            let next = loop {
                let (now, burnt) = (now + began.elapsed(), used());
                books.burnt.store(nanos(burnt), Ordering::Relaxed);
                match schedule.next(now, burnt) {
                    Next::Burn if !stop.is_set() => spin(),
                    next => break next,
                }
            };
            if let Next::Sleep(time) = next
                && stop.sleep_until(Instant::now() + time)
            {
                break;
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A few microseconds of user CPU time: short compared to a slot, long compared to reading the clock.
fn spin() {
    let mut x = 1_u64;
    for _ in 0..4_000 {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_thread_for_each_cpu_of_the_limit_that_has_enough_to_burn() {
        let burners = Burners::new(4, &LivedClock::default());
        for (cores, limit, threads) in [
            (2.0, 4.0, 4),
            (0.04, 4.0, 1),
            (0.1, 4.0, 2),
            (0.2, 0.25, 1),
            (0.5, 1.5, 2),
            (64.0, 2.0, 4),
            (0.0, 4.0, 1),
        ] {
            assert_eq!(
                burners.threads_for(cores, limit),
                threads,
                "{cores} of {limit}"
            );
        }
    }
}
