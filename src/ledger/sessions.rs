//! What was planned and what was measured, session by session and run by run: a labelled record of
//! the past, derived from the ledger's events and from nothing else.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::event::{Asker, Event, Kind, LastEnd, Moment};
use crate::manager::end_reason::EndReason;

/// From when to when; null is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Interval {
    /// Its beginning.
    pub from: Option<Moment>,
    /// Its end.
    pub to: Option<Moment>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunEnding {
    /// Somebody asked for it.
    Stopped,
    /// Its duration was over.
    Expired,
    /// A later start took its place.
    Replaced,
    /// It could not start or could not go on.
    Failed,
    /// Something that its start named in `abort_when` was measured.
    Aborted,
    /// Its client did not renew the lease.
    LeaseExpired,
    /// The daemon was told to end.
    Shutdown,
    /// A scenario ended the process as it was told.
    Exit,
    /// The process vanished.
    Unclean,
}

impl RunEnding {
    /// As it stands in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::LeaseExpired => "lease_expired",
            Self::Shutdown => "shutdown",
            Self::Exit => "exit",
            Self::Unclean => "unclean",
        }
    }
}

impl From<EndReason> for RunEnding {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Stopped => Self::Stopped,
            EndReason::Expired => Self::Expired,
            EndReason::Replaced => Self::Replaced,
            EndReason::Failed => Self::Failed,
            EndReason::Aborted => Self::Aborted,
            EndReason::LeaseExpired => Self::LeaseExpired,
            EndReason::Shutdown => Self::Shutdown,
        }
    }
}

/// One run of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PastRun {
    /// The `seq` of its `accepted`.
    pub run_id: u64,
    /// The scenario.
    pub scenario: String,
    /// The effective parameters.
    pub params: Map<String, Value>,
    /// The client that started it.
    pub by: Option<Asker>,
    /// From its acceptance to the end of its duration; open at the end when it had none.
    pub planned: Interval,
    /// When it was up; null when it never was.
    pub started_at: Option<Moment>,
    /// When at least half of the target was measured: one interval, or several with breaks between.
    pub measured: Vec<Interval>,
    /// When the target was first reached.
    pub target_reached_at: Option<Moment>,
    /// When all that it held was released, or it failed to start.
    pub ended_at: Option<Moment>,
    /// Where nobody saw the end: it was over by this moment.
    pub ended_before: Option<Moment>,
    /// How it ended; null while it runs.
    pub end: Option<RunEnding>,
    /// What was measured where it was aborted: the condition of `abort_when`, with figures.
    pub because: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// What was asked when it was last told.
    pub asked: Option<f64>,
    /// What was achieved then.
    pub achieved: Option<f64>,
    /// Where the effect was to go in the end.
    pub target: Option<f64>,
    /// The unit of the three.
    pub unit: Option<String>,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PastSession {
    /// Its id.
    pub session_id: String,
    /// The life of the daemon that it belongs to.
    pub boot_id: String,
    /// When its first run was accepted.
    pub started_at: Option<Moment>,
    /// When its last run ended; null while one runs, and when nobody saw it.
    pub ended_at: Option<Moment>,
    /// Whether a run of it lives.
    pub running: bool,
    /// Its runs, in the order in which they were accepted.
    pub runs: Vec<PastRun>,
}

/// All sessions that `events` tell of, oldest first.
///
/// Of a run whose first events are no longer kept, what the others tell is there.
#[must_use]
pub fn derived(events: &[Arc<Event>]) -> Vec<PastSession> {
    let mut sessions: Vec<PastSession> = Vec::new();
    for event in events {
        match event.kind {
            Kind::Boot => {
                let previous = event.boot.as_ref().and_then(|boot| boot.previous.as_ref());
                let planned = previous.is_some_and(|previous| previous.end == LastEnd::Planned);
                let ending = if planned {
                    RunEnding::Exit
                } else {
                    RunEnding::Unclean
                };
                for run in live(&mut sessions) {
                    run.end = Some(ending);
                    run.ended_before = Some(event.time);
                }
            }
            Kind::ExitIntent => {
                for run in live(&mut sessions) {
                    run.end = Some(RunEnding::Exit);
                    run.ended_at = Some(event.time);
                    run.close(event.time);
                }
            }
            _ => {
                if let Some(run) = run_of(&mut sessions, event) {
                    run.apply(event);
                }
            }
        }
    }
    for session in &mut sessions {
        session.running = session.runs.iter().any(|run| run.end.is_none());
        let ends = session.runs.iter().map(|run| run.ended_at);
        session.ended_at = ends
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.into_iter().max());
    }
    sessions
}

