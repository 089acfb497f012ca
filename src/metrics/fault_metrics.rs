//! `mockserver_*`: which faults run and what they achieve. For operators and judges only, so the service listener's
//! page never has them.
//!
//! Every scenario of the registry has the same ten series.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::page::{counter, counters, gauge, gauges};
use crate::lifecycle::panics;
use crate::manager::ScenarioManager;
use crate::manager::view::View;
use crate::run::{EndReason, Reading};

#[derive(Debug)]
pub(super) struct FaultMetrics(pub(super) ScenarioManager);

impl Collector for FaultMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (names, view) = (self.0.names(), self.0.sessions.view());
        let e = &mut encoder;
        encode_readings(e, &names, &view)?;
        let ends = names.iter().flat_map(|name| {
            EndReason::observable().map(|end| {
                let runs = view.ended.get(&(*name, end)).copied().unwrap_or(0);
                ([("scenario", *name), ("end", end.name())], runs as f64)
            })
        });
        let help = "Runs of the scenario that are over, by how they ended";
        counters(e, "mockserver_fault_runs", help, ends)?;
        let id = view.session.as_ref().map_or("", |s| &s.report.session_id);
        let session = [([("session_id", id)], flag(view.session.is_some()))];
        gauges(e, "mockserver_session_info", "The live session", session)?;
        let help = "Whether every start is refused until a rearm";
        gauge(
            e,
            "mockserver_halted",
            help,
            flag(view.halted_since.is_some()),
        )?;
        let help = "Whether the newest events of the ledger would end with the process";
        let not_durable = flag(!self.0.sessions.is_durable());
        gauge(e, "mockserver_ledger_not_durable", help, not_durable)?;
        let help = "Panics of this process, each with a line in the log";
        counter(e, "mockserver_panics", help, panics::count() as f64)
    }
}

fn encode_readings(e: &mut DescriptorEncoder<'_>, names: &[&str], view: &View) -> fmt::Result {
    let readings: Vec<_> = names
        .iter()
        .map(|name| {
            let live = view.latest.get(*name).filter(|latest| latest.end.is_none());
            let reading = live.map(|latest| latest.run.probe.read());
            ([("scenario", *name)], reading)
        })
        .collect();
    let values = |value: fn(&Reading) -> f64| {
        let read = move |reading: &Option<Reading>| reading.as_ref().map_or(0.0, value);
        readings
            .iter()
            .map(move |(labels, reading)| (*labels, read(reading)))
    };
    let help = "Whether the scenario runs";
    gauges(e, "mockserver_fault_active", help, values(|_| 1.0))?;
    let help = "What the scenario's effect should measure now, in the unit of its status";
    gauges(e, "mockserver_fault_asked", help, values(|r| r.asked))?;
    let help = "What it measures now, in the same unit; NaN until something could be measured";
    let achieved = values(|r| r.achieved.unwrap_or(f64::NAN));
    gauges(e, "mockserver_fault_achieved", help, achieved)
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}
