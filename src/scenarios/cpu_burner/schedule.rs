//! The inner loop of `cpu_burner`: what one thread has to burn when, a cumulative schedule on its own CPU clock.
//!
//! Pure arithmetic on the clocks that it is given, so that tests need neither a clock nor a CPU.

use std::time::Duration;

use super::contention::Contention;

/// A tenth of the period of the kernel's CPU quota, so that demand is flat within a period.
pub(super) const SLOT: Duration = Duration::from_millis(10);
/// How much a thread makes up for at once after a preemption: half a percentage point of a second, so that a second in
/// which it catches up is not itself off target.
const DEBT_AT_ONCE: Duration = Duration::from_millis(5);
/// How much more it makes up for gradually. Together they are a fifth of a percentage point of ten seconds; what a
/// thread could not burn beyond that is lost, so it never runs flat out after the machine gave it nothing.
const DEBT_LATER: Duration = Duration::from_millis(15);
/// How much it makes up for while others compete for its CPU. It does not sleep while it owes any of that: only a thread
/// that is always ready gets its fair share. When the others leave, the rest is put off or lost as above.
const DEBT_CONTENDED: Duration = Duration::from_millis(100);
/// The part of its share that a thread burns on top while it has a debt to make up for gradually.
const REPAID: f64 = 0.005;

/// What a thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Burns on.
    Burn,
    /// Has burnt what is due, and sleeps that long.
    Sleep(Duration),
    /// Begins a new slot: this one is over, or what is due has changed.
    BeginSlot,
}

/// The schedule of one thread. Times are of the clock of schedules, CPU times since the thread's birth.
#[derive(Debug)]
pub(super) struct Schedule {
    origin: Duration,
    phase: Duration,
    granted: Duration,
    granted_until: Duration,
    slot_end: Duration,
    due: Duration,
    debt: Debt,
    contention: Contention,
    was_contended: bool,
}

impl Schedule {
    /// The schedule from `origin` on; its slots begin `phase` later than those of others.
    pub(super) fn new(origin: Duration, phase: Duration) -> Self {
        Self {
            origin,
            phase,
            granted: Duration::ZERO,
            granted_until: origin,
            slot_end: origin,
            due: Duration::ZERO,
            debt: Debt::default(),
            contention: Contention::new(origin),
            was_contended: false,
        }
    }

    /// Grants nothing until `time`, until which the thread sleeps.
    pub(super) fn skip_to(&mut self, time: Duration) {
        self.granted_until = time;
        self.contention.sleep_until(time);
    }

    /// All that the thread has ever been granted. Time put off or forgiven stays granted, so that the regulator does not
    /// grant it again.
    pub(super) fn granted(&self) -> Duration {
        self.granted
    }

    /// Begins the slot of `now`: grants `duty`, the share of it that the thread shall burn.
    pub(super) fn begin_slot(&mut self, now: Duration, used: Duration, duty: f64) {
        self.slot_end = self.next_slot(now) + SLOT * slots_skipped(duty);
        let more = self.slot_end.saturating_sub(self.granted_until);
        self.granted += more.mul_f64(duty);
        self.granted_until = self.slot_end.max(self.granted_until);
        let ahead = self.slot_end.saturating_sub(now).mul_f64(duty);
        self.was_contended = self.contention.is_contended();
        let is_contended = self.was_contended;
        let debt = &mut self.debt;
        let unburnt = debt.put_off(self.granted, used, ahead, duty, is_contended);
        self.due = self.granted.saturating_sub(unburnt);
    }

    /// What to do at `now`, when the thread runs and has used `used`.
    pub(super) fn next(&mut self, now: Duration, used: Duration) -> Next {
        self.contention.look(now, used);
        if used >= self.due {
            self.contention.sleep_until(self.slot_end);
            return Next::Sleep(self.slot_end.saturating_sub(now));
        }
        let is_free_now = self.was_contended && !self.contention.is_contended();
        match now >= self.slot_end || is_free_now {
            true => Next::BeginSlot,
            false => Next::Burn,
        }
    }

