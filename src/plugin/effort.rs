//! Why a fault that works as fast as it can stays behind.

use std::time::{Duration, Instant};

use super::Shortfall;
use crate::host::cgroup::Cgroup;
use crate::host::process::thread_cpu;

/// The time over which work is judged.
const JUDGE_OVER: Duration = Duration::from_secs(1);
/// A thread that got less than this share of the time that it wanted had to wait for others.
const UNDISTURBED: f64 = 0.8;

/// The work of one thread or several: how long it took, and how much CPU time it got.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Work {
    cpu: Duration,
    wall: Duration,
}

impl Work {
    /// Measures the work of the calling thread.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (Self, T) {
        let (cpu, from) = (thread_cpu(), Instant::now());
        let done = work();
        let took = Self {
            cpu: thread_cpu().saturating_sub(cpu),
            wall: from.elapsed(),
        };
        (took, done)
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.wall += other.wall;
    }

    fn is_undisturbed(self) -> bool {
        self.cpu.as_secs_f64() >= self.wall.as_secs_f64() * UNDISTURBED
    }
}

/// Judges the work of a fault.
#[derive(Debug)]
pub(crate) struct Effort {
    cgroup: Cgroup,
    recent: Work,
    judge_at: Instant,
    throttled_periods: Option<u64>,
    cause: Shortfall,
}

impl Effort {
    pub(crate) fn new(cgroup: &Cgroup) -> Self {
        Self {
            cgroup: cgroup.clone(),
            recent: Work::default(),
            judge_at: Instant::now() + JUDGE_OVER,
            throttled_periods: throttled_periods(cgroup),
            cause: Shortfall::Saturated,
        }
    }

    /// Takes in work; returns why it was not enough, in case it was not.
    pub(crate) fn cause(&mut self, work: Work) -> Shortfall {
        self.recent.join(work);
        let now = Instant::now();
        if now >= self.judge_at {
            let periods = throttled_periods(&self.cgroup);
            self.cause = if periods > self.throttled_periods {
                Shortfall::Throttled
            } else if self.recent.is_undisturbed() {
                Shortfall::Saturated
            } else {
                Shortfall::Contended
            };
            (self.recent, self.throttled_periods) = (Work::default(), periods);
            self.judge_at = now + JUDGE_OVER;
        }
        self.cause
    }
}

/// How often the CPU quota has held the process back; none where that is not counted.
pub(crate) fn throttled_periods(cgroup: &Cgroup) -> Option<u64> {
    cgroup
        .throttled()
        .map(|throttled| throttled.throttled_periods)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_waits_is_disturbed_and_work_that_computes_is_not() {
        let ms = Duration::from_millis;
        let work = |cpu, wall| Work {
            cpu: ms(cpu),
            wall: ms(wall),
        };
        assert!(work(95, 100).is_undisturbed());
        assert!(!work(50, 100).is_undisturbed());
        let mut both = work(90, 100);
        both.join(work(10, 100));
        assert!(!both.is_undisturbed());
        assert!(Work::default().is_undisturbed());
    }

    #[test]
    fn the_work_of_a_thread_is_its_own_cpu_time() {
        let (work, slept) = Work::of(|| std::thread::sleep(Duration::from_millis(20)));
        assert_eq!(slept, ());
        assert!(work.wall >= Duration::from_millis(20) && work.cpu < work.wall);
    }
}
