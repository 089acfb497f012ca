//! The journal on files that are torn, mixed up or removed, and on a disk that is full.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::super::event::{EventKind, NewEvent};
use super::*;

const SMALL: Bounds = Bounds {
    segment_bytes: 1000,
    segments: 3,
};

fn line(seq: u64) -> String {
    let mut event = NewEvent::new(EventKind::Started).0;
    event.seq = seq;
    event.error = Some("a text of some length, with ünïcödé".to_owned());
    serde_json::to_string(&event).expect("json") + "\n"
}

fn lines(seqs: impl Iterator<Item = u64>) -> String {
    seqs.map(line).collect()
}

fn seqs(found: &Found) -> Vec<u64> {
    found.kept.iter().map(|kept| kept.event.seq).collect()
}

fn reopen(folder: &Path) -> Found {
    Journal::open(folder, SMALL).expect("it opens").1
}

#[test]
fn appended_lines_are_read_back_and_numbers_continue() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut journal, found) = Journal::open(folder.path(), SMALL).expect("it opens");
    assert_eq!((found.last_seq, found.kept.len()), (0, 0));
    journal.append(1, lines(1..=2).as_bytes()).expect("room");
    journal.append(3, line(3).as_bytes()).expect("room");
    drop(journal);
    let found = reopen(folder.path());
    assert_eq!((seqs(&found), found.last_seq), (vec![1, 2, 3], 3));
    assert_eq!((found.healed_bytes, found.unreadable_lines), (0, 0));
}

#[test]
fn a_line_torn_at_any_byte_is_cut_off_and_replaced() {
    let (before, torn) = (lines(1..=2), line(3));
    for cut in 0..torn.len() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = path_of(folder.path(), 1);
        let bytes = [before.as_bytes(), &torn.as_bytes()[..cut]].concat();
        fs::write(&path, bytes).expect("a file");
        let (mut journal, found) = Journal::open(folder.path(), SMALL).expect("it opens");
        assert_eq!(
            (seqs(&found), found.last_seq),
            (vec![1, 2], 2),
            "cut at {cut}"
        );
        assert_eq!(found.healed_bytes, cut as u64);
        journal.append(3, line(3).as_bytes()).expect("room");
        drop(journal);
        assert_eq!(seqs(&reopen(folder.path())), [1, 2, 3], "cut at {cut}");
    }
}

#[test]
fn a_tail_of_zeros_is_cut_off_and_a_bad_line_in_the_middle_is_skipped() {
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
fn a_repeated_event_is_read_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = lines([1, 2, 2, 1, 3].into_iter());
    fs::write(path_of(folder.path(), 1), text).expect("a file");
    let found = reopen(folder.path());
    assert_eq!((seqs(&found), found.unreadable_lines), (vec![1, 2, 3], 2));
}

#[test]
fn the_size_is_bounded_and_the_newest_events_are_kept_in_order() {
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
    assert_eq!((kept.last(), found.last_seq), (Some(&200), 200));
}

#[test]
fn a_removed_folder_is_made_again_after_an_error() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = parent.path().join("ledger");
    let (mut journal, _) = Journal::open(&folder, SMALL).expect("it opens");
    journal.append(1, lines(1..=3).as_bytes()).expect("room");
    fs::remove_dir_all(&folder).expect("it was there");
    assert_eq!(journal.removed_from(), None);
    let gone = journal.append(4, line(4).as_bytes()).expect_err("no file");
    assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    assert_eq!(journal.removed_from(), Some(1));
    journal.append(1, lines(1..=4).as_bytes()).expect("room");
    let Err(second) = Journal::open(&folder, SMALL) else {
        panic!("two journals in one folder")
    };
    assert!(
        second.to_string().starts_with("another process"),
        "{second}"
    );
    drop(journal);
    assert_eq!(seqs(&reopen(&folder)), [1, 2, 3, 4]);
}

#[test]
fn numbers_continue_after_a_rotation_without_a_write() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(path_of(folder.path(), 1), lines(1..=4)).expect("a file");
    fs::write(path_of(folder.path(), 5), "").expect("a file");
    assert_eq!(reopen(folder.path()).last_seq, 4);
    fs::remove_file(path_of(folder.path(), 1)).expect("it was there");
    assert_eq!(reopen(folder.path()).last_seq, 4);
}

#[test]
fn a_second_process_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Journal::open(folder.path(), SMALL).expect("it opens");
    let Err(second) = Journal::open(folder.path(), SMALL) else {
        panic!("two journals in one folder")
    };
    assert_eq!(second.to_string(), IN_USE);
    drop(first);
    reopen(folder.path());
}

/// A file on a disk with room for so many bytes; a larger write is cut short.
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

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.truncate(bytes)
    }
}

#[test]
fn a_batch_cut_short_by_a_full_disk_is_written_whole_once_there_is_room() {
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

/// What a segment may hold: our lines, torn lines, JSON of others, and anything.
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
    fn a_journal_opens_on_any_files_and_reads_back_what_is_appended(
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
        prop_assert!(first.last().is_none_or(|last| *last <= found.last_seq));
        prop_assert!(found.last_seq + 1 < LAST_SEQ);
        drop(journal);

        let (mut journal, healed) = Journal::open(folder.path(), SMALL).expect("it opens");
        prop_assert_eq!((seqs(&healed), healed.last_seq), (first, found.last_seq));
        prop_assert_eq!(healed.healed_bytes, 0);
        let next = found.last_seq + 1;
        journal.append(next, line(next).as_bytes()).expect("room");
        drop(journal);
        let last = seqs(&reopen(folder.path())).pop();
        prop_assert_eq!(last, Some(next));
    }
}
