//! Plugins that misbehave, and a bench that runs them in a session actor.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::fault::table::FaultTable;
use crate::fault::{Action, Matcher, Surfaces};
use crate::host::cgroup::Cgroup;
use crate::input::Fields;
use crate::ledger::Ledger;
use crate::ledger::event::{BootFacts, Event, EventKind};
use crate::lifecycle::termination::Termination;
use crate::manager::report::StartReport;
use crate::manager::run::RunEnd;
use crate::manager::session::{Onsets, PlannedRun, SessionError, SessionManager, Start};
use crate::manager::terms::Terms;
use crate::plugin::guard::LiveGuards;
use crate::plugin::{
    Active, Exit, Group, Probe, Reading, RunContext, Scenario, Services, StartError, plugin,
};
use crate::run::Initiator;

/// How a fake scenario behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Act {
    Well,
    FailsToStart,
    PanicsAtStart,
    NeverStarts,
    FailsAfterASecond,
    PanicsAfterASecond,
    IgnoresItsStop,
    TakesASecondToStop,
    /// Its effect grows to 10 within ten seconds, and is gone from the 20th second to the 22nd.
    GrowsAndFades,
    ExitsAtOnce,
    /// Records at once that it will.
    ExitsAfterASecond,
}

pub(super) const ACTS: &[(&str, Act)] = &[
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

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A scenario named `a`, `b` or `c`.
#[derive(Debug)]
struct Fake<const NAME: char>(Act);

impl<const LETTER: char> Scenario for Fake<LETTER> {
    const NAME: &'static str = match LETTER {
        'a' => "a",
        'b' => "b",
        _ => "c",
    };
    const GROUP: Group = Group::Process;
    const SUMMARY: &'static str = "A fake.";
    const EXAMPLE: &'static str = "{}";

    fn read(fields: &mut Fields) -> Self {
        Self(fields.field("act", "How it behaves.").choice(ACTS))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let Self(act) = self;
        let held = cx.live_guard();
        match act {
            Act::FailsToStart => return Err(StartError::new("out of luck")),
            Act::PanicsAtStart => panic!("at the start"),
            Act::NeverStarts => std::future::pending().await,
            _ => {}
        }
        cx.arm(Matcher::on(Surfaces::INCOMING), |_, _| Action::Pass);
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
                Act::ExitsAtOnce => {
                    let reading = Reading::default();
                    cx.terminate(Termination::Exit(3), Duration::ZERO, &reading)
                        .await;
                }
                Act::ExitsAfterASecond => {
                    let reading = Reading::default();
                    cx.terminate(Termination::Kill, SECOND, &reading).await;
                }
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

pub(super) struct Bench {
    pub(super) sessions: SessionManager,
    pub(super) actor: JoinHandle<()>,
    pub(super) root: CancellationToken,
    pub(super) live_guards: LiveGuards,
    pub(super) table: FaultTable,
    pub(super) ledger: Ledger,
    /// The exit statuses, each with the number of events in the ledger at that moment.
    pub(super) exits: Arc<Mutex<Vec<(i32, usize)>>>,
    pub(super) began: Instant,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with_onsets(Onsets::new())
    }

    pub(super) fn with_onsets(onsets: Onsets) -> Self {
        let live_guards = LiveGuards::default();
        let ledger = Ledger::in_memory("a test", BootFacts::default());
        let (exits, seen) = (Arc::new(Mutex::new(Vec::new())), ledger.clone());
        let exited = Arc::clone(&exits);
        let terminate = move |termination: Termination| {
            exited
                .lock()
                .expect("no panic")
                .push((termination.exit_status(), seen.all().len()))
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
            began: Instant::now(),
        }
    }

    /// The events after the boot, each as `kind scenario`.
    pub(super) fn events(&self) -> Vec<String> {
        let name = |event: &Event| {
            let kind = serde_json::to_value(event.kind).expect("a name");
            let kind = kind.as_str().expect("a text").to_owned();
            match &event.scenario {
                Some(scenario) => format!("{kind} {scenario}"),
                None => kind,
            }
        };
        let all = self.ledger.all();
        all.iter().skip(1).map(|event| name(event)).collect()
    }

    /// The first event of a kind.
    pub(super) fn event(&self, kind: EventKind) -> Arc<Event> {
        let all = self.ledger.all();
        let found = all.into_iter().find(|event| event.kind == kind);
        found.expect("it is recorded")
    }

    pub(super) fn event_count(&self, kind: EventKind) -> usize {
        let all = self.ledger.all();
        all.iter().filter(|event| event.kind == kind).count()
    }

    pub(super) fn running(&self) -> Vec<&'static str> {
        let session = self.sessions.view().session.clone();
        session
            .map(|session| session.report.scenarios)
            .unwrap_or_default()
    }

    pub(super) fn end_of(&self, name: &str) -> RunEnd {
        let view = self.sessions.view();
        view.latest[name].end.clone().expect("it has ended")
    }

    /// As many faults are armed and guards are held as scenarios run.
    pub(super) fn assert_consistent(&self) {
        let running = self.running().len();
        assert_eq!(self.table.load().len(), running, "armed faults");
        assert_eq!(self.live_guards.count(), running, "held guards");
    }

    pub(super) async fn start(&self, runs: Vec<PlannedRun>) -> Result<StartReport, SessionError> {
        self.start_by(runs, None).await
    }

    pub(super) async fn start_by(
        &self,
        runs: Vec<PlannedRun>,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.sessions
            .start(Start::set(runs, Terms::default()), by)
            .await
    }

    pub(super) async fn start_one(&self, run: PlannedRun) -> Result<StartReport, SessionError> {
        self.start_one_by(run, None).await
    }

    pub(super) async fn start_one_by(
        &self,
        run: PlannedRun,
        by: Option<Initiator>,
    ) -> Result<StartReport, SessionError> {
        self.sessions
            .start(Start::single(run, Terms::default()), by)
            .await
    }
}

pub(super) fn run(name: char, act: Act, seconds: u64) -> PlannedRun {
    let (act, _) = ACTS
        .iter()
        .find(|(_, known)| *known == act)
        .expect("a known act");
    let params = json!({ "act": act })
        .as_object()
        .expect("an object")
        .clone();
    let plan = match name {
        'a' => plugin::<Fake<'a'>>().plan("", params),
        'b' => plugin::<Fake<'b'>>().plan("", params),
        _ => plugin::<Fake<'c'>>().plan("", params),
    };
    let duration = (seconds > 0).then(|| Duration::from_secs(seconds));
    PlannedRun {
        plan: plan.expect("good parameters"),
        after: Duration::ZERO,
        duration,
        is_default_duration: false,
        conflicts: Vec::new(),
    }
}

pub(super) fn errors(report: &StartReport) -> Vec<Option<&str>> {
    report
        .details
        .iter()
        .map(|detail| detail.error.as_deref())
        .collect()
}

/// Lets time pass; the paused clock jumps as soon as every task waits.
pub(super) async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

pub(super) const BY: Option<Initiator> = Some(Initiator::Client(SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    4711,
)));
