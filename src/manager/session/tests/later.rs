//! Runs that start later than they were asked for.

use std::time::Duration;

use super::bench::{Act, BY, Bench, errors, pass, run};
use crate::ledger::event::EventKind;
use crate::manager::session::{PlannedRun, SessionError, Start};
use crate::manager::terms::{Ends, Terms};
use crate::plugin::Conflict;
use crate::run::EndReason;

/// A run that starts after `after_s` and lasts for `seconds`; 0 means until stopped.
fn later(name: char, act: Act, after_s: u64, seconds: u64) -> PlannedRun {
    PlannedRun {
        after: Duration::from_secs(after_s),
        ..run(name, act, seconds)
    }
}

fn set(runs: Vec<PlannedRun>, ends: Ends) -> Start {
    let terms = Terms {
        ends,
        ..Terms::default()
    };
    Start::set(runs, terms)
}

fn planned(bench: &Bench) -> Vec<&'static str> {
    bench.sessions.view().planned.keys().copied().collect()
}

#[tokio::test(start_paused = true)]
async fn runs_start_at_their_onsets_and_end_together() {
    let bench = Bench::new();
    let runs = vec![
        later('a', Act::Well, 5, 10),
        run('b', Act::Well, 3),
        later('c', Act::Well, 8, 0),
    ];
    let report = bench.start(runs).await.expect("all is planned");
    assert_eq!(report.scenarios, ["a", "b", "c"]);
    let onsets: Vec<_> = report
        .details
        .iter()
        .map(|d| d.starts_at.is_some())
        .collect();
    assert_eq!(onsets, [true, false, true]);
    let ends: Vec<_> = report.details.iter().map(|d| d.expires_at).collect();
    assert!(ends[0].is_some() && ends.iter().all(|end| *end == ends[0]));
    let starts_at = report.details[0].starts_at.expect("it is planned");
    assert_eq!(ends[0], Some(starts_at.plus(Duration::from_secs(10))));
    assert_eq!(bench.event(EventKind::Planned).starts_at, Some(starts_at));
    for (at, running, to_come) in [
        (4.9, vec!["b"], vec!["a", "c"]),
        (5.1, vec!["b", "a"], vec!["c"]),
        (8.1, vec!["b", "a", "c"], vec![]),
        (14.9, vec!["b", "a", "c"], vec![]),
        (15.1, vec![], vec![]),
    ] {
        pass(at - bench_age(&bench)).await;
        assert_eq!(bench.running(), running, "after {at} s");
        assert_eq!(planned(&bench), to_come, "after {at} s");
        bench.assert_consistent();
    }
    for name in ["a", "b", "c"] {
        assert_eq!(bench.end_of(name).reason, EndReason::Expired);
    }
    assert_eq!(bench.event_count(EventKind::Accepted), 3);
    assert!(bench.sessions.view().session.is_none());
}

