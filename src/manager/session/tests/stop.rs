//! Stops, failures and shutdowns, with runs that stop slowly or not at all.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::bench::{ACTS, Act, Bench, SECOND, errors, pass, run};
use crate::ledger::event::EventKind;
use crate::manager::report::Outcome;
use crate::manager::session::{SessionError, Start};
use crate::manager::terms::Terms;
use crate::run::EndReason;

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
async fn a_run_that_ignores_its_stop_is_aborted_and_reported() {
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

/// The process is frozen in the middle of a stop, until all times are over.
#[tokio::test(start_paused = true)]
async fn a_stall_of_the_process_uses_up_no_grace_of_a_stopping_run() {
    for (act, error) in [
        (
            Act::IgnoresItsStop,
            Some("ignored its stop and was aborted"),
        ),
        (Act::TakesASecondToStop, None),
    ] {
        let bench = Bench::new();
        let set = vec![run('a', act, 0)];
        bench.start(set).await.expect("a starts");
        let sessions = bench.sessions.clone();
        let stop = tokio::spawn(async move { sessions.stop_one("a", None).await });
        while bench.event_count(EventKind::Stopping) == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        stop.await.expect("no panic").expect("an answer");
        assert_eq!(bench.end_of("a").error.as_deref(), error, "{act:?}");
        assert_eq!(bench.event_count(EventKind::Cleared), 1, "{act:?}");
        bench.assert_consistent();
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_fails_or_panics_is_reported_and_the_others_live() {
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

#[tokio::test(start_paused = true)]
async fn a_shutdown_at_any_point_ends_everything_in_time() {
    for (_, act) in ACTS.iter().copied() {
        let bench = Bench::new();
        let sessions = bench.sessions.clone();
        let starting = tokio::spawn(async move {
            sessions
                .start(Start::set(vec![run('a', act, 0)], Terms::default()), None)
                .await
        });
        pass(0.5).await;
        let before = Instant::now();
        bench.root.cancel();
        bench.actor.await.expect("the actor ends");
        assert!(before.elapsed() < Duration::from_secs(2), "{act:?}");
        // The client has an answer, and nothing is left.
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
            .start(
                Start::set(vec![run('b', Act::Well, 0)], Terms::default()),
                None,
            )
            .await;
        assert_eq!(closed, Err(SessionError::Closed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_cuts_the_grace_of_a_stop_short() {
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
async fn a_stuck_run_delays_no_stop_or_start_of_another() {
    let (bench, stopping) = bench_with_a_stuck().await;
    let before = Instant::now();
    // A run that is not gone yet is shown.
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
async fn stop_all_releases_the_others_at_once_and_answers_when_everything_is_gone() {
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
async fn a_set_waits_for_a_stuck_run_and_a_stop_calls_it_off() {
    let (bench, _stopping) = bench_with_a_stuck().await;
    let start = |name| {
        let sessions = bench.sessions.clone();
        let set = vec![run(name, Act::Well, 0)];
        tokio::spawn(async move {
            sessions
                .start(Start::set(set, Terms::default()), None)
                .await
        })
    };
    let first = start('b');
    pass(0.1).await;
    assert!(!first.is_finished());
    // It takes its turn after the start.
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
