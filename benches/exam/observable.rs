//! Every preset once: what must move, moved.

use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use crate::limited::Limited;
use crate::patient::Patient;
use crate::row::Row;
use crate::table::Table;

/// Long enough for the onsets of all presets, and for twenty requests of the rarest match.
const LENGTH_S: u64 = 14;

pub(crate) fn measure(table: &mut Table) {
    let limited = match Limited::new() {
        Ok(limited) => Some(limited),
        Err(error) => {
            table.note(format!("presets that need a limit: {error}"));
            None
        }
    };
    let presets = Patient::start(&[]).presets();
    let names = presets
        .iter()
        .map(|preset| preset["name"].as_str().unwrap().to_owned());
    let left: Mutex<Vec<String>> = Mutex::new(names.rev().collect());
    let (found, all) = (Mutex::new(Vec::new()), presets.len());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut patient = Patient::start(&[]);
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some(name) = next else { break };
                    let seen = sit(&mut patient, &name, limited.as_ref());
                    found.lock().unwrap().push((name, seen));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    let mut is_seen = 0;
    for (name, seen) in &found {
        match seen {
            Seen::Yes => is_seen += 1,
            Seen::No(why) => eprintln!("{name}: {why}"),
            Seen::Refused(why) => table.note(format!("{name}: {why}")),
        }
    }
    let refused = found
        .iter()
        .filter(|(_, seen)| matches!(seen, Seen::Refused(_)));
    let asked = all - refused.count();
    table.row(Row {
        what: "presets whose faults were observable; controls in which nothing was a cause",
        asked: asked.to_string(),
        achieved: is_seen.to_string(),
        error: format!("{}", is_seen as i64 - asked as i64),
        bar: "all",
        held: is_seen == asked,
    });
}

enum Seen {
    Yes,
    No(String),
    /// The preset cannot be drawn here.
    Refused(String),
}

fn sit(patient: &mut Patient, name: &str, limited: Option<&Limited>) -> Seen {
    let body = json!({
        "preset": name, "seed": name, "time_scale": 0.02, "onset_s": [0.5, 1], "duration_s": LENGTH_S - 2,
        "traffic_rps": 100,
    });
    let length = Duration::from_secs(LENGTH_S);
    let mut in_group;
    let (patient, drill) = match patient.open(body.clone(), length) {
        Ok(drill) => (patient, drill),
        Err(answer) => {
            let Some(limited) = limited.filter(|_| answer.status == 422) else {
                return Seen::Refused(answer.body["detail"].to_string());
            };
            let wrapper: Vec<&str> = limited.wrapper.iter().map(String::as_str).collect();
            in_group = Patient::start(&wrapper);
            match in_group.open(body, length) {
                Ok(drill) => (&mut in_group, drill),
                Err(answer) => return Seen::Refused(answer.body["detail"].to_string()),
            }
        }
    };
    patient.live_among_peers(drill.deadline);
    let report = patient.close(&drill).body;
    let (truth, expected) = (&report["truth"], &report["expected"]["causes"]);
    let observable: Vec<&str> = truth
        .as_array()
        .into_iter()
        .flatten()
        .filter(|one| one["observable"] == true)
        .filter_map(|one| one["scenario"].as_str())
        .collect();
    let missing = expected.as_array().into_iter().flatten();
    let missing: Vec<&Value> = missing
        .filter(|cause| !observable.contains(&cause.as_str().unwrap_or_default()))
        .collect();
    match missing.is_empty() && truth.is_array() {
        true => Seen::Yes,
        false => Seen::No(format!("{missing:?} was not observable: {truth}")),
    }
}
