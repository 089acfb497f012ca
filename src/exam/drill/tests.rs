//! Drills on a manager with the real scenarios and a ledger on disk, without listeners.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::keeper::{Faults, Keeper};
use super::open::OpeningTerms;
use super::store::{Store, Writer};
use super::view::HistoryQuery;
use super::*;
use crate::exam::plan::{Plan, PlannedScenario};
use crate::exam::preset::{Decision, Difficulty, Expected, Persist};
use crate::exam::record::{ClosedFacts, MeasuredFacts};
use crate::fault::table::FaultTable;
use crate::input::limits::Limits;
use crate::ledger::event::BootFacts;
use crate::lifecycle::readiness::Readiness;
use crate::manager::ManagerError;
use crate::manager::session::{Onsets, SessionError, SessionManager};
use crate::plugin::Services;
use crate::scenarios;
use crate::traffic::{Surroundings, TrafficControl, TrafficSpec};

const OPERATOR: Option<Initiator> = Some(Initiator::Signal);
const LATENCY: &str = "network_latency";
const HEALTH: &str = "health_check";

/// One process, in a folder that may outlive it.
struct Bench {
    exam: Exam,
    manager: ScenarioManager,
    ledger: Ledger,
    root: CancellationToken,
    folder: Arc<TempDir>,
}

impl Bench {
    fn new() -> Self {
        Self::boot(&Arc::new(TempDir::new().expect("a folder")), "1.0", true)
    }

    fn boot(folder: &Arc<TempDir>, version: &str, blind: bool) -> Self {
        let data = folder.path();
        let open = || Ledger::open(&data.join("ledger"), BootFacts::default());
        // Another process has the files until its thread has ended.
        let durable = |ledger: &Ledger| ledger.not_durable().is_none();
        let ledger = std::iter::repeat_with(open).find(durable).expect("endless");
        let services = Arc::new(Services {
            ledger: ledger.clone(),
            ..Services::for_tests(data)
        });
        let (root, table) = (CancellationToken::new(), FaultTable::default());
        let (sessions, _) = SessionManager::spawn(services, table, root.clone(), Onsets::new());
        let cgroup = Cgroup::at("/nowhere", "/nowhere");
        let manager =
            ScenarioManager::new(scenarios::ALL, sessions, Limits::default(), cgroup.clone());
        let surroundings = Surroundings {
            service: SocketAddr::from(([127, 0, 0, 1], 1)),
            readiness: Readiness::default(),
            most: 4,
            control: TrafficControl::default(),
            end: root.clone(),
        };
        let parts = ExamParts {
            manager: manager.clone(),
            ledger: ledger.clone(),
            presets: Presets::new(Vec::new()),
            clients: Clients::Own(Box::new(TrafficSpec::of_own(None)), surroundings),
            cgroup,
            workload: None,
            service: ("shop".to_owned(), version.to_owned()),
            blind,
            end: root.clone(),
        };
        Self {
            exam: Exam::new(parts, data),
            manager,
            ledger,
            root,
            folder: Arc::clone(folder),
        }
    }

    /// Another process in the same folder; this one vanishes.
    async fn next_boot(self, version: &str) -> Self {
        let Self { root, folder, .. } = &self;
        root.cancel();
        self.ledger.close();
        let next = Self::boot(folder, version, true);
        next.exam.resume(false).await;
        next
    }

    async fn open(&self, plan: Plan) -> Result<DrillView, ExamError> {
        self.exam.open_drawn(plan, terms(), OPERATOR).await
    }

