//! The actor against plugins that misbehave, on a paused clock: time passes only when all wait.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::fault::{Action, Draw, Exchange, Matcher, RequestFault, Surfaces};
use crate::host::cgroup::Cgroup;
use crate::input::Fields;
use crate::ledger::Ledger;
use crate::ledger::event::{BootFacts, Event, EventKind};
use crate::lifecycle::termination::Termination;
use crate::manager::view::Outcome;
use crate::manager::view::{RunEnd, SessionStatus};
use crate::plugin::Services;
use crate::plugin::guard::LiveGuards;
use crate::plugin::{
    Active, Exit, Params, Plugin, Probe, Reading, RunContext, Scenario, StartError,
};
use crate::run::EndReason;

// === Plugins ===

/// How a fake scenario behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Well,
    FailsToStart,
    PanicsAtStart,
    NeverStarts,
    FailsAfterASecond,
    PanicsAfterASecond,
    IgnoresItsStop,
    TakesASecondToStop,
    /// Its effect grows to 10 within ten seconds, is gone from the 20th to the 22nd, and is back then.
    GrowsAndFades,
    ExitsAtOnce,
    /// It says so at once.
    ExitsAfterASecond,
}

const ACTS: &[(&str, Act)] = &[
    ("Well", Act::Well),
    ("FailsToStart", Act::FailsToStart),
    ("PanicsAtStart", Act::PanicsAtStart),
    ("NeverStarts", Act::NeverStarts),
    ("FailsAfterASecond", Act::FailsAfterASecond),
    ("PanicsAfterASecond", Act::PanicsAfterASecond),
    ("IgnoresItsStop", Act::IgnoresItsStop),
    ("TakesASecondToStop", Act::TakesASecondToStop),
    ("GrowsAndFades", Act::GrowsAndFades),
    ("ExitsAtOnce", Act::ExitsAtOnce),
    ("ExitsAfterASecond", Act::ExitsAfterASecond),
];

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct FakeParams(Act);

impl Params for FakeParams {
    fn read(fields: &mut Fields) -> Self {
        Self(fields.field("act", "How it behaves.").choice(ACTS))
    }
}

/// A scenario named `a`, `b` or `c`.
#[derive(Debug)]
struct Fake<const NAME: char>;

impl<const LETTER: char> Scenario for Fake<LETTER> {
    const NAME: &'static str = match LETTER {
        'a' => "a",
        'b' => "b",
        _ => "c",
    };
    const SUMMARY: &'static str = "A fake.";
    type Params = FakeParams;

    async fn start(FakeParams(act): FakeParams, cx: RunContext) -> Result<Active, StartError> {
        let held = cx.live_guard();
        match act {
            Act::FailsToStart => return Err(StartError::new("out of luck")),
            Act::PanicsAtStart => panic!("at the start"),
            Act::NeverStarts => std::future::pending().await,
            _ => {}
        }
        cx.arm(Matcher::on(Surfaces::INCOMING), Nothing);
        let body = async move {
            let _held = held;
            match act {
                Act::FailsAfterASecond => {
                    tokio::time::sleep(SECOND).await;
                    return Exit::Failed("broke down".to_owned());
                }
                Act::PanicsAfterASecond => {
                    tokio::time::sleep(SECOND).await;
                    panic!("in the middle");
                }
                Act::IgnoresItsStop => std::future::pending().await,
                Act::ExitsAtOnce => cx.terminate(Termination::Exit(3), Duration::ZERO).await,
                Act::ExitsAfterASecond => cx.terminate(Termination::Kill, SECOND).await,
                _ => cx.stop.cancelled().await,
            }
            if act == Act::TakesASecondToStop {
                tokio::time::sleep(SECOND).await;
            }
            Exit::Stopped
        };
        let probe: Arc<dyn Probe> = match act {
            Act::GrowsAndFades => Arc::new(Waxing(Instant::now())),
            _ => Arc::new(Blind),
        };
        Ok(Active::new(probe, body))
    }
}

#[derive(Debug)]
struct Nothing;

impl RequestFault for Nothing {
    fn act(&self, _: &Exchange<'_>, _: &mut Draw) -> Action {
        Action::Pass
    }
}

struct Blind;

impl Probe for Blind {
    fn read(&self) -> Reading {
        Reading::default()
    }
}

struct Waxing(Instant);

impl Probe for Waxing {
    fn read(&self) -> Reading {
        let age = self.0.elapsed().as_secs_f64();
        let achieved = if (20.0..22.0).contains(&age) {
            0.0
        } else {
            age.min(10.0)
        };
        Reading {
            asked: 1.0,
            achieved: Some(achieved),
            unit: "units",
            ..Reading::default()
        }
    }

    fn target(&self) -> Option<f64> {
        Some(10.0)
    }

    fn left(&self) -> Option<f64> {
        Some(0.0)
    }
}

// === The bench ===

struct Bench {
    sessions: SessionManager,
    actor: JoinHandle<()>,
    root: CancellationToken,
    live_guards: LiveGuards,
    table: FaultTable,
    ledger: Ledger,
    /// How many events the ledger held when the process was to exit.
    exits: Arc<Mutex<Vec<(i32, usize)>>>,
}

impl Bench {
    fn new() -> Self {
        Self::with_onsets(Onsets::new())
    }

