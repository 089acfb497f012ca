//! `disk_fill`: a file takes the space of the file system that `DataDir` is on.
//!
//! The file has no name, so the kernel frees it however the process ends. Its blocks are allocated and not written where
//! the file system can do that. The last space is left free unless the request says otherwise: the ledger is on the same
//! file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, StatVfs, fallocate, fstatvfs, statvfs};
use rustix::io::Errno;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::disk_io::unnamed_file;
use super::{MIB, metrics};
use crate::host::cgroup::Cgroup;
use crate::host::disks::{is_in_memory, is_in_memory_under};
use crate::host::lived::LivedClock;
use crate::input::{FieldError, Fields, Resource, above};
use crate::plugin::gauge::Gauge;
use crate::plugin::guard::StopFlag;
use crate::plugin::high_line::HighLine;
use crate::plugin::pace::Pace;
use crate::plugin::{
    Active, Group, PreflightContext, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::sync::Lock;

/// How often the space due is taken, and what others take of it is looked up.
const STEP: Duration = Duration::from_millis(20);
/// The most that is taken at a time, so that a stop does not wait.
const PIECE: u64 = 64 * MIB;
/// The most bytes of one write, where space has to be written.
const BLOCK: usize = MIB as usize;
/// How long it may be behind its schedule before the reading has a shortfall.
const TOLERANCE: Duration = Duration::from_millis(200);
/// 16 TiB.
const MOST_MB: f64 = 16_777_216.0;

/// Fills the disk.
#[derive(Debug)]
pub(super) struct DiskFill {
    target: Target,
    rate_mb: f64,
    keep_free_mb: f64,
    /// The most that the operator allows.
    most_mb: f64,
}

/// Sizes in MiB.
#[derive(Debug, Clone, Copy)]
enum Target {
    /// Of the file.
    Size(f64),
    /// Of the file system, by all together.
    Percent(f64),
    /// Of the file system.
    LeaveFree(f64),
}

impl Scenario for DiskFill {
    const NAME: &'static str = "disk_fill";
    const GROUP: Group = Group::Resources;
    const SUMMARY: &'static str = "Takes the space of the disk under DataDir";
    const EXAMPLE: &'static str = r#"{"percent": 90, "rate_mb": 50}"#;

    fn read(fields: &mut Fields) -> Self {
        fields.either("size_mb", "percent");
        fields.either("size_mb", "leave_free_mb");
        fields.either("percent", "leave_free_mb");
        fields.either("leave_free_mb", "keep_free_mb");
        let about = "How much space is taken.";
        let field = fields.field("size_mb", about).unit("MiB on disk");
        let field = field.asks_for(Resource::DiskMb);
        let size = field.number(above(0.0, MOST_MB), 1024.0);
        let about = "How full the file system is in the end, as df shows it, instead of size_mb.";
        let field = fields.field("percent", about);
        let field = field.unit("percent of the file system").optional();
        let percent = field.number(above(0.0, 100.0));
        let about = "How much space is left free in the end, instead of size_mb.";
        let field = fields.field("leave_free_mb", about).unit("MiB left free");
        let leave_free = field.optional().number(0.0..=MOST_MB);
        let about = "How fast the space is taken.";
        let rate_mb = fields.field("rate_mb", about).unit("MiB/s");
        let rate_mb = rate_mb.number(above(0.0, 100_000.0), 100.0);
        let about = "What is left free in any case, unless leave_free_mb is given.";
        let field = fields.field("keep_free_mb", about).unit("MiB left free");
        let keep_free_mb = field.number(0.0..=MOST_MB, 64.0);
        let target = match (percent, leave_free) {
            (Some(percent), _) => Target::Percent(percent),
            (None, Some(mb)) => Target::LeaveFree(mb),
            (None, None) => Target::Size(size),
        };
        if !matches!(target, Target::Size(_)) {
            fields.withdraw("size_mb");
        }
        if leave_free.is_some() {
            fields.withdraw("keep_free_mb");
        }
        Self {
            target,
            rate_mb,
            keep_free_mb: if leave_free.is_some() {
                0.0
            } else {
                keep_free_mb
            },
            most_mb: fields
                .lasting_ceiling(Resource::DiskMb)
                .unwrap_or(f64::INFINITY),
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        let Some((folder, space)) = context.data_dir.and_then(Space::under) else {
            return Ok(None);
        };
        let wanted = space.wanted(self.target);
        if wanted > self.most_mb * MIB as f64 {
            let pointer = match self.target {
                Target::Size(_) => "/size_mb",
                Target::Percent(_) => "/percent",
                Target::LeaveFree(_) => "/leave_free_mb",
            };
            let detail = format!(
                "would take {:.0} MiB; must take at most {} (Limits.DiskMb)",
                wanted / MIB as f64,
                self.most_mb
            );
            return Err(FieldError::new(pointer, detail));
        }
        let room = space.room(self.keep_free_mb);
        if wanted > room {
            return Ok(Some(format!(
                "only {:.0} MiB can be taken under DataDir, with {} MiB kept free: the run ends its growth there",
                (room / MIB as f64).floor(),
                self.keep_free_mb
            )));
        }
        Ok(match is_in_memory_under(&folder) {
            true => context.memory_warning(wanted.max(0.0) as u64),
            false => None,
        })
    }

    fn forecast(&self, context: PreflightContext<'_>) -> Map<String, Value> {
        let space = context.data_dir.and_then(Space::under);
        let target = space.map(|(_, space)| space.wanted(self.target).max(0.0) / MIB as f64);
        target.map_or_else(Map::new, |mb| metrics([("target_mb", mb.floor().into())]))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let fill = Arc::new(Fill {
            asked: Gauge::default(),
            target: Gauge::default(),
            held: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            shortfall: Lock::new(Shortfall::Saturated),
            of: self,
        });
        // The thread makes the file: even that takes long on a disk that is busy or hangs.
        let (send_file_made, file_made) = oneshot::channel();
        let (work, data_dir) = (Arc::clone(&fill), cx.data_dir().to_owned());
        let (clock, cgroup) = (cx.lived().clone(), cx.cgroup().clone());
        let mut threads = cx.threads();
        threads.spawn("flush", move |stop| {
            let file = unnamed_file(&data_dir).map_err(|error| {
                let dir = data_dir.display();
                format!("no file can be made under DataDir {dir}: {error}")
            });
            let made = file.as_ref().map(drop).map_err(Clone::clone);
            send_file_made.send(made).ok();
            let mut held = HeldSpace::new(file?);
            let filled = work.run(&mut held, &clock, &cgroup, stop);
            let freed = held.shrink(0);
            drop(held);
            work.held.store(0, Ordering::Relaxed);
            work.is_over.store(true, Ordering::Relaxed);
            filled
                .and(freed)
                .map_err(|error| format!("the disk refused space: {error}"))
        })?;
        match file_made.await {
            Ok(Ok(())) => Ok(Active::new(fill, threads.run_until(cx.stop))),
            Ok(Err(reason)) => Err(StartError::new(reason)),
            Err(_) => Err(StartError::new("the thread that fills ended at its start")),
        }
    }
}

/// The file system, in bytes.
#[derive(Debug, Clone, Copy)]
struct Space {
    /// All that can be used without privileges, as df counts.
    total: f64,
    free: f64,
}

impl Space {
    /// Of the file system of `folder`, or of the nearest folder above it that is there: it is made at the start.
    fn under(folder: &Path) -> Option<(PathBuf, Self)> {
        let folder = std::path::absolute(folder).ok()?;
        folder.ancestors().find_map(|folder| {
            let system = statvfs(folder).ok()?;
            Some((folder.to_owned(), Self::of(&system)))
        })
    }

    fn of(system: &StatVfs) -> Self {
        let bytes = |blocks: u64| blocks as f64 * system.f_frsize as f64;
        let used = bytes(system.f_blocks.saturating_sub(system.f_bfree));
        let free = bytes(system.f_bavail);
        Self {
            total: used + free,
            free,
        }
    }

    /// What has to be taken for `target`; below 0 where it is reached without that.
    fn wanted(self, target: Target) -> f64 {
        match target {
            Target::Size(mb) => mb * MIB as f64,
            Target::Percent(percent) => self.free - self.total * (1.0 - percent / 100.0),
            Target::LeaveFree(mb) => self.free - mb * MIB as f64,
        }
    }

    /// What can be taken with `keep_free_mb` left.
    fn room(self, keep_free_mb: f64) -> f64 {
        self.free - keep_free_mb * MIB as f64
    }
}

/// The space that a file takes.
#[derive(Debug)]
struct HeldSpace {
    file: File,
    bytes: u64,
    /// Zeros, where the file system cannot allocate without writing.
    zeros: Option<Vec<u8>>,
}

impl HeldSpace {
    fn new(file: File) -> Self {
        Self {
            file,
            bytes: 0,
            zeros: None,
        }
    }

    /// The file system as if this took nothing of it.
    fn space_without(&self) -> io::Result<Space> {
        let mut space = Space::of(&fstatvfs(&self.file)?);
        space.free += self.bytes as f64;
        Ok(space)
    }

    /// Takes more, one piece at most.
    fn grow(&mut self, bytes: u64) -> io::Result<()> {
        let more = bytes.saturating_sub(self.bytes).min(PIECE);
        if self.zeros.is_none() {
            match fallocate(&self.file, FallocateFlags::empty(), self.bytes, more) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.zeros = Some(vec![0; BLOCK]),
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    self.bytes += more;
                    return Ok(());
                }
            }
        }
        let zeros = self.zeros.as_deref().unwrap_or_default();
        let end = self.bytes + more.min(zeros.len() as u64);
        self.file
            .write_all_at(&zeros[..(end - self.bytes) as usize], self.bytes)?;
        self.file.sync_data()?;
        self.bytes = end;
        Ok(())
    }

    /// Gives back what exceeds `bytes`.
    fn shrink(&mut self, bytes: u64) -> io::Result<()> {
        if bytes < self.bytes {
            self.file.set_len(bytes)?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

/// A fill while it runs, in bytes.
#[derive(Debug)]
struct Fill {
    of: DiskFill,
    asked: Gauge,
    /// What is asked in the end, as it is now.
    target: Gauge,
    held: AtomicU64,
    is_behind: AtomicBool,
    is_over: AtomicBool,
    /// Why it is behind its schedule, in case it is.
    shortfall: Lock<Shortfall>,
}

impl Fill {
    fn run(
        &self,
        held: &mut HeldSpace,
        clock: &LivedClock,
        cgroup: &Cgroup,
        stop: &StopFlag,
    ) -> io::Result<()> {
        let rate = self.of.rate_mb * MIB as f64;
        let mut schedule = Pace::new(clock, rate, f64::INFINITY);
        // What is held back does not come in a burst later.
        let mut growth = schedule.clone();
        let is_in_memory = is_in_memory(&held.file);
        let mut line = HighLine::new(cgroup);
        let mut step_at = Instant::now();
        let mut in_time_at = step_at;
        loop {
            let space = held.space_without()?;
            let most = self.of.most_mb * MIB as f64;
            let target = space.wanted(self.of.target).clamp(0.0, most);
            self.target.set(target);
            self.asked.set(schedule.due_within(target as u64) as f64);
            let room = space.room(self.of.keep_free_mb).max(0.0);
            let below_line = match is_in_memory {
                true => line.most(held.bytes),
                false => u64::MAX,
            };
            let due = growth.due_within((target.min(room) as u64).min(below_line));
            held.shrink(due)?;
            let cause = match (below_line < room as u64, room < target) {
                (true, _) => Shortfall::MemoryHigh,
                (false, true) => Shortfall::Reserved,
                (false, false) => Shortfall::Saturated,
            };
            let refused = self.grow(held, due, stop)?;
            *self.shortfall.lock() = refused.unwrap_or(cause);
            if refused.is_some() {
                growth.due_within(held.bytes);
            }
            let now = Instant::now();
            if held.bytes as f64 + MIB as f64 >= self.asked.get() {
                in_time_at = now;
            }
            let is_behind = now.duration_since(in_time_at) > TOLERANCE;
            self.is_behind.store(is_behind, Ordering::Relaxed);
            step_at = (step_at + STEP).max(now);
            if stop.sleep_until(step_at) {
                return Ok(());
            }
        }
    }

    /// Takes what is missing to `due`; returns why not, where the system refuses.
    fn grow(
        &self,
        held: &mut HeldSpace,
        due: u64,
        stop: &StopFlag,
    ) -> io::Result<Option<Shortfall>> {
        let until = Instant::now() + STEP;
        while held.bytes < due && !stop.is_set() {
            match held.grow(due) {
                Ok(()) => {}
                Err(error) if is_full(&error) => return Ok(Some(Shortfall::Refused)),
                Err(error) => return Err(error),
            }
            self.held.store(held.bytes, Ordering::Relaxed);
            if Instant::now() >= until {
                break;
            }
        }
        self.held.store(held.bytes, Ordering::Relaxed);
        Ok(None)
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded)
}

impl Probe for Fill {
    fn read(&self) -> Reading {
        let mb = |bytes: f64| bytes / MIB as f64;
        let is_over = self.is_over.load(Ordering::Relaxed);
        let asked = if is_over { 0.0 } else { mb(self.asked.get()) };
        let held = mb(self.held.load(Ordering::Relaxed) as f64);
        let is_behind = !is_over && self.is_behind.load(Ordering::Relaxed);
        Reading {
            asked,
            achieved: Some(held),
            unit: "MiB on disk",
            shortfall: is_behind.then(|| *self.shortfall.lock()),
            metrics: metrics([
                ("current_mb", ((held * 100.0).round() / 100.0).into()),
                ("target_mb", mb(self.target.get()).floor().into()),
            ]),
        }
    }

    fn target(&self) -> Option<f64> {
        Some(self.target.get() / MIB as f64)
    }

    fn left(&self) -> Option<f64> {
        Some(self.held.load(Ordering::Relaxed) as f64 / MIB as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::{assert_defaults, read, starts_and_stops};

    #[test]
    fn defaults() {
        let defaults = json!({ "size_mb": 1024, "rate_mb": 100, "keep_free_mb": 64 });
        assert_defaults::<DiskFill>(defaults);
    }

    #[tokio::test]
    async fn a_small_fill_starts_and_stops() {
        starts_and_stops::<DiskFill>(json!({ "size_mb": 1 })).await;
    }

    #[test]
    fn one_target_leaves_out_the_defaults_of_the_others() {
        let effective = |given| read::<DiskFill>(given).expect("good").1;
        let given = json!({ "percent": 90, "rate_mb": 5, "keep_free_mb": 10 });
        assert_eq!(Value::Object(effective(given.clone())), given);
        let given = json!({ "leave_free_mb": 3, "rate_mb": 5 });
        assert_eq!(Value::Object(effective(given.clone())), given);
        read::<DiskFill>(json!({ "percent": 90, "size_mb": 5 })).expect_err("two targets");
    }

    #[test]
    fn a_target_follows_the_file_system() {
        let mib = MIB as f64;
        let space = Space {
            total: 1000.0 * mib,
            free: 600.0 * mib,
        };
        assert_eq!(space.wanted(Target::Size(7.0)), 7.0 * mib);
        assert_eq!(space.wanted(Target::LeaveFree(50.0)), 550.0 * mib);
        // 400 are used.
        assert!((space.wanted(Target::Percent(90.0)) - 500.0 * mib).abs() < 1.0);
        assert!(space.wanted(Target::Percent(30.0)) < 0.0);
        assert_eq!(space.room(64.0), 536.0 * mib);
    }

    #[test]
    fn space_is_taken_and_given_back_with_or_without_writing_it() {
        for zeros in [None, Some(vec![0; BLOCK])] {
            let file = tempfile::tempfile().expect("a file");
            let mut held = HeldSpace {
                zeros,
                ..HeldSpace::new(file)
            };
            while held.bytes < 3 * MIB + 5 {
                held.grow(3 * MIB + 5).expect("space");
            }
            use std::os::unix::fs::MetadataExt;
            let blocks = |held: &HeldSpace| held.file.metadata().expect("its size").blocks() * 512;
            assert!((3 * MIB..4 * MIB).contains(&blocks(&held)));
            held.shrink(MIB).expect("it shrinks");
            assert!((MIB..2 * MIB).contains(&blocks(&held)));
        }
    }
}
