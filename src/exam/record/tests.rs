//! Records of drills for tests, and what is folded from events.

use serde_json::{Value, json};

use super::{Record, RecordError};
use crate::exam::plan::Plan;
use crate::ledger::event::Event;

/// A drill of one causes set, with events at times that are seconds after its opening.
pub(in crate::exam) struct Story {
    events: Vec<Value>,
    seq: u64,
    boot: u32,
}

pub(in crate::exam) const ID: &str = "d-1";

/// The time so many seconds after the opening.
pub(in crate::exam) fn time(s: f64) -> String {
    let opening = crate::run::Timestamp::default().plus_seconds(1_764_000_000.0);
    opening.plus_seconds(s).to_string()
}

pub(in crate::exam) fn plan(causes: &[&str], decision: &str) -> Value {
    let scenarios: Vec<_> = causes
        .iter()
        .map(|name| {
            json!({
                "name": name, "after_s": 60, "duration_s": 900, "params": { "leak_rate_mb": 2 },
                "graded": { "leak_rate_mb": "slope" },
            })
        })
        .collect();
    json!({
        "generator": 1, "preset": "p", "difficulty": "easy", "scenarios": scenarios,
        "expect": { "causes": causes, "derived": ["crash"], "decision": decision },
        "persist": "release", "time_scale": 1.0, "onset_s": 60.0, "duration_s": 900.0, "deadline_s": 1080.0,
        "max_answers": 5, "max_restarts": 20,
        "pool": [{ "preset": "p", "probability": 1.0, "expect": { "causes": causes, "derived": ["crash"], "decision": decision } }],
        "vocabulary": ["memory_leaker", "network_latency", "cpu_burner", "crash", "dependency", "disk_io", "health_check", "goroutine_leak"],
    })
}

impl Story {
    pub(in crate::exam) fn new(plan: Value) -> Self {
        let read: Plan = serde_json::from_value(plan.clone()).expect("a plan");
        let mut story = Self {
            events: Vec::new(),
            seq: 0,
            boot: 1,
        };
        let facts = json!({
            "plan": plan, "seed": "s", "salt": "00".repeat(16), "commitment": read.commitment(&[0; 16]),
            "service": "shop", "service_version": "1.0.0", "reveal": "admin",
        });
        story.own(0.0, "drill_opened", facts);
        story
    }

    pub(in crate::exam) fn add(&mut self, at: f64, mut event: Value) {
        self.seq += 1;
        event["seq"] = self.seq.into();
        event["time"] = time(at).into();
        event["monotonic_ns"] = json!((at * 1e9) as u64);
        event["boot_id"] = format!("b{}", self.boot).into();
        self.events.push(event);
    }

    pub(in crate::exam) fn own(&mut self, at: f64, kind: &str, facts: Value) {
        self.add(at, json!({ "kind": kind, "drill_id": ID, "drill": facts }));
    }

    /// A run of `scenario` that is effective from `from` to `to`.
    pub(in crate::exam) fn run(&mut self, scenario: &str, from: f64, to: f64) -> u64 {
        let id = self.seq + 1;
        let of = |kind: &str| json!({ "kind": kind, "session_id": "session-1", "run_id": id, "scenario": scenario });
        let mut accepted = of("accepted");
        accepted["by"] = "exam".into();
        self.add(from - 2.0, accepted);
        self.add(from - 1.0, of("started"));
        self.add(from, of("effective"));
        for (n, at) in [from, (from + to) / 2.0, to].into_iter().enumerate() {
            let achieved = 2.0 * (at - from + 1.0);
            let touched = (scenario == "network_latency").then_some(n as u64 * 50);
            let sample = json!({
                "run_id": id, "scenario": scenario, "asked": 100, "achieved": achieved, "touched": touched,
            });
            self.own(at, "drill_measured", json!({ "runs": [sample] }));
        }
        id
    }

    pub(in crate::exam) fn cleared(&mut self, at: f64, id: u64, scenario: &str, reason: &str) {
        self.add(at, json!({
            "kind": "cleared", "session_id": "session-1", "run_id": id, "scenario": scenario, "reason": reason,
        }));
    }

    pub(in crate::exam) fn boot(&mut self, at: f64, end: &str) {
        self.boot += 1;
        let previous = json!({ "boot_id": "b1", "end": end, "last_seq": self.seq });
        let facts =
            json!({ "version": "0", "pid": 1, "memory_limit_bytes": 0, "previous": previous });
        self.add(at, json!({ "kind": "boot", "boot": facts }));
    }

    pub(in crate::exam) fn answer(&mut self, at: f64, answer: Value) {
        let n = self
            .events
            .iter()
            .filter(|event| event["kind"] == "drill_answer")
            .count()
            + 1;
        self.own(at, "drill_answer", json!({ "n": n, "answer": answer }));
    }

    pub(in crate::exam) fn closed(&mut self, at: f64, reason: &str) -> Record {
        self.own(at, "drill_closed", json!({ "reason": reason }));
        self.record().expect("a whole drill")
    }

