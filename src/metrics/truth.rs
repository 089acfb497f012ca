//! What was injected and what it achieves: for whoever judges, never for who is tested.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::{counter, counters, gauge, gauges};
use crate::lifecycle::panics;
use crate::manager::ScenarioManager;
use crate::run::EndReason;

/// `mockserver_*`.
#[derive(Debug)]
pub(super) struct Truth(pub(super) ScenarioManager);

impl Collector for Truth {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (names, view) = (self.0.names(), self.0.sessions.view());
        let live = |name: &str| view.latest.get(name).filter(|latest| latest.end.is_none());
        let readings: Vec<_> = names
            .iter()
            .map(|name| {
                let reading = live(name).map(|latest| latest.run.probe.read());
                ([("scenario", *name)], reading)
            })
            .collect();
        let e = &mut encoder;
        let active = readings
            .iter()
            .map(|(labels, reading)| (*labels, f64::from(u8::from(reading.is_some()))));
        let help = "Whether the scenario runs";
        gauges(e, "mockserver_fault_active", help, active)?;
        let asked = readings
            .iter()
            .map(|(labels, reading)| (*labels, reading.as_ref().map_or(0.0, |r| r.asked)));
        let help =
            "What the scenario's effect should measure now, in the unit that its status tells";
        gauges(e, "mockserver_fault_asked", help, asked)?;
        let achieved = readings.iter().map(|(labels, reading)| {
            // Not zero: nothing was measured.
            let achieved = |r: &crate::run::Reading| r.achieved.unwrap_or(f64::NAN);
            (*labels, reading.as_ref().map_or(0.0, achieved))
        });
        let help = "What it measures now, in the same unit; NaN until something could be measured";
        gauges(e, "mockserver_fault_achieved", help, achieved)?;
        let ends = names.iter().flat_map(|name| {
            EndReason::observable().map(|end| {
                let runs = view.ended.get(&(*name, end)).copied().unwrap_or(0);
                ([("scenario", *name), ("end", end.name())], runs as f64)
            })
        });
        let help = "Runs of the scenario that are over, by how they ended";
        counters(e, "mockserver_fault_runs", help, ends)?;
        let id = view.session.as_ref().map_or("", |s| &s.report.session_id);
        let lives = f64::from(u8::from(view.session.is_some()));
        let help = "The session that runs now";
        let session = [([("session_id", id)], lives)];
        gauges(e, "mockserver_session_info", help, session)?;
        let halted = f64::from(u8::from(view.halted_since.is_some()));
        let help = "Whether every start is refused until a rearm";
        gauge(e, "mockserver_halted", help, halted)?;
        let help = "Panics of this process, each of which the log tells of";
        counter(e, "mockserver_panics", help, panics::count() as f64)
    }
}