    fn running(&self) -> Vec<&'static str> {
        let rows = self.manager.list().into_iter();
        rows.filter(|row| row.running).map(|row| row.name).collect()
    }

    async fn start(&self, name: &str) {
        let started = self.manager.start_one(name, Map::new(), OPERATOR).await;
        started.expect("it can start");
    }

    fn events(&self, kind: EventKind) -> Vec<Arc<Event>> {
        let all = self.ledger.all().into_iter();
        all.filter(|event| event.kind == kind).collect()
    }

    /// Waits until no drill is open, and returns why the last one was closed.
    async fn closed(&self) -> (CloseReason, Option<String>) {
        while self.exam.open_drill().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let closed = self.events(EventKind::DrillClosed).pop().expect("a close");
        let facts: ClosedFacts = facts_of(&closed).expect("facts");
        (facts.reason, facts.because)
    }

    fn file(&self, id: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("drills/{id}.jsonl"))
    }
}

fn terms() -> OpeningTerms {
    OpeningTerms {
        seed: "a".to_owned(),
        reveal: Reveal::After,
        note: None,
        replace: false,
        volatile: false,
    }
}

fn plan(names: &[&str]) -> Plan {
    let scenario = |name: &&str| PlannedScenario {
        name: (*name).to_owned(),
        after_s: 0.0,
        duration_s: 60.0,
        params: Map::new(),
        graded: BTreeMap::new(),
    };
    Plan {
        generator: 1,
        preset: "a".to_owned(),
        difficulty: Difficulty::Easy,
        scenarios: names.iter().map(scenario).collect(),
        traffic: None,
        expect: Expected {
            causes: names.iter().map(|name| (*name).to_owned()).collect(),
            derived: Vec::new(),
            decision: Decision::Rollback,
        },
        persist: Persist::Release,
        time_scale: 0.05,
        onset_s: 0.0,
        duration_s: 60.0,
        deadline_s: 90.0,
        max_answers: 2,
        max_restarts: 2,
        traffic_rps: None,
        pool: Vec::new(),
        vocabulary: vec![LATENCY.to_owned(), HEALTH.to_owned()],
    }
}

fn answer(detected: bool) -> Map<String, Value> {
    let answer = json!({ "detected": detected, "findings": [], "decision": "rollback" });
    answer.as_object().expect("an object").clone()
}

#[tokio::test]
async fn a_drill_is_opened_answered_and_closed_and_its_report_stays() {
    let bench = Bench::new();
    let opened = bench.open(plan(&[LATENCY])).await.expect("it opens");
    let id = &opened.masked.drill_id;
    assert_eq!(bench.running(), [LATENCY]);
    assert_eq!(bench.exam.current().as_ref(), Some(&opened.masked));
    assert!(matches!(
        bench.exam.report(id),
        Err(ExamError::StillOpen(_))
    ));

    let first = bench.exam.answer(id, answer(true)).await.expect("accepted");
    assert_eq!(first.n, 1);
    assert_eq!(
        bench.events(EventKind::DrillAnswer)[0].time,
        first.received_at
    );
    let bad = json!({ "detected": "maybe" })
        .as_object()
        .cloned()
        .expect("an object");
    let refused = bench.exam.answer(id, bad).await;
    assert!(matches!(refused, Err(ExamError::Invalid(_))), "{refused:?}");
    let second = bench.exam.answer(CURRENT, answer(true)).await;
    assert_eq!(second.expect("accepted").n, 2);
    let third = bench.exam.answer(id, answer(false)).await;
    assert!(
        matches!(third, Err(ExamError::NoAnswersLeft(2))),
        "{third:?}"
    );
    assert_eq!(bench.exam.current().expect("open").answers_left, 0);

    let report = bench.exam.close(CURRENT, OPERATOR).await.expect("a report");
    assert_eq!(bench.running(), [""; 0]);
    assert_eq!(bench.closed().await.0, CloseReason::Finished);
    assert_eq!(bench.exam.close(id, None).await.expect("the same"), report);
    assert_eq!(
        bench.exam.report(id).expect("the same"),
        (report, Reveal::After)
    );
    assert_eq!(bench.exam.current(), None);
    for refused in [
        bench.exam.answer(id, answer(true)).await.map(drop),
        bench.exam.release_event(id, Map::new()).await,
    ] {
        assert!(matches!(refused, Err(ExamError::Closed(_))), "{refused:?}");
    }
    let no_id = bench.exam.answer("d-1", answer(true)).await;
    assert!(
        matches!(no_id, Err(ExamError::UnknownDrill(_))),
        "{no_id:?}"
    );
    assert!(matches!(
        bench.exam.close(CURRENT, None).await,
        Err(ExamError::NotOpen)
    ));
}

