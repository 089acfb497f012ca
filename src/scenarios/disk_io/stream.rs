//! A stream of transfers at a rate, and what is measured of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::transfer::Transfer;
use crate::host::cgroup::Cgroup;
use crate::host::disks::DiskTraffic;
use crate::host::lived::LivedClock;
use crate::plugin::Shortfall;
use crate::plugin::effort::throttled_periods;
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::pace::Pace;
use crate::plugin::shaped::Shaped;
use crate::sync::Lock;

/// The largest backlog, in time. What the disk cannot take for longer is dropped and shows as a shortfall; it never
/// queues up.
const LONGEST_BACKLOG: Duration = Duration::from_millis(100);
/// The most bytes between two syncs: far fewer than in the file, so that no byte is overwritten before it has reached
/// the disk, and few enough for a quick stop.
const PIECE: u64 = 8 * super::MIB;
/// A rate is measured over the time of at least eight units, or the figure of a slow stream would flicker.
const UNITS_TO_REPORT: f64 = 8.0;
const LONGEST_REPORT_S: f64 = 3600.0;
/// The time over which the reported rate is measured.
const REPORT_OVER: Duration = Duration::from_secs(1);
/// A rate below this share of the asked one is a shortfall.
const TOLERANCE: f64 = 0.95;

/// What a stream needs of its run.
pub(super) struct Surroundings<'r> {
    pub(super) lived: &'r LivedClock,
    pub(super) cgroup: &'r Cgroup,
    pub(super) stop: &'r StopFlag,
}

/// A stream and its figures, in bytes and bytes a second.
#[derive(Debug)]
pub(super) struct Stream {
    rate: Shaped,
    /// Bytes of each unit of `rate`.
    scale: f64,
    recent_rate: Gauge,
    /// What was asked in the time of `recent_rate`.
    recent_asked: Gauge,
    measured: AtomicBool,
    /// Why the rate is too low, in case it is.
    shortfall: Lock<Shortfall>,
    total: AtomicU64,
    /// Of all streams of the run.
    total_of_run: Arc<AtomicU64>,
}

impl Stream {
    pub(super) fn new(rate: Shaped, scale: f64, total_of_run: &Arc<AtomicU64>) -> Self {
        Self {
            rate,
            scale,
            recent_rate: Gauge::default(),
            recent_asked: Gauge::default(),
            measured: AtomicBool::new(false),
            shortfall: Lock::new(Shortfall::Saturated),
            total: AtomicU64::new(0),
            total_of_run: Arc::clone(total_of_run),
        }
    }

    /// What is asked now.
    pub(super) fn asked(&self) -> f64 {
        self.rate.now() * self.scale
    }

    /// What was achieved of late; none before that is known.
    pub(super) fn achieved(&self) -> Option<f64> {
        let measured = self.measured.load(Ordering::Relaxed);
        measured.then(|| self.recent_rate.get())
    }

    pub(super) fn shortfall(&self) -> Option<Shortfall> {
        let is_short = self.achieved()? < self.recent_asked.get() * TOLERANCE;
        is_short.then(|| *self.shortfall.lock())
    }

    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The work of the thread: transfers the bytes due, sleeps.
    pub(super) fn run(
        &self,
        transfer: &mut impl Transfer,
        surroundings: &Surroundings<'_>,
    ) -> io::Result<()> {
        let outcome = self.flow(transfer, surroundings);
        self.recent_rate.set(0.0);
        outcome
    }

