//! Sessions derived from events, and the table.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::csv::HEAD;
use super::*;
use crate::ledger::event::{BootFacts, NewEvent, Previous};
use crate::run::RunTag;

fn sessions_of(events: &[Arc<Event>]) -> Vec<PastSession> {
    let mut history = History::default();
    events.iter().for_each(|event| history.apply(event));
    let all = Wanted {
        since: 0,
        limit: usize::MAX,
        newest_first: false,
    };
    history.page(all).sessions
}

/// Any events at all, in an order that no daemon gives them.
fn any_event() -> impl Strategy<Value = Arc<Event>> {
    let kinds = [
        "boot",
        "accepted",
        "started",
        "effective",
        "target_reached",
        "lost",
        "stopping",
        "expired",
        "replaced",
        "failed",
        "cleared",
        "exit_intent",
        "shutdown",
    ];
    let duration = prop_oneof![any::<i32>().prop_map(f64::from), Just(1e300)];
    (
        prop::sample::select(kinds.to_vec()),
        (0..4_u32, 0..3_u32),
        prop::option::of(1..4_u64),
        prop::option::of(duration),
        prop::option::of(".{0,6}"),
    )
        .prop_map(|(kind, (second, session), run, duration, text)| {
            let event = serde_json::from_value(json!({
                "seq": 1, "time": format!("9999-12-31T23:59:5{second}Z"), "monotonic_ns": 0,
                "boot_id": "one", "kind": kind, "session_id": format!("session-{session}"),
                "run_id": run, "duration_s": duration, "scenario": text, "error": text,
                "reason": "stopped", "params": { "a": text },
            }));
            Arc::new(event.expect("an event"))
        })
}

proptest! {
    #[test]
    fn any_events_make_sessions_that_serialize(
        events in prop::collection::vec(any_event(), 0..30),
    ) {
        let sessions = sessions_of(&events);
        prop_assert!(serde_json::to_string(&sessions).is_ok());
        prop_assert!(csv(&sessions).starts_with(HEAD.trim_end()));
        let mut runs: Vec<(&str, u64)> = events
            .iter()
            .filter(|event| event.kind != EventKind::Boot)
            .filter_map(|event| Some((event.session_id.as_deref()?, event.run_id?)))
            .collect();
        runs.sort_unstable();
        runs.dedup();
        let listed: usize = sessions.iter().map(|session| session.runs.len()).sum();
        prop_assert_eq!(listed, runs.len());
    }
}

/// Events of one session, each a second after the one before.
struct Tape {
    events: Vec<Arc<Event>>,
    boot_id: &'static str,
}

impl Tape {
    fn new() -> Self {
        let mut tape = Self {
            events: Vec::new(),
            boot_id: "one",
        };
        tape.add(NewEvent::new(EventKind::Boot));
        tape
    }

    fn add(&mut self, NewEvent(mut event): NewEvent) {
        event.seq = self.events.len() as u64 + 1;
        event.time = at(event.seq);
        event.monotonic_ns = event.seq * 1_000_000_000;
        event.boot_id = self.boot_id.into();
        self.events.push(Arc::new(event));
    }

    fn accept(&mut self, scenario: &'static str) -> RunTag {
        let tag = RunTag {
            session_id: "session-1".to_owned(),
            run_id: self.events.len() as u64 + 1,
            scenario,
        };
        let params = json!({ "a": 1, "b": "x,\"y\"" });
        let accepted = NewEvent::of(EventKind::Accepted, &tag)
            .by("127.0.0.1:9".parse().ok().map(Initiator::Client))
            .params(params.as_object().cloned().unwrap_or_default())
            .duration(Some(Duration::from_secs(60)));
        self.add(accepted);
        tag
    }

    fn note(&mut self, kind: EventKind, tag: &RunTag) {
        self.add(NewEvent::of(kind, tag));
    }

    fn clear(&mut self, tag: &RunTag, reason: EndReason) {
        self.add(NewEvent::of(EventKind::Cleared, tag).reason(reason));
    }

    fn boot(&mut self, end: LastEnd) {
        let previous = Previous {
            boot_id: self.boot_id.to_owned(),
            end,
            because: None,
            last_seq: self.events.len() as u64,
            runs: Vec::new(),
        };
        self.boot_id = "two";
        self.add(NewEvent::boot(BootFacts {
            previous: Some(previous),
            ..BootFacts::default()
        }));
    }

    fn runs(&self) -> Vec<PastRun> {
        let sessions = sessions_of(&self.events);
        sessions
            .into_iter()
            .flat_map(|session| session.runs)
            .collect()
    }
}

fn at(seq: u64) -> Timestamp {
    Timestamp::from(time::OffsetDateTime::UNIX_EPOCH).plus_seconds(seq as f64)
}

fn interval(from: u64, to: Option<u64>) -> Interval {
    Interval {
        from: Some(at(from)),
        to: to.map(at),
    }
}