#[tokio::test]
async fn the_file_has_the_events_of_the_ledger_from_the_opening_to_the_close() {
    let bench = Bench::new();
    let id = bench
        .open(plan(&[LATENCY]))
        .await
        .expect("it opens")
        .masked
        .drill_id;
    bench.exam.close(&id, None).await.expect("a report");
    bench.start(HEALTH).await;
    let kept = bench.exam.events_of(&id).expect("a file").expect("a drill");
    let all = bench.ledger.all();
    let opened = all
        .iter()
        .position(|event| event.kind == EventKind::DrillOpened);
    let closed = all
        .iter()
        .position(|event| event.kind == EventKind::DrillClosed);
    let between = opened.expect("an opening")..=closed.expect("a close");
    assert_eq!(kept, all[between]);
    let kinds: Vec<_> = kept.iter().map(|event| event.kind).collect();
    for kind in [EventKind::Accepted, EventKind::Started, EventKind::Cleared] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    // The last measurement of each run comes before the close.
    let mut measured = kept
        .iter()
        .filter(|event| event.kind == EventKind::DrillMeasured);
    let last: MeasuredFacts = facts_of(measured.next_back().expect("measurements")).expect("facts");
    assert_eq!(
        (last.runs[0].scenario.as_str(), last.runs[0].touched),
        (LATENCY, Some(0))
    );
}

#[tokio::test]
async fn only_one_is_open_unless_another_replaces_it() {
    let bench = Bench::new();
    let first = bench
        .open(plan(&[LATENCY]))
        .await
        .expect("it opens")
        .masked
        .drill_id;
    let refused = bench.open(plan(&[])).await;
    assert!(matches!(refused, Err(ExamError::Open(id)) if id == first));
    let terms = OpeningTerms {
        replace: true,
        ..terms()
    };
    let opened = bench
        .exam
        .open_drawn(plan(&[HEALTH]), terms, OPERATOR)
        .await;
    let second = opened.expect("it replaces the first").masked.drill_id;
    assert!(second > first);
    assert_eq!(bench.running(), [HEALTH]);
    let closed = bench.events(EventKind::DrillClosed);
    let facts: ClosedFacts = facts_of(&closed[0]).expect("facts");
    assert_eq!(facts.reason, CloseReason::Aborted);
    assert_eq!(closed[0].drill_id.as_deref(), Some(&*first));
}

#[tokio::test]
async fn a_close_stops_the_runs_of_the_drill_and_no_other() {
    let bench = Bench::new();
    bench.open(plan(&[LATENCY])).await.expect("it opens");
    bench.start(HEALTH).await;
    assert_eq!(bench.running(), [LATENCY, HEALTH]);
    bench.exam.close(CURRENT, None).await.expect("a report");
    assert_eq!(bench.running(), [HEALTH]);
}

#[tokio::test]
async fn a_planned_onset_is_called_off_at_the_close() {
    let bench = Bench::new();
    let mut later = plan(&[LATENCY]);
    later.scenarios[0].after_s = 30.0;
    bench.open(later).await.expect("it opens");
    assert!(bench.running().is_empty() && !bench.manager.sessions.view().planned.is_empty());
    bench.exam.close(CURRENT, None).await.expect("a report");
    assert!(bench.manager.sessions.view().planned.is_empty());
}

