//! What was done, what it came to, and whatever was not right.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::census::Footprint;

/// So many faults are told one by one.
const TOLD: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// How often each kind of thing was done, with how it ended.
    done: BTreeMap<(&'static str, String), u64>,
    /// How many runs ended for each reason.
    ends: BTreeMap<String, u64>,
    rounds: Vec<Round>,
    /// Whatever was not right.
    pub(crate) faults: Vec<String>,
}

#[derive(Debug)]
struct Round {
    stopped_in: Duration,
    back_in: Duration,
    held: Footprint,
}

impl Figures {
    pub(crate) fn did(&mut self, what: &'static str, outcome: impl Into<String>) {
        *self.done.entry((what, outcome.into())).or_default() += 1;
    }

    /// Notes that a run ended for `reason`.
    pub(crate) fn ended(&mut self, reason: &str) {
        *self.ends.entry(reason.to_owned()).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, fault: String) {
        if self.faults.len() < TOLD {
            eprintln!("NOT RIGHT: {fault}");
        }
        self.faults.push(fault);
    }

    /// Notes how long a stop-all took, when all was back, and what was held then.
    pub(crate) fn round(&mut self, stopped_in: Duration, back_in: Duration, held: Footprint) {
        self.rounds.push(Round {
            stopped_in,
            back_in,
            held,
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
        println!("\n| after each stop-all | at first | at most |\n|---|--:|--:|");
        let row = |what, first: f64, of| println!("| {what} | {first:.1} | {:.1} |", most(of));
        row("threads", base.threads as f64, |r| r.held.threads as f64);
        row("open files", base.open_files as f64, |r| {
            r.held.open_files as f64
        });
        row("tasks", base.tasks as f64, |r| r.held.tasks as f64);
        row("requests under way", base.requests as f64, |r| {
            r.held.requests as f64
        });
        row("faults that are on", base.running as f64, |r| {
            r.held.running as f64
        });
        row("files in DataDir", base.files as f64, |r| {
            r.held.files as f64
        });
        row("MiB resident", base.resident_mb, |r| r.held.resident_mb);
        row("MiB of ledger files", base.ledger_mb, |r| r.held.ledger_mb);
        let actions: u64 = self.done.values().sum();
        println!(
            "\n{actions} actions in {} rounds; a stop-all took {:.0} ms at most, everything was back \
             after {:.0} ms at most; {} things were not right.",
            self.rounds.len(),
            most(|round| round.stopped_in.as_secs_f64() * 1000.0),
            most(|round| round.back_in.as_secs_f64() * 1000.0),
            self.faults.len(),
        );
    }
}