    /// The first end of a slot after `now`, on a grid that does not drift.
    fn next_slot(&self, now: Duration) -> Duration {
        let since = now.saturating_sub(self.origin + self.phase);
        let slots = since.as_nanos() / SLOT.as_nanos() + 1;
        let ahead = SLOT.as_nanos() as f64 * slots as f64 / 1e9;
        self.origin + self.phase + Duration::from_secs_f64(ahead)
    }
}

/// CPU time that a thread was granted, did not burn, and does not make up for at once.
#[derive(Debug, Default)]
struct Debt {
    /// To be made up for gradually.
    later: Duration,
    /// Lost for good.
    forgiven: Duration,
}

impl Debt {
    /// For a thread that has been granted `granted` and has burnt `used` since its start, where `ahead` of the grant is
    /// for the slot to come: updates the debt and returns how much of the grant may be unburnt at the end of that slot. While others compete
    /// for the CPU, nothing is put off.
    fn put_off(
        &mut self,
        granted: Duration,
        used: Duration,
        ahead: Duration,
        duty: f64,
        is_contended: bool,
    ) -> Duration {
        let (at_once, later) = match is_contended {
            true => (DEBT_CONTENDED, Duration::ZERO),
            false => (DEBT_AT_ONCE, DEBT_LATER),
        };
        if is_contended {
            self.later = Duration::ZERO;
        }
        let owed = granted.saturating_sub(used + self.later + self.forgiven);
        self.later += owed.saturating_sub(ahead + at_once.mul_f64(duty));
        let too_much = self.later.saturating_sub(later.mul_f64(duty));
        self.forgiven += too_much;
        self.later -= too_much;
        self.later = self.later.saturating_sub(ahead.mul_f64(REPAID));
        self.later + self.forgiven
    }
}

