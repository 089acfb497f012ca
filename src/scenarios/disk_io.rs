//! `disk_io`: an even stream of writes that really reach the disk.
//!
//! The bytes go to one file that has no name: the kernel takes it back when the process lets go of
//! it, however the process ends. The file is written round and round, so the space it takes is bounded
//! whatever the rate.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::sync::oneshot;

use super::MIB;
use crate::input::Resource;
use crate::input::{Fields, above};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::pace::Pace;
use crate::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError};

/// How often what is due is written and synced.
const STEP: Duration = Duration::from_millis(50);
/// What may be owed at most. What the disk could not take for longer is lost and told of; it never
/// becomes a queue.
const MOST_DEBT: Duration = Duration::from_millis(100);
/// The space that the file takes at most.
const FILE_BYTES: u64 = 256 * MIB;
/// What is written between two syncs at most: far less than the file, so that no byte is overwritten
/// before it has reached the disk, and little enough for a stop not to wait long.
const PIECE: u64 = 8 * MIB;
/// A rate is reported over the time of at least eight pages, lest a slow stream seems to flicker.
const PAGES_TO_REPORT: f64 = 8.0 * PAGE as f64;
const LONGEST_REPORT_S: f64 = 3600.0;
/// What the kernel writes to a disk at least.
const PAGE: u64 = 4096;
/// What one write call hands to the kernel.
const BLOCK: usize = MIB as usize;
/// The time over which the reported rate is taken.
const REPORT_OVER: Duration = Duration::from_secs(1);
/// A rate below this share of the asked one is a shortfall.
const TOLERANCE: f64 = 0.95;

/// Writes to disk.
#[derive(Debug)]
pub(super) struct DiskIo;

#[derive(Debug)]
pub(super) struct DiskIoParams {
    write_rate_mb: f64,
}

impl Params for DiskIoParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "How much is written and synced in each second.";
        let field = fields.field("write_rate_mb", about).unit("MiB/s");
        Self {
            write_rate_mb: field
                .asks_for(Resource::DiskMbPerSecond)
                .number(above(0.0, 100_000.0), 50.0),
        }
    }
}

impl Scenario for DiskIo {
    const NAME: &'static str = "disk_io";
    const SUMMARY: &'static str = "Writes to disk at the specified rate";
    type Params = DiskIoParams;

    async fn start(params: DiskIoParams, cx: RunContext) -> Result<Active, StartError> {
        let stream = Arc::new(Stream {
            rate: params.write_rate_mb * MIB as f64,
            rate_lately: Gauge::default(),
            measured: AtomicBool::new(false),
            total: AtomicU64::new(0),
        });
        // Even making a file can take long on a disk that is busy or hangs: the thread does it.
        let (tell, made) = oneshot::channel();
        let (work, data_dir) = (Arc::clone(&stream), cx.data_dir().to_owned());
        let mut threads = cx.threads();
        threads
            .spawn("flush", move |stop| {
                let file = match nameless_file(&data_dir) {
                    Ok(file) => file,
                    Err(error) => {
                        let at = data_dir.display();
                        let reason = format!("no file can be made under DataDir {at}: {error}");
                        tell.send(Err(reason.clone())).ok();
                        return Err(reason);
                    }
                };
                tell.send(Ok(())).ok();
                let outcome = work.run(&file, stop);
                work.rate_lately.set(0.0);
                outcome.map_err(|error| format!("the disk refused a write: {error}"))
            })
            .map_err(|error| StartError::new(format!("no thread to write with: {error}")))?;
        match made.await {
            Ok(Ok(())) => Ok(Active::new(stream, threads.run_until(cx.stop))),
            Ok(Err(reason)) => Err(StartError::new(reason)),
            Err(_) => Err(StartError::new("the writing thread ended at its start")),
        }
    }
}

/// A file that has no name in `directory` and is gone with its last handle.
fn nameless_file(directory: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory)
}

/// The stream of writes and what is known of it. Rates are in bytes a second.
#[derive(Debug)]
struct Stream {
    rate: f64,
    rate_lately: Gauge,
    measured: AtomicBool,
    total: AtomicU64,
}

