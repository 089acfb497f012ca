//! `disk_io`: a steady stream of writes that really reach the disk.
//!
//! The bytes go to one unnamed file, which the kernel frees however the process ends. Writes wrap around in it, so the
//! space it takes is bounded at any rate.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::{MIB, metrics};
use crate::host::cgroup::Cgroup;
use crate::host::disks::{DiskTraffic, is_in_memory};
use crate::host::lived::LivedClock;
use crate::input::{Fields, Resource, above};
use crate::plugin::effort::throttled_periods;
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::pace::Pace;
use crate::plugin::{Active, Probe, Reading, RunContext, Scenario, Shortfall, StartError};
use crate::sync::Lock;

/// How often the bytes due are written and synced.
const STEP: Duration = Duration::from_millis(50);
/// The largest backlog, in time. What the disk cannot take for longer is dropped and shows as a shortfall; it never
/// queues up.
const LONGEST_BACKLOG: Duration = Duration::from_millis(100);
/// The largest size of the file.
const FILE_BYTES: u64 = 256 * MIB;
/// The same on a file system in memory, where the bytes count as memory of the container and reach no disk at any size.
const FILE_BYTES_IN_MEMORY: u64 = 2 * MIB;
/// The most bytes between two syncs: far fewer than in the file, so that no byte is overwritten before it has reached
/// the disk, and few enough for a quick stop.
const PIECE: u64 = 8 * MIB;
/// A rate is measured over the time of at least eight pages, or the figure of a slow stream would flicker.
const PAGES_TO_REPORT: f64 = 8.0 * PAGE as f64;
const LONGEST_REPORT_S: f64 = 3600.0;
/// The least that the kernel writes to a disk.
const PAGE: u64 = 4096;
/// The most bytes of one write call.
const BLOCK: usize = MIB as usize;
/// The time over which the reported rate is measured.
const REPORT_OVER: Duration = Duration::from_secs(1);
/// A rate below this share of the asked one is a shortfall.
const TOLERANCE: f64 = 0.95;

/// Writes to disk.
#[derive(Debug)]
pub(super) struct DiskIo {
    write_rate_mb: f64,
}

impl Scenario for DiskIo {
    const NAME: &'static str = "disk_io";
    const SUMMARY: &'static str = "Writes to disk at the specified rate";
    const EXAMPLE: &'static str = r#"{"write_rate_mb": 20}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How much is written and synced in each second.";
        let field = fields.field("write_rate_mb", about).unit("MiB/s");
        Self {
            write_rate_mb: field
                .asks_for(Resource::DiskMbPerSecond)
                .number(above(0.0, 100_000.0), 50.0),
        }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let stream = Arc::new(WriteStream {
            rate: self.write_rate_mb * MIB as f64,
            recent_rate: Gauge::default(),
            measured: AtomicBool::new(false),
            shortfall: Lock::new(Shortfall::Saturated),
            total: AtomicU64::new(0),
        });
        // The thread makes the file: even that takes long on a disk that is busy or hangs.
        let (send_file_made, file_made) = oneshot::channel();
        let (work, data_dir) = (Arc::clone(&stream), cx.data_dir().to_owned());
        let (lived, cgroup) = (cx.lived().clone(), cx.cgroup().clone());
        let mut threads = cx.threads();
        threads.spawn("flush", move |stop| {
            let file = unnamed_file(&data_dir).map_err(|error| {
                let dir = data_dir.display();
                format!("no file can be made under DataDir {dir}: {error}")
            });
            let made = file.as_ref().map(drop).map_err(Clone::clone);
            send_file_made.send(made).ok();
            let outcome = work.run(&file?, &lived, &cgroup, stop);
            work.recent_rate.set(0.0);
            outcome.map_err(|error| format!("the disk refused a write: {error}"))
        })?;
        match file_made.await {
            Ok(Ok(())) => Ok(Active::new(stream, threads.run_until(cx.stop))),
            Ok(Err(reason)) => Err(StartError::new(reason)),
            Err(_) => Err(StartError::new("the writing thread ended at its start")),
        }
    }
}

/// A file in `directory` that has no name and is gone with its last handle.
pub(super) fn unnamed_file(directory: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)
}

/// The stream of writes and its figures. Rates are in bytes per second.
#[derive(Debug)]
struct WriteStream {
    rate: f64,
    recent_rate: Gauge,
    measured: AtomicBool,
    /// Why the rate is too low, in case it is.
    shortfall: Lock<Shortfall>,
    total: AtomicU64,
}

impl WriteStream {
    /// The work of the thread: writes the bytes due, syncs them, sleeps.
    fn run(
        &self,
        file: &File,
        lived: &LivedClock,
        cgroup: &Cgroup,
        stop: &StopFlag,
    ) -> std::io::Result<()> {
        // Random bytes, so that a disk that compresses or deduplicates must write them all.
        // Mapped: the allocator would keep a part of what it has for each thread.
        let mut block = memmap2::MmapMut::map_anon(BLOCK)?;
        SmallRng::seed_from_u64(rand::random()).fill_bytes(&mut block);
        let mut pace = Pace::new(lived, self.rate, f64::INFINITY);
        // One page more than the backlog, since a slow stream saves up for its next page.
        let most_owed = (self.rate * LONGEST_BACKLOG.as_secs_f64()) as u64 + PAGE;
        let mut report = ReportWindow::new(self.rate, lived, cgroup);
        let file_bytes = most_file_bytes(file);
        let (mut written, mut step_at) = (0_u64, Instant::now());
        while !stop.is_set() {
            // What exceeds the backlog is lost.
            let owed = pace.due_within(written + most_owed).saturating_sub(written);
            // Whole pages only: two halves of a page would each write the whole page to disk.
            let mut left = owed / PAGE * PAGE;
            while left > 0 && !stop.is_set() {
                let piece = left.min(PIECE);
                let done = write_wrapping(file, &block, written, piece, file_bytes, stop)?;
                file.sync_data()?;
                written += done;
                report.bytes += done;
                left -= done;
                self.total.store(written, Ordering::Relaxed);
                // After the write: a window without its last step would measure too little. What is left stays owed.
                if report.is_due() {
                    break;
                }
            }
            if report.is_due() {
                let (rate, cause) = report.next();
                self.recent_rate.set(rate);
                *self.shortfall.lock() = cause;
                self.measured.store(true, Ordering::Relaxed);
            }
            step_at = (step_at + STEP).max(Instant::now());
            if stop.sleep_until(step_at) {
                break;
            }
        }
        Ok(())
    }
}