    fn flow(
        &self,
        transfer: &mut impl Transfer,
        surroundings: &Surroundings<'_>,
    ) -> io::Result<()> {
        let (unit, stop) = (transfer.unit(), surroundings.stop);
        let mut pace = Pace::following(&self.rate, self.scale, f64::INFINITY);
        let mut report = ReportWindow::new(self, unit, surroundings);
        // What was due before the stream could begin is lost.
        let (mut done, mut step_at) = (pace.due_within(0), Instant::now());
        while !stop.is_set() {
            // One unit more than the backlog, since a slow stream saves up for its next one.
            let most_owed = (self.asked() * LONGEST_BACKLOG.as_secs_f64()) as u64 + unit;
            // What exceeds the backlog is lost.
            let owed = pace.due_within(done + most_owed).saturating_sub(done);
            // Whole units only: two halves of a page would each write the whole page to disk.
            let mut left = owed / unit * unit;
            while left > 0 && !stop.is_set() {
                let moved = transfer.some(left.min(PIECE), stop)?;
                done += moved;
                left -= moved.min(left);
                self.total.fetch_add(moved, Ordering::Relaxed);
                self.total_of_run.fetch_add(moved, Ordering::Relaxed);
                // After the transfer: a window without its last step would measure too little. What is left stays owed.
                if report.is_due() {
                    break;
                }
            }
            if report.is_due() {
                let cause = report.next(transfer);
                *self.shortfall.lock() = cause;
                self.measured.store(true, Ordering::Relaxed);
            }
            step_at = (step_at + transfer.step()).max(Instant::now());
            if stop.sleep_until(step_at) {
                break;
            }
        }
        Ok(())
    }
}

/// The time over which a rate is measured, and what else went on in it. A freeze is no part of it.
struct ReportWindow<'r> {
    stream: &'r Stream,
    unit: u64,
    lived: &'r LivedClock,
    cgroup: &'r Cgroup,
    length: Duration,
    start: Duration,
    /// The age of the rate.
    start_age: Duration,
    /// Of the stream and of the run.
    totals: (u64, u64),
    disks: DiskTraffic,
    throttled_periods: Option<u64>,
}

impl<'r> ReportWindow<'r> {
    fn new(stream: &'r Stream, unit: u64, surroundings: &Surroundings<'r>) -> Self {
        let (lived, cgroup) = (surroundings.lived, surroundings.cgroup);
        let mut window = Self {
            stream,
            unit,
            lived,
            cgroup,
            length: REPORT_OVER,
            start: lived.now(),
            start_age: stream.rate.age(),
            totals: (0, 0),
            disks: DiskTraffic::now(),
            throttled_periods: throttled_periods(cgroup),
        };
        window.set_length();
        window
    }

    fn set_length(&mut self) {
        let largest = self.stream.rate.shape().largest() * self.stream.scale;
        let units = UNITS_TO_REPORT * self.unit as f64 / largest;
        self.length = REPORT_OVER.max(Duration::from_secs_f64(units.min(LONGEST_REPORT_S)));
    }

    fn is_due(&self) -> bool {
        self.lived.now() - self.start >= self.length
    }

    /// Notes the rate of this window, and returns why it is not higher, in case it is too low; begins the next.
    fn next(&mut self, transfer: &mut impl Transfer) -> Shortfall {
        let (now, age) = (self.lived.now(), self.stream.rate.age());
        let seconds = (now - self.start).as_secs_f64();
        let of_run = self.stream.total_of_run.load(Ordering::Relaxed);
        let totals = (self.stream.total(), of_run);
        let own = totals.0 - self.totals.0;
        let measured = transfer.measured().unwrap_or(own);
        self.stream.recent_rate.set(measured as f64 / seconds);
        let asked = self.stream.rate.shape().area(self.start_age, age) * self.stream.scale;
        let asked_seconds = (age - self.start_age).as_secs_f64();
        self.stream.recent_asked.set(asked / asked_seconds);
        let (disks, periods) = (DiskTraffic::now(), throttled_periods(self.cgroup));
        let all = disks.busiest_since(&self.disks);
        let of_others = all.saturating_sub(totals.1 - self.totals.1);
        let cause = if measured < own {
            // The file system answers from memory.
            Shortfall::Refused
        } else if periods > self.throttled_periods {
            Shortfall::Throttled
        } else if of_others > own {
            Shortfall::Contended
        } else {
            Shortfall::Saturated
        };
        (self.start, self.start_age, self.totals) = (now, age, totals);
        (self.disks, self.throttled_periods) = (disks, periods);
        self.set_length();
        cause
    }
}
