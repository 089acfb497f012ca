//! The ledger's files: JSON lines in segments of a bounded size, of which only the newest are kept.
//!
//! Only the ledger's own thread calls this while the daemon runs. Whatever was written and not synced
//! when the process died is either whole lines, which stay, or a torn last line, which is cut off.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::event::Event;

/// No ledger gets so far, and no query can ask for more: a larger number in a file is not ours.
const LAST_SEQ: u64 = i64::MAX as u64;

/// How large files may grow and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes after which a new segment is begun.
    pub(super) segment_bytes: u64,
    /// Segments that are kept.
    pub(super) segments: usize,
}

/// Where batches of lines go. Files, or a stand-in of the tests.
pub(super) trait Store: Send {
    /// Writes whole lines, the first of which has the number `first_seq`, and syncs them. After an
    /// error nothing of the batch counts as written, and it may be given again.
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()>;
}

/// What of a file the journal needs.
pub(super) trait Segment: Write + Send {
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, bytes: u64) -> io::Result<()>;
}

impl Segment for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()?;
        match self.metadata()?.nlink() {
            // What is synced there is gone with the process.
            0 => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the ledger's file was removed",
            )),
            _ => Ok(()),
        }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

type Opener = Box<dyn Fn(&Path) -> io::Result<Box<dyn Segment>> + Send>;

/// The segments on disk, the last of them open.
pub(super) struct Journal {
    folder: PathBuf,
    bounds: Bounds,
    open: Opener,
    /// Oldest first; the last is the one that is written.
    segments: VecDeque<PathBuf>,
    active: Box<dyn Segment>,
    /// How much of the active segment is whole, synced lines.
    good: u64,
    /// Something may stand behind those: it must be cut off first.
    torn: bool,
    /// The folder has names that are not synced.
    renamed: bool,
    /// Held as long as this journal lives; the system lets go of it when the process dies.
    _lock: File,
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every event that could be read, in order, with the length of its line.
    pub(super) events: Vec<(Event, usize)>,
    /// The number for the next event.
    pub(super) next_seq: u64,
    /// Bytes of a torn last line that were cut off.
    pub(super) healed_bytes: u64,
    /// Lines that are no event, or an event out of order.
    pub(super) unreadable_lines: u64,
}

impl Journal {
    /// Opens the journal in `folder`, which is made when missing, and heals a torn last line.
    pub(super) fn open(folder: &Path, bounds: Bounds) -> io::Result<(Self, Found)> {
        let open = |path: &Path| -> io::Result<Box<dyn Segment>> {
            Ok(Box::new(
                OpenOptions::new().create(true).append(true).open(path)?,
            ))
        };
        Self::open_with(folder, bounds, Box::new(open))
    }

    fn open_with(folder: &Path, bounds: Bounds, open: Opener) -> io::Result<(Self, Found)> {
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))?;
        // Two writers would tear each other's lines.
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another process keeps its ledger there"))?;
        let mut segments = list(folder)?;
        let mut found = Found {
            next_seq: 1,
            ..Found::default()
        };
        let mut good = 0;
        for (i, (_, path)) in segments.iter().enumerate() {
            let (whole, rest) = read(path, &mut found)?;
            good = whole;
            // Only the last segment is ever written, so only its tail can be torn.
            if i + 1 < segments.len() {
                found.unreadable_lines += rest;
            }
        }
        if let Some((first_seq, _)) = segments.back() {
            // An empty segment still tells where the numbers go on.
            found.next_seq = found.next_seq.max(*first_seq);
        } else {
            segments.push_back((found.next_seq, path_of(folder, found.next_seq)));
        }
        let segments: VecDeque<PathBuf> = segments.into_iter().map(|(_, path)| path).collect();
        let mut active = open(&segments[segments.len() - 1])?;
        let length = fs::metadata(&segments[segments.len() - 1])?.len();
        if length > good {
            active.cut(good)?;
            active.sync()?;
            found.healed_bytes = length - good;
        }
        let journal = Self {
            folder: folder.to_owned(),
            bounds,
            open,
            segments,
            active,
            good,
            torn: false,
            renamed: true,
            _lock: lock,
        };
        Ok((journal, found))
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
        // Nothing is there, unless an earlier try to rotate ended halfway.
        active.cut(0)?;
        self.active = active;
        self.segments.push_back(path);
        (self.good, self.torn, self.renamed) = (0, false, true);
        Ok(())
    }
}