    pub(in crate::exam) fn record(&self) -> Result<Record, RecordError> {
        let events = self.events.iter().cloned().map(serde_json::from_value);
        let events: Vec<Event> = events.collect::<Result<_, _>>().expect("events");
        Record::fold(&events)
    }

    pub(in crate::exam) fn text(&self) -> String {
        self.events
            .iter()
            .map(|event| format!("{event}\n"))
            .collect()
    }
}

#[test]
fn times_and_ends_are_those_of_the_ledger() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    let id = story.run("memory_leaker", 70.0, 300.0);
    story.cleared(310.0, id, "memory_leaker", "expired");
    let record = story.closed(400.0, "finished");
    let item = &record.items[0];
    assert_eq!(item.effective_at.map(|at| at.to_string()), Some(time(70.0)));
    assert_eq!(item.cleared_at.map(|at| at.to_string()), Some(time(310.0)));
    assert_eq!(item.cleared_by.as_deref(), Some("expired"));
    assert!((item.effective_s - 240.0).abs() < 1e-6 && item.is_observable);
    let truth = item.truth_of("leak_rate_mb", record.closed_at);
    assert!(
        truth
            .and_then(|rate| rate.as_f64())
            .is_some_and(|rate| (rate - 2.0).abs() < 0.01)
    );
}

#[test]
fn a_fault_that_lasts_too_short_or_touches_too_few_cannot_be_seen() {
    for (scenario, to, is_seen) in [
        ("memory_leaker", 100.0, false),
        ("memory_leaker", 116.0, true),
        ("network_latency", 116.0, true),
    ] {
        let mut story = Story::new(plan(&[scenario], "rollback"));
        let id = story.run(scenario, 70.0, to);
        story.cleared(to, id, scenario, "expired");
        let record = story.closed(400.0, "finished");
        assert_eq!(record.items[0].is_observable, is_seen, "{scenario} {to}");
    }
}

#[test]
fn a_leak_that_the_kernel_ends_early_is_cleared_by_that_and_was_seen() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.run("memory_leaker", 70.0, 80.0);
    story.boot(82.0, "suspected_out_of_memory");
    let record = story.closed(400.0, "finished");
    let item = &record.items[0];
    assert_eq!(item.cleared_by.as_deref(), Some("out_of_memory"));
    assert!(
        item.is_observable && record.contaminated.is_empty(),
        "{record:?}"
    );
    assert_eq!(record.restarts, 1);
}

#[test]
fn an_end_that_no_fault_of_the_drill_explains_contaminates_it() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.boot(30.0, "unclean");
    let record = story.closed(400.0, "finished");
    assert_eq!(record.contaminated.len(), 1, "{record:?}");
}

#[test]
fn what_others_start_or_stop_contaminates_it() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.add(20.0, json!({
        "kind": "accepted", "session_id": "session-2", "run_id": 2, "scenario": "crash", "by": "127.0.0.1:5000",
    }));
    let record = story.closed(400.0, "finished");
    assert_eq!(
        record.contaminated,
        ["crash was started by another than the drill"]
    );
}

#[test]
fn an_answer_counts_from_its_own_time_only_where_the_process_was_down_then() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.run("memory_leaker", 70.0, 80.0);
    story.boot(120.0, "unclean");
    let answer = |at: f64| json!({ "detected": true, "decision": "rollback", "at": time(at) });
    story.answer(130.0, answer(100.0));
    story.answer(131.0, answer(125.0));
    let record = story.closed(400.0, "finished");
    let times: Vec<_> = record
        .answers
        .iter()
        .map(|one| (one.at.to_string(), one.is_backdated))
        .collect();
    assert_eq!(times, [(time(100.0), true), (time(131.0), false)]);
}

#[test]
fn a_clock_that_is_set_back_is_noted() {
    let mut story = Story::new(plan(&["memory_leaker"], "rollback"));
    story.run("memory_leaker", 70.0, 200.0);
    story.answer(50.0, json!({ "detected": true, "decision": "rollback" }));
    assert!(story.closed(400.0, "finished").is_clock_suspect);
}

#[test]
fn a_torn_last_line_is_left_out_and_any_other_is_an_error() {
    let mut story = Story::new(plan(&[], "promote"));
    assert_eq!(
        story.record().err(),
        Some(RecordError::NotClosed(ID.to_owned()))
    );
    story.closed(400.0, "finished");
    let text = story.text();
    assert_eq!(
        Record::read(&format!("{text}{{\"seq\":")).map(|all| all.len()),
        Ok(1)
    );
    let broken = text.replacen('{', "{{", 1);
    assert!(matches!(
        Record::read(&broken),
        Err(RecordError::BadLine { line: 1, .. })
    ));
    assert_eq!(Record::read("").err(), Some(RecordError::NoOpening));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\{\"seq\":1[^\n]{0,20}\\}\n?|[^\n]{0,30}\n?){0,4}") {
        if let Err(error) = Record::read(&text) {
            proptest::prop_assert!(!error.to_string().is_empty());
        }
    }
}
