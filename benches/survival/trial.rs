//! What is measured under every condition.

use std::any::Any;
use std::time::{Duration, Instant};

use crate::client::{ResponseTimes, Waiting, ask, stop_all};
use crate::freezer::Frozen;
use crate::subject::{Subject, in_words, is_released};
use crate::support::Usage;
use crate::table::Table;

/// How long the status is measured.
const WINDOW: Duration = Duration::from_secs(5);
const STOP_BAR: Duration = Duration::from_secs(1);
/// How long the kernel may take to release resources after a stop has answered.
const KERNEL: Duration = Duration::from_secs(1);

/// The bar of the status at p99, in ms: on the machine, and under a CPU quota that stops the process for most of each
/// tenth of a second.
pub(crate) const ON_MACHINE_MS: f64 = 10.0;
pub(crate) const UNDER_QUOTA_MS: f64 = 100.0;

/// What comes with a condition and ends with it.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) waiting: Option<Waiting>,
    pub(crate) frozen: Option<Frozen>,
    /// What goes on until this is dropped.
    pub(crate) others: Vec<Box<dyn Any>>,
}

pub(crate) struct Trial<'a> {
    pub(crate) subject: &'a Subject,
    /// The bar of the status at p99, in ms.
    pub(crate) bar_ms: f64,
    /// Whether the service listener can answer under the condition.
    pub(crate) service_answers: bool,
}

impl Trial<'_> {
    /// Measures under the condition. `put_on` returns what belongs to it, and its extent in words.
    pub(crate) fn run(&self, table: &mut Table, put_on: impl Fn(&Subject) -> (Held, String)) {
        let subject = self.subject;
        // Each listener opens what it needs with its first connection.
        for to in [subject.service, subject.admin] {
            ask(to, "GET", "/health", "").unwrap();
        }
        let before = subject.process.usage();
        let (held, during) = put_on(subject);
        let answers = ResponseTimes::of_status(subject.admin, WINDOW);
        let (p50, p99) = (answers.at(0.5), answers.at(0.99));
        let mut achieved = format!("{p50:.2}; {p99:.2} ms");
        if answers.missing() > 0 {
            achieved += &format!(", {} without an answer", answers.missing());
        }
        let bar = format!("p99 {} ms", self.bar_ms);
        table.line(
            &[&during, "status: p50; p99", &achieved, &bar],
            p99 <= self.bar_ms,
        );

        let peak = subject.process.usage();
        let stopped = stop_all(subject.admin);
        let answered = Instant::now();
        let unanswered = self.end(held);
        let mut now = subject.process.usage();
        while !is_released(now, before, peak) && answered.elapsed() < KERNEL {
            std::thread::sleep(Duration::from_millis(10));
            now = subject.process.usage();
        }
        let back_in = answered.elapsed();
        stop_row(table, &during, "stop-all on the admin listener", &stopped);
        let mb = |holding: Usage| holding.resident_mb;
        let mut achieved = format!(
            "{:.2} s; {:.0}, {:.0}, {:.0} MiB before, under it, after",
            back_in.as_secs_f64(),
            mb(before),
            mb(peak),
            mb(now)
        );
        let released = is_released(now, before, peak) && unanswered == 0 && back_in <= KERNEL;
        if !released {
            achieved = format!("{} of {}", in_words(now), in_words(before));
            if unanswered > 0 {
                achieved += &format!(", {unanswered} requests never answered");
            }
        }
        table.line(&[&during, "everything is back", &achieved, "1 s"], released);

        if self.service_answers {
            let (held, during) = put_on(subject);
            let stopped = stop_all(subject.service);
            self.end(held);
            stop_row(table, &during, "stop-all on the service listener", &stopped);
        }
    }

    /// Ends what came with the condition; returns how many requests were not answered.
    fn end(&self, held: Held) -> usize {
        let Held {
            waiting,
            frozen,
            others,
        } = held;
        drop(frozen);
        drop(others);
        stop_all(self.subject.admin).ok();
        waiting.map_or(0, Waiting::unanswered)
    }
}

fn stop_row(table: &mut Table, during: &str, what: &str, stopped: &Result<Duration, String>) {
    let achieved = match stopped {
        Ok(took) => format!("{:.3} s", took.as_secs_f64()),
        Err(reason) => reason.clone(),
    };
    let held = stopped.as_ref().is_ok_and(|took| *took <= STOP_BAR);
    table.line(&[during, what, &achieved, "1 s"], held);
}
