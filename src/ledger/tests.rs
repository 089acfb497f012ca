//! The ledger on disks that are slow, full or missing.

use std::io;
use std::sync::mpsc;

use super::*;

const NO_FACTS: fn() -> BootFacts = BootFacts::default;

/// A disk that reports each batch to the test, and answers what the test says.
struct Puppet {
    batches: mpsc::Sender<(u64, usize)>,
    answers: mpsc::Receiver<io::Result<()>>,
}

impl Store for Puppet {
    fn append(&mut self, first_seq: u64, lines: &[u8]) -> io::Result<()> {
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        // A test that is over lets everything pass.
        self.batches.send((first_seq, count)).ok();
        self.answers.recv().unwrap_or(Ok(()))
    }

    fn keep_readings(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    ledger: Ledger,
    batches: mpsc::Receiver<(u64, usize)>,
    answer: mpsc::Sender<io::Result<()>>,
}

impl Bench {
    /// A ledger whose boot is on disk.
    fn new() -> Self {
        let (sender, batches) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let puppet = Puppet {
            batches: sender,
            answers,
        };
        let ledger = Ledger::with_store(Box::new(puppet), Found::default(), NO_FACTS());
        let bench = Self {
            ledger,
            batches,
            answer,
        };
        assert_eq!(bench.batch(), (1, 1));
        bench.answer(Ok(()));
        bench
    }

    fn batch(&self) -> (u64, usize) {
        let patience = Duration::from_secs(20);
        self.batches.recv_timeout(patience).expect("a batch")
    }

    fn answer(&self, answer: io::Result<()>) {
        self.answer.send(answer).expect("the thread lives");
    }

    fn note(&self) -> u64 {
        self.ledger.note(NewEvent::new(EventKind::Effective)).seq
    }

    /// Every number that a reader sees.
    fn seen(&self) -> Vec<u64> {
        self.ledger.all().iter().map(|event| event.seq).collect()
    }

    async fn until_visible(&self, newest: u64) {
        let mut visible = self.ledger.visible();
        let wait = visible.wait_for(|visible| visible.newest >= newest);
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        waited.expect("in time").expect("the ledger lives");
    }
}

fn full() -> io::Result<()> {
    Err(io::ErrorKind::StorageFull.into())
}

#[tokio::test]
async fn a_panic_of_the_writer_moves_the_ledger_to_memory() {
    struct Broken;
    impl Store for Broken {
        fn append(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
            panic!("a defect")
        }

        fn keep_readings(&mut self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }
    }
    let ledger = Ledger::with_store(Box::new(Broken), Found::default(), NO_FACTS());
    ledger.synced_within(Duration::from_secs(20)).await;
    let why = "the ledger's writer panicked: a defect";
    assert_eq!(ledger.not_durable().as_deref(), Some(why));
    // Later events wait for no disk.
    let seq = ledger.note(NewEvent::new(EventKind::Effective)).seq;
    assert_eq!(ledger.visible().borrow().newest, seq);
    ledger.synced().await;
    assert_eq!(ledger.not_durable().as_deref(), Some(why));
}

#[tokio::test]
async fn all_events_noted_so_far_go_in_one_sync_and_are_visible_after_it() {
    let bench = Bench::new();
    bench.until_visible(1).await;
    let seqs: Vec<u64> = (0..3).map(|_| bench.note()).collect();
    assert_eq!(seqs, [2, 3, 4]);
    let ledger = bench.ledger.clone();
    let synced = tokio::spawn(async move { ledger.synced().await });
    tokio::task::yield_now().await;
    assert_eq!(bench.batch(), (2, 3));
    assert_eq!((bench.seen(), synced.is_finished()), (vec![1], false));
    bench.answer(Ok(()));
    synced.await.expect("no panic");
    assert_eq!(bench.seen(), [1, 2, 3, 4]);
    assert_eq!(bench.ledger.not_durable(), None);
    // Nothing new, nothing to wait for.
    bench.ledger.synced().await;
}

#[tokio::test]
async fn an_event_without_a_waiting_caller_is_written_soon() {
    let bench = Bench::new();
    bench.note();
    assert_eq!(bench.batch(), (2, 1));
    bench.answer(Ok(()));
    bench.until_visible(2).await;
}

#[tokio::test]
async fn a_full_disk_is_reported_and_blocks_no_caller_and_the_ledger_catches_up() {
    let bench = Bench::new();
    bench.note();
    bench.answer(full());
    bench.ledger.synced().await;
    assert_eq!(bench.batch(), (2, 1));
    let reason = bench.ledger.not_durable().expect("it is not durable");
    assert!(reason.contains("no storage space"), "{reason}");
    assert_eq!(bench.seen(), [1, 2]);
    // The next events do not wait for the disk at all.
    bench.note();
    let at_once = Instant::now();
    bench.ledger.synced().await;
    assert!(at_once.elapsed() < RETRY / 2);
    assert_eq!(bench.seen(), [1, 2, 3]);
    // The next try has all of it, in order.
    assert_eq!(bench.batch(), (2, 2));
    bench.answer(Ok(()));
    while bench.ledger.not_durable().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.note();
    assert_eq!(bench.batch(), (4, 1));
}

#[tokio::test]
async fn a_hanging_disk_delays_one_caller_once() {
    let bench = Bench::new();
    bench.note();
    let before = Instant::now();
    bench.ledger.synced().await;
    assert!(before.elapsed() >= SYNC_LIMIT);
    assert_eq!(bench.seen(), [1, 2]);
    let reason = bench.ledger.not_durable().expect("it is not durable");
    assert_eq!(reason, "the disk has not synced within 1000 ms");
    bench.note();
    let before = Instant::now();
    bench.ledger.synced().await;
    assert!(before.elapsed() < SYNC_LIMIT / 2);
    assert_eq!(bench.seen(), [1, 2, 3]);
    assert_eq!(bench.batch(), (2, 1));
    bench.answer(Ok(()));
    assert_eq!(bench.batch(), (3, 1));
}

#[tokio::test]
async fn without_a_folder_the_ledger_lives_in_memory() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let ledger = Ledger::open(&file.path().join("ledger"), NO_FACTS());
    let reason = ledger.not_durable().expect("it is not durable");
    assert!(reason.contains("Not a directory"), "{reason}");
    ledger.note(NewEvent::new(EventKind::Effective));
    ledger.synced().await;
    let kinds: Vec<EventKind> = ledger.all().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Boot, EventKind::Effective]);
}

