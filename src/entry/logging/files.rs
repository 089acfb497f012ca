//! The log files: one a day, or more where lines are many, and none beyond what the configuration keeps.
//!
//! Not `tracing_appender::rolling`: it bounds the number of files and not their size, deletes whatever has its prefix,
//! and cannot open its file anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::format_description::well_known::Iso8601;
use time::{Date, Duration, OffsetDateTime};

use crate::config::Log;
use crate::sync::Lock;

/// All files together have at most this many times the size of one.
const FILES: u64 = 8;
const MIB: u64 = 1024 * 1024;

/// The log's files; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LogFiles(Arc<Lock<Current>>);

impl LogFiles {
    /// Opens the file of today of the log `stem` in `folder`, which is made where it is missing and which `key` sets. New
    /// files have the permissions of `mode`.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub(super) fn open(
        log: &Log,
        key: &str,
        folder: &Path,
        stem: &str,
        mode: u32,
    ) -> io::Result<Self> {
        let kept = Kept {
            folder: folder.to_owned(),
            stem: stem.to_owned(),
            mode,
            days: log.keep_days,
            most_bytes: u64::from(log.max_mb) * MIB,
        };
        let current = Current::open(kept, today()).map_err(|error| {
            let folder = folder.display();
            io::Error::other(format!("{key} cannot be written to: {folder}: {error}"))
        })?;
        Ok(Self(Arc::new(Lock::new(current))))
    }

    /// Goes on in a new file where the current one was moved or deleted.
    ///
    /// # Errors
    /// It cannot be opened; the current one stays.
    pub(super) fn reopen(&self) -> io::Result<()> {
        let mut current = self.0.lock();
        *current = Current::open(current.kept.clone(), today())?;
        Ok(())
    }
}

impl Write for LogFiles {
    /// Writes one line, as a whole or not at all.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().write(line, today())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

/// What is kept, and where.
#[derive(Debug, Clone)]
struct Kept {
    folder: PathBuf,
    /// How the names of the files begin.
    stem: String,
    /// The permissions of a new file, before the umask.
    mode: u32,
    /// Today is the first of them; 0 is all.
    days: u32,
    /// Of all files; 0 is no bound.
    most_bytes: u64,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    kept: Kept,
    name: Name,
    file: File,
    bytes: u64,
}

impl Current {
    /// The newest file of `day`.
    fn open(kept: Kept, day: Date) -> io::Result<Self> {
        fs::create_dir_all(&kept.folder)?;
        let of_day = kept.files().into_iter().filter(|file| file.name.day == day);
        let part = of_day.map(|file| file.name.part).max().unwrap_or(0);
        Self::open_part(kept, Name { day, part })
    }

    fn open_part(kept: Kept, name: Name) -> io::Result<Self> {
        let path = kept.path_of(name);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(kept.mode)
            .open(path)?;
        let bytes = file.metadata()?.len();
        kept.delete_rest(name);
        Ok(Self {
            kept,
            name,
            file,
            bytes,
        })
    }

    fn write(&mut self, line: &[u8], day: Date) -> io::Result<usize> {
        // A file that cannot be opened now may be later: until then the current one takes the lines.
        if let Ok(Some(next)) = self.next(line.len() as u64, day) {
            *self = next;
        }
        let mut written = 0;
        while written < line.len() {
            match self.file.write(&line[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.take_back(written as u64).ok();
                    return Err(error);
                }
            }
        }
        self.bytes += written as u64;
        Ok(written)
    }

    /// Removes the first bytes of a line that did not fit on the disk: the next line would be joined to them.
    fn take_back(&self, bytes: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        self.file.set_len(length.saturating_sub(bytes))
    }

    /// Another file, where the day is another or the current file is full.
    fn next(&self, bytes: u64, day: Date) -> io::Result<Option<Self>> {
        if day != self.name.day {
            return Self::open(self.kept.clone(), day).map(Some);
        }
        let most = self.kept.bytes_of_one();
        if most == 0 || self.bytes == 0 || self.bytes + bytes <= most {
            return Ok(None);
        }
        let part = self.name.part.saturating_add(1);
        Self::open_part(self.kept.clone(), Name { day, part }).map(Some)
    }
}

impl Kept {
    fn path_of(&self, name: Name) -> PathBuf {
        self.folder.join(name.file_name(&self.stem))
    }

    fn bytes_of_one(&self) -> u64 {
        self.most_bytes / FILES
    }

    /// Deletes what is too old, and then the oldest while all together would be too large. What cannot be deleted
    /// stays until the next time.
    fn delete_rest(&self, current: Name) {
        let mut files = self.files();
        files.retain(|file| file.name != current);
        files.sort_unstable_by_key(|file| file.name);
        let oldest = current.day.checked_sub(Duration::days(self.days.into()));
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            let too_old = self.days > 0 && oldest.is_some_and(|oldest| file.name.day <= oldest);
            let too_large = self.most_bytes > 0 && bytes + self.bytes_of_one() > self.most_bytes;
            if too_old || too_large {
                bytes -= file.bytes;
                fs::remove_file(self.path_of(file.name)).ok();
            }
        }
    }

