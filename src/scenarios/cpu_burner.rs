//! `cpu_burner`: the process's CPU use is held at a share of its limit.
//!
//! Two loops. Each burner thread keeps to a *cumulative* schedule on its own CPU clock, in slots of
//! ten milliseconds, so that a late wake-up or a preemption is made up for instead of adding up. The
//! [`Regulator`] decides, a few times in each second, how much the burners are granted: the target
//! less what the rest of the process uses.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::host::cgroup::Cgroup;
use crate::host::{online_cpus, process};
use crate::input::Resource;
use crate::input::{Fields, above};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError};

/// A tenth of the period of the kernel's CPU quota, so that the burners' demand is flat within it.
const SLOT: Duration = Duration::from_millis(10);
/// How much of its schedule a thread makes up for at once after a preemption: half a point of a second,
/// so that a second in which it catches up is not itself off its figure.
const DEBT_AT_ONCE: Duration = Duration::from_millis(5);
/// How much more it makes up for, little by little. Together they are a fifth of a point of ten seconds;
/// what a thread could not burn beyond that is lost: it never runs flat out after a time in which the
/// machine gave it nothing.
const DEBT_LATER: Duration = Duration::from_millis(15);
/// The part of its share that a thread burns on top while it has such a debt.
const REPAID: f64 = 0.005;
/// How often the grant is made anew. More often would cost more than one percent of a quarter of a core.
const REGULATE_EVERY: Duration = Duration::from_millis(100);
/// How often the limit is read again: it may be changed under a running container.
const LIMIT_EVERY: Duration = Duration::from_secs(2);
/// The time over which the reported figure is taken.
const REPORT_OVER: Duration = Duration::from_secs(1);
/// How long a thread that has no share of the work sleeps before it looks again.
const OFF_DUTY: Duration = Duration::from_millis(250);
/// Below this many percent points less than asked, the run says why.
const TOLERANCE_PERCENT: f64 = 1.0;

/// Burns CPU.
#[derive(Debug)]
pub(super) struct CpuBurner;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Goal {
    /// Of the CPU limit.
    Percent(f64),
    /// Absolute; may exceed the limit.
    Cores(f64),
}

impl Goal {
    /// The goal in cores under a CPU limit of `limit` cores.
    fn cores(self, limit: f64) -> f64 {
        match self {
            Self::Percent(percent) => limit * percent / 100.0,
            Self::Cores(cores) => cores,
        }
    }
}

#[derive(Debug)]
pub(super) struct CpuBurnerParams {
    goal: Goal,
}

impl Params for CpuBurnerParams {
    fn read(fields: &mut Fields) -> Self {
        fields.either("target_percent", "cores");
        let percent = fields
            .field(
                "target_percent",
                "Share of the CPU limit that the whole process shall use.",
            )
            .unit("percent of the CPU limit")
            .asks_for(Resource::CpuPercent)
            .integer(0..=100_u8, 50);
        let cores = fields
            .field(
                "cores",
                "CPU cores to use, instead of target_percent; may exceed the limit.",
            )
            .unit("cores")
            .asks_for(Resource::CpuCores)
            .optional()
            .number(above(0.0, 1024.0));
        let goal = match cores {
            Some(cores) => {
                fields.withdraw("target_percent");
                Goal::Cores(cores)
            }
            None => Goal::Percent(percent.into()),
        };
        Self { goal }
    }
}

impl Scenario for CpuBurner {
    const NAME: &'static str = "cpu_burner";
    const SUMMARY: &'static str = "Increases CPU usage to specified percentage";
    type Params = CpuBurnerParams;

    async fn start(params: CpuBurnerParams, cx: RunContext) -> Result<Active, StartError> {
        let burners = Burners::new(online_cpus());
        // Before the threads are born, so that none finds itself off duty and sleeps its first moments away.
        let cores = params.goal.cores(cx.cgroup().cpu_limit().cores);
        burners.spread(cores, burners.threads_for(cores));
        let mut threads = cx.threads();
        for index in 0..burners.each.len() {
            let burners = Arc::clone(&burners);
            threads
                .spawn(format!("worker-{index}"), move |stop| {
                    burners.burn(index, stop);
                    Ok(())
                })
                .map_err(|error| StartError::new(format!("no thread to burn with: {error}")))?;
        }
        let probe = Arc::new(CpuProbe::new(params.goal));
        let figures = Arc::clone(&probe);
        let stop = cx.stop.clone();
        let body = async move {
            let exit = tokio::select! {
                exit = threads.run_until(stop) => exit,
                never = regulate(cx.cgroup(), &burners, &probe) => match never {},
            };
            probe.publish(None);
            exit
        };
        Ok(Active::new(figures, body))
    }
}