    fn with_onsets(onsets: Onsets) -> Self {
        let live_guards = LiveGuards::default();
        let ledger = Ledger::in_memory("a test", BootFacts::default());
        let (exits, seen) = (Arc::new(Mutex::new(Vec::new())), ledger.clone());
        let exited = Arc::clone(&exits);
        let terminate = move |death: Termination| {
            exited
                .lock()
                .expect("no panic")
                .push((death.exit_status(), seen.all().len()))
        };
        let services = Arc::new(Services {
            terminate: Box::new(terminate),
            cgroup: Cgroup::at("/nowhere", "/nowhere"),
            live_guards: live_guards.clone(),
            ledger: ledger.clone(),
            ..Services::for_tests("/nowhere")
        });
        let (root, table) = (CancellationToken::new(), FaultTable::default());
        let (sessions, actor) =
            SessionManager::spawn(services, table.clone(), root.clone(), onsets);
        Self {
            sessions,
            actor,
            root,
            live_guards,
            table,
            ledger,
            exits,
        }
    }

    /// What the ledger tells after the boot, each as `kind scenario`.
    fn told(&self) -> Vec<String> {
        let told = |event: &Event| {
            let kind = serde_json::to_value(event.kind).expect("a name");
            let kind = kind.as_str().expect("a text").to_owned();
            match &event.scenario {
                Some(scenario) => format!("{kind} {scenario}"),
                None => kind,
            }
        };
        let all = self.ledger.all();
        all.iter().skip(1).map(|event| told(event)).collect()
    }

    /// The first event of a kind.
    fn event(&self, kind: EventKind) -> Arc<Event> {
        let all = self.ledger.all();
        let found = all.into_iter().find(|event| event.kind == kind);
        found.expect("it was told")
    }

    fn running(&self) -> Vec<&'static str> {
        let session = self.sessions.view().session.clone();
        session
            .map(|session| session.report.scenarios)
            .unwrap_or_default()
    }

    fn end_of(&self, name: &str) -> RunEnd {
        let view = self.sessions.view();
        view.latest[name].end.clone().expect("it has ended")
    }

    /// What runs, what is armed and what is held agree, or the bench says how not.
    fn assert_consistent(&self) {
        let running = self.running().len();
        assert_eq!(self.table.load().len(), running, "armed faults");
        assert_eq!(self.live_guards.count(), running, "held guards");
    }

    async fn start(&self, runs: Vec<PlannedRun>) -> Result<StartReport, SessionError> {
        self.start_by(runs, None).await
    }

    async fn start_by(
        &self,
        runs: Vec<PlannedRun>,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.sessions.start_set(runs, Terms::default(), by).await
    }

    /// Starts one beside what runs.
    async fn start_one(&self, run: PlannedRun) -> Result<StartReport, SessionError> {
        self.start_one_by(run, None).await
    }

    async fn start_one_by(
        &self,
        run: PlannedRun,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.sessions.start_one(run, Terms::default(), by).await
    }
}

fn run(name: char, act: Act, seconds: u64) -> PlannedRun {
    let (act, _) = ACTS
        .iter()
        .find(|(_, known)| *known == act)
        .expect("a known act");
    let params = json!({ "act": act })
        .as_object()
        .expect("an object")
        .clone();
    let plan = match name {
        'a' => Fake::<'a'>.plan("", params),
        'b' => Fake::<'b'>.plan("", params),
        _ => Fake::<'c'>.plan("", params),
    };
    let duration = (seconds > 0).then(|| Duration::from_secs(seconds));
    PlannedRun {
        plan: plan.expect("good parameters"),
        duration,
        is_default_duration: false,
    }
}

fn errors(report: &StartReport) -> Vec<Option<&str>> {
    report
        .details
        .iter()
        .map(|detail| detail.error.as_deref())
        .collect()
}

/// Lets time pass; the paused clock jumps as soon as everyone waits.
async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

// === Starting ===

