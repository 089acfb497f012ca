//! What was done, how it ended, and what failed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::footprint::Footprint;

/// How many failures are printed as they occur.
const PRINTED: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How often each kind of action had each outcome.
    done: BTreeMap<(&'static str, String), u64>,
    /// How many runs ended for each reason.
    ends: BTreeMap<String, u64>,
    rounds: Vec<Round>,
    pub(crate) failures: Vec<String>,
}

#[derive(Debug)]
struct Round {
    stopped_in: Duration,
    released_in: Duration,
    footprint: Footprint,
}

impl Report {
    pub(crate) fn did(&mut self, what: &'static str, outcome: impl Into<String>) {
        *self.done.entry((what, outcome.into())).or_default() += 1;
    }

    /// Records that a run ended for `reason`.
    pub(crate) fn ended(&mut self, reason: &str) {
        *self.ends.entry(reason.to_owned()).or_default() += 1;
    }

    pub(crate) fn failure(&mut self, failure: String) {
        if self.failures.len() < PRINTED {
            eprintln!("FAILED: {failure}");
        }
        self.failures.push(failure);
    }

    /// Records how long a stop of all took, how long until everything was released, and what the daemon held then.
    pub(crate) fn round(
        &mut self,
        stopped_in: Duration,
        released_in: Duration,
        footprint: Footprint,
    ) {
        self.rounds.push(Round {
            stopped_in,
            released_in,
            footprint,
        });
    }

    pub(crate) fn print(&self, base: Footprint) {
        println!("\n| what | how it ended | times |\n|---|---|--:|");
        for ((what, outcome), times) in &self.done {
            println!("| {what} | {outcome} | {times} |");
        }
        println!("\n| why a run ended | times |\n|---|--:|");
        for (reason, times) in &self.ends {
            println!("| {reason} | {times} |");
        }
        let most = |of: fn(&Round) -> f64| self.rounds.iter().map(of).fold(0.0, f64::max);
        println!("\n| after each stop of all | at first | at most |\n|---|--:|--:|");
        let row = |what, first: f64, of| println!("| {what} | {first:.1} | {:.1} |", most(of));
        row("threads", base.threads as f64, |r| {
            r.footprint.threads as f64
        });
        row("open files", base.open_files as f64, |r| {
            r.footprint.open_files as f64
        });
        row("tasks", base.tasks as f64, |r| r.footprint.tasks as f64);
        row("requests under way", base.requests as f64, |r| {
            r.footprint.requests as f64
        });
        row("running faults", base.running as f64, |r| {
            r.footprint.running as f64
        });
        row("files in DataDir", base.files as f64, |r| {
            r.footprint.files as f64
        });
        row("MiB resident", base.resident_mb, |r| {
            r.footprint.resident_mb
        });
        row("MiB of ledger files", base.ledger_mb, |r| {
            r.footprint.ledger_mb
        });
        let actions: u64 = self.done.values().sum();
        println!(
            "\n{actions} actions in {} rounds; a stop of all took {:.0} ms at most, everything was \
             released after {:.0} ms at most; {} checks failed.",
            self.rounds.len(),
            most(|round| round.stopped_in.as_secs_f64() * 1000.0),
            most(|round| round.released_in.as_secs_f64() * 1000.0),
            self.failures.len(),
        );
    }
}