/// How many slots a thread skips at a low duty, so that waking up does not cost more than it burns: it burns at least
/// a quarter of a millisecond, or what is due in a tenth of a second.
fn slots_skipped(duty: f64) -> u32 {
    const LEAST_BURN_S: f64 = 0.000_25;
    const MOST: f64 = 9.0;
    let slots = LEAST_BURN_S / (duty * SLOT.as_secs_f64());
    // `min` bounds the infinity of a duty of zero; the cast saturates.
    slots.min(MOST).floor() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A CPU that `rivals` busy threads share with the schedule's thread in turns of `turn`, in steps of a tenth of a
    /// millisecond.
    struct Cpu {
        schedule: Schedule,
        now: Duration,
        used: Duration,
        wakes_at: Duration,
    }

    impl Cpu {
        const STEP: Duration = Duration::from_micros(100);

        fn new(duty: f64) -> Self {
            let zero = Duration::ZERO;
            let mut schedule = Schedule::new(zero, zero);
            schedule.begin_slot(zero, zero, duty);
            Self {
                schedule,
                now: zero,
                used: zero,
                wakes_at: zero,
            }
        }

        /// Runs until `end` with a duty of `duty`; returns the share of that time that the thread burnt.
        fn run(&mut self, end: Duration, duty: f64, rivals: u32, turn: Duration) -> f64 {
            let (from, before) = (self.now, self.used);
            // A thread that wakes up queues behind all others.
            let (mut turn_at, mut turn_ends, mut is_turn) = (self.now, self.now, false);
            while self.now < end {
                if self.now < self.wakes_at {
                    self.now += Self::STEP;
                    (turn_at, is_turn) = (self.wakes_at + turn * rivals, false);
                    continue;
                }
                if !is_turn && self.now >= turn_at {
                    (is_turn, turn_ends) = (true, self.now + turn);
                }
                if is_turn {
                    self.burn(duty);
                }
                self.now += Self::STEP;
                if is_turn && rivals > 0 && self.now >= turn_ends {
                    (is_turn, turn_at) = (false, self.now + turn * rivals);
                }
            }
            (self.used - before).as_secs_f64() / (self.now - from).as_secs_f64()
        }

        fn burn(&mut self, duty: f64) {
            loop {
                match self.schedule.next(self.now, self.used) {
                    Next::Burn => break,
                    Next::BeginSlot => self.schedule.begin_slot(self.now, self.used, duty),
                    Next::Sleep(time) if !time.is_zero() => {
                        self.wakes_at = self.now + time;
                        return;
                    }
                    Next::Sleep(_) => self.schedule.begin_slot(self.now, self.used, duty),
                }
            }
            self.used += Self::STEP;
        }
    }

    #[test]
    fn a_thread_takes_its_fair_share_beside_rivals_from_the_first_second_on() {
        for turn in [MS, 3 * MS, 4 * MS] {
            for (duty, rivals) in [
                (0.1, 1),
                (0.3, 1),
                (0.5, 1),
                (0.8, 1),
                (0.3, 2),
                (0.5, 2),
                (1.0, 3),
            ] {
                let fair = f64::min(duty, 1.0 / f64::from(rivals + 1));
                let mut cpu = Cpu::new(duty);
                for second in 1..=5 {
                    let burnt = cpu.run(1000 * MS * second, duty, rivals, turn);
                    let what = format!("{burnt} of {fair} beside {rivals}, second {second}");
                    assert!((burnt - fair).abs() <= 0.02, "{what}, turns of {turn:?}");
                }
            }
        }
    }

    #[test]
    fn a_thread_does_not_burst_when_its_rivals_leave() {
        for duty in [0.1, 0.3, 0.5, 0.8] {
            let mut cpu = Cpu::new(duty);
            cpu.run(5000 * MS, duty, 4, 4 * MS);
            for second in 6..=10 {
                let burnt = cpu.run(1000 * MS * second, duty, 0, 4 * MS);
                assert!(
                    (burnt - duty).abs() <= 0.02,
                    "{burnt} of {duty} in second {second}"
                );
            }
            let ten = cpu.run(20_000 * MS, duty, 0, 4 * MS);
            assert!((ten - duty).abs() <= 0.002, "{ten} of {duty}");
        }
    }

    #[test]
    fn a_late_wake_up_does_not_move_the_grid_of_slots() {
        for (now_us, phase_us, next_us) in [
            (0, 0, 10_000),
            (9_999, 0, 10_000),
            (10_001, 0, 20_000),
            (6_000, 5_000, 15_000),
        ] {
            let origin = Duration::from_secs(7);
            let schedule = Schedule::new(origin, Duration::from_micros(phase_us));
            let at = |us| origin + Duration::from_micros(us);
            let next = schedule.next_slot(at(now_us));
            let off = next.max(at(next_us)) - next.min(at(next_us));
            assert!(off < Duration::from_micros(1), "{off:?} at {now_us} us");
        }
    }

    #[test]
    fn a_thread_makes_up_for_a_stall_within_bounds() {
        // After a stall of 100 ms at full duty, burns what is due in each slot of a second.
        let (mut debt, mut granted, mut used) = (Debt::default(), 100 * MS, Duration::ZERO);
        for _ in 0..100 {
            granted += SLOT;
            used = granted - debt.put_off(granted, used, SLOT, 1.0, false);
        }
        let second = 1000 * MS;
        assert_eq!(used, second + DEBT_AT_ONCE + second.mul_f64(REPAID));
        for _ in 0..900 {
            granted += SLOT;
            used = granted - debt.put_off(granted, used, SLOT, 1.0, false);
        }
        assert_eq!(used, 10_000 * MS + DEBT_AT_ONCE + DEBT_LATER);
        assert_eq!(debt.forgiven, 80 * MS);
    }

    #[test]
    fn a_thread_skips_slots_only_at_a_low_duty() {
        let skipped = [1.0, 0.026, 0.01, 0.001, 0.0].map(slots_skipped);
        assert_eq!(skipped, [0, 0, 2, 9, 9]);
    }
}