impl Store for Journal {
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            // Opened anew: after a failed sync the old handle may tell of a success that is none.
            self.active = (self.open)(&self.segments[self.segments.len() - 1])?;
            self.active.cut(self.good)?;
            self.torn = false;
        }
        let length = lines.len() as u64;
        if self.good > 0 && self.good + length > self.bounds.segment_bytes {
            self.rotate(first_seq)?;
        }
        self.torn = true;
        self.active.write_all(lines)?;
        let synced = self.active.sync();
        if let Err(error) = &synced
            && error.kind() == io::ErrorKind::NotFound
        {
            // The next one of that name begins empty.
            (self.good, self.renamed) = (0, true);
        }
        synced?;
        if self.renamed {
            // Made and removed names must last too.
            File::open(&self.folder)?.sync_all()?;
            self.renamed = false;
        }
        self.torn = false;
        self.good += length;
        Ok(())
    }
}

fn path_of(folder: &Path, first_seq: u64) -> PathBuf {
    folder.join(format!("events-{first_seq:020}.jsonl"))
}

/// The segments with the number in each name, oldest first. Other files are left alone.
fn list(folder: &Path) -> io::Result<VecDeque<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name
            .and_then(|name| name.strip_prefix("events-")?.strip_suffix(".jsonl"))
            .and_then(|digits| digits.parse().ok())
            .filter(|number| *number < LAST_SEQ);
        if let Some(number) = number {
            segments.push((number, path));
        }
    }
    segments.sort();
    Ok(segments.into())
}