#[tokio::test(start_paused = true)]
async fn each_way_to_fail_at_the_start_is_told_and_leaves_nothing() {
    let table = [
        (Act::FailsToStart, "out of luck"),
        (Act::PanicsAtStart, "panicked: at the start"),
        (Act::NeverStarts, "did not start within 5 s"),
    ];
    for (act, reason) in table {
        let bench = Bench::new();
        let report = bench
            .start(vec![run('a', act, 0), run('b', Act::Well, 0)])
            .await;
        let report = report.expect("b starts");
        assert_eq!(
            (report.status, &report.scenarios[..]),
            (Outcome::Partial, &["b"][..])
        );
        assert_eq!(errors(&report), [Some(reason), None]);
        bench.assert_consistent();
        let SessionStatus { report: shown, .. } =
            bench.sessions.view().session.clone().expect("one");
        assert_eq!(shown, report);
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_of_which_none_starts_is_an_error_and_what_ran_before_is_gone() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::Well, 0)])
        .await
        .expect("a starts");
    let error = bench
        .start(vec![run('b', Act::FailsToStart, 0)])
        .await
        .expect_err("b fails");
    let SessionError::NothingStarted(report) = error else {
        panic!("{error:?}")
    };
    assert_eq!(errors(&report), [Some("out of luck")]);
    assert_eq!(bench.running(), [""; 0]);
    assert_eq!(bench.end_of("a").reason, EndReason::Replaced);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ends_while_others_still_start_has_not_started() {
    let bench = Bench::new();
    let set = vec![
        run('a', Act::FailsAfterASecond, 0),
        run('b', Act::NeverStarts, 0),
        run('c', Act::Well, 0),
    ];
    let report = bench.start(set).await.expect("c starts");
    assert_eq!(errors(&report)[0], Some("broke down"));
    assert_eq!(bench.running(), ["c"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_stop_clears_a_start_that_failed() {
    let bench = Bench::new();
    let set = vec![run('a', Act::FailsToStart, 0), run('b', Act::Well, 0)];
    bench.start(set).await.expect("b starts");
    bench.sessions.stop_one("a", None).await.expect("an answer");
    let session = bench.sessions.view().session.clone().expect("it lives");
    assert_eq!(session.report.status, Outcome::Success);
}

#[tokio::test(start_paused = true)]
async fn replacing_the_only_run_keeps_the_session() {
    let bench = Bench::new();
    let first = bench
        .start_one(run('a', Act::Well, 0))
        .await
        .expect("a starts");
    let again = bench
        .start_one(run('a', Act::Well, 0))
        .await
        .expect("a starts anew");
    assert_eq!(first.session_id, again.session_id);
    let failed = bench.start_one(run('a', Act::FailsToStart, 0)).await;
    assert!(failed.is_err() && bench.sessions.view().session.is_none());
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_set_takes_the_place_of_the_whole_session_before_it() {
    let bench = Bench::new();
    let first = bench
        .start(vec![run('a', Act::TakesASecondToStop, 0)])
        .await
        .expect("a starts");
    let second = bench
        .start(vec![run('b', Act::Well, 0), run('c', Act::Well, 0)])
        .await;
    let second = second.expect("b and c start");
    assert!(second.session_id > first.session_id);
    assert_eq!(bench.running(), ["b", "c"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_single_start_joins_the_session_and_replaces_only_itself() {
    let bench = Bench::new();
    let first = bench
        .start_one(run('a', Act::Well, 0))
        .await
        .expect("a starts");
    let second = bench
        .start_one(run('b', Act::Well, 0))
        .await
        .expect("b starts");
    assert_eq!(first.session_id, second.session_id);
    assert_eq!(
        (&second.scenarios[..], bench.running()),
        (&["b"][..], vec!["a", "b"])
    );
    bench
        .start_one(run('a', Act::TakesASecondToStop, 0))
        .await
        .expect("a again");
    assert_eq!(bench.running(), ["b", "a"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn two_starts_at_once_are_two_sessions_of_which_the_later_lives() {
    let bench = Bench::new();
    let (one, two) = tokio::join!(
        bench.start(vec![run('a', Act::Well, 0)]),
        bench.start(vec![run('b', Act::Well, 0)]),
    );
    let (one, two) = (one.expect("a starts"), two.expect("b starts"));
    assert!(one.session_id < two.session_id);
    assert_eq!(bench.running(), ["b"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_start_is_carried_through_when_its_client_hangs_up() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::TakesASecondToStop, 0)])
        .await
        .expect("a starts");
    let hung_up = tokio::time::timeout(SECOND / 2, bench.start(vec![run('b', Act::Well, 0)])).await;
    assert!(hung_up.is_err(), "the client left while a was ending");
    pass(1.0).await;
    assert_eq!(bench.running(), ["b"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_stop_during_a_start_calls_off_what_is_not_up_and_ends_the_rest() {
    let bench = Bench::new();
    let before = Instant::now();
    let (started, stopped) = tokio::join!(
        bench.start(vec![run('a', Act::NeverStarts, 0), run('b', Act::Well, 0)]),
        async {
            pass(0.5).await;
            bench.sessions.stop_all(None).await
        }
    );
    let report = started.expect("b was up before");
    assert_eq!(
        errors(&report),
        [Some("the start was called off by a later request"), None]
    );
    stopped.expect("an answer");
    assert!(before.elapsed() < SECOND);
    assert_eq!(bench.running(), [""; 0]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_single_stop_during_a_start_calls_off_that_one_alone() {
    let bench = Bench::new();
    let (started, stopped) = tokio::join!(
        bench.start(vec![
            run('a', Act::NeverStarts, 0),
            run('b', Act::NeverStarts, 0)
        ]),
        async {
            pass(0.5).await;
            bench.sessions.stop_one("b", None).await
        }
    );
    let SessionError::NothingStarted(report) = started.expect_err("neither") else {
        panic!()
    };
    let called_off = "the start was called off by a later request";
    assert_eq!(
        errors(&report),
        [Some("did not start within 5 s"), Some(called_off)]
    );
    stopped.expect("an answer");
}

#[tokio::test(start_paused = true)]
async fn ids_increase_within_a_millisecond_too() {
    let bench = Bench::new();
    let mut last = 0_u64;
    for _ in 0..50 {
        let report = bench
            .start(vec![run('a', Act::Well, 0)])
            .await
            .expect("a starts");
        let digits = report
            .session_id
            .strip_prefix("session-")
            .expect("the prefix");
        let id = digits.parse().expect("digits");
        assert!(id > last);
        last = id;
    }
}

// === Ending ===

#[tokio::test(start_paused = true)]
async fn a_set_ends_together_at_its_largest_duration() {
    let bench = Bench::new();
    let set = vec![
        run('a', Act::Well, 2),
        run('b', Act::Well, 5),
        run('c', Act::Well, 0),
    ];
    bench.start(set).await.expect("all start");
    pass(4.9).await;
    assert_eq!(bench.running(), ["a", "b", "c"]);
    pass(0.2).await;
    assert_eq!(bench.running(), [""; 0]);
    assert_eq!(bench.end_of("c").reason, EndReason::Expired);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_scenario_that_failed_to_start_does_not_lengthen_its_set() {
    let bench = Bench::new();
    let set = vec![run('a', Act::Well, 2), run('b', Act::FailsToStart, 500)];
    bench.start(set).await.expect("a starts");
    pass(2.1).await;
    assert_eq!(bench.running(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_replaced_set_never_fires() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::Well, 10)])
        .await
        .expect("a starts");
    pass(5.0).await;
    bench
        .start(vec![run('a', Act::Well, 0)])
        .await
        .expect("a starts anew");
    pass(3600.0).await;
    assert_eq!(bench.running(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_replaced_run_never_fires() {
    let bench = Bench::new();
    bench
        .start_one(run('a', Act::Well, 10))
        .await
        .expect("a starts");
    bench
        .start_one(run('b', Act::Well, 0))
        .await
        .expect("b starts");
    pass(5.0).await;
    bench
        .start_one(run('a', Act::Well, 10))
        .await
        .expect("a starts anew");
    pass(9.9).await;
    assert_eq!(bench.running(), ["b", "a"]);
    pass(0.2).await;
    assert_eq!(bench.running(), ["b"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_until_the_effect_is_gone() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::TakesASecondToStop, 0)])
        .await
        .expect("a starts");
    let before = Instant::now();
    let stopped = bench.sessions.stop_all(None).await.expect("an answer");
    assert_eq!((stopped, before.elapsed() >= SECOND), (vec!["a"], true));
    bench.assert_consistent();
    assert_eq!(
        bench.sessions.stop_all(None).await.expect("an answer"),
        [""; 0]
    );
}

#[tokio::test(start_paused = true)]
async fn a_run_that_ignores_its_stop_is_aborted_and_named() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::IgnoresItsStop, 0)])
        .await
        .expect("a starts");
    bench.sessions.stop_one("a", None).await.expect("an answer");
    let error = bench.end_of("a").error;
    assert_eq!(error.as_deref(), Some("ignored its stop and was aborted"));
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_or_panics_is_told_and_the_others_live() {
    let table = [
        (Act::FailsAfterASecond, "broke down"),
        (Act::PanicsAfterASecond, "panicked: in the middle"),
    ];
    for (act, reason) in table {
        let bench = Bench::new();
        bench
            .start(vec![run('a', act, 0), run('b', Act::Well, 0)])
            .await
            .expect("both start");
        pass(1.1).await;
        assert_eq!(bench.running(), ["b"]);
        let session = bench.sessions.view().session.clone().expect("it lives");
        assert_eq!(errors(&session.report), [Some(reason), None]);
        assert_eq!(session.report.status, Outcome::Partial);
        assert_eq!(bench.end_of("a").reason, EndReason::Failed);
        bench.assert_consistent();
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_last_run_fails_is_over() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::FailsAfterASecond, 0)])
        .await
        .expect("a starts");
    pass(1.1).await;
    assert!(bench.sessions.view().session.is_none());
}

// === Shutting down ===

#[tokio::test(start_paused = true)]
async fn a_shut_down_in_the_middle_of_anything_ends_everything_in_time() {
    for (act, _) in ACTS.iter().map(|(_, act)| (*act, ())) {
        let bench = Bench::new();
        let sessions = bench.sessions.clone();
        let starting = tokio::spawn(async move {
            sessions
                .start_set(vec![run('a', act, 0)], Terms::default(), None)
                .await
        });
        pass(0.5).await;
        let before = Instant::now();
        bench.root.cancel();
        bench.actor.await.expect("the actor ends");
        assert!(before.elapsed() < Duration::from_secs(2), "{act:?}");
        // Whoever asked has an answer, and nothing is left.
        match starting.await.expect("no panic") {
            Ok(_) | Err(SessionError::Closed) => {}
            Err(SessionError::NothingStarted(report)) => {
                let early = [Act::FailsToStart, Act::PanicsAtStart];
                assert!(early.contains(&act), "{act:?}: {report:?}");
            }
            Err(error) => panic!("{act:?}: {error:?}"),
        }
        assert_eq!(
            (bench.live_guards.count(), bench.table.load().len()),
            (0, 0),
            "{act:?}"
        );
        let closed = bench
            .sessions
            .start_set(vec![run('b', Act::Well, 0)], Terms::default(), None)
            .await;
        assert_eq!(closed, Err(SessionError::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_during_a_long_stop_cuts_the_grace_short() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::IgnoresItsStop, 0)])
        .await
        .expect("a starts");
    let sessions = bench.sessions.clone();
    let stopping = tokio::spawn(async move { sessions.stop_all(None).await });
    pass(0.1).await;
    let before = Instant::now();
    bench.root.cancel();
    bench.actor.await.expect("the actor ends");
    assert!(before.elapsed() < SECOND);
    drop(stopping.await.expect("no panic"));
    assert_eq!(bench.live_guards.count(), 0);
}

// === In the ledger ===

const BY: Option<Initiator> = Some(Initiator::Client(SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    4711,
)));

#[tokio::test(start_paused = true)]
async fn a_run_is_told_from_its_acceptance_to_its_clearance() {
    let bench = Bench::new();
    let mut growing = run('a', Act::GrowsAndFades, 100);
    growing.plan.params.insert("more".to_owned(), json!(1));
    let report = bench.start_one_by(growing, BY).await.expect("a starts");
    pass(15.0).await;
    bench.sessions.stop_one("a", BY).await.expect("an answer");
    let order = [
        "accepted a",
        "started a",
        "effective a",
        "target_reached a",
        "stopping a",
        "cleared a",
    ];
    assert_eq!(bench.told(), order);

    let accepted = bench.event(EventKind::Accepted);
    assert_eq!((accepted.by, accepted.duration_s), (BY, Some(100.0)));
    assert_eq!(
        accepted.params,
        Some(
            json!({ "act": "GrowsAndFades", "more": 1 })
                .as_object()
                .expect("an object")
                .clone()
        )
    );
    for event in bench.ledger.all().iter().skip(1) {
        assert_eq!(event.run_id, Some(accepted.seq));
        assert_eq!(event.session_id.as_ref(), Some(&report.session_id));
    }
    let effective = bench.event(EventKind::Effective);
    let figures = (
        effective.asked,
        effective.achieved,
        effective.target,
        effective.unit.as_deref(),
    );
    assert_eq!(figures, (Some(1.0), Some(5.0), Some(10.0), Some("units")));
    assert_eq!(bench.event(EventKind::TargetReached).achieved, Some(9.5));
    let stopping = bench.event(EventKind::Stopping);
    assert_eq!(
        (stopping.by, stopping.reason),
        (BY, Some(EndReason::Stopped))
    );
    let cleared = bench.event(EventKind::Cleared);
    assert_eq!(
        (cleared.achieved, cleared.reason),
        (Some(0.0), Some(EndReason::Stopped))
    );
    let age = cleared.monotonic_ns - accepted.monotonic_ns;
    assert_eq!(age, 15_000_000_000);
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_falls_away_and_comes_back_is_told() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::GrowsAndFades, 30)])
        .await
        .expect("a starts");
    pass(31.0).await;
    let order = [
        "accepted a",
        "started a",
        "effective a",
        "target_reached a",
        "lost a",
        "effective a",
        "target_reached a",
        "expired a",
        "cleared a",
    ];
    assert_eq!(bench.told(), order);
    assert_eq!(
        bench.event(EventKind::Cleared).reason,
        Some(EndReason::Expired)
    );
}

#[tokio::test(start_paused = true)]
async fn what_became_effective_just_before_its_end_is_told_too() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::GrowsAndFades, 0)])
        .await
        .expect("a starts");
    pass(5.1).await;
    bench.sessions.stop_all(None).await.expect("an answer");
    assert_eq!(
        bench.told()[2..],
        ["effective a", "stopping a", "cleared a"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_replacement_is_told_between_its_acceptance_and_its_start() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::Well, 0), run('b', Act::Well, 0)])
        .await
        .expect("both start");
    let before = bench.told().len();
    assert_eq!(
        bench.told(),
        ["accepted a", "accepted b", "started a", "started b"]
    );
    let again = bench
        .start_one_by(run('a', Act::Well, 0), BY)
        .await
        .expect("a again");
    let order = ["accepted a", "replaced a", "cleared a", "started a"];
    assert_eq!(bench.told()[before..], order);
    let (first, replaced) = (
        bench.event(EventKind::Accepted),
        bench.event(EventKind::Replaced),
    );
    assert_eq!((replaced.run_id, replaced.by), (first.run_id, BY));
    assert_eq!(replaced.session_id.as_ref(), Some(&again.session_id));

    let before = bench.told().len();
    let set = vec![run('c', Act::Well, 0), run('a', Act::FailsToStart, 0)];
    bench.start(set).await.expect("c starts");
    let order = [
        "accepted c",
        "accepted a",
        "replaced b",
        "replaced a",
        "cleared b",
        "cleared a",
        "started c",
        "failed a",
    ];
    assert_eq!(bench.told()[before..], order);
    assert_eq!(
        bench.event(EventKind::Failed).error.as_deref(),
        Some("out of luck")
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_its_reason() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::FailsAfterASecond, 0)])
        .await
        .expect("a starts");
    pass(1.1).await;
    assert_eq!(
        bench.told(),
        ["accepted a", "started a", "failed a", "cleared a"]
    );
    assert_eq!(
        bench.event(EventKind::Failed).error.as_deref(),
        Some("broke down")
    );
    assert_eq!(
        bench.event(EventKind::Cleared).reason,
        Some(EndReason::Failed)
    );

    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::IgnoresItsStop, 0)])
        .await
        .expect("a starts");
    bench.sessions.stop_all(None).await.expect("an answer");
    let error = bench.event(EventKind::Cleared).error.clone();
    assert_eq!(error.as_deref(), Some("ignored its stop and was aborted"));
}

