//! The thread that writes a log, and the bounded queue before it.
//!
//! Not `tracing_appender::non_blocking`: it cannot count what becomes of certain lines, nor take them back.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::format;
use crate::config::LogFormat;
use crate::host::threads;
use crate::lifecycle::service_log::{LineTally, LogLine, LogOutput, ServiceLog};
use crate::sync::{Arc, Builder, Condvar, Lock, PoisonError};

/// Lines that may wait for the writer: a few seconds of a busy debug log, about a megabyte.
const WAITING_LINES: usize = 8192;
/// How many of them faults may have, so that the service's own find room beside them.
const WAITING_FED: usize = WAITING_LINES / 2;
/// The most bytes of those.
const WAITING_FED_BYTES: usize = 1024 * 1024;
/// The most bytes that are written at once if they are several lines: as many as a pipe takes without the lines of
/// another writer in between.
pub(super) const PIPE_BUF: usize = 4096;
/// How long the end of the log waits for the reader.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// Lines on their way to the writer; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Lock<Waiting>,
    /// There is something to do for the writer.
    work: Condvar,
    /// The writer has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Line>,
    fed: usize,
    fed_bytes: usize,
    /// Whether the writer sleeps until there is work.
    writer_sleeps: bool,
    is_ending: bool,
    has_ended: bool,
}

/// One event, which may be several lines as text.
#[derive(Debug)]
struct Line {
    text: Vec<u8>,
    fed: Option<Fed>,
}

#[derive(Debug)]
struct Fed {
    tally: Arc<LineTally>,
    lines: u64,
}

/// Ends the writer when it is dropped, with all lines that wait. Waits [`LAST_LINES_WITHIN`] at most.
#[derive(Debug)]
pub(super) struct WriterEnd(Queue);

impl Queue {
    /// Starts the thread that writes to `to`, up to `most_at_once` bytes of lines at once, or one line where that is
    /// longer.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(super) fn start(
        to: impl Write + Send + 'static,
        most_at_once: usize,
    ) -> io::Result<(Self, WriterEnd)> {
        let queue = Self(Arc::default());
        let of_thread = queue.clone();
        let thread = Builder::new().name(threads::name("log"));
        thread.spawn(move || of_thread.write_all(to, most_at_once))?;
        let end = WriterEnd(queue.clone());
        Ok((queue, end))
    }

    /// The service's log: lines of the targets that `log` holds back are dropped.
    pub(super) fn gated(&self, log: ServiceLog) -> GatedQueue {
        GatedQueue {
            queue: self.clone(),
            log: Some(log),
        }
    }

    /// A log with all its lines.
    pub(super) fn ungated(&self) -> GatedQueue {
        GatedQueue {
            queue: self.clone(),
            log: None,
        }
    }

    fn push(&self, line: Line) {
        let mut waiting = self.0.waiting.lock();
        match waiting.has_room_for(&line) {
            true => waiting.push(line),
            false => {
                if let Some(fed) = line.fed {
                    fed.tally.note(fed.lines, false);
                }
                return;
            }
        }
        // A notification is a system call, even where nothing sleeps.
        if std::mem::take(&mut waiting.writer_sleeps) {
            self.0.work.notify_one();
        }
    }

    /// The work of the thread.
    fn write_all(&self, mut to: impl Write, most_at_once: usize) {
        let (mut text, mut fed) = (Vec::new(), Vec::new());
        while self.next(most_at_once, &mut text, &mut fed) {
            // What cannot be written is dropped.
            let is_written = to.write_all(&text).and_then(|()| to.flush()).is_ok();
            for Fed { tally, lines } in fed.drain(..) {
                tally.note(lines, is_written);
            }
            text.clear();
        }
        self.0.waiting.lock().has_ended = true;
        self.0.ended.notify_all();
    }

    /// Waits for lines and takes the first of them; false at the end.
    fn next(&self, most_at_once: usize, text: &mut Vec<u8>, fed: &mut Vec<Fed>) -> bool {
        let mut waiting = self.0.waiting.lock();
        while waiting.lines.is_empty() {
            if waiting.is_ending {
                return false;
            }
            waiting.writer_sleeps = true;
            let woken = self.0.work.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        while let Some(line) = waiting.pop_within(text, most_at_once) {
            text.extend_from_slice(&line.text);
            fed.extend(line.fed);
        }
        true
    }
}

impl Waiting {
    fn has_room_for(&self, line: &Line) -> bool {
        if self.has_ended || self.lines.len() >= WAITING_LINES {
            return false;
        }
        let is_full_of_fed =
            self.fed >= WAITING_FED || self.fed_bytes + line.text.len() > WAITING_FED_BYTES;
        line.fed.is_none() || !(self.is_ending || is_full_of_fed)
    }

    fn push(&mut self, line: Line) {
        if line.fed.is_some() {
            self.fed += 1;
            self.fed_bytes += line.text.len();
        }
        self.lines.push_back(line);
    }

    /// The first line, if it comes after nothing or fits behind `text`.
    fn pop_within(&mut self, text: &[u8], most: usize) -> Option<Line> {
        let first = self.lines.front()?;
        if !text.is_empty() && text.len() + first.text.len() > most {
            return None;
        }
        let line = self.lines.pop_front()?;
        if line.fed.is_some() {
            self.fed -= 1;
            self.fed_bytes -= line.text.len();
        }
        Some(line)
    }