#[tokio::test]
async fn numbers_continue_across_a_restart_and_the_boot_says_how_the_last_process_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let life = |last: EventKind| {
        let path = folder.path().to_owned();
        async move {
            let ledger = Ledger::open(&path, NO_FACTS());
            let boot = ledger.note(NewEvent::new(last)).seq - 1;
            ledger.synced().await;
            ledger.close();
            while Arc::strong_count(&ledger.0) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let first = ledger.events_after(boot - 1, 1, |_| true).events;
            let facts = first[0].boot.clone().expect("a boot");
            (boot, facts.previous.map(|previous| previous.end))
        }
    };
    assert_eq!(life(EventKind::Shutdown).await, (1, None));
    assert_eq!(
        life(EventKind::ExitIntent).await,
        (3, Some(event::LastEnd::Graceful))
    );
    assert_eq!(
        life(EventKind::Effective).await,
        (5, Some(event::LastEnd::Planned))
    );
    assert_eq!(
        life(EventKind::Effective).await,
        (7, Some(event::LastEnd::Unclean))
    );
}

#[test]
fn slices_follow_each_other_without_a_gap_or_a_repeat() {
    let ledger = Ledger::in_memory("a test", NO_FACTS());
    for i in 0..100 {
        let kind = if i % 3 == 0 {
            EventKind::Lost
        } else {
            EventKind::Effective
        };
        ledger.note(NewEvent::new(kind));
    }
    for limit in [1, 7, 1000] {
        for wanted in [None, Some(EventKind::Lost)] {
            let wanted = |event: &Event| wanted.is_none_or(|kind| event.kind == kind);
            let (mut since, mut seen) = (0, Vec::new());
            loop {
                let slice = ledger.events_after(since, limit, wanted);
                assert!(slice.events.len() <= limit && slice.since == since);
                if slice.events.is_empty() {
                    break;
                }
                seen.extend(slice.events);
                since = slice.next;
            }
            assert_eq!(since, 101);
            let all: Vec<_> = ledger
                .all()
                .into_iter()
                .filter(|event| wanted(event))
                .collect();
            assert_eq!(seen, all);
        }
    }
}

#[test]
fn memory_is_bounded_and_a_reader_sees_where_the_slice_begins() {
    let ledger = Ledger::in_memory("a test", NO_FACTS());
    let long = NewEvent::new(EventKind::Failed).error(Some("x".repeat(64 * 1024)));
    for _ in 0..300 {
        ledger.note(long.clone());
    }
    let slice = ledger.events_after(5, 10, |_| true);
    assert!(
        slice.since > 5 && slice.events[0].seq == slice.since + 1,
        "{}",
        slice.since
    );
    let kept = ledger.lock().kept_bytes;
    assert!(kept <= KEPT_BYTES && kept > KEPT_BYTES / 2, "{kept} bytes");
}

#[test]
fn a_number_of_a_lost_ledger_gets_a_reader_everything_since_boot() {
    let ledger = Ledger::in_memory("a test", NO_FACTS());
    ledger.note(NewEvent::new(EventKind::Effective));
    let slice = ledger.events_after(1000, 10, |_| true);
    assert_eq!((slice.since, slice.events.len(), slice.next), (0, 2, 2));
}