#[tokio::test(start_paused = true)]
async fn stopping_what_does_not_run_is_nothing_that_happened() {
    let bench = Bench::new();
    bench.sessions.stop_all(BY).await.expect("an answer");
    bench.sessions.stop_one("a", BY).await.expect("an answer");
    assert_eq!(bench.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_shut_down_is_told_last_and_closes_the_ledger() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::Well, 0)])
        .await
        .expect("a starts");
    bench.root.cancel();
    bench.actor.await.expect("the actor ends");
    let all = bench.ledger.all();
    let kinds: Vec<EventKind> = all.iter().skip(3).map(|event| event.kind).collect();
    assert_eq!(
        kinds,
        [EventKind::Stopping, EventKind::Cleared, EventKind::Shutdown]
    );
    assert_eq!(all[3].reason, Some(EndReason::Shutdown));
    assert!(bench.ledger.visible().borrow().closed);
}

#[tokio::test(start_paused = true)]
async fn a_planned_exit_is_in_the_ledger_after_its_start_and_before_it_happens() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::ExitsAtOnce, 0), run('b', Act::Well, 0)])
        .await
        .expect("both start");
    pass(0.1).await;
    let order = [
        "accepted a",
        "accepted b",
        "started a",
        "started b",
        "exit_intent a",
    ];
    assert_eq!(bench.told()[..5], order);
    assert_eq!(bench.event(EventKind::ExitIntent).exit_code, Some(3));
    // The five and the boot.
    assert_eq!(*bench.exits.lock().expect("no panic"), [(3, 6)]);
}

