//! The outer loop of `cpu_burner`: holds the whole process at the target.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, timeout};

use super::burners::Burners;
use super::{CpuProbe, CpuUse};
use crate::host::cgroup::Cgroup;
use crate::host::lived::LivedClock;
use crate::host::process;
use crate::plugin::effort::throttled_periods;

/// How often the grant is recomputed. More often would cost more than one percent of a quarter of a core.
const REGULATE_EVERY: Duration = Duration::from_millis(100);
/// How often the limit is read again: it may change under a running container.
const LIMIT_EVERY: Duration = Duration::from_secs(2);
/// The time over which the reported figure is measured.
const REPORT_OVER: Duration = Duration::from_secs(1);

/// Decides how much CPU time the burners are granted. Pure arithmetic on CPU seconds, so that tests need no clock.
#[derive(Debug, Default)]
struct Regulator {
    /// CPU seconds that the burners may have been granted since the start: the target minus the process's own work.
    allowed: f64,
    /// How far own work has recently exceeded the target; zero or less.
    overdrawn: f64,
    /// Own work since the start, as of the last step.
    own: f64,
}

impl Regulator {
    /// How much of a missed target is made up for, in seconds at the target.
    const MEMORY_S: f64 = 0.1;
    /// The time that a grant covers. If the next step is late, the threads go on at the same rate and that step takes
    /// the excess back.
    const AHEAD_S: f64 = REGULATE_EVERY.as_secs_f64();

    /// The cores to grant from now on. `cores` is the target now, `elapsed` the seconds since the last step, and `asked`
    /// the CPU seconds that were the target in them; `own` and `granted` are CPU seconds since the start: used by the
    /// process outside the burners, and granted to the burners.
    ///
    /// Own work and grants together shall meet the target at the end of the time ahead, if own work goes on at its
    /// recent rate. An excessive grant is taken back in full. Own work above the target cannot be taken back; it is
    /// forgiven, except for the last moments.
    fn step(
        &mut self,
        (elapsed, asked): (f64, f64),
        cores: f64,
        own: f64,
        granted: f64,
        most: f64,
    ) -> f64 {
        let own_lately = own - self.own;
        self.own = own;
        let remembered = cores * Self::MEMORY_S;
        let left = (self.overdrawn + asked - own_lately).max(-remembered);
        self.overdrawn = left.min(0.0);
        self.allowed = (self.allowed + left.max(0.0)).min(granted + remembered);
        // An early step has seen too little for a rate.
        let own_rate = own_lately / elapsed.max(Self::AHEAD_S);
        let ahead = (cores - own_rate) * Self::AHEAD_S;
        let next = self.allowed + self.overdrawn + ahead - granted;
        (next / Self::AHEAD_S).clamp(0.0, most)
    }
}

/// Runs the outer loop and publishes what the process uses; ends only by being dropped.
pub(super) async fn regulate(
    cgroup: &Cgroup,
    lived: &LivedClock,
    burners: &Burners,
    probe: &CpuProbe,
) -> Infallible {
    let mut tick = tokio::time::interval(REGULATE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (unit, shape) = (probe.unit, probe.goal.shape());
    let mut limit = cgroup.cpu_limit().cores;
    let mut limit_read = lived.now();
    let mut regulator = Regulator::default();
    let start_cpu = process::process_cpu();
    let (mut last, mut last_age) = (lived.now(), probe.goal.age());
    let mut window = Window::new(cgroup, last, start_cpu);
    loop {
        // At each jump of the target, too.
        match shape.next_jump(last_age) {
            Some(jump) => drop(timeout(jump - last_age, tick.tick()).await),
            None => drop(tick.tick().await),
        }
        let (now, age) = (lived.now(), probe.goal.age());
        let elapsed = (now - last).as_secs_f64();
        if now - limit_read >= LIMIT_EVERY {
            (limit, limit_read) = (cgroup.cpu_limit().cores, now);
        }
        let asked = shape.area(last_age, age);
        (last, last_age) = (now, age);
        let goal = shape.value_at(age);
        let cores = unit.cores(goal, limit);
        let threads = burners.threads_for(cores, limit);
        let total = process::process_cpu();
        let (granted, burnt) = burners.totals();
        let own = (total.saturating_sub(start_cpu))
            .saturating_sub(burnt)
            .as_secs_f64();
        let granted = granted.as_secs_f64();
        let passed = (elapsed, unit.cores(asked, limit));
        let grant = regulator.step(passed, cores, own, granted, threads as f64);
        burners.spread(grant, threads);
        window.ask(goal, asked);
        if let Some(used) = window.measure(now, total, limit) {
            probe.publish(Some(used));
        }
    }
}

/// Measures the process's CPU use over windows of [`REPORT_OVER`].
struct Window<'c> {
    cgroup: &'c Cgroup,
    since: Duration,
    cpu: Duration,
    throttled: Option<u64>,
    /// The sum of what was asked over its time.
    asked: f64,
    /// The least and the most that was asked.
    range: (f64, f64),
    /// How far apart those were in the window before.
    moved: f64,
}

impl<'c> Window<'c> {
    const NOTHING: (f64, f64) = (f64::INFINITY, f64::NEG_INFINITY);

    fn new(cgroup: &'c Cgroup, since: Duration, cpu: Duration) -> Self {
        Self {
            cgroup,
            since,
            cpu,
            throttled: throttled_periods(cgroup),
            asked: 0.0,
            range: Self::NOTHING,
            moved: 0.0,
        }
    }