/// Adds the events of one segment; returns how many of its bytes are good, which is up to the end of
/// the last whole line of JSON, and how many lines stand behind those.
fn read(path: &Path, found: &mut Found) -> io::Result<(u64, u64)> {
    let bytes = fs::read(path)?;
    let (mut at, mut good, mut unreadable) = (0, 0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        at += line.len() as u64;
        if line.last() != Some(&b'\n') {
            unreadable += 1;
            break;
        }
        match serde_json::from_slice::<Event>(line) {
            Ok(event) if (found.next_seq..LAST_SEQ).contains(&event.seq) => {
                found.next_seq = event.seq + 1;
                found.events.push((event, line.len()));
            }
            // Of a later version, or out of order: not for this reader, but whole.
            _ if serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok() => {
                found.unreadable_lines += 1;
            }
            _ => {
                unreadable += 1;
                continue;
            }
        }
        good = at;
        found.unreadable_lines += std::mem::take(&mut unreadable);
    }
    Ok((good, unreadable))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::super::event::{EventKind, NewEvent};
    use super::*;

    const SMALL: Bounds = Bounds {
        segment_bytes: 1000,
        segments: 3,
    };

    fn line(seq: u64) -> String {
        let mut event = NewEvent::new(EventKind::Started).event;
        event.seq = seq;
        event.error = Some("a text of some length, with ünïcödé".to_owned());
        serde_json::to_string(&event).expect("json") + "\n"
    }

    fn lines(seqs: impl Iterator<Item = u64>) -> String {
        seqs.map(line).collect()
    }

    fn seqs(found: &Found) -> Vec<u64> {
        found.events.iter().map(|(event, _)| event.seq).collect()
    }

    fn reopen(folder: &Path) -> Found {
        Journal::open(folder, SMALL).expect("it opens").1
    }

    #[test]
    fn what_was_appended_is_read_back_and_numbers_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut journal, found) = Journal::open(folder.path(), SMALL).expect("it opens");
        assert_eq!((found.next_seq, found.events.len()), (1, 0));
        journal.append(1, lines(1..=2).as_bytes()).expect("room");
        journal.append(3, line(3).as_bytes()).expect("room");
        drop(journal);
        let found = reopen(folder.path());
        assert_eq!((seqs(&found), found.next_seq), (vec![1, 2, 3], 4));
        assert_eq!((found.healed_bytes, found.unreadable_lines), (0, 0));
    }

    #[test]
    fn a_line_torn_at_any_byte_is_cut_off_and_the_next_takes_its_place() {
        let (before, torn) = (lines(1..=2), line(3));
        for cut in 0..torn.len() {
            let folder = tempfile::tempdir().expect("a folder");
            let path = path_of(folder.path(), 1);
            let bytes = [before.as_bytes(), &torn.as_bytes()[..cut]].concat();
            fs::write(&path, bytes).expect("a file");
            let (mut journal, found) = Journal::open(folder.path(), SMALL).expect("it opens");
            assert_eq!(
                (seqs(&found), found.next_seq),
                (vec![1, 2], 3),
                "cut at {cut}"
            );
            assert_eq!(found.healed_bytes, cut as u64);
            journal.append(3, line(3).as_bytes()).expect("room");
            drop(journal);
            assert_eq!(seqs(&reopen(folder.path())), [1, 2, 3], "cut at {cut}");
        }
    }

    #[test]
    fn a_tail_of_zeros_is_cut_off_and_a_bad_line_in_the_middle_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_of(folder.path(), 1);
        let middle = "garbage\n{\"seq\": \"of another kind\"}\n";
        let bytes = [
            line(1).as_bytes(),
            middle.as_bytes(),
            line(2).as_bytes(),
            &[0; 700],
        ]
        .concat();
        fs::write(&path, bytes).expect("a file");
        let found = reopen(folder.path());
        assert_eq!(seqs(&found), [1, 2]);
        assert_eq!((found.healed_bytes, found.unreadable_lines), (700, 2));
        assert_eq!(reopen(folder.path()).healed_bytes, 0);
    }

    #[test]
    fn an_event_that_stands_twice_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = lines([1, 2, 2, 1, 3].into_iter());
        fs::write(path_of(folder.path(), 1), text).expect("a file");
        let found = reopen(folder.path());
        assert_eq!((seqs(&found), found.unreadable_lines), (vec![1, 2, 3], 2));
    }

    #[test]
    fn the_total_is_bounded_and_the_newest_events_are_kept_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut journal, _) = Journal::open(folder.path(), SMALL).expect("it opens");
        for seq in 1..=200 {
            journal.append(seq, line(seq).as_bytes()).expect("room");
            let sizes = list(folder.path()).expect("names").into_iter();
            let total: u64 = sizes
                .map(|(_, path)| fs::metadata(path).expect("its size").len())
                .sum();
            assert!(
                total <= SMALL.segment_bytes * SMALL.segments as u64,
                "{total} bytes"
            );
        }
        drop(journal);
        let found = reopen(folder.path());
        let kept = seqs(&found);
        assert!(kept.len() >= 6, "{} events are kept", kept.len());
        assert!(
            kept.windows(2).all(|pair| pair[0] + 1 == pair[1]),
            "{kept:?}"
        );
        assert_eq!((kept.last(), found.next_seq), (Some(&200), 201));
    }

    #[test]
    fn a_removed_folder_is_told_and_a_new_one_is_begun_anew() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("ledger");
        let (mut journal, _) = Journal::open(&folder, SMALL).expect("it opens");
        journal.append(1, lines(1..=3).as_bytes()).expect("room");
        fs::remove_dir_all(&folder).expect("it was there");
        for _ in 0..2 {
            let gone = journal.append(4, line(4).as_bytes()).expect_err("no file");
            assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        }
        fs::create_dir(&folder).expect("it is gone");
        journal.append(4, line(4).as_bytes()).expect("room");
        drop(journal);
        assert_eq!(seqs(&reopen(&folder)), [4]);
    }

    #[test]
    fn numbers_go_on_after_a_rotation_that_wrote_nothing_yet() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(path_of(folder.path(), 1), lines(1..=4)).expect("a file");
        fs::write(path_of(folder.path(), 5), "").expect("a file");
        assert_eq!(reopen(folder.path()).next_seq, 5);
        fs::remove_file(path_of(folder.path(), 1)).expect("it was there");
        assert_eq!(reopen(folder.path()).next_seq, 5);
    }

    #[test]
    fn a_second_process_is_kept_out_as_long_as_the_first_lives() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Journal::open(folder.path(), SMALL).expect("it opens");
        let Err(second) = Journal::open(folder.path(), SMALL) else {
            panic!("two journals in one folder")
        };
        assert_eq!(second.to_string(), "another process keeps its ledger there");
        drop(first);
        reopen(folder.path());
    }

    /// A file on a disk with room for a number of bytes; what does not fit is written in part.
    struct OnSmallDisk(File, Arc<AtomicU64>);

    impl Write for OnSmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.1.load(Ordering::Relaxed) as usize;
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = self.0.write(&bytes[..bytes.len().min(room)])?;
            self.1.fetch_sub(written as u64, Ordering::Relaxed);
            Ok(written)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Segment for OnSmallDisk {
        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn cut(&mut self, bytes: u64) -> io::Result<()> {
            self.0.cut(bytes)
        }
    }

    #[test]
    fn a_batch_that_a_full_disk_took_in_part_is_written_whole_when_there_is_room_again() {
        for room in 0..line(3).len() as u64 + 2 {
            let folder = tempfile::tempdir().expect("a folder");
            let left = Arc::new(AtomicU64::new(u64::MAX));
            let disk = Arc::clone(&left);
            let open = move |path: &Path| -> io::Result<Box<dyn Segment>> {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                Ok(Box::new(OnSmallDisk(file, Arc::clone(&disk))))
            };
            let opened = Journal::open_with(folder.path(), SMALL, Box::new(open));
            let (mut journal, _) = opened.expect("it opens");
            journal.append(1, lines(1..=2).as_bytes()).expect("room");
            left.store(room, Ordering::Relaxed);
            let full = journal
                .append(3, lines(3..=4).as_bytes())
                .expect_err("no room");
            assert_eq!(full.kind(), io::ErrorKind::StorageFull);
            left.store(u64::MAX, Ordering::Relaxed);
            journal
                .append(3, lines(3..=5).as_bytes())
                .expect("room again");
            drop(journal);
            let found = reopen(folder.path());
            assert_eq!((seqs(&found), found.healed_bytes), (vec![1, 2, 3, 4, 5], 0));
        }
    }

    /// What may stand in a segment: lines of ours, torn ones, JSON of others, and anything.
    fn any_segment() -> impl Strategy<Value = Vec<u8>> {
        let number = prop_oneof![8 => 1..9_u64, 1 => Just(LAST_SEQ - 2), 1 => any::<u64>()];
        let piece = prop_oneof![
            6 => number.clone().prop_map(|seq| line(seq).into_bytes()),
            1 => (number, 0..200_usize).prop_map(|(seq, cut)| {
                let whole = line(seq).into_bytes();
                whole[..cut.min(whole.len())].to_vec()
            }),
            1 => Just(b"{\"seq\": \"of another kind\"}\n".to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..30),
            1 => Just(vec![0; 40]),
        ];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn whatever_the_files_hold_it_opens_and_what_is_appended_is_read_back(
            segments in prop::collection::btree_map(
                prop_oneof![8 => 1..9_u64, 1 => Just(LAST_SEQ - 2), 1 => any::<u64>()],
                any_segment(),
                0..4,
            ),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            for (number, bytes) in segments {
                fs::write(path_of(folder.path(), number), bytes).expect("a file");
            }
            let (journal, found) = Journal::open(folder.path(), SMALL).expect("it opens");
            let first = seqs(&found);
            prop_assert!(first.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", first);
            prop_assert!(first.last().is_none_or(|last| *last < found.next_seq));
            prop_assert!(found.next_seq < LAST_SEQ);
            drop(journal);

            let (mut journal, healed) = Journal::open(folder.path(), SMALL).expect("it opens");
            prop_assert_eq!((seqs(&healed), healed.next_seq), (first, found.next_seq));
            prop_assert_eq!(healed.healed_bytes, 0);
            journal.append(found.next_seq, line(found.next_seq).as_bytes()).expect("room");
            drop(journal);
            let last = seqs(&reopen(folder.path())).pop();
            prop_assert_eq!(last, Some(found.next_seq));
        }
    }
}