// === The inner loop: threads on their own CPU clocks ===

/// What the regulator and the burner threads share.
#[derive(Debug)]
struct Burners {
    origin: Instant,
    /// How many of the threads share the work; the others are off duty.
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
    fn new(threads: usize) -> Arc<Self> {
        let each = std::iter::repeat_with(Burner::default)
            .take(threads.max(1))
            .collect();
        let (on_duty, duty) = (AtomicUsize::new(0), Gauge::default());
        Arc::new(Self {
            origin: Instant::now(),
            on_duty,
            duty,
            each,
        })
    }

    /// How many threads it takes to burn `cores`.
    fn threads_for(&self, cores: f64) -> usize {
        (cores.ceil().max(1.0) as usize).min(self.each.len())
    }

    /// Grants `cores` from now on, in equal parts to the first `threads` threads.
    fn spread(&self, cores: f64, threads: usize) {
        self.duty.set((cores / threads as f64).min(1.0));
        self.on_duty.store(threads, Ordering::Relaxed);
    }

    /// The sums over all threads: granted and burnt.
    fn totals(&self) -> (Duration, Duration) {
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

    /// The life of one thread: in each slot it is granted its share, and burns until its CPU clock
    /// says that it has used up all that it was ever granted.
    fn burn(&self, index: usize, stop: &StopFlag) {
        // Where lowering is forbidden the burner competes like any other thread: still a fault.
        let _lowered: bool = process::lower_own_priority();
        let books = &self.each[index];
        let born = process::thread_cpu();
        let used = || process::thread_cpu().saturating_sub(born);
        // Threads start their slots one after the other, so that their demand does not come in bursts.
        let phase = SLOT.mul_f64(index as f64 / self.each.len() as f64);
        let mut granted = used();
        let mut debt = Debt::default();
        let mut granted_until = Instant::now();
        while !stop.is_set() {
            let now = Instant::now();
            if index >= self.on_duty.load(Ordering::Relaxed) {
                granted_until = now;
                if stop.sleep_until(now + OFF_DUTY) {
                    break;
                }
                continue;
            }
            let duty = self.duty.get();
            let slot_end = self.next_slot(now, phase) + SLOT * slots_skipped(duty);
            let grant = slot_end
                .saturating_duration_since(granted_until)
                .mul_f64(duty);
            granted += grant;
            granted_until = slot_end;
            // What is put off or forgiven stays granted in the books: the regulator must not grant it again.
            books.granted.store(nanos(granted), Ordering::Relaxed);
            let ahead = slot_end.saturating_duration_since(now).mul_f64(duty);
            let due = granted.saturating_sub(debt.put_off(granted, used(), ahead, duty));
            loop {
                let burnt = used();
                books.burnt.store(nanos(burnt), Ordering::Relaxed);
                if burnt >= due || stop.is_set() {
                    break;
                }
                spin();
            }
            if stop.sleep_until(slot_end) {
                break;
            }
        }
        books.burnt.store(nanos(used()), Ordering::Relaxed);
    }

    /// The first end of a slot after `now`, on a grid that does not drift.
    fn next_slot(&self, now: Instant, phase: Duration) -> Instant {
        let since = now.saturating_duration_since(self.origin + phase);
        let slots = since.as_nanos() / SLOT.as_nanos() + 1;
        let ahead = SLOT.as_nanos() as f64 * slots as f64 / 1e9;
        self.origin + phase + Duration::from_secs_f64(ahead)
    }
}

/// What a thread did not burn of its schedule and does not make up for at once.
#[derive(Debug, Default)]
struct Debt {
    /// To be made up for little by little.
    later: Duration,
    /// Lost for good.
    forgiven: Duration,
}

impl Debt {
    /// Takes account of a thread that was granted `granted` and burnt `used` since its start, `ahead` of
    /// the grant being for the time to come. Gives what it need not have burnt at the end of that time.
    fn put_off(
        &mut self,
        granted: Duration,
        used: Duration,
        ahead: Duration,
        duty: f64,
    ) -> Duration {
        let owed = granted.saturating_sub(used + self.later + self.forgiven);
        self.later += owed.saturating_sub(ahead + DEBT_AT_ONCE.mul_f64(duty));
        let too_much = self.later.saturating_sub(DEBT_LATER.mul_f64(duty));
        self.forgiven += too_much;
        self.later -= too_much;
        self.later = self.later.saturating_sub(ahead.mul_f64(REPAID));
        self.later + self.forgiven
    }
}

/// How many slots a thread lets pass at a low duty, so that waking up does not cost it more than it
/// burns: it burns a quarter of a millisecond at least, or what is due in a tenth of a second.
fn slots_skipped(duty: f64) -> u32 {
    const LEAST_BURN_S: f64 = 0.000_25;
    const MOST: f64 = 9.0;
    let slots = LEAST_BURN_S / (duty * SLOT.as_secs_f64());
    // A cast of a float saturates; a duty of zero gives an infinity, which is bounded before.
    slots.min(MOST).floor() as u32
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A few microseconds of plain user work: short beside a slot, long beside a look at the clock.
fn spin() {
    let mut x = 1_u64;
    for _ in 0..4_000 {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

// === The outer loop: the whole process at the target ===

/// Decides what the burners are granted. Pure arithmetic on CPU seconds, so that it can be tested
/// without a clock.
#[derive(Debug, Default)]
struct Regulator {
    /// What the burners may have been granted since the start: the target less the own work.
    allowed: f64,
    /// What the own work took beyond the target lately; zero or less.
    overdrawn: f64,
    /// The own work since the start, as of the last step.
    own: f64,
}

impl Regulator {
    /// How long a target that was missed is remembered, in seconds of it.
    const MEMORY_S: f64 = 0.1;
    /// The time for which a grant is meant. Should the next step come late, the threads go on at the
    /// same rate, and what that is too much is taken back then.
    const AHEAD_S: f64 = REGULATE_EVERY.as_secs_f64();

    /// The cores to grant from now on. `cores` is the target, `elapsed` the seconds since the last step;
    /// `own` and `granted` are CPU seconds since the start: what the process used besides the burners,
    /// and what these were granted.
    ///
    /// At the end of the time ahead, own work and grants together shall be what is due. The own work is
    /// taken to go on as it did lately. A grant is never forgiven: what was granted too much is taken
    /// back in full. Own work above the target is, but for the last moments, since it cannot be.
    fn step(&mut self, elapsed: f64, cores: f64, own: f64, granted: f64, most: f64) -> f64 {
        let own_lately = own - self.own;
        self.own = own;
        let remembered = cores * Self::MEMORY_S;
        let left = (self.overdrawn + cores * elapsed - own_lately).max(-remembered);
        self.overdrawn = left.min(0.0);
        self.allowed = (self.allowed + left.max(0.0)).min(granted + remembered);
        // A step that comes early has seen too little to tell a rate from.
        let own_rate = own_lately / elapsed.max(Self::AHEAD_S);
        let ahead = (cores - own_rate) * Self::AHEAD_S;
        let next = self.allowed + self.overdrawn + ahead - granted;
        (next / Self::AHEAD_S).clamp(0.0, most)
    }
}

/// Runs the outer loop and keeps the probe's figures; ends only by being dropped.
async fn regulate(
    cgroup: &Cgroup,
    burners: &Burners,
    probe: &CpuProbe,
) -> std::convert::Infallible {
    let mut tick = tokio::time::interval(REGULATE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut limit = cgroup.cpu_limit().cores;
    let mut limit_read = Instant::now();
    let mut regulator = Regulator::default();
    let start_cpu = process::process_cpu();
    let mut last = Instant::now();
    let mut window = Window::new(cgroup, last, start_cpu);
    loop {
        tick.tick().await;
        let now = Instant::now();
        let elapsed = now.duration_since(last).as_secs_f64();
        last = now;
        if now.duration_since(limit_read) >= LIMIT_EVERY {
            (limit, limit_read) = (cgroup.cpu_limit().cores, now);
        }
        let cores = probe.goal.cores(limit);
        let threads = burners.threads_for(cores);
        let total = process::process_cpu();
        let (granted, burnt) = burners.totals();
        let own = (total.saturating_sub(start_cpu))
            .saturating_sub(burnt)
            .as_secs_f64();
        let granted = granted.as_secs_f64();
        let grant = regulator.step(elapsed, cores, own, granted, threads as f64);
        burners.spread(grant, threads);
        if let Some(cores) = window.look(now, total) {
            let throttled = window.was_throttled(cgroup);
            probe.publish(Some(Measured {
                cores,
                limit,
                throttled,
            }));
        }
    }
}

/// Measures the process's CPU use over windows of [`REPORT_OVER`].
struct Window {
    since: Instant,
    cpu: Duration,
    throttled: Option<u64>,
}

impl Window {
    fn new(cgroup: &Cgroup, since: Instant, cpu: Duration) -> Self {
        Self {
            since,
            cpu,
            throttled: throttled_periods(cgroup),
        }
    }

    /// The cores used over the window, once it is over; then the next one begins.
    fn look(&mut self, now: Instant, cpu: Duration) -> Option<f64> {
        let wall = now.duration_since(self.since);
        if wall < REPORT_OVER {
            return None;
        }
        let used = cpu.saturating_sub(self.cpu).as_secs_f64() / wall.as_secs_f64();
        (self.since, self.cpu) = (now, cpu);
        Some(used)
    }

    /// Whether the kernel held the container back since the last question.
    fn was_throttled(&mut self, cgroup: &Cgroup) -> bool {
        let periods = throttled_periods(cgroup);
        let more = periods > self.throttled;
        self.throttled = periods;
        more
    }
}

fn throttled_periods(cgroup: &Cgroup) -> Option<u64> {
    cgroup
        .throttled()
        .map(|throttled| throttled.throttled_periods)
}

// === What is told of it ===

#[derive(Debug)]
struct CpuProbe {
    goal: Goal,
    // A std mutex: written once a second, held for an assignment.
    measured: Mutex<Option<Measured>>,
}

/// What the process used over the last window.
#[derive(Debug, Clone, Copy)]
struct Measured {
    cores: f64,
    limit: f64,
    throttled: bool,
}

impl CpuProbe {
    fn new(goal: Goal) -> Self {
        Self {
            goal,
            measured: Mutex::new(None),
        }
    }

    fn publish(&self, measured: Option<Measured>) {
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) = measured;
    }
}

fn asked_percent(goal: Goal, limit: f64) -> f64 {
    match goal {
        Goal::Percent(percent) => percent,
        Goal::Cores(cores) => cores / limit * 100.0,
    }
}

impl Probe for CpuProbe {
    fn read(&self) -> Reading {
        let measured = *self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = measured.map_or(0.0, |m| m.cores / m.limit * 100.0);
        let (asked, achieved, unit) = match self.goal {
            Goal::Percent(asked) => (asked, percent, "percent of the CPU limit"),
            Goal::Cores(asked) => (asked, measured.map_or(0.0, |m| m.cores), "cores"),
        };
        let shortfall = measured.and_then(|m| {
            let short = percent < asked_percent(self.goal, m.limit) - TOLERANCE_PERCENT;
            let why = if m.throttled {
                Shortfall::Throttled
            } else {
                Shortfall::Contended
            };
            short.then_some(why)
        });
        Reading {
            asked,
            achieved: measured.map(|_| achieved),
            unit,
            shortfall,
            metrics: super::object(json!({
                "current_cpu_percent": (percent * 100.0).round() / 100.0,
                "limit_cores": measured.map(|m| m.limit),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a process whose other work uses `own` cores and whose steps come after `every`
    /// seconds; gives its mean use from the second second to the tenth.
    fn settle(
        cores: f64,
        most: f64,
        own: impl Fn(f64) -> f64,
        every: impl Fn(usize) -> f64,
    ) -> f64 {
        let (mut regulator, mut owned, mut granted) = (Regulator::default(), 0.0, 0.0);
        let (mut now, mut elapsed, mut at_two) = (0.0, 0.0, None);
        for step in 0.. {
            let grant = regulator.step(elapsed, cores, owned, granted, most);
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

    /// Steps that come when they should.
    fn punctual(_: usize) -> f64 {
        REGULATE_EVERY.as_secs_f64()
    }

    #[test]
    fn own_work_and_grants_together_are_the_target() {
        for cores in [0.01, 0.2, 1.0, 1.5, 1.9] {
            assert!((settle(cores, 2.0, |_| 0.0, punctual) - cores).abs() < 1e-9);
        }
        assert!((settle(1.0, 2.0, |_| 0.4, punctual) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn own_work_that_changes_in_every_step_still_adds_up_over_a_second() {
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
    fn steps_that_come_late_do_not_raise_the_mean() {
        // As in a container that is throttled: the regulator itself runs once in a while.
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
    fn own_work_above_the_target_leaves_nothing_to_burn_and_no_debt_behind() {
        let (mut regulator, dt) = (Regulator::default(), REGULATE_EVERY.as_secs_f64());
        let mut own = 0.0;
        regulator.step(0.0, 0.5, 0.0, 0.0, 2.0);
        for _ in 0..100 {
            own += 1.5 * dt;
            assert!(regulator.step(dt, 0.5, own, 0.0, 2.0) < 1e-9);
        }
        // The own work ends: within half a second the burners are back at the target.
        let (mut granted, mut grant) = (0.0, 0.0);
        for _ in 0..5 {
            granted += grant * dt;
            grant = regulator.step(dt, 0.5, own, granted, 2.0);
        }
        assert!((grant - 0.5).abs() < 1e-6, "{grant}");
    }

    #[test]
    fn slots_lie_on_a_grid_that_a_late_wake_up_does_not_move() {
        let burners = Burners::new(2);
        let at = |us| burners.origin + Duration::from_micros(us);
        let near = |a: Instant, b: Instant| {
            a.max(b).duration_since(a.min(b)) < Duration::from_nanos(1_000)
        };
        assert!(near(burners.next_slot(at(0), Duration::ZERO), at(10_000)));
        assert!(near(
            burners.next_slot(at(9_999), Duration::ZERO),
            at(10_000)
        ));
        assert!(near(
            burners.next_slot(at(10_001), Duration::ZERO),
            at(20_000)
        ));
        assert!(near(
            burners.next_slot(at(6_000), Duration::from_millis(5)),
            at(15_000)
        ));
    }

    #[test]
    fn a_stall_is_made_up_for_within_bounds() {
        let (slot, ms) = (SLOT, |ms: u64| Duration::from_millis(ms));
        // Burns what is due in each slot of a second, after a stall of 100 ms, at full duty.
        let (mut debt, mut granted, mut used) = (Debt::default(), ms(100), Duration::ZERO);
        for _ in 0..100 {
            granted += slot;
            used = granted - debt.put_off(granted, used, slot, 1.0);
        }
        assert_eq!(used, ms(1000) + DEBT_AT_ONCE + ms(1000).mul_f64(REPAID));
        for _ in 0..900 {
            granted += slot;
            used = granted - debt.put_off(granted, used, slot, 1.0);
        }
        assert_eq!(used, ms(10_000) + DEBT_AT_ONCE + DEBT_LATER);
        assert_eq!(debt.forgiven, ms(80));
    }

    #[test]
    fn a_thread_skips_slots_only_where_waking_up_would_cost_too_much() {
        assert_eq!(slots_skipped(1.0), 0);
        assert_eq!(slots_skipped(0.026), 0);
        assert_eq!(slots_skipped(0.01), 2);
        assert_eq!(slots_skipped(0.001), 9);
        assert_eq!(slots_skipped(0.0), 9);
    }

    #[test]
    fn percent_and_cores_exclude_each_other() {
        let read = |given| {
            let mut fields = Fields::new("", super::super::object(given));
            let params = CpuBurnerParams::read(&mut fields);
            fields.finish().map(|effective| (params.goal, effective))
        };
        let (goal, effective) = read(json!({ "cores": 1.25 })).expect("good");
        assert_eq!((goal, effective.len()), (Goal::Cores(1.25), 1));
        let errors = read(json!({ "cores": 1, "target_percent": 5 })).expect_err("a clash");
        assert_eq!(errors[0].pointer, "/cores");
    }
}