#[tokio::test]
async fn another_client_that_ends_all_its_faults_closes_it() {
    let bench = Bench::new();
    bench
        .open(plan(&[LATENCY, HEALTH]))
        .await
        .expect("it opens");
    let stopped = bench.manager.stop_one(LATENCY, OPERATOR).await;
    stopped.expect("it stops");
    assert!(bench.exam.current().is_some(), "the other fault goes on");
    bench
        .manager
        .sessions
        .stop_all(OPERATOR)
        .await
        .expect("it stops");
    assert_eq!(bench.closed().await.0, CloseReason::Stopped);

    bench.open(plan(&[LATENCY])).await.expect("it opens");
    let set = json!({ "scenarios": [{ "name": HEALTH }] });
    let set = set.as_object().expect("an object").clone();
    bench
        .manager
        .start_set(set, OPERATOR)
        .await
        .expect("a switch");
    assert_eq!(bench.closed().await.0, CloseReason::Stopped);
    assert_eq!(bench.running(), [HEALTH], "what replaced them goes on");
}

#[tokio::test]
async fn a_halt_aborts_it_and_refuses_the_next() {
    let bench = Bench::new();
    bench.open(plan(&[])).await.expect("it opens");
    bench
        .manager
        .sessions
        .halt(OPERATOR)
        .await
        .expect("it halts");
    assert_eq!(bench.closed().await.0, CloseReason::Aborted);
    for names in [&[][..], &[LATENCY]] {
        let refused = bench.open(plan(names)).await;
        assert!(
            matches!(
                refused,
                Err(ExamError::Manager(ManagerError::Session(
                    SessionError::Halted(_)
                )))
            ),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn it_expires_at_its_deadline() {
    let bench = Bench::new();
    let mut short = plan(&[LATENCY]);
    short.deadline_s = 0.3;
    bench.open(short).await.expect("it opens");
    assert_eq!(bench.closed().await, (CloseReason::Expired, None));
    assert_eq!(bench.running(), [""; 0]);
}

#[tokio::test]
async fn what_ran_before_ends_for_a_control_too() {
    for names in [&[][..], &[LATENCY]] {
        let bench = Bench::new();
        bench.start(HEALTH).await;
        bench.open(plan(names)).await.expect("it opens");
        assert_eq!(bench.running(), names);
        bench.exam.close(CURRENT, None).await.expect("a report");
    }
}

#[tokio::test]
async fn a_path_is_noted_once_and_not_too_many_are() {
    let bench = Bench::new();
    bench.exam.taint("/before");
    bench.open(plan(&[])).await.expect("it opens");
    bench.exam.taint("/a");
    for n in 0..30 {
        bench.exam.taint("/a");
        bench.exam.taint(&format!("/{n}/{}", "x".repeat(500)));
    }
    bench.ledger.synced().await;
    let taints = bench.events(EventKind::DrillTainted);
    assert_eq!(taints.len(), MOST_TAINTS);
    let facts: TaintFacts = facts_of(&taints[0]).expect("facts");
    assert_eq!(facts.path, "/a");
    let facts: TaintFacts = facts_of(&taints[1]).expect("facts");
    assert_eq!(facts.path.len(), PATH_CHARS);
}

#[tokio::test]
async fn without_a_folder_it_is_refused_or_ends_with_the_process() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("drills"), "").expect("a file in the way");
    let refused = bench.open(plan(&[LATENCY])).await;
    assert!(matches!(refused, Err(ExamError::NoStore(_))), "{refused:?}");
    let volatile = || OpeningTerms {
        volatile: true,
        ..terms()
    };
    let refused = bench
        .exam
        .open_drawn(plan(&["crash"]), volatile(), None)
        .await;
    assert!(
        matches!(refused, Err(ExamError::NoStoreForEnd { .. })),
        "{refused:?}"
    );
    assert!(bench.events(EventKind::DrillOpened).is_empty());
    let opened = bench
        .exam
        .open_drawn(plan(&[LATENCY]), volatile(), None)
        .await;
    let opened = opened.expect("it opens");
    assert!(
        opened
            .warnings
            .iter()
            .any(|warning| warning.contains("process"))
    );
    let report = bench.exam.close(CURRENT, None).await.expect("a report");
    let again = bench.exam.report(&opened.masked.drill_id);
    assert_eq!(again.expect("in memory").0, report);
}

#[tokio::test]
async fn a_service_that_is_not_blind_has_no_drill() {
    let folder = Arc::new(TempDir::new().expect("a folder"));
    let bench = Bench::boot(&folder, "1.0", false);
    let refused = bench.exam.open(Map::new(), None).await;
    assert!(matches!(refused, Err(ExamError::NotBlind)), "{refused:?}");
}

#[tokio::test]
async fn the_next_boot_of_the_version_goes_on_with_what_was_used_up() {
    let bench = Bench::new();
    let id = bench
        .open(plan(&[LATENCY]))
        .await
        .expect("it opens")
        .masked
        .drill_id;
    bench
        .exam
        .answer(&id, answer(true))
        .await
        .expect("accepted");
    bench.exam.taint("/a");
    let bench = bench.next_boot("1.0").await;
    let current = bench.exam.current().expect("it is open");
    assert_eq!((current.drill_id, current.answers_left), (id.clone(), 1));
    assert_eq!(bench.running(), [LATENCY], "a bad version stays bad");
    bench.exam.taint("/a");
    bench.ledger.synced().await;
    assert_eq!(bench.events(EventKind::DrillTainted).len(), 1);

    // Twice more is once too often.
    let bench = bench.next_boot("1.0").await;
    assert_eq!(bench.running(), [LATENCY]);
    let bench = bench.next_boot("1.0").await;
    assert_eq!(bench.running(), [""; 0]);
    bench.exam.close(&id, None).await.expect("a report");
    let kept = bench.exam.events_of(&id).expect("a file").expect("a drill");
    let seqs: Vec<_> = kept.iter().map(|event| event.seq).collect();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );
    assert_eq!(kept.last().expect("a close").kind, EventKind::DrillClosed);
    let bench = bench.next_boot("1.0").await;
    assert_eq!(bench.exam.current(), None);
}