impl Stream {
    /// The life of the stream's thread: write what is due, sync it, sleep.
    fn run(&self, file: &File, stop: &StopFlag) -> std::io::Result<()> {
        // Random bytes: a disk that compresses or merges has to write them all the same.
        let mut block = vec![0_u8; BLOCK];
        SmallRng::seed_from_u64(rand::random()).fill_bytes(&mut block);
        let mut pace = Pace::new(Instant::now(), self.rate, f64::INFINITY);
        // A page more than the debt: a slow stream saves up for its next page, and that is no debt.
        let most_debt = (self.rate * MOST_DEBT.as_secs_f64()) as u64 + PAGE;
        let report_over = REPORT_OVER.max(Duration::from_secs_f64(
            (PAGES_TO_REPORT / self.rate).min(LONGEST_REPORT_S),
        ));
        let (mut window_start, mut window_bytes) = (Instant::now(), 0_u64);
        let (mut written, mut step_at) = (0_u64, Instant::now());
        while !stop.is_set() {
            let owed = pace.due(Instant::now()).saturating_sub(written);
            if owed > most_debt {
                let lost = (owed - most_debt) as f64;
                pace.forgive(Duration::from_secs_f64(lost / self.rate));
            }
            // Whole pages only: half a page written twice would reach the disk twice.
            let mut left = owed.min(most_debt) / PAGE * PAGE;
            while left > 0 && !stop.is_set() {
                let done = write_round(file, &block, written, left.min(PIECE), stop)?;
                file.sync_data()?;
                written += done;
                window_bytes += done;
                left -= done;
                self.total.store(written, Ordering::Relaxed);
            }

            let elapsed = window_start.elapsed();
            if elapsed >= report_over {
                self.rate_lately
                    .set(window_bytes as f64 / elapsed.as_secs_f64());
                self.measured.store(true, Ordering::Relaxed);
                (window_start, window_bytes) = (Instant::now(), 0);
            }
            step_at = (step_at + STEP).max(Instant::now());
            if stop.sleep_until(step_at) {
                break;
            }
        }
        Ok(())
    }
}

/// Writes `piece` bytes at the place that follows `written` bytes, round and round in the file. Ends
/// early at the stop; returns how much was written.
fn write_round(
    file: &File,
    block: &[u8],
    written: u64,
    piece: u64,
    stop: &StopFlag,
) -> std::io::Result<u64> {
    let mut done = 0;
    while done < piece && !stop.is_set() {
        let place = (written + done) % FILE_BYTES;
        let most = (piece - done)
            .min(FILE_BYTES - place)
            .min(block.len() as u64);
        file.write_all_at(&block[..most as usize], place)?;
        done += most;
    }
    Ok(done)
}

impl Probe for Stream {
    fn read(&self) -> Reading {
        let mb = |bytes: f64| bytes / MIB as f64;
        let (asked, lately) = (mb(self.rate), mb(self.rate_lately.get()));
        let measured = self.measured.load(Ordering::Relaxed);
        Reading {
            asked,
            achieved: measured.then_some(lately),
            unit: "MiB/s",
            shortfall: (measured && lately < asked * TOLERANCE).then_some(Shortfall::Contended),
            metrics: super::object(json!({
                "current_write_rate_mb": (lately * 100.0).round() / 100.0,
                "written_mb": mb(self.total.load(Ordering::Relaxed) as f64).floor(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nameless_file_leaves_no_entry_in_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("made/on/demand");
        let file = nameless_file(&data_dir).expect("a file");
        file.write_all_at(b"x", 0).expect("a write");
        assert_eq!(std::fs::read_dir(&data_dir).expect("the folder").count(), 0);
    }

    #[test]
    fn writes_go_round_in_a_bounded_file() {
        let file = tempfile::tempfile().expect("a file");
        let stop = StopFlag::default();
        let block = vec![7_u8; BLOCK];
        // Three blocks that begin half a block before the file's end.
        let start = FILE_BYTES - BLOCK as u64 / 2;
        let done = write_round(&file, &block, start, 3 * BLOCK as u64, &stop).expect("writes");
        assert_eq!(done, 3 * BLOCK as u64);
        assert_eq!(file.metadata().expect("its size").len(), FILE_BYTES);
        stop.set();
        assert_eq!(
            write_round(&file, &block, 0, 10, &stop).expect("no write"),
            0
        );
    }
}
