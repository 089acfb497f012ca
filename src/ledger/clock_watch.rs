//! Notes when the wall clock is set, and when the process did not run for a while.
//!
//! A thread of its own sleeps and looks at the clocks. One that finds that it slept too long was either stopped with
//! the whole process, or ready to run on a machine too busy to run it; the kernel counts the latter for each thread,
//! so the two cannot be confused.

use std::thread;
use std::time::Duration;

use tracing::warn;

use super::Ledger;
use super::event::{EventKind, NewEvent};
use crate::host::clock::{CpuWait, since_machine_boot};
use crate::host::threads;
use crate::run::{Moment, Timestamp};

/// How often the clocks are looked at. A freeze is sure to be found if it is longer than this and [`LONGEST_STALL`].
const TICK: Duration = Duration::from_millis(250);
/// The longest time without running that is not worth an event.
const LONGEST_STALL: Duration = Duration::from_secs(1);
/// The largest step of the wall clock that is not worth an event, in seconds.
const LARGEST_STEP_S: f64 = 0.5;

/// The wall clock as the ledger last saw it.
#[derive(Debug, Default)]
pub(super) struct WallClock {
    last: Option<Moment>,
}

impl WallClock {
    /// Takes in the moment that it is now; the event of the step that the clock has made since the last, if it has.
    pub(super) fn step_to(&mut self, now: Moment) -> Option<NewEvent> {
        let last = *self.last.get_or_insert(now);
        let expected = now.by_the_clock_at(last);
        let step_s = now.time.seconds_since(expected);
        if step_s.abs() <= LARGEST_STEP_S {
            return None;
        }
        self.last = Some(now);
        warn!(step_s, "The wall clock was set.");
        Some(NewEvent::between(
            EventKind::ClockStepped,
            expected,
            now.time,
        ))
    }
}

/// The thread that watches, as it found itself at its last look.
#[derive(Debug)]
struct RunWatch {
    /// None where the kernel does not count it: then a stop looks like a wait.
    cpu_wait: Option<CpuWait>,
    looked: Duration,
    waited: Duration,
}

impl RunWatch {
    fn of_this_thread() -> Self {
        let mut watch = Self {
            cpu_wait: CpuWait::of_this_thread(),
            looked: since_machine_boot(),
            waited: Duration::ZERO,
        };
        watch.look();
        watch
    }

    /// How long ago the last look was, where the process did not run for most of that time.
    fn look(&mut self) -> Option<Duration> {
        let cpu_wait = self.cpu_wait.as_ref()?;
        let (looked, waited) = (since_machine_boot(), cpu_wait.total()?);
        let passed = looked.saturating_sub(self.looked);
        let ready = waited.saturating_sub(self.waited);
        (self.looked, self.waited) = (looked, waited);
        (passed.saturating_sub(ready) > TICK + LONGEST_STALL).then_some(passed)
    }
}

/// Watches the clocks until the ledger is closed.
pub(super) fn begin(ledger: &Ledger) {
    let ledger = ledger.clone();
    let thread = thread::Builder::new().name(threads::name("clocks"));
    let watch = move || {
        let mut watch = RunWatch::of_this_thread();
        while !ledger.is_closed() {
            thread::sleep(TICK);
            ledger.note_clock_step();
            if let Some(passed) = watch.look() {
                note_freeze(&ledger, passed);
            }
        }
    };
    if let Err(error) = thread.spawn(watch) {
        warn!(%error, "Could not start the thread that watches the clocks.");
    }
}

fn note_freeze(ledger: &Ledger, passed: Duration) {
    let seconds = passed.as_secs_f64();
    warn!(seconds, "The process did not run for a while.");
    let to = Timestamp::now();
    let from = to.plus_seconds(-seconds);
    ledger.note(NewEvent::between(EventKind::Frozen, from, to));
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;

    use super::*;

    fn at(wall_s: i64, passed_s: f64) -> Moment {
        let time = OffsetDateTime::from_unix_timestamp(wall_s).expect("a time");
        Moment {
            time: Timestamp::from(time),
            monotonic_ns: (passed_s * 1e9) as u64,
        }
    }

    #[test]
    fn a_step_of_the_wall_clock_is_seen_once_in_either_direction() {
        let mut clock = WallClock::default();
        for (wall_s, passed_s, step) in [
            (10_000, 1.0, None),
            (10_005, 6.0, None),
            (2_806, 7.0, Some((10_006, 2_806))),
            (2_807, 8.0, None),
            // Below half a second, and above it.
            (2_808, 8.6, None),
            (2_809, 9.4, Some((2_808, 2_809))),
        ] {
            let noted = clock.step_to(at(wall_s, passed_s));
            let noted = noted.map(|NewEvent(event)| (event.from, event.to));
            let rounded =
                |time: Option<Timestamp>| time.map(|time| time.to_string()[..19].to_owned());
            let noted = noted.map(|(from, to)| (rounded(from), rounded(to)));
            let expected = step.map(|(from, to)| {
                (
                    rounded(Some(at(from, 0.0).time)),
                    rounded(Some(at(to, 0.0).time)),
                )
            });
            assert_eq!(noted, expected, "{wall_s} after {passed_s}");
        }
    }
}