#[tokio::test]
async fn faults_of_the_process_end_with_it_and_those_of_another_version_too() {
    let bench = Bench::new();
    let mut transient = plan(&[LATENCY]);
    transient.persist = Persist::Process;
    bench.open(transient).await.expect("it opens");
    let bench = bench.next_boot("1.0").await;
    assert!(bench.exam.current().is_some() && bench.running().is_empty());
    let bench = bench.next_boot("0.9").await;
    assert_eq!(bench.closed().await.0, CloseReason::RolledBack);
    assert_eq!(bench.running(), [""; 0]);
}

#[tokio::test]
async fn a_torn_file_is_completed_from_the_ledger() {
    let bench = Bench::new();
    let id = bench
        .open(plan(&[LATENCY]))
        .await
        .expect("it opens")
        .masked
        .drill_id;
    bench
        .exam
        .answer(&id, answer(true))
        .await
        .expect("accepted");
    bench.exam.close(&id, None).await.expect("a report");
    let (file, whole) = (
        bench.file(&id),
        std::fs::read(bench.file(&id)).expect("a file"),
    );
    let mut bench = bench;
    // As after a kill in the middle of any write, the first and the last included.
    for bytes in [0, 10, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..bytes]).expect("a torn file");
        bench = bench.next_boot("1.0").await;
        assert_eq!(bench.exam.current(), None);
        assert_eq!(
            std::fs::read(&file).expect("a file"),
            whole,
            "{bytes} bytes"
        );
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_its_drill_once() {
    let bench = Bench::new();
    let id = bench.open(plan(&[LATENCY])).await.expect("it opens");
    let id = id.masked.drill_id;
    std::fs::write(bench.file(&id), "{\"kind\": 7}\n").expect("a broken file");
    let mut bench = bench;
    for _ in 0..2 {
        bench = bench.next_boot("1.0").await;
        assert!(bench.exam.current().is_none() && bench.running().is_empty());
        assert_eq!(bench.closed().await.0, CloseReason::Aborted);
    }
    assert_eq!(bench.events(EventKind::DrillClosed).len(), 1);
    bench.open(plan(&[])).await.expect("another opens");
}

