//! What the ledger tells of the rounds: no event is missing, each run that began has ended, and what
//! was only to be told is not there.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::DRY_DURATION_S;
use crate::common::Daemon;
use crate::figures::Figures;

#[derive(Debug, Default)]
pub(crate) struct History {
    /// The last event that was read.
    seen: u64,
    /// Runs that were accepted and are not over, by their first event.
    open: BTreeMap<u64, String>,
}

impl History {
    /// Reads what has come since, at a moment at which nothing runs, and counts in `figures` why runs
    /// ended; gives what is wrong with it.
    pub(crate) fn read_on(&mut self, daemon: &Daemon, figures: &mut Figures) -> Vec<String> {
        let mut faults = Vec::new();
        loop {
            let path = format!("/api/v1/events?since={}&limit=10000", self.seen);
            let page = daemon.admin_get(&path).body;
            if page["gap"] == true {
                faults.push(format!("events after {} are gone already", self.seen));
                self.open.clear();
            }
            if page["durable"] != true {
                faults.push(format!("the ledger is not durable: {page}"));
            }
            let events = page["events"].as_array().expect("a list of events");
            if events.is_empty() {
                break;
            }
            for event in events {
                let seq = event["seq"].as_u64().expect("a number");
                if seq != self.seen + 1 && page["gap"] == false {
                    faults.push(format!("after event {} comes {seq}", self.seen));
                }
                self.seen = seq;
                if event["duration_s"].as_f64() == Some(DRY_DURATION_S) {
                    faults.push(format!("a dry run was done: {event}"));
                }
                self.take(event);
                if event["kind"] == "cleared" {
                    let reason = event["reason"].as_str().unwrap_or_default();
                    figures.ended(reason);
                }
            }
        }
        for (run, scenario) in std::mem::take(&mut self.open) {
            faults.push(format!("run {run} of {scenario} has no end in the ledger"));
        }
        faults
    }

    fn take(&mut self, event: &Value) {
        let Some(run) = event["run_id"].as_u64() else {
            return;
        };
        match event["kind"].as_str() {
            Some("accepted") => {
                self.open.insert(run, event["scenario"].to_string());
            }
            Some("cleared" | "failed") => drop(self.open.remove(&run)),
            _ => {}
        }
    }
}