// === What ends a session by itself ===

fn leased(seconds: u64) -> Terms {
    Terms {
        lease: Some(Duration::from_secs(seconds)),
        ..Terms::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_the_whole_session_unless_it_is_renewed() {
    let bench = Bench::new();
    assert_eq!(bench.sessions.renew(), Err(SessionError::NoLease));
    bench
        .start(vec![run('a', Act::Well, 0)])
        .await
        .expect("a starts");
    bench
        .sessions
        .start_one(run('b', Act::Well, 0), leased(10), None)
        .await
        .expect("b starts");
    for _ in 0..3 {
        pass(9.0).await;
        bench.sessions.renew().expect("a lease");
    }
    assert_eq!(bench.running(), ["a", "b"]);
    pass(10.1).await;
    assert_eq!(bench.end_of("a").reason, EndReason::LeaseExpired);
    assert_eq!(bench.sessions.renew(), Err(SessionError::NoLease));
    bench.assert_consistent();
    // A lease belongs to its session: it cannot end a later one.
    bench
        .start(vec![run('a', Act::Well, 0)])
        .await
        .expect("a starts");
    pass(60.0).await;
    assert_eq!(bench.running(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_set_takes_the_lease_of_the_session_before_it_away() {
    let bench = Bench::new();
    let set = vec![run('a', Act::Well, 0)];
    let started = bench.sessions.start_set(set, leased(5), None).await;
    started.expect("a starts");
    pass(1.0).await;
    bench
        .start(vec![run('b', Act::Well, 0)])
        .await
        .expect("b starts");
    pass(10.0).await;
    assert_eq!(bench.running(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_aborts_when_a_run_achieves_more_than_it_may() {
    let bench = Bench::new();
    let mut terms = Terms::default();
    terms.abort_when.achieved_above.insert("a", 5.0);
    let set = vec![run('a', Act::GrowsAndFades, 0), run('b', Act::Well, 0)];
    let started = bench.sessions.start_set(set, terms, None).await;
    started.expect("both start");
    pass(4.9).await;
    assert_eq!(bench.running(), ["a", "b"]);
    pass(0.5).await;
    let end = bench.end_of("b");
    assert_eq!(end.reason, EndReason::Aborted);
    let because = end.because.expect("a reason");
    assert!(
        because.starts_with("achieved_above: a achieves 5."),
        "{because}"
    );
    assert_eq!(bench.event(EventKind::Stopping).because, Some(because));
    bench.assert_consistent();
}

// === The emergency stop ===

#[tokio::test(start_paused = true)]
async fn a_halt_calls_a_start_off_and_refuses_the_next_ones() {
    let bench = Bench::new();
    let sessions = bench.sessions.clone();
    let set = vec![run('a', Act::NeverStarts, 0)];
    let starting =
        tokio::spawn(async move { sessions.start_set(set, Terms::default(), None).await });
    pass(0.1).await;
    let before = Instant::now();
    bench.sessions.halt(BY).await.expect("an answer");
    assert!(before.elapsed() < SECOND);
    assert!(starting.await.expect("no panic").is_err());
    let refused = bench.start(vec![run('a', Act::Well, 0)]).await;
    assert!(matches!(refused, Err(SessionError::Halted(_))));
    bench.sessions.rearm(BY).await.expect("an answer");
    bench
        .start(vec![run('a', Act::Well, 0)])
        .await
        .expect("a starts");
    let order = ["accepted a", "failed a", "halted", "rearmed", "accepted a"];
    assert_eq!(bench.told()[..5], order);
}

// === A run that is stuck in its release ===

/// A bench on which `a` is stuck and is being stopped, and `b` runs.
async fn bench_with_a_stuck() -> (Bench, JoinHandle<Result<(), SessionError>>) {
    let bench = Bench::new();
    let set = vec![run('a', Act::IgnoresItsStop, 0), run('b', Act::Well, 0)];
    bench.start(set).await.expect("both start");
    let sessions = bench.sessions.clone();
    let stopping = tokio::spawn(async move { sessions.stop_one("a", None).await });
    pass(1.0).await;
    (bench, stopping)
}

#[tokio::test(start_paused = true)]
async fn a_stuck_run_holds_up_no_stop_and_no_start_of_another() {
    let (bench, stopping) = bench_with_a_stuck().await;
    let before = Instant::now();
    // What is not gone yet is shown.
    assert_eq!(bench.running(), ["a", "b"]);
    let start = bench.start_one(run('c', Act::Well, 0));
    start.await.expect("c starts");
    bench.sessions.stop_one("b", None).await.expect("an answer");
    assert!(before.elapsed() < SECOND);
    assert_eq!(bench.end_of("b").reason, EndReason::Stopped);
    assert!(!stopping.is_finished());
    stopping.await.expect("no panic").expect("an answer");
    assert!(before.elapsed() >= 8 * SECOND);
    assert_eq!(bench.running(), ["c"]);
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_all_frees_the_others_at_once_and_answers_when_all_is_gone() {
    let (bench, stopping) = bench_with_a_stuck().await;
    let before = Instant::now();
    let sessions = bench.sessions.clone();
    let halting = tokio::spawn(async move { sessions.halt(None).await });
    pass(0.1).await;
    assert_eq!(bench.end_of("b").reason, EndReason::Stopped);
    // A session that ends as a whole is shown whole.
    assert_eq!(bench.running(), ["a", "b"]);
    assert!(!halting.is_finished());
    let halted = halting.await.expect("no panic").expect("an answer");
    assert_eq!(halted.stopped, ["b"]);
    assert!(before.elapsed() >= 8 * SECOND);
    stopping.await.expect("no panic").expect("an answer");
    bench.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_set_waits_for_a_stuck_run_and_a_stop_of_all_calls_it_off() {
    let (bench, _stopping) = bench_with_a_stuck().await;
    let start = |name| {
        let sessions = bench.sessions.clone();
        let set = vec![run(name, Act::Well, 0)];
        tokio::spawn(async move { sessions.start_set(set, Terms::default(), None).await })
    };
    let first = start('b');
    pass(0.1).await;
    assert!(!first.is_finished());
    // In its turn: what comes after a start is not lost before it.
    let sessions = bench.sessions.clone();
    let stopping_b = tokio::spawn(async move { sessions.stop_one("b", None).await });
    pass(1.0).await;
    let outcome = first.await.expect("no panic");
    let Err(SessionError::NothingStarted(report)) = outcome else {
        panic!("{outcome:?}")
    };
    let called_off = Some("the start was called off by a later request");
    assert_eq!(errors(&report), [called_off]);
    stopping_b.await.expect("no panic").expect("an answer");
    let second = start('c');
    let begun = Instant::now();
    let report = second.await.expect("no panic").expect("c starts");
    assert_eq!(report.scenarios, ["c"]);
    assert!(begun.elapsed() >= 5 * SECOND);
    assert_eq!(bench.running(), ["c"]);
    bench.assert_consistent();
}

// === Against a model ===

#[derive(Debug, Clone)]
enum Step {
    StartSet(Vec<(char, bool)>, u64),
    StartOne(char, bool, u64),
    StopOne(char),
    StopAll,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || prop::sample::select(vec!['a', 'b', 'c']);
    let set = prop::sample::subsequence(vec!['a', 'b', 'c'], 1..=3).prop_flat_map(|names| {
        let goods = prop::collection::vec(any::<bool>(), names.len());
        (Just(names), goods).prop_map(|(names, goods)| names.into_iter().zip(goods).collect())
    });
    prop_oneof![
        (set, 0..4_u64).prop_map(|(set, s)| Step::StartSet(set, s)),
        (name(), any::<bool>(), 0..4_u64).prop_map(|(n, good, s)| Step::StartOne(n, good, s)),
        name().prop_map(Step::StopOne),
        Just(Step::StopAll),
        (1..4_u64).prop_map(Step::Pass),
    ]
}

/// What should run: each name with the second at which it ends by itself.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    live: Vec<(char, Option<u64>)>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::StartSet(set, seconds) => {
                let end = (*seconds > 0).then(|| self.now + seconds);
                let good = set.iter().filter(|(_, good)| *good);
                self.live = good.map(|(name, _)| (*name, end)).collect();
            }
            Step::StartOne(name, good, seconds) => {
                self.live.retain(|(known, _)| known != name);
                if *good {
                    self.live
                        .push((*name, (*seconds > 0).then(|| self.now + seconds)));
                }
            }
            Step::StopOne(name) => self.live.retain(|(known, _)| known != name),
            Step::StopAll => self.live.clear(),
            Step::Pass(seconds) => {
                self.now += seconds;
                self.live
                    .retain(|(_, end)| end.is_none_or(|end| end > self.now));
            }
        }
    }
}

/// Gives the report of a start of which anything came up.
async fn carry_out(bench: &Bench, step: &Step) -> Option<StartReport> {
    let act = |good: bool| if good { Act::Well } else { Act::FailsToStart };
    let timed = |name: char, good: bool, seconds: u64| {
        // The duration ends a quarter before the model's full second.
        let mut run = run(name, act(good), seconds);
        run.duration = run.duration.map(|duration| duration - SECOND / 4);
        run
    };
    match step {
        Step::StartSet(set, seconds) => {
            let runs = set.iter().map(|(name, good)| timed(*name, *good, *seconds));
            return bench.start(runs.collect()).await.ok();
        }
        Step::StartOne(name, good, seconds) => {
            let run = timed(*name, *good, *seconds);
            return bench.start_one(run).await.ok();
        }
        Step::StopOne(name) => {
            let name = ["a", "b", "c"][*name as usize - 'a' as usize];
            let stopped = bench.sessions.stop_one(name, None).await;
            stopped.expect("an answer");
        }
        Step::StopAll => drop(bench.sessions.stop_all(None).await.expect("an answer")),
        Step::Pass(seconds) => pass(*seconds as f64).await,
    }
    None
}

impl Bench {
    fn assert_agrees(&self, model: &Model, after: &[Step]) {
        let live = model.live.iter();
        let live: Vec<String> = live.map(|(name, _)| name.to_string()).collect();
        assert_eq!(self.running(), live, "after {after:?}");
        self.assert_consistent();
    }
}

async fn play(steps: Vec<Step>) {
    let (bench, mut model) = (Bench::new(), Model::default());
    // Half a second off the seconds of all deadlines.
    pass(0.5).await;
    for step in steps {
        carry_out(&bench, &step).await;
        model.apply(&step);
        bench.assert_agrees(&model, &[step]);
    }
}

/// Commands of clients who do not wait for each other, and time between such crowds.
async fn play_at_once(crowds: Vec<(Vec<Step>, u64)>) {
    let (bench, mut model) = (Bench::new(), Model::default());
    let mut newest = String::new();
    pass(0.5).await;
    for (mut steps, seconds) in crowds {
        steps.retain(|step| !matches!(step, Step::Pass(_)));
        let all = steps.iter().map(|step| carry_out(&bench, step));
        let reports = futures_util::future::join_all(all).await;
        for (step, report) in steps.iter().zip(reports) {
            model.apply(step);
            let Some(report) = report else { continue };
            // A set is a session of its own; a single start may join the one that lives.
            match step {
                Step::StartSet(..) => assert!(report.session_id > newest, "{step:?}"),
                _ => assert!(report.session_id >= newest, "{step:?}"),
            }
            newest = report.session_id;
        }
        bench.assert_agrees(&model, &steps);
        let later = Step::Pass(seconds);
        carry_out(&bench, &later).await;
        model.apply(&later);
        bench.assert_agrees(&model, &[later]);
    }
}

fn on_a_paused_clock(play: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_sequence_of_commands_leaves_what_the_model_says(steps in prop::collection::vec(step(), 0..20)) {
        on_a_paused_clock(play(steps));
    }

    #[test]
    fn commands_that_come_at_once_are_carried_out_one_after_the_other(
        crowds in prop::collection::vec((prop::collection::vec(step(), 1..5), 0..3_u64), 0..8),
    ) {
        on_a_paused_clock(play_at_once(crowds));
    }
}

// === Starts that come by themselves ===

/// A bench with an onset of `a`.
fn with_onset() -> (Bench, CancellationToken) {
    let onset = CancellationToken::new();
    let bench = Bench::with_onsets(Onsets::from([("a", onset.clone())]));
    (bench, onset)
}

#[tokio::test(start_paused = true)]
async fn an_onset_that_a_client_made_pointless_is_refused() {
    let boot = Some(Initiator::Boot);
    let (bench, onset) = with_onset();
    // Neither another scenario nor the profile itself calls it off.
    let runs = vec![run('b', Act::Well, 0)];
    bench.start_by(runs, boot).await.expect("a start");
    bench.sessions.stop_one("b", BY).await.expect("an answer");
    assert!(!onset.is_cancelled());
    bench.sessions.stop_all(BY).await.expect("an answer");
    assert!(onset.is_cancelled());
    let late = bench.start_one_by(run('a', Act::Well, 0), boot).await;
    assert_eq!(late, Err(SessionError::Closed));
    assert!(bench.sessions.view().session.is_none());
    // A client may start it all the same.
    let started = bench.start_one_by(run('a', Act::Well, 0), BY).await;
    started.expect("a start");

    for by_client in ["set", "one"] {
        let (bench, onset) = with_onset();
        let started = match by_client {
            "set" => bench.start_by(vec![run('b', Act::Well, 0)], BY).await,
            _ => bench.start_one_by(run('a', Act::Well, 0), BY).await,
        };
        started.expect("a start");
        assert!(onset.is_cancelled(), "{by_client}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_refused_calls_no_onset_off() {
    let (bench, onset) = with_onset();
    let full = Terms {
        most_at_once: Some(1),
        ..Terms::default()
    };
    let boot = Some(Initiator::Boot);
    bench
        .sessions
        .start_set(vec![run('b', Act::Well, 0)], full.clone(), boot)
        .await
        .expect("a start");
    let refused = bench
        .sessions
        .start_one(run('a', Act::Well, 0), full, BY)
        .await;
    assert_eq!(refused, Err(SessionError::NoRoom(1)));
    assert!(!onset.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn an_onset_that_was_called_off_calls_no_start_off() {
    let (bench, onset) = with_onset();
    onset.cancel();
    let sessions = bench.sessions.clone();
    let slow = vec![run('a', Act::NeverStarts, 0), run('b', Act::Well, 0)];
    let starting =
        tokio::spawn(async move { sessions.start_set(slow, Terms::default(), BY).await });
    pass(1.0).await;
    let void = bench
        .start_one_by(run('a', Act::Well, 0), Some(Initiator::Boot))
        .await;
    assert_eq!(void, Err(SessionError::Closed));
    let report = starting.await.expect("no panic").expect("b starts");
    assert_eq!(errors(&report), [Some("did not start within 5 s"), None]);
}

#[tokio::test(start_paused = true)]
async fn an_onset_joins_what_runs_and_the_ledger_knows_who_asked() {
    let boot = Some(Initiator::Boot);
    let (bench, _onset) = with_onset();
    let first = vec![run('b', Act::Well, 0)];
    let first = bench.start_by(first, boot).await.expect("a start");
    let late = bench.start_one_by(run('a', Act::Well, 0), boot).await;
    assert_eq!(late.expect("a start").session_id, first.session_id);
    let events = bench.ledger.all();
    let accepted: Vec<_> = events
        .iter()
        .filter(|e| e.kind == EventKind::Accepted)
        .collect();
    assert!(accepted.len() == 2 && accepted.iter().all(|event| event.by == boot));
}