#[tokio::test]
async fn a_file_without_an_opening_is_removed() {
    let bench = Bench::new();
    drop(bench.exam.0.drills.create("d-0").expect("a file"));
    let bench = bench.next_boot("1.0").await;
    assert!(!bench.file("d-0").exists() && bench.exam.current().is_none());
}

#[tokio::test]
async fn a_disk_that_refuses_an_event_aborts_it() {
    let bench = Bench::new();
    let facts = OpenedFacts {
        plan: plan(&[LATENCY]),
        seed: String::new(),
        salt: String::new(),
        commitment: String::new(),
        service: String::new(),
        service_version: String::new(),
        reveal: Reveal::Admin,
        note: None,
    };
    let now = bench.ledger.now().time;
    let (drill, orders) = Drill::new("d-0".to_owned(), facts, now, now);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let writer = Writer::begin(full.expect("a full disk")).expect("a thread");
    let since = bench.ledger.newest();
    let keeper = Keeper::new(&bench.exam, &Arc::new(drill), Store::File(writer), since);
    let opened = bench.exam.go_on(keeper, (Faults::All, 0.0), orders).await;
    opened.expect("its faults start");
    let (reason, because) = bench.closed().await;
    assert_eq!(reason, CloseReason::Aborted);
    assert!(because.expect("a reason").contains("No space"));
    assert_eq!(bench.running(), [""; 0]);
}

#[tokio::test]
async fn runs_are_measured_as_long_as_one_is_up() {
    let bench = Bench::new();
    let mut short = plan(&[LATENCY]);
    short.scenarios[0].duration_s = 0.8;
    bench.open(short).await.expect("it opens");
    while bench.events(EventKind::Cleared).is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.exam.close(CURRENT, None).await.expect("a report");
    let measured = bench.events(EventKind::DrillMeasured);
    // At once, each quarter of a second, and at the end.
    assert!((3..=6).contains(&measured.len()), "{}", measured.len());
    let times: Vec<_> = measured.iter().map(|event| event.time).collect();
    let gaps = times.windows(2).map(|pair| pair[1].seconds_since(pair[0]));
    assert!(gaps.clone().rev().skip(1).all(|gap| gap > 0.2), "{times:?}");
}

#[tokio::test]
async fn a_history_has_the_closed_drills_that_are_asked_for() {
    let bench = Bench::new();
    let mut ids = Vec::new();
    for preset in ["a", "b", "a"] {
        let drawn = Plan {
            preset: preset.to_owned(),
            ..plan(&[])
        };
        ids.push(bench.open(drawn).await.expect("it opens").masked.drill_id);
        bench.exam.close(CURRENT, None).await.expect("a report");
    }
    bench
        .open(plan(&[]))
        .await
        .expect("it is open, and so not in it");
    let opened_at = bench.events(EventKind::DrillOpened)[1].time;
    for (query, expected) in [
        (HistoryQuery::default(), vec![2, 1, 0]),
        (
            HistoryQuery {
                preset: Some("a".to_owned()),
                ..HistoryQuery::default()
            },
            vec![2, 0],
        ),
        (
            HistoryQuery {
                since: Some(opened_at),
                ..HistoryQuery::default()
            },
            vec![2, 1],
        ),
        (
            HistoryQuery {
                limit: Some(1),
                ..HistoryQuery::default()
            },
            vec![2],
        ),
    ] {
        let history = bench.exam.history(query).await.expect("a history");
        let shown = serde_json::json!(history);
        let drills = shown["drills"].as_array().expect("a list").iter();
        let shown: Vec<_> = drills.map(|drill| drill["drill_id"].clone()).collect();
        let expected: Vec<_> = expected.into_iter().map(|i: usize| json!(ids[i])).collect();
        assert_eq!(shown, expected);
    }
}
