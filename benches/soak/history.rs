//! The ledger of the rounds: no event is missing, each run that was accepted has ended, and dry runs are not there.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::DRY_DURATION_S;
use crate::report::Report;
use crate::support::Daemon;

#[derive(Debug, Default)]
pub(crate) struct History {
    /// The last event that was read.
    seen: u64,
    /// Runs that were accepted and have not ended, by their first event.
    open: BTreeMap<u64, String>,
}

impl History {
    /// Reads the new events while nothing runs, and counts in `report` why runs ended; returns what is wrong.
    pub(crate) fn check(&mut self, daemon: &Daemon, report: &mut Report) -> Vec<String> {
        let mut failures = Vec::new();
        loop {
            let path = format!("/api/v1/events?since={}&limit=10000", self.seen);
            let page = daemon.admin_get(&path).body;
            if page["gap"] == true {
                failures.push(format!("events after {} are dropped already", self.seen));
                self.open.clear();
            }
            if page["durable"] != true {
                failures.push(format!("the ledger is not durable: {page}"));
            }
            let events = page["events"].as_array().unwrap();
            if events.is_empty() {
                break;
            }
            for event in events {
                let seq = event["seq"].as_u64().unwrap();
                if seq != self.seen + 1 && page["gap"] == false {
                    failures.push(format!("event {seq} comes after {}", self.seen));
                }
                self.seen = seq;
                if event["duration_s"].as_f64() == Some(DRY_DURATION_S) {
                    failures.push(format!("a dry run had an effect: {event}"));
                }
                self.track(event);
                if event["kind"] == "cleared" {
                    let reason = event["reason"].as_str().unwrap_or_default();
                    report.ended(reason);
                }
            }
        }
        for (run, scenario) in std::mem::take(&mut self.open) {
            failures.push(format!("run {run} of {scenario} has no end in the ledger"));
        }
        failures
    }

    fn track(&mut self, event: &Value) {
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