/// The time over which a rate is measured, and what else went on in it. A freeze is no part of it.
struct ReportWindow<'c> {
    lived: &'c LivedClock,
    cgroup: &'c Cgroup,
    length: Duration,
    start: Duration,
    /// Written so far.
    bytes: u64,
    disks: DiskTraffic,
    throttled_periods: Option<u64>,
}

impl<'c> ReportWindow<'c> {
    fn new(rate: f64, lived: &'c LivedClock, cgroup: &'c Cgroup) -> Self {
        let pages = Duration::from_secs_f64((PAGES_TO_REPORT / rate).min(LONGEST_REPORT_S));
        Self {
            lived,
            cgroup,
            length: REPORT_OVER.max(pages),
            start: lived.now(),
            bytes: 0,
            disks: DiskTraffic::now(),
            throttled_periods: throttled_periods(cgroup),
        }
    }

    fn is_due(&self) -> bool {
        self.lived.now() - self.start >= self.length
    }

    /// The rate of this window, and why it is not higher, in case it is too low; begins the next.
    fn next(&mut self) -> (f64, Shortfall) {
        let now = self.lived.now();
        let rate = self.bytes as f64 / (now - self.start).as_secs_f64();
        let (disks, periods) = (DiskTraffic::now(), throttled_periods(self.cgroup));
        let of_others = disks.busiest_since(&self.disks).saturating_sub(self.bytes);
        let cause = if periods > self.throttled_periods {
            Shortfall::Throttled
        } else if of_others > self.bytes {
            Shortfall::Contended
        } else {
            Shortfall::Saturated
        };
        (self.start, self.bytes) = (now, 0);
        (self.disks, self.throttled_periods) = (disks, periods);
        (rate, cause)
    }
}

/// How large `file` may become.
fn most_file_bytes(file: &File) -> u64 {
    if is_in_memory(file) {
        FILE_BYTES_IN_MEMORY
    } else {
        FILE_BYTES
    }
}

/// Writes `piece` bytes after the first `written` ones, wrapping around at the end of the file. Ends early at a stop;
/// returns how many bytes it wrote.
fn write_wrapping(
    file: &File,
    block: &[u8],
    written: u64,
    piece: u64,
    file_bytes: u64,
    stop: &StopFlag,
) -> std::io::Result<u64> {
    let mut done = 0;
    while done < piece && !stop.is_set() {
        let place = (written + done) % file_bytes;
        let most = (piece - done)
            .min(file_bytes - place)
            .min(block.len() as u64);
        file.write_all_at(&block[..most as usize], place)?;
        done += most;
    }
    Ok(done)
}

impl Probe for WriteStream {
    fn read(&self) -> Reading {
        let mb = |bytes: f64| bytes / MIB as f64;
        let (asked, recent) = (mb(self.rate), mb(self.recent_rate.get()));
        let measured = self.measured.load(Ordering::Relaxed);
        Reading {
            asked,
            achieved: measured.then_some(recent),
            unit: "MiB/s",
            shortfall: (measured && recent < asked * TOLERANCE).then(|| *self.shortfall.lock()),
            metrics: metrics([
                (
                    "current_write_rate_mb",
                    ((recent * 100.0).round() / 100.0).into(),
                ),
                (
                    "written_mb",
                    mb(self.total.load(Ordering::Relaxed) as f64).floor().into(),
                ),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, starts_and_stops};

    #[test]
    fn defaults() {
        assert_defaults::<DiskIo>(json!({ "write_rate_mb": 50 }));
    }

    #[tokio::test]
    async fn the_lowest_rate_starts_and_stops() {
        starts_and_stops::<DiskIo>(json!({ "write_rate_mb": 1e-9 })).await;
    }

    #[test]
    fn an_unnamed_file_leaves_no_entry_in_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("made/on/demand");
        let file = unnamed_file(&data_dir).expect("a file");
        file.write_all_at(b"x", 0).expect("a write");
        assert_eq!(std::fs::read_dir(&data_dir).expect("the folder").count(), 0);
    }

    #[test]
    fn writes_wrap_around_in_a_bounded_file() {
        let file = tempfile::tempfile().expect("a file");
        let stop = StopFlag::default();
        let block = vec![7_u8; BLOCK];
        // Three blocks that begin half a block before the file's end.
        let start = FILE_BYTES - BLOCK as u64 / 2;
        let done = write_wrapping(&file, &block, start, 3 * BLOCK as u64, FILE_BYTES, &stop)
            .expect("writes");
        assert_eq!(done, 3 * BLOCK as u64);
        assert_eq!(file.metadata().expect("its size").len(), FILE_BYTES);
        stop.set();
        assert_eq!(
            write_wrapping(&file, &block, 0, 10, FILE_BYTES, &stop).expect("no write"),
            0
        );
    }
}
