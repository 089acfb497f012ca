//! The ledger's files: JSON lines in segments of a bounded size, of which only the newest are kept.
//!
//! While the daemon runs, only the ledger's thread comes here. Lines that were written and not synced when the
//! process died are either whole, and stay, or end in a torn line, which is cut off.
//!
//! By hand because no crate does all of it: `tracing-appender` does not sync, `file-rotate` does not cut off
//! a torn line, and `rusqlite` and `redb` write files that `tail` and `jq` cannot read.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::event::{Event, LastReading};
use super::state::Kept;

/// The file of the last readings.
const READINGS: &str = "last-readings.json";
/// No ledger gets this far, and no query can ask for more: a larger number in a file is not ours.
const LAST_SEQ: u64 = i64::MAX as u64;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// A segment that would grow beyond this is followed by a new one.
    pub(super) segment_bytes: u64,
    /// How many segments are kept.
    pub(super) segments: usize,
}

/// Takes batches of lines; a trait so that tests can replace the files.
pub(super) trait Store: Send {
    /// Writes whole lines, the first of which has the number `first_seq`, and syncs them. After an error, nothing of
    /// the batch counts as written, and the caller may pass it again.
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()>;

    /// Writes the line of [`LastReadings`] over the one before, without a sync: it is to survive the process, not the
    /// machine.
    fn keep_readings(&mut self, line: &[u8]) -> io::Result<()>;

    /// The number of the first event that was written and removed from outside; none where all is still there. The
    /// caller passes everything from there on again.
    fn removed_from(&self) -> Option<u64> {
        None
    }
}

/// The last measurement of each live run. Several a second would fill the journal, so they have a file of their own,
/// in which the next replace the last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct LastReadings {
    pub(super) boot_id: String,
    pub(super) runs: Vec<LastReading>,
}

/// What the journal needs of a file; a trait so that tests can fill the disk.
pub(super) trait Segment: Write + Send {
    fn sync(&mut self) -> io::Result<()>;
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

impl Segment for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()?;
        if self.metadata()?.nlink() == 0 {
            // What is synced there is gone with the process.
            let removed = "the ledger's file was removed";
            return Err(io::Error::new(io::ErrorKind::NotFound, removed));
        }
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

type Opener = Box<dyn Fn(&Path) -> io::Result<Box<dyn Segment>> + Send>;

/// The segments on disk, the last of them open.
pub(super) struct Journal {
    folder: PathBuf,
    bounds: Bounds,
    open: Opener,
    /// Oldest first; lines go to the last one.
    segments: VecDeque<PathBuf>,
    active: Box<dyn Segment>,
    /// How much of the active segment is whole, synced lines.
    good_bytes: u64,
    /// The active segment may have more than that, which must be cut off first.
    is_torn: bool,
    /// The folder has names that are not synced.
    is_renamed: bool,
    /// The file of the last readings; none after a failure.
    readings: Option<File>,
    /// The active segment was removed from outside.
    is_removed: bool,
    /// Held as long as this journal lives; the system releases it when the process dies.
    lock: File,
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every event that could be read, in order.
    pub(super) kept: Vec<Kept>,
    /// The next event has the number after this one.
    pub(super) last_seq: u64,
    /// Bytes of a torn last line that were cut off.
    pub(super) healed_bytes: u64,
    /// Lines that are no event, or an event out of order.
    pub(super) unreadable_lines: u64,
    pub(super) last_readings: LastReadings,
}

impl Journal {
    /// Opens the journal in `folder`, which it creates where it is missing, and cuts off a torn last line.
    pub(super) fn open(folder: &Path, bounds: Bounds) -> io::Result<(Self, Found)> {
        let open = |path: &Path| -> io::Result<Box<dyn Segment>> {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            Ok(Box::new(file))
        };
        Self::open_with(folder, bounds, Box::new(open))
    }

    fn open_with(folder: &Path, bounds: Bounds, open: Opener) -> io::Result<(Self, Found)> {
        fs::create_dir_all(folder)?;
        let lock = lock(folder)?;
        let (mut segments, mut found) = (list(folder)?, Found::default());
        found.last_readings = read_readings(folder);
        let (mut good_bytes, mut tail_lines) = (0, 0);
        for (_, path) in &segments {
            // Lines are only ever written to the last segment, so only its tail can be torn.
            found.unreadable_lines += tail_lines;
            (good_bytes, tail_lines) = read(path, &mut found)?;
        }
        if let Some((first_seq, _)) = segments.back() {
            // An empty segment still shows where the numbers continue.
            found.last_seq = found.last_seq.max(first_seq.saturating_sub(1));
        } else {
            let first_seq = found.last_seq + 1;
            segments.push_back((first_seq, path_of(folder, first_seq)));
        }
        let segments: VecDeque<PathBuf> = segments.into_iter().map(|(_, path)| path).collect();
        let last = &segments[segments.len() - 1];
        let mut active = open(last)?;
        let bytes = fs::metadata(last)?.len();
        if bytes > good_bytes {
            active.truncate(good_bytes)?;
            active.sync()?;
            found.healed_bytes = bytes - good_bytes;
        }
        let journal = Self {
            folder: folder.to_owned(),
            bounds,
            open,
            segments,
            active,
            good_bytes,
            is_torn: false,
            is_renamed: true,
            // Opened now, so that no run leaves one more file open than there were; tried again where it fails.
            readings: open_readings(folder).ok(),
            is_removed: false,
            lock,
        };
        Ok((journal, found))
    }