    /// Takes in that `goal` is asked now, and the sum of what was asked since the last call.
    fn ask(&mut self, goal: f64, sum: f64) {
        let (least, most) = self.range;
        (self.asked, self.range) = (self.asked + sum, (least.min(goal), most.max(goal)));
    }

    /// What was used in the window under `limit`, once it is over; then the next one begins.
    fn measure(&mut self, now: Duration, cpu: Duration, limit: f64) -> Option<CpuUse> {
        let wall = now - self.since;
        if wall < REPORT_OVER {
            return None;
        }
        let (wall, periods) = (wall.as_secs_f64(), throttled_periods(self.cgroup));
        let moved = self.range.1 - self.range.0;
        let used = CpuUse {
            cores: cpu.saturating_sub(self.cpu).as_secs_f64() / wall,
            asked: self.asked / wall,
            moved: moved.max(self.moved),
            limit,
            throttled: periods > self.throttled,
        };
        (self.since, self.cpu, self.throttled) = (now, cpu, periods);
        (self.asked, self.range, self.moved) = (0.0, Self::NOTHING, moved);
        Some(used)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    /// Simulates a process whose own work uses `own` cores and whose steps come after `every` seconds; returns the mean
    /// use from the second second to the tenth.
    fn settle(
        cores: f64,
        most: f64,
        own: impl Fn(f64) -> f64,
        every: impl Fn(usize) -> f64,
    ) -> f64 {
        let (mut regulator, mut owned, mut granted) = (Regulator::default(), 0.0, 0.0);
        let (mut now, mut elapsed, mut at_two) = (0.0, 0.0, None);
        for step in 0.. {
            let passed = (elapsed, cores * elapsed);
            let grant = regulator.step(passed, cores, owned, granted, most);
            elapsed = every(step);
            owned += own(now) * elapsed;
            granted += grant * elapsed;
            now += elapsed;
            if now >= 2.0 && at_two.is_none() {
                at_two = Some((now, owned + granted));
            }
            if now >= 10.0 {
                break;
            }
        }
        let (then, used) = at_two.expect("two seconds passed");
        (owned + granted - used) / (now - then)
    }

    proptest! {
        /// However often and long the process is frozen, each step grants what it would have granted without that.
        #[test]
        fn a_gap_leaves_no_trace_in_the_grants(
            gaps_ms in prop::collection::vec(prop_oneof![Just(0_u64), 1_000..100_000_u64], 1..30),
            cores in 0.01..2.0,
        ) {
            let (clock, mut moment) = (LivedClock::default(), Instant::now());
            let (mut regulator, mut granted, mut grant) = (Regulator::default(), 0.0, 0.0);
            let mut last = clock.at(moment);
            for gap_ms in gaps_ms {
                // The process is frozen at the end of a step; its threads burn as long as it lives.
                moment += REGULATE_EVERY;
                clock.at(moment);
                moment += Duration::from_millis(gap_ms);
                let now = clock.at(moment);
                let elapsed = (now - last).as_secs_f64();
                last = now;
                granted += grant * elapsed;
                grant = regulator.step((elapsed, cores * elapsed), cores, 0.0, granted, 2.0);
                prop_assert!(grant <= cores * 2.0 + 1e-9 && grant >= cores - 1e-9, "{}", grant);
                prop_assert!(granted <= cores * now.as_secs_f64() + 1e-9, "{}", granted);
            }
        }
    }

    /// Steps that come on time.
    fn punctual(_: usize) -> f64 {
        REGULATE_EVERY.as_secs_f64()
    }

    #[test]
    fn own_work_and_grants_together_meet_the_target() {
        for cores in [0.01, 0.2, 1.0, 1.5, 1.9] {
            assert!((settle(cores, 2.0, |_| 0.0, punctual) - cores).abs() < 1e-9);
        }
        assert!((settle(1.0, 2.0, |_| 0.4, punctual) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn bursts_of_own_work_are_balanced_over_a_second() {
        let bursty = |now: f64| {
            if (now * 20.0).round() as i64 % 3 == 0 {
                0.6
            } else {
                0.0
            }
        };
        let achieved = settle(1.0, 2.0, bursty, punctual);
        assert!((achieved - 1.0).abs() < 0.01, "{achieved}");
    }

    #[test]
    fn late_steps_do_not_raise_the_mean() {
        // As in a throttled container, where the regulator itself rarely runs.
        let late = |step: usize| [0.05, 0.3, 0.1, 0.05, 0.7][step % 5];
        for cores in [0.05, 0.4, 0.5] {
            let achieved = settle(cores, 1.0, |_| 0.0, late);
            assert!(
                (achieved / cores - 1.0).abs() < 0.08,
                "{achieved} of {cores}"
            );
        }
    }

    #[test]
    fn own_work_above_the_target_leaves_no_grant_and_no_debt() {
        let (mut regulator, dt) = (Regulator::default(), REGULATE_EVERY.as_secs_f64());
        let mut own = 0.0;
        regulator.step((0.0, 0.0), 0.5, 0.0, 0.0, 2.0);
        for _ in 0..100 {
            own += 1.5 * dt;
            assert!(regulator.step((dt, 0.5 * dt), 0.5, own, 0.0, 2.0) < 1e-9);
        }
        // Own work ends: within half a second the burners are back at the target.
        let (mut granted, mut grant) = (0.0, 0.0);
        for _ in 0..5 {
            granted += grant * dt;
            grant = regulator.step((dt, 0.5 * dt), 0.5, own, granted, 2.0);
        }
        assert!((grant - 0.5).abs() < 1e-6, "{grant}");
    }
}