fn live(sessions: &mut [PastSession]) -> impl Iterator<Item = &mut PastRun> {
    let runs = sessions.iter_mut().flat_map(|session| &mut session.runs);
    runs.filter(|run| run.end.is_none())
}

/// The run that `event` tells of, made when it is new.
fn run_of<'s>(sessions: &'s mut Vec<PastSession>, event: &Event) -> Option<&'s mut PastRun> {
    let (session_id, run_id) = (event.session_id.as_ref()?, event.run_id?);
    // Latest first: what happens happens to a session that lives.
    let known = sessions
        .iter()
        .rposition(|session| session.session_id == *session_id && session.boot_id == event.boot_id);
    let at = known.unwrap_or_else(|| {
        sessions.push(PastSession {
            session_id: session_id.clone(),
            boot_id: event.boot_id.clone().into_owned(),
            started_at: Some(event.time),
            ended_at: None,
            running: false,
            runs: Vec::new(),
        });
        sessions.len() - 1
    });
    let runs = &mut sessions[at].runs;
    let known = runs.iter().rposition(|run| run.run_id == run_id);
    let at = known.unwrap_or_else(|| {
        runs.push(PastRun::unknown(run_id, event));
        runs.len() - 1
    });
    Some(&mut runs[at])
}

impl PastRun {
    fn unknown(run_id: u64, event: &Event) -> Self {
        Self {
            run_id,
            scenario: event.scenario.as_deref().unwrap_or_default().to_owned(),
            params: Map::new(),
            by: None,
            planned: Interval {
                from: None,
                to: None,
            },
            started_at: None,
            measured: Vec::new(),
            target_reached_at: None,
            ended_at: None,
            ended_before: None,
            end: None,
            because: None,
            error: None,
            asked: None,
            achieved: None,
            target: None,
            unit: None,
        }
    }

    fn apply(&mut self, event: &Event) {
        let duration = |event: &Event| event.duration_s.map(|s| event.time.plus_seconds(s));
        match event.kind {
            Kind::Accepted => {
                self.by = event.by;
                self.params = event.params.clone().unwrap_or_default();
                self.planned = Interval {
                    from: Some(event.time),
                    to: duration(event),
                };
            }
            Kind::Started => {
                self.started_at = Some(event.time);
                // All of a set end together: only now it is known when.
                self.planned.to = duration(event);
            }
            Kind::Effective => self.measured.push(Interval {
                from: Some(event.time),
                to: None,
            }),
            Kind::TargetReached => {
                self.target_reached_at.get_or_insert(event.time);
            }
            Kind::Lost => self.close(event.time),
            Kind::Failed => {
                self.end = Some(RunEnding::Failed);
                self.ended_at = Some(event.time);
            }
            Kind::Cleared => {
                self.end = event.reason.map(RunEnding::from);
                self.ended_at = Some(event.time);
                self.close(event.time);
            }
            Kind::Stopping
            | Kind::Expired
            | Kind::Replaced
            | Kind::Boot
            | Kind::Halted
            | Kind::Rearmed
            | Kind::ExitIntent
            | Kind::Shutdown => {}
        }
        if event.because.is_some() {
            self.because.clone_from(&event.because);
        }
        if event.error.is_some() {
            self.error.clone_from(&event.error);
        }
        if event.asked.is_some() {
            (self.asked, self.achieved) = (event.asked, event.achieved);
            self.target = event.target;
            self.unit = event.unit.as_deref().map(str::to_owned);
        }
    }

    /// Ends the open measured interval, if there is one.
    fn close(&mut self, at: Moment) {
        if let Some(open) = self.measured.last_mut().filter(|open| open.to.is_none()) {
            open.to = Some(at);
        }
    }
}

/// The head of [`csv`].
const HEAD: &str = "session_id,boot_id,run_id,scenario,params,by,planned_from,planned_to,started_at,\
    measured_from,measured_to,target_reached_at,ended_at,ended_before,end,because,error,asked,achieved,target,\
    unit\n";

/// The same as a table (RFC 4180, lines ending in LF): one row for each measured interval, and one for
/// each run that has none.
#[must_use]
pub fn csv(sessions: &[PastSession]) -> String {
    let mut table = HEAD.to_owned();
    for session in sessions {
        for run in &session.runs {
            let nothing = [Interval {
                from: None,
                to: None,
            }];
            let measured = if run.measured.is_empty() {
                &nothing[..]
            } else {
                &run.measured
            };
            for interval in measured {
                row(&mut table, session, run, *interval);
            }
        }
    }
    table
}