    /// Begins anew with event `first_seq` where segments were removed from outside, perhaps with the whole folder.
    fn begin_again(&mut self, first_seq: u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        if self.lock.metadata()?.nlink() == 0 {
            self.lock = lock(&self.folder)?;
        }
        let path = path_of(&self.folder, first_seq);
        self.active = (self.open)(&path)?;
        self.active.truncate(0)?;
        self.segments.retain(|segment| *segment < path);
        self.segments.push_back(path);
        (self.good_bytes, self.is_torn) = (0, false);
        (self.is_removed, self.is_renamed) = (false, true);
        Ok(())
    }

    /// Begins a new segment. The oldest goes first, which makes room on a full disk too.
    fn rotate(&mut self, first_seq: u64) -> io::Result<()> {
        while self.segments.len() >= self.bounds.segments.max(2) {
            match fs::remove_file(&self.segments[0]) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => drop(self.segments.pop_front()),
            }
        }
        let path = path_of(&self.folder, first_seq);
        let mut active = (self.open)(&path)?;
        // It is empty, unless an earlier rotation failed halfway.
        active.truncate(0)?;
        self.active = active;
        self.segments.push_back(path);
        (self.good_bytes, self.is_torn, self.is_renamed) = (0, false, true);
        Ok(())
    }
}

impl Store for Journal {
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()> {
        if self.is_removed {
            self.begin_again(first_seq)?;
        }
        if self.is_torn {
            // Reopen: after a failed sync, the next sync of the old handle may report a success that is none.
            self.active = (self.open)(&self.segments[self.segments.len() - 1])?;
            self.active.truncate(self.good_bytes)?;
            self.is_torn = false;
        }
        let bytes = lines.len() as u64;
        if self.good_bytes > 0 && self.good_bytes + bytes > self.bounds.segment_bytes {
            self.rotate(first_seq)?;
        }
        self.is_torn = true;
        self.active.write_all(lines)?;
        let synced = self.active.sync();
        if let Err(error) = &synced
            && error.kind() == io::ErrorKind::NotFound
        {
            self.is_removed = true;
        }
        synced?;
        if self.is_renamed {
            // Created and removed names must last too.
            File::open(&self.folder)?.sync_all()?;
            self.is_renamed = false;
        }
        self.is_torn = false;
        self.good_bytes += bytes;
        Ok(())
    }

    fn removed_from(&self) -> Option<u64> {
        let mut segments = self.segments.iter().filter(|_| self.is_removed);
        number_of(segments.find(|segment| !segment.exists())?)
    }

    fn keep_readings(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match self.readings.take() {
            Some(file) if file.metadata()?.nlink() > 0 => file,
            _ => open_readings(&self.folder)?,
        };
        // In this order a process that dies in between leaves a whole first line.
        file.write_all_at(line, 0)?;
        file.set_len(line.len() as u64)?;
        self.readings = Some(file);
        Ok(())
    }
}

/// The last readings kept; none where there is no whole line of them.
fn read_readings(folder: &Path) -> LastReadings {
    let text = fs::read_to_string(folder.join(READINGS)).unwrap_or_default();
    let line = text.split_inclusive('\n').next();
    let line = line.filter(|line| line.ends_with('\n')).unwrap_or_default();
    serde_json::from_str(line).unwrap_or_default()
}

/// The error of a second process on one folder.
const IN_USE: &str = "another process keeps its ledger there; give each its own DataDir, by --data-dir or \
                      MOCKSERVER_DATA_DIR";

fn open_readings(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true);
    options.open(folder.join(READINGS))
}

/// Keeps other processes out: two writers would tear each other's lines.
fn lock(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true);
    let lock = options.open(folder.join("lock"))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| io::Error::other(IN_USE))?;
    Ok(lock)
}

fn path_of(folder: &Path, first_seq: u64) -> PathBuf {
    folder.join(format!("events-{first_seq:020}.jsonl"))
}

/// The number in the name of a segment; none where it is no segment.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix("events-")?.strip_suffix(".jsonl")?;
    digits.parse().ok().filter(|number| *number < LAST_SEQ)
}

/// The segments with the number in each name, oldest first. Other files are ignored.
fn list(folder: &Path) -> io::Result<VecDeque<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(number) = number_of(&path) {
            segments.push((number, path));
        }
    }
    segments.sort();
    Ok(segments.into())
}

/// Adds the events of one segment. Returns how many of its bytes are good, which is up to the end of the last whole
/// line of JSON, and how many lines follow those.
fn read(path: &Path, found: &mut Found) -> io::Result<(u64, u64)> {
    let text = fs::read(path)?;
    let (mut at, mut good_bytes, mut unreadable) = (0, 0, 0);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        at += line.len() as u64;
        if line.last() != Some(&b'\n') {
            unreadable += 1;
            break;
        }
        match serde_json::from_slice::<Event>(line) {
            Ok(event) if (found.last_seq + 1..LAST_SEQ).contains(&event.seq) => {
                found.last_seq = event.seq;
                found.kept.push(Kept {
                    event: Arc::new(event),
                    bytes: line.len(),
                });
            }
            // From a later version, or out of order: unreadable here, but whole.
            _ if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok() => {
                found.unreadable_lines += 1;
            }
            _ => {
                unreadable += 1;
                continue;
            }
        }
        good_bytes = at;
        found.unreadable_lines += std::mem::take(&mut unreadable);
    }
    Ok((good_bytes, unreadable))
}

#[cfg(test)]
mod tests;