/// The seconds since the ledger's first event, by the paused clock.
fn bench_age(bench: &Bench) -> f64 {
    bench.began.elapsed().as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn each_run_ends_at_its_own_time_where_that_is_asked_for() {
    let bench = Bench::new();
    let runs = vec![
        run('a', Act::Well, 3),
        later('b', Act::Well, 2, 10),
        later('c', Act::Well, 20, 0),
    ];
    let started = bench.sessions.start(set(runs, Ends::Each), BY).await;
    let report = started.expect("all is planned");
    let status = bench.sessions.view().session.clone().expect("it lives");
    assert_eq!(status.expires_at, None, "c will run until stopped");
    for (at, running) in [
        (2.1, vec!["a", "b"]),
        (3.1, vec!["b"]),
        // Nothing runs, and the session waits for c.
        (12.1, vec![]),
        (20.1, vec!["c"]),
        (99.0, vec!["c"]),
    ] {
        pass(at - bench_age(&bench)).await;
        assert_eq!(bench.running(), running, "after {at} s");
        let session = bench.sessions.view().session.clone().expect("it lives");
        assert_eq!(session.report.session_id, report.session_id);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_before_the_onset_calls_it_off() {
    type End = fn(&Bench) -> futures_util::future::BoxFuture<'_, ()>;
    let ends: [(EndReason, End); 4] = [
        (EndReason::Stopped, |bench| {
            Box::pin(async { bench.sessions.stop_one("a", BY).await.expect("an answer") })
        }),
        (EndReason::Stopped, |bench| {
            Box::pin(async {
                let names = bench.sessions.stop_all(BY).await.expect("an answer");
                assert_eq!(names, ["a"]);
            })
        }),
        (EndReason::Stopped, |bench| {
            Box::pin(async {
                let halted = bench.sessions.halt(BY).await.expect("an answer");
                assert_eq!(halted.stopped, ["a"]);
            })
        }),
        (EndReason::Replaced, |bench| {
            Box::pin(async {
                let by_set = bench.start_by(vec![run('b', Act::Well, 1)], BY).await;
                let report = by_set.expect("b starts");
                let status = bench.sessions.view().session.clone().expect("it lives");
                assert_eq!(status.report.session_id, report.session_id);
                pass(2.0).await;
            })
        }),
    ];
    for (reason, end) in ends {
        let bench = Bench::new();
        let report = bench.start_one(later('a', Act::Well, 10, 5)).await;
        let first = report.expect("it is planned").session_id;
        pass(1.0).await;
        end(&bench).await;
        assert!(planned(&bench).is_empty());
        assert!(bench.sessions.view().session.is_none());
        let cleared = bench.event(EventKind::Cleared);
        assert_eq!(cleared.session_id, Some(first));
        assert_eq!(cleared.reason, Some(reason));
        pass(20.0).await;
        assert!(!bench.events().contains(&"started a".to_owned()));
        bench.assert_consistent();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_and_a_shutdown_call_it_off() {
    let bench = Bench::new();
    let leased = Terms {
        lease: Some(Duration::from_secs(3)),
        ..Terms::default()
    };
    let start = Start::single(later('a', Act::Well, 10, 5), leased);
    bench.sessions.start(start, BY).await.expect("planned");
    pass(4.0).await;
    let cleared = bench.event(EventKind::Cleared);
    assert_eq!(cleared.reason, Some(EndReason::LeaseExpired));
    assert!(bench.sessions.view().session.is_none());

    bench
        .start_one(later('a', Act::Well, 10, 5))
        .await
        .expect("planned");
    bench.root.cancel();
    bench.actor.await.expect("it closes");
    let all = bench.ledger.all();
    let last = all
        .iter()
        .rev()
        .find(|event| event.kind == EventKind::Cleared);
    assert_eq!(
        last.and_then(|event| event.reason),
        Some(EndReason::Shutdown)
    );
}

#[tokio::test(start_paused = true)]
async fn an_onset_replaces_what_runs_then_and_no_earlier() {
    let bench = Bench::new();
    let first = bench.start_one(run('a', Act::TakesASecondToStop, 0)).await;
    let first = first.expect("it starts").session_id;
    let second = bench.start_one(later('a', Act::Well, 5, 10)).await;
    assert_eq!(second.expect("it is planned").session_id, first);
    pass(4.9).await;
    assert_eq!(bench.running(), ["a"]);
    assert_eq!(bench.event_count(EventKind::Replaced), 0);
    pass(2.0).await;
    let view = bench.sessions.view();
    let report = &view.session.as_ref().expect("it lives").report;
    assert_eq!(
        (report.scenarios.as_slice(), report.details.len()),
        (&["a"][..], 1)
    );
    assert!(view.planned.is_empty() && report.details[0].starts_at.is_none());
    let events = bench.events();
    let expected = [
        "accepted a",
        "started a",
        "accepted a",
        "planned a",
        "replaced a",
        "cleared a",
        "started a",
    ];
    assert_eq!(events, expected);
    // It ends when it was to end, though it came a second late.
    pass(7.9).await;
    assert_eq!(bench.running(), ["a"]);
    pass(0.3).await;
    assert!(bench.running().is_empty());
    // A newer start takes the place of one that is still to come.
    for after in [5, 3, 0] {
        let start = bench.start_one(later('b', Act::Well, after, 60)).await;
        start.expect("it is planned");
    }
    assert_eq!((bench.running(), planned(&bench).len()), (vec!["b"], 0));
}

#[tokio::test(start_paused = true)]
async fn an_onset_that_fails_is_recorded_and_the_others_go_on() {
    let bench = Bench::new();
    let runs = vec![
        run('a', Act::Well, 20),
        later('b', Act::FailsToStart, 2, 5),
        later('c', Act::PanicsAtStart, 2, 5),
    ];
    bench.start(runs).await.expect("all is planned");
    pass(3.0).await;
    let report = bench
        .sessions
        .view()
        .session
        .clone()
        .expect("it lives")
        .report;
    assert_eq!(report.scenarios, ["a"]);
    let reasons = [None, Some("out of luck"), Some("panicked: at the start")];
    assert_eq!(errors(&report), reasons);
    assert_eq!(bench.end_of("b").reason, EndReason::Failed);
    assert_eq!(bench.event_count(EventKind::Failed), 2);
    bench.assert_consistent();
    // One that is alone leaves no session.
    let bench = Bench::new();
    let alone = bench.start_one(later('a', Act::FailsToStart, 2, 5)).await;
    alone.expect("it is planned");
    pass(3.0).await;
    assert!(bench.sessions.view().session.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_planned_run_takes_its_room_and_its_conflicts_at_the_request() {
    let bench = Bench::new();
    bench
        .start_one(later('a', Act::Well, 10, 5))
        .await
        .expect("planned");
    let full = Terms {
        most_at_once: Some(1),
        ..Terms::default()
    };
    let second = Start::single(run('b', Act::Well, 0), full);
    let refused = bench.sessions.start(second, BY).await;
    assert_eq!(refused, Err(SessionError::NoRoom(1)));
    let conflict = Conflict {
        name: "a",
        reason: "There is one switch for both",
    };
    let alone = PlannedRun {
        conflicts: vec![conflict],
        ..run('b', Act::Well, 0)
    };
    let refused = bench.start_one(alone).await;
    let starts = "b";
    assert_eq!(refused, Err(SessionError::Conflict { starts, conflict }));
    assert_eq!(planned(&bench), ["a"]);
}