fn row(table: &mut String, session: &PastSession, run: &PastRun, measured: Interval) {
    let cells = [
        cell(Some(&session.session_id)),
        cell(Some(&session.boot_id)),
        cell(Some(&run.run_id)),
        cell(Some(&run.scenario)),
        cell(serde_json::to_string(&run.params).ok()),
        cell(run.by),
        cell(run.planned.from),
        cell(run.planned.to),
        cell(run.started_at),
        cell(measured.from),
        cell(measured.to),
        cell(run.target_reached_at),
        cell(run.ended_at),
        cell(run.ended_before),
        cell(run.end.map(RunEnding::name)),
        cell(run.because.as_ref()),
        cell(run.error.as_ref()),
        cell(run.asked),
        cell(run.achieved),
        cell(run.target),
        cell(run.unit.as_ref()),
    ];
    table.push_str(&cells.join(","));
    table.push('\n');
}

/// One value, quoted where it must be; nothing when there is none.
fn cell(value: Option<impl ToString>) -> String {
    let text = value.map(|value| value.to_string()).unwrap_or_default();
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::event::{BootFacts, Draft, Previous, RunTag};
    use super::*;

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
            prop::option::of(0..4_u64),
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
        fn any_events_make_sessions_that_can_be_told(
            events in prop::collection::vec(any_event(), 0..30),
        ) {
            let sessions = derived(&events);
            prop_assert!(serde_json::to_string(&sessions).is_ok());
            prop_assert!(csv(&sessions).starts_with(HEAD.trim_end()));
            let mut runs: Vec<(&str, u64)> = events
                .iter()
                .filter(|event| !matches!(event.kind, Kind::Boot | Kind::ExitIntent))
                .filter_map(|event| Some((event.session_id.as_deref()?, event.run_id?)))
                .collect();
            runs.sort_unstable();
            runs.dedup();
            let told: usize = sessions.iter().map(|session| session.runs.len()).sum();
            prop_assert_eq!(told, runs.len());
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
            tape.add(Draft::new(Kind::Boot));
            tape
        }

        fn add(&mut self, draft: Draft) -> u64 {
            let mut event = draft.event;
            event.seq = self.events.len() as u64 + 1;
            event.time = at(event.seq);
            event.boot_id = self.boot_id.into();
            self.events.push(Arc::new(event));
            self.events.len() as u64
        }

        fn accept(&mut self, scenario: &'static str) -> RunTag {
            let tag = RunTag {
                session_id: "session-1".to_owned(),
                run_id: self.events.len() as u64 + 1,
                scenario,
            };
            let mut draft =
                Draft::of(Kind::Accepted, &tag).by("127.0.0.1:9".parse().ok().map(Asker::Client));
            draft.event.params = json!({ "a": 1, "b": "x,\"y\"" }).as_object().cloned();
            self.add(draft.duration(Some(Duration::from_secs(60))));
            tag
        }

        fn tell(&mut self, kind: Kind, tag: &RunTag) {
            self.add(Draft::of(kind, tag));
        }

        fn clear(&mut self, tag: &RunTag, reason: EndReason) {
            self.add(Draft::of(Kind::Cleared, tag).reason(reason));
        }

        fn boot(&mut self, end: LastEnd) {
            let mut boot = Draft::new(Kind::Boot);
            let previous = Previous {
                boot_id: self.boot_id.to_owned(),
                end,
                because: None,
                last_seq: self.events.len() as u64,
            };
            boot.event.boot = Some(Box::new(BootFacts {
                previous: Some(previous),
                ..BootFacts::default()
            }));
            self.boot_id = "two";
            self.add(boot);
        }

        fn runs(&self) -> Vec<PastRun> {
            let sessions = derived(&self.events);
            sessions
                .into_iter()
                .flat_map(|session| session.runs)
                .collect()
        }
    }

    fn at(seq: u64) -> Moment {
        Moment::from(time::OffsetDateTime::UNIX_EPOCH).plus_seconds(seq as f64)
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
        let started = Draft::of(Kind::Started, &tag).duration(Some(Duration::from_secs(90)));
        tape.add(started);
        for kind in [
            Kind::Effective,
            Kind::TargetReached,
            Kind::Lost,
            Kind::Effective,
        ] {
            tape.tell(kind, &tag);
        }
        tape.tell(Kind::Expired, &tag);
        assert!(derived(&tape.events)[0].running);
        tape.clear(&tag, EndReason::Expired);
        let sessions = derived(&tape.events);
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
            (Some(RunEnding::Expired), Some(at(9)))
        );
    }

    #[test]
    fn each_way_to_end_is_told_apart() {
        let mut tape = Tape::new();
        let (a, b, c) = (tape.accept("a"), tape.accept("b"), tape.accept("c"));
        tape.add(Draft::of(Kind::Failed, &c).error(Some("no luck".to_owned())));
        tape.tell(Kind::Started, &a);
        tape.tell(Kind::Started, &b);
        tape.add(Draft::of(Kind::Failed, &b).error(Some("broke".to_owned())));
        tape.clear(&b, EndReason::Failed);
        let again = tape.accept("a");
        tape.tell(Kind::Replaced, &a);
        tape.clear(&a, EndReason::Replaced);
        tape.tell(Kind::Started, &again);
        tape.tell(Kind::Stopping, &again);
        tape.clear(&again, EndReason::Stopped);
        let runs = tape.runs();
        let ends: Vec<_> = runs
            .iter()
            .map(|run| run.end.map(RunEnding::name))
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
    fn a_run_that_was_aborted_says_what_was_measured() {
        let mut tape = Tape::new();
        let tag = tape.accept("a");
        tape.tell(Kind::Started, &tag);
        let because = "achieved_above: a achieves 5".to_owned();
        tape.add(Draft::of(Kind::Stopping, &tag).because(Some(because.clone())));
        tape.clear(&tag, EndReason::Aborted);
        let sessions = derived(&tape.events);
        let run = &sessions[0].runs[0];
        assert_eq!(run.end, Some(RunEnding::Aborted));
        assert_eq!(run.because, Some(because));
        assert!(csv(&sessions).contains(",aborted,achieved_above: a achieves 5,"));
    }

    #[test]
    fn a_run_that_died_with_the_process_says_what_is_known_of_its_end() {
        let mut tape = Tape::new();
        let tag = tape.accept("a");
        tape.tell(Kind::Started, &tag);
        tape.tell(Kind::Effective, &tag);
        let (mut killed, mut planned) = (tape.events.clone(), Tape::new());
        planned.events = killed.clone();
        tape.boot(LastEnd::Unclean);
        killed.clone_from(&tape.events);
        let run = &derived(&killed)[0].runs[0];
        assert_eq!((run.end, run.ended_at), (Some(RunEnding::Unclean), None));
        assert_eq!(
            (run.ended_before, &run.measured[..]),
            (Some(at(5)), &[interval(4, None)][..])
        );

        planned.tell(Kind::ExitIntent, &tag);
        planned.boot(LastEnd::Planned);
        let run = &planned.runs()[0];
        assert_eq!(
            (run.end, run.ended_at),
            (Some(RunEnding::Exit), Some(at(5)))
        );
        assert_eq!(run.measured, [interval(4, Some(5))]);
    }

    #[test]
    fn a_run_whose_beginning_is_no_longer_kept_is_told_as_far_as_it_is_known() {
        let mut tape = Tape::new();
        let tag = tape.accept("a");
        tape.tell(Kind::Started, &tag);
        tape.tell(Kind::Stopping, &tag);
        tape.clear(&tag, EndReason::Stopped);
        let sessions = derived(&tape.events[3..]);
        let run = &sessions[0].runs[0];
        assert_eq!((run.scenario.as_str(), run.planned.from), ("a", None));
        assert_eq!(run.end, Some(RunEnding::Stopped));
    }

    #[test]
    fn a_table_has_a_row_for_each_measured_interval_and_quotes_what_it_must() {
        let mut tape = Tape::new();
        let (a, b) = (tape.accept("a"), tape.accept("b"));
        for kind in [Kind::Started, Kind::Effective, Kind::Lost, Kind::Effective] {
            tape.tell(kind, &a);
        }
        tape.tell(Kind::Started, &b);
        let table = csv(&derived(&tape.events));
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4, "{table}");
        assert!(lines[1].starts_with(
            "session-1,one,2,a,\"{\"\"a\"\":1,\"\"b\"\":\"\"x,\\\"\"y\\\"\"\"\"}\",127.0.0.1:9,"
        ));
        let columns = lines[0].split(',').count();
        assert_eq!(
            (columns, lines[3].split(',').count()),
            (21, 23),
            "{}",
            lines[3]
        );
    }
}
