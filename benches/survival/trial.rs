//! What is measured under every condition.

use std::any::Any;
use std::time::{Duration, Instant};

use crate::client::{Answers, Waiting, ask, stop_all};
use crate::freezer::Frozen;
use crate::subject::{Holding, Subject};
use crate::table::Table;

/// How long the status is asked.
const WINDOW: Duration = Duration::from_secs(5);
const STOP_BAR: Duration = Duration::from_secs(1);
/// How long the kernel may take over its own books after a stop has answered.
const BOOKKEEPING: Duration = Duration::from_secs(1);

/// The bar of the status at p99, in ms: on the machine, and where a CPU quota stops the process for
/// most of each tenth of a second.
pub(crate) const ON_MACHINE_MS: f64 = 10.0;
pub(crate) const UNDER_QUOTA_MS: f64 = 100.0;

/// What comes with a condition and ends with it.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) waiting: Option<Waiting>,
    pub(crate) frozen: Option<Frozen>,
    /// Dropped at the end: whatever must go on until then.
    pub(crate) others: Vec<Box<dyn Any>>,
}

pub(crate) struct Trial<'a> {
    pub(crate) subject: &'a Subject,
    /// The bar of the status at p99, in ms.
    pub(crate) bar_ms: f64,
    /// Whether the service listener can answer at all under it.
    pub(crate) service_answers: bool,
}

impl Trial<'_> {
    /// Measures while the condition is on. `put_on` gives what belongs to it, and what it has come to,
    /// in words.
    pub(crate) fn run(&self, table: &mut Table, put_on: impl Fn(&Subject) -> (Held, String)) {
        let subject = self.subject;
        // Both listeners have what they need once they have answered.
        for to in [subject.service, subject.admin] {
            ask(to, "GET", "/health", "").expect("an answer");
        }
        let before = subject.holding();
        let (held, during) = put_on(subject);
        let answers = Answers::of_status(subject.admin, WINDOW);
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

        let peak = subject.holding();
        let stopped = stop_all(subject.admin);
        let answered = Instant::now();
        let unanswered = self.end(held);
        let mut now = subject.holding();
        while !now.is_back(before, peak) && answered.elapsed() < BOOKKEEPING {
            std::thread::sleep(Duration::from_millis(10));
            now = subject.holding();
        }
        let back_in = answered.elapsed();
        stop_row(table, &during, "stop-all on the admin listener", &stopped);
        let mb = |holding: Holding| holding.resident_mb;
        let mut achieved = format!(
            "{:.2} s; {:.0}, {:.0}, {:.0} MiB before, under it, after",
            back_in.as_secs_f64(),
            mb(before),
            mb(peak),
            mb(now)
        );
        let back = now.is_back(before, peak) && unanswered == 0 && back_in <= BOOKKEEPING;
        if !back {
            achieved = format!("{now} of {before}");
            if unanswered > 0 {
                achieved += &format!(", {unanswered} requests never answered");
            }
        }
        table.line(&[&during, "everything is back", &achieved, "1 s"], back);

        if self.service_answers {
            let (held, during) = put_on(subject);
            let stopped = stop_all(subject.service);
            self.end(held);
            stop_row(table, &during, "stop-all on the service listener", &stopped);
        }
    }

    /// Takes away what came with the condition; gives how many requests were not answered.
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