#[test]
fn a_run_has_its_plan_and_every_interval_that_was_measured() {
    let mut tape = Tape::new();
    let tag = tape.accept("a");
    let started = NewEvent::of(EventKind::Started, &tag).duration(Some(Duration::from_secs(90)));
    tape.add(started);
    for kind in [
        EventKind::Effective,
        EventKind::TargetReached,
        EventKind::Lost,
        EventKind::Effective,
    ] {
        tape.note(kind, &tag);
    }
    tape.note(EventKind::Expired, &tag);
    assert!(sessions_of(&tape.events)[0].running);
    tape.clear(&tag, EndReason::Expired);
    let sessions = sessions_of(&tape.events);
    assert_eq!((sessions.len(), sessions[0].running), (1, false));
    assert_eq!(
        (sessions[0].started_at, sessions[0].ended_at),
        (Some(at(2)), Some(at(9)))
    );
    let run = &sessions[0].runs[0];
    assert_eq!((run.run_id, run.planned), (2, interval(2, Some(93))));
    assert_eq!(run.measured, [interval(4, Some(6)), interval(7, Some(9))]);
    assert_eq!(
        (run.started_at, run.target_reached_at),
        (Some(at(3)), Some(at(5)))
    );
    assert_eq!(
        (run.end, run.ended_at),
        (Some(EndReason::Expired), Some(at(9)))
    );
}

#[test]
fn each_end_has_its_reason() {
    let mut tape = Tape::new();
    let (a, b, c) = (tape.accept("a"), tape.accept("b"), tape.accept("c"));
    tape.add(NewEvent::of(EventKind::Failed, &c).error(Some("no luck".to_owned())));
    tape.note(EventKind::Started, &a);
    tape.note(EventKind::Started, &b);
    tape.add(NewEvent::of(EventKind::Failed, &b).error(Some("broke".to_owned())));
    tape.clear(&b, EndReason::Failed);
    let again = tape.accept("a");
    tape.note(EventKind::Replaced, &a);
    tape.clear(&a, EndReason::Replaced);
    tape.note(EventKind::Started, &again);
    tape.note(EventKind::Stopping, &again);
    tape.clear(&again, EndReason::Stopped);
    let runs = tape.runs();
    let ends: Vec<_> = runs
        .iter()
        .map(|run| run.end.map(EndReason::name))
        .collect();
    assert_eq!(
        ends,
        [
            Some("replaced"),
            Some("failed"),
            Some("failed"),
            Some("stopped")
        ]
    );
    assert_eq!(runs[1].error.as_deref(), Some("broke"));
    assert_eq!(
        (runs[2].started_at, runs[2].error.as_deref()),
        (None, Some("no luck"))
    );
}

#[test]
fn an_aborted_run_reports_what_was_measured() {
    let mut tape = Tape::new();
    let tag = tape.accept("a");
    tape.note(EventKind::Started, &tag);
    let because = "achieved_above: a achieves 5".to_owned();
    tape.add(NewEvent::of(EventKind::Stopping, &tag).because(Some(because.clone())));
    tape.clear(&tag, EndReason::Aborted);
    let sessions = sessions_of(&tape.events);
    let run = &sessions[0].runs[0];
    assert_eq!(run.end, Some(EndReason::Aborted));
    assert_eq!(run.because, Some(because));
    assert!(csv(&sessions).contains(",aborted,achieved_above: a achieves 5,"));
}

#[test]
fn a_run_that_died_with_the_process_reports_what_is_known_of_its_end() {
    let mut tape = Tape::new();
    let tag = tape.accept("a");
    tape.note(EventKind::Started, &tag);
    tape.note(EventKind::Effective, &tag);
    let (mut killed, mut planned) = (tape.events.clone(), Tape::new());
    planned.events = killed.clone();
    tape.boot(LastEnd::Unclean);
    killed.clone_from(&tape.events);
    let run = &sessions_of(&killed)[0].runs[0];
    assert_eq!((run.end, run.ended_at), (Some(EndReason::Unclean), None));
    assert_eq!(
        (run.ended_before, &run.measured[..]),
        (Some(at(5)), &[interval(4, None)][..])
    );

    planned.note(EventKind::ExitIntent, &tag);
    planned.boot(LastEnd::Planned);
    let run = &planned.runs()[0];
    assert_eq!(
        (run.end, run.ended_at),
        (Some(EndReason::Exit), Some(at(5)))
    );
    assert_eq!(run.measured, [interval(4, Some(5))]);
}

#[test]
fn a_run_whose_first_events_are_gone_reports_the_rest() {
    let mut tape = Tape::new();
    let tag = tape.accept("a");
    tape.note(EventKind::Started, &tag);
    tape.note(EventKind::Stopping, &tag);
    tape.clear(&tag, EndReason::Stopped);
    let sessions = sessions_of(&tape.events[3..]);
    let run = &sessions[0].runs[0];
    assert_eq!((run.scenario.as_str(), run.planned.from), ("a", None));
    assert_eq!(run.end, Some(EndReason::Stopped));
}

#[test]
fn a_table_has_a_row_for_each_measured_interval_and_quotes_where_it_must() {
    let mut tape = Tape::new();
    let (a, b) = (tape.accept("a"), tape.accept("b"));
    for kind in [
        EventKind::Started,
        EventKind::Effective,
        EventKind::Lost,
        EventKind::Effective,
    ] {
        tape.note(kind, &a);
    }
    tape.note(EventKind::Started, &b);
    let table = csv(&sessions_of(&tape.events));
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[1].starts_with(
        "session-1,one,2,a,\"{\"\"a\"\":1,\"\"b\"\":\"\"x,\\\"\"y\\\"\"\"\"}\",127.0.0.1:9,"
    ));
    let columns = lines[0].split(',').count();
    assert_eq!(
        (columns, lines[3].split(',').count()),
        (22, 24),
        "{}",
        lines[3]
    );
}
