//! The inner loop of `cpu_burner`: each thread follows a cumulative schedule on its own CPU clock.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::host::process;
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;

/// A tenth of the period of the kernel's CPU quota, so that demand is flat within a period.
const SLOT: Duration = Duration::from_millis(10);
/// How much a thread makes up for at once after a preemption: half a percentage point of a second, so that a second in
/// which it catches up is not itself off target.
const DEBT_AT_ONCE: Duration = Duration::from_millis(5);
/// How much more it makes up for gradually. Together they are a fifth of a percentage point of ten seconds; what a
/// thread could not burn beyond that is lost, so it never runs flat out after the machine gave it nothing.
const DEBT_LATER: Duration = Duration::from_millis(15);
/// The part of its share that a thread burns on top while it has such a debt.
const REPAID: f64 = 0.005;
/// How long a thread off duty sleeps before it checks again.
const OFF_DUTY: Duration = Duration::from_millis(250);

/// The burner threads as the regulator sees them.
#[derive(Debug)]
pub(super) struct Burners {
    origin: Instant,
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
    pub(super) fn new(threads: usize) -> Arc<Self> {
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

    pub(super) fn count(&self) -> usize {
        self.each.len()
    }

    /// How many threads it takes to burn `cores`.
    pub(super) fn threads_for(&self, cores: f64) -> usize {
        (cores.ceil().max(1.0) as usize).min(self.each.len())
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

    /// The work of one thread: in each slot it is granted its share, and burns until its CPU clock shows that it has
    /// used all it has ever been granted.
    pub(super) fn burn(&self, index: usize, stop: &StopFlag) {
        // Where lowering is forbidden, the burner competes like any other thread: still a fault.
        let _lowered: bool = process::lower_own_priority();
        let books = &self.each[index];
        let born = process::thread_cpu();
        let used = || process::thread_cpu().saturating_sub(born);
        // Threads start their slots one after the other, so that they do not all burn at once.
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
            // Time put off or forgiven stays granted in the books, so that the regulator does not grant it again.
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
    /// for the slot to come: updates the debt and returns how much of the grant may be unburnt at the end of that slot.
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

/// How many slots a thread skips at a low duty, so that waking up does not cost more than it burns: it burns at least
/// a quarter of a millisecond, or what is due in a tenth of a second.
fn slots_skipped(duty: f64) -> u32 {
    const LEAST_BURN_S: f64 = 0.000_25;
    const MOST: f64 = 9.0;
    let slots = LEAST_BURN_S / (duty * SLOT.as_secs_f64());
    // `min` bounds the infinity of a duty of zero; the cast saturates.
    slots.min(MOST).floor() as u32
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
    fn a_late_wake_up_does_not_move_the_grid_of_slots() {
        let burners = Burners::new(2);
        for (now_us, phase_us, next_us) in [
            (0, 0, 10_000),
            (9_999, 0, 10_000),
            (10_001, 0, 20_000),
            (6_000, 5_000, 15_000),
        ] {
            let at = |us| burners.origin + Duration::from_micros(us);
            let next = burners.next_slot(at(now_us), Duration::from_micros(phase_us));
            let off = next.max(at(next_us)) - next.min(at(next_us));
            assert!(off < Duration::from_micros(1), "{off:?} at {now_us} us");
        }
    }

    #[test]
    fn a_thread_makes_up_for_a_stall_within_bounds() {
        let (slot, ms) = (SLOT, |ms: u64| Duration::from_millis(ms));
        // After a stall of 100 ms at full duty, burns what is due in each slot of a second.
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
    fn a_thread_skips_slots_only_at_a_low_duty() {
        let skipped = [1.0, 0.026, 0.01, 0.001, 0.0].map(slots_skipped);
        assert_eq!(skipped, [0, 0, 2, 9, 9]);
    }
}