    /// The files of this log: what has another name, or is no plain file, is not its own.
    fn files(&self) -> Vec<OwnFile> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let own = entries.filter_map(|entry| {
            let name = Name::parse(&self.stem, entry.file_name().to_str()?)?;
            // Of the entry itself, not of where a link points.
            let about = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some(OwnFile {
                name,
                bytes: about.len(),
            })
        });
        own.collect()
    }
}

#[derive(Debug)]
struct OwnFile {
    name: Name,
    bytes: u64,
}

/// The name of a file, in the order in which they are written: after the stem of its log, `.2026-01-31.log` is the first
/// of its day, `.2026-01-31.1.log` the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    day: Date,
    part: u32,
}

impl Name {
    fn file_name(self, stem: &str) -> String {
        match self.part {
            0 => format!("{stem}.{}.log", self.day),
            part => format!("{stem}.{}.{part}.log", self.day),
        }
    }

    /// None where [`file_name`](Self::file_name) would not write it so.
    fn parse(stem: &str, file_name: &str) -> Option<Self> {
        let rest = file_name.strip_prefix(stem)?.strip_prefix('.')?;
        let rest = rest.strip_suffix(".log")?;
        let (day, part) = match rest.split_once('.') {
            Some((day, part)) => (day, part.parse().ok()?),
            None => (rest, 0),
        };
        let day = Date::parse(day, &Iso8601::DATE).ok()?;
        let name = Self { day, part };
        (name.file_name(stem) == file_name).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEM: &str = "mockserver";

    fn day(of_month: u8) -> Date {
        Date::from_calendar_date(2026, time::Month::March, of_month).expect("a day")
    }

    fn kept(folder: &Path, days: u32, most_bytes: u64) -> Kept {
        Kept {
            folder: folder.to_owned(),
            stem: STEM.to_owned(),
            mode: 0o666,
            days,
            most_bytes,
        }
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<String> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        assert!(Current::open(kept(file.path(), 1, 1), day(1)).is_err());
    }

    #[test]
    fn only_names_that_this_log_writes_are_its_own() {
        for own in ["mockserver.2026-03-09.log", "mockserver.2026-03-09.12.log"] {
            let name = Name::parse(STEM, own).expect("its own");
            assert_eq!(name.file_name(STEM), own);
        }
        for foreign in [
            "mockserver.log",
            "mockserver.2026-03-09.log.1",
            "mockserver.2026-03-09.log.gz",
            "mockserver.2026-03-09.0.log",
            "mockserver.2026-03-09.01.log",
            "mockserver.2026-03-09.+1.log",
            "mockserver.20260309.log",
            "mockserver.2026-3-9.log",
            "mockserver.2026-02-30.log",
            "mockserver.notes.log",
            "other.2026-03-09.log",
        ] {
            assert_eq!(Name::parse(STEM, foreign), None, "{foreign}");
        }
    }

    #[test]
    fn files_older_than_the_kept_days_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let foreign = ["mockserver.2020-01-01.log.gz", "notes.txt"];
        for name in foreign {
            fs::write(folder.path().join(name), "kept").expect("a file");
        }
        let a_folder = "mockserver.2020-01-02.log";
        fs::create_dir(folder.path().join(a_folder)).expect("a folder");
        let link = "mockserver.2020-01-03.log";
        std::os::unix::fs::symlink(folder.path().join("notes.txt"), folder.path().join(link))
            .expect("a link");
        let mut log = Current::open(kept(folder.path(), 2, 0), day(1)).expect("a log");
        for of_month in [1, 2, 3, 9] {
            log.write(b"line\n", day(of_month)).expect("written");
            if of_month == 3 {
                let own = ["mockserver.2026-03-02.log", "mockserver.2026-03-03.log"];
                let mut expected = [&foreign[..], &[a_folder, link], &own].concat();
                expected.sort_unstable();
                assert_eq!(names(folder.path()), expected);
            }
        }
        let mut expected = [&foreign[..], &[a_folder, link, "mockserver.2026-03-09.log"]].concat();
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn all_files_together_stay_below_the_bound_and_the_newest_lines_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Current::open(kept(folder.path(), 0, 800), day(1)).expect("a log");
        for n in 0..100_u32 {
            let line = format!("line {n:>24}\n");
            log.write(
                line.as_bytes(),
                day(1 + u8::try_from(n / 50).expect("a day")),
            )
            .expect("written");
            let sizes = fs::read_dir(folder.path()).expect("a folder");
            let bytes: u64 = sizes
                .map(|entry| entry.expect("an entry").metadata().expect("a size").len())
                .sum();
            assert!(bytes <= 800, "{bytes} bytes after line {n}");
            assert!(
                bytes >= 600.min(u64::from(n) * 30),
                "{bytes} bytes after line {n}"
            );
        }
        let newest = fs::read_to_string(log.kept.path_of(log.name));
        assert!(newest.expect("a file").ends_with("99\n"));
        // A new process goes on where this one was.
        let again = Current::open(kept(folder.path(), 0, 800), day(2)).expect("a log");
        assert_eq!(again.name, log.name);
    }

    #[test]
    fn without_bounds_nothing_is_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Current::open(kept(folder.path(), 0, 0), day(1)).expect("a log");
        for of_month in 1..=28 {
            log.write(&[b'x'; 1000], day(of_month)).expect("written");
        }
        assert_eq!(names(folder.path()).len(), 28);
    }
}
