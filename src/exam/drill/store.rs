//! The files of drills: one for each, with its events as the ledger has them.
//!
//! A file is written by a thread of its own, so that a disk that hangs holds up nothing else. Every line is on disk
//! before the next ones are written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use tokio::sync::watch;

use crate::host::threads;
use crate::ledger::event::Event;

/// How the name of a file ends.
const EXTENSION: &str = "jsonl";

/// The folder of all drills.
#[derive(Debug)]
pub(super) struct Drills(PathBuf);

impl Drills {
    /// In `data_dir`. Nothing is written before the first drill.
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join("drills"))
    }

    /// The ids of all drills, newest first: an id is the time of its opening.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(super) fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let is_drill = path.extension().is_some_and(|end| end == EXTENSION);
            let id = path.file_stem().and_then(|stem| stem.to_str());
            ids.extend(id.filter(|id| is_drill && is_id(id)).map(str::to_owned));
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    /// A new, empty file, for this user alone.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn create(&self, id: &str) -> io::Result<Writer> {
        let mut folder = DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.0)?;
        // It may have been there with other rights.
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))?;
        let mut new = OpenOptions::new();
        let file = new.create_new(true).append(true).mode(0o600);
        let file = file.open(self.file(id))?;
        file.sync_all()?;
        File::open(&self.0)?.sync_all()?;
        Writer::begin(file)
    }

    /// The file of a drill that goes on, without the torn last line that a crash may have left.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn reopen(&self, id: &str) -> io::Result<Writer> {
        let whole = whole_lines(&fs::read(self.file(id))?).len() as u64;
        let file = OpenOptions::new().append(true).open(self.file(id))?;
        file.set_len(whole)?;
        file.sync_all()?;
        Writer::begin(file)
    }

    /// The events of a drill; none where there is no such drill.
    ///
    /// # Errors
    /// Its file cannot be read, or is not one of events.
    pub(super) fn read(&self, id: &str) -> io::Result<Option<Vec<Event>>> {
        if !is_id(id) {
            return Ok(None);
        }
        let bytes = match fs::read(self.file(id)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let lines = whole_lines(&bytes).split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let events = lines.map(|line| serde_json::from_slice(line).map_err(io::Error::from));
        events.collect::<io::Result<_>>().map(Some)
    }

    /// Removes a file that never got its first line.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        fs::remove_file(self.file(id))
    }

    /// Keeps a file that cannot be used out of the way.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub(super) fn set_aside(&self, id: &str) -> io::Result<()> {
        let file = self.file(id);
        fs::rename(&file, file.with_extension("unreadable"))
    }

    fn file(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.{EXTENSION}"))
    }
}

/// Whether `text` could be the id of a drill: never a path.
fn is_id(text: &str) -> bool {
    let time = text.strip_prefix("d-").unwrap_or_default();
    !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte == b'\n');
    &bytes[..end.map_or(0, |end| end + 1)]
}

/// Writes the file of one drill. Its thread ends when it is dropped, or when the disk refuses a line.
#[derive(Debug)]
pub(super) struct Writer {
    lines: mpsc::Sender<String>,
    sent: u64,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    written: u64,
    error: Option<Arc<str>>,
}

impl Writer {
    pub(super) fn begin(mut file: File) -> io::Result<Self> {
        let (lines, to_write) = mpsc::channel::<String>();
        let (report, progress) = watch::channel(Progress::default());
        let thread = std::thread::Builder::new().name(threads::name("drill"));
        thread.spawn(move || {
            for lines in to_write {
                let written = file.write_all(lines.as_bytes());
                let written = written.and_then(|()| file.sync_data());
                let is_over = written.is_err();
                report.send_modify(|progress| match written {
                    Ok(()) => progress.written += 1,
                    Err(error) => progress.error = Some(error.to_string().into()),
                });
                if is_over {
                    return;
                }
            }
        })?;
        Ok(Self {
            lines,
            sent: 0,
            progress,
        })
    }

    /// Has `events` written. Never waits.
    pub(super) fn append(&mut self, events: &[Arc<Event>]) {
        // Numbers, strings and lists of them always serialize.
        let line = |event: &Arc<Event>| serde_json::to_string(event).unwrap_or_default() + "\n";
        self.sent += 1;
        // Without its thread the error is known already.
        self.lines.send(events.iter().map(line).collect()).ok();
    }