    fn take_back(&mut self, tally: &Arc<LineTally>) {
        let is_its = |line: &Line| {
            let fed = line.fed.as_ref();
            fed.is_some_and(|fed| Arc::ptr_eq(&fed.tally, tally))
        };
        for line in self.lines.iter().filter(|line| is_its(line)) {
            self.fed -= 1;
            self.fed_bytes -= line.text.len();
        }
        self.lines.retain(|line| !is_its(line));
        self.lines.shrink_to_fit();
    }
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        let shared = &self.0.0;
        let give_up = Instant::now() + LAST_LINES_WITHIN;
        let mut waiting = shared.waiting.lock();
        waiting.is_ending = true;
        shared.work.notify_one();
        while !waiting.has_ended {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = shared.ended.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Makes the writers of single lines for `tracing-subscriber`.
#[derive(Debug, Clone)]
pub(super) struct GatedQueue {
    queue: Queue,
    log: Option<ServiceLog>,
}

impl<'a> MakeWriter<'a> for GatedQueue {
    type Writer = OneLine<'a>;

    fn make_writer(&'a self) -> OneLine<'a> {
        OneLine(Some(&self.queue))
    }

    fn make_writer_for(&'a self, what: &Metadata<'_>) -> OneLine<'a> {
        let log = self.log.as_ref();
        let is_held_back = log.is_some_and(|log| log.holds_back(what.target()));
        OneLine((!is_held_back).then_some(&self.queue))
    }
}

/// Takes one line, or drops it.
#[derive(Debug)]
pub(super) struct OneLine<'q>(Option<&'q Queue>);

impl Write for OneLine<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(queue) = self.0 {
            queue.push(Line {
                text: text.to_vec(),
                fed: None,
            });
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The service's log, for faults.
#[derive(Debug)]
pub(super) struct FedQueue {
    pub(super) queue: Queue,
    pub(super) format: LogFormat,
}

impl LogOutput for FedQueue {
    fn add(&self, line: &LogLine, tally: &Arc<LineTally>) -> u64 {
        let text = format::line(line, self.format);
        let lines = text.bytes().filter(|byte| *byte == b'\n').count() as u64;
        let fed = Fed {
            tally: Arc::clone(tally),
            lines,
        };
        self.queue.push(Line {
            text: text.into_bytes(),
            fed: Some(fed),
        });
        lines
    }

    fn take_back(&self, tally: &Arc<LineTally>) {
        self.queue.0.waiting.lock().take_back(tally);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::lifecycle::panics::tests::Lines;

    /// Takes nothing before it is let go on.
    struct Stuck(mpsc::Receiver<()>, Lines);

    impl Write for Stuck {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // A sender that is gone lets everything go on.
            self.0.recv().ok();
            self.1.write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(text: &str) -> Line {
        Line {
            text: text.as_bytes().to_vec(),
            fed: None,
        }
    }

    fn fed(text: &str, tally: &Arc<LineTally>) -> Line {
        let tally = Arc::clone(tally);
        Line {
            fed: Some(Fed { tally, lines: 1 }),
            ..line(text)
        }
    }

    #[test]
    fn all_lines_that_wait_are_written_at_the_end() {
        let lines = Lines::default();
        let (queue, end) = Queue::start(lines.clone(), PIPE_BUF).expect("a thread");
        let mut expected = String::new();
        for n in 0..1000 {
            let text = format!("line {n}\n");
            queue.push(line(&text));
            expected += &text;
        }
        drop(end);
        queue.push(line("too late\n"));
        assert_eq!(lines.text(), expected);
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_room_is_left_for_the_service() {
        let (let_go, stuck) = mpsc::channel();
        let lines = Lines::default();
        let (queue, end) = Queue::start(Stuck(stuck, lines.clone()), PIPE_BUF).expect("a thread");
        let tally = Arc::default();
        queue.push(fed("fed\n", &tally));
        // The thread is stuck with it from then on.
        while !queue.0.waiting.lock().lines.is_empty() {
            std::thread::yield_now();
        }
        for _ in 1..WAITING_LINES {
            queue.push(fed("fed\n", &tally));
        }
        let written_at_once = (PIPE_BUF / 4) as u64;
        let lost = tally.lost();
        let kept = WAITING_LINES as u64 - lost;
        assert!((WAITING_FED as u64..=WAITING_FED as u64 + written_at_once).contains(&kept));
        queue.push(line("the service's own\n"));
        let other = Arc::default();
        queue.push(fed("of another\n", &other));
        assert_eq!(other.lost(), 1);
        queue.0.waiting.lock().take_back(&tally);
        queue.push(fed("of another\n", &other));
        drop(let_go);
        drop(end);
        let text = lines.text();
        assert!(text.ends_with("the service's own\nof another\n"), "{text}");
        assert_eq!(other.written(), 1);
        assert_eq!(text.matches("fed\n").count() as u64, tally.written());
        assert_eq!(tally.lost(), lost);
    }

    #[test]
    fn the_end_of_the_log_does_not_wait_for_ever() {
        let (_let_go, stuck) = mpsc::channel();
        let (queue, end) = Queue::start(Stuck(stuck, Lines::default()), 0).expect("a thread");
        queue.push(line("last words\n"));
        let from = Instant::now();
        drop(end);
        assert!(from.elapsed() >= LAST_LINES_WITHIN);
    }
}