    /// Waits until all is on disk.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn written(&mut self) -> Result<(), Arc<str>> {
        let sent = self.sent;
        let is_done = |progress: &Progress| progress.written >= sent || progress.error.is_some();
        match self.progress.wait_for(is_done).await {
            Ok(progress) => progress.error.clone().map_or(Ok(()), Err),
            Err(_) => Err("its thread has ended".into()),
        }
    }

    /// Waits until the disk refuses a line, and says why.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn failed(&mut self) -> Arc<str> {
        let failed = self.progress.wait_for(|progress| progress.error.is_some());
        let error = failed
            .await
            .ok()
            .and_then(|progress| progress.error.clone());
        error.unwrap_or_else(|| "its thread has ended".into())
    }
}

/// Where the events of the open drill are kept.
#[derive(Debug)]
pub(super) enum Store {
    File(Writer),
    /// They end with the process.
    Memory(Vec<Arc<Event>>),
}

impl Store {
    pub(super) fn append(&mut self, events: &[Arc<Event>]) {
        match self {
            Self::File(writer) => writer.append(events),
            Self::Memory(kept) => kept.extend_from_slice(events),
        }
    }

    /// Waits until all is kept.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) async fn written(&mut self) -> Result<(), Arc<str>> {
        match self {
            Self::File(writer) => writer.written().await,
            Self::Memory(_) => Ok(()),
        }
    }

    /// Waits until something cannot be kept, and says why.
    pub(super) async fn failed(&mut self) -> Arc<str> {
        match self {
            Self::File(writer) => writer.failed().await,
            Self::Memory(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::event::EventKind;

    fn event(seq: u64) -> Arc<Event> {
        Arc::new(Event {
            seq,
            kind: EventKind::DrillOpened,
            ..Event::default()
        })
    }

    fn seqs(drills: &Drills, id: &str) -> Vec<u64> {
        let events = drills.read(id).expect("a file").expect("a drill");
        events.iter().map(|event| event.seq).collect()
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_a_torn_line_is_cut_off() {
        let data = tempfile::tempdir().expect("a folder");
        let drills = Drills::new(data.path());
        assert_eq!(drills.ids().expect("none yet"), [""; 0]);
        let mut writer = drills.create("d-1").expect("a file");
        writer.append(&[event(1), event(2)]);
        writer.append(&[event(3)]);
        assert_eq!(writer.written().await, Ok(()));
        drop(writer);
        let file = data.path().join("drills/d-1.jsonl");
        for (path, mode) in [(file.parent().expect("a folder"), 0o700), (&file, 0o600)] {
            let rights = fs::metadata(path).expect("it is there").permissions();
            assert_eq!(rights.mode() & 0o777, mode, "{}", path.display());
        }
        assert_eq!(seqs(&drills, "d-1"), [1, 2, 3]);

        let mut torn = OpenOptions::new().append(true).open(&file).expect("a file");
        torn.write_all(b"{\"seq\": 4, \"ti").expect("half a line");
        assert_eq!(seqs(&drills, "d-1"), [1, 2, 3]);
        let mut writer = drills.reopen("d-1").expect("a file");
        writer.append(&[event(4)]);
        assert_eq!(writer.written().await, Ok(()));
        assert_eq!(seqs(&drills, "d-1"), [1, 2, 3, 4]);
        drills.create("d-2").expect("another");
        assert_eq!(drills.ids().expect("a folder"), ["d-2", "d-1"]);
        assert!(drills.create("d-2").is_err(), "it is there");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_a_line_is_reported() {
        let full = OpenOptions::new().write(true).open("/dev/full");
        let mut writer = Writer::begin(full.expect("a full disk")).expect("a thread");
        writer.append(&[event(1)]);
        let failed = writer.failed().await;
        assert!(failed.contains("No space"), "{failed}");
        writer.append(&[event(2)]);
        assert!(writer.written().await.is_err());
    }

    #[test]
    fn an_id_is_never_a_path() {
        let drills = Drills::new(Path::new("/"));
        for id in ["", "d-", "d-../../etc/passwd", "d-a/b", "ledger", "d-a.b"] {
            assert_eq!(drills.read(id).expect("not looked for"), None, "{id}");
        }
    }
}
