//! Starts: what comes up, what fails, and what is called off.

use tokio::time::Instant;

use super::bench::{Act, Bench, SECOND, errors, pass, run};
use crate::manager::report::Outcome;
use crate::manager::session::SessionError;
use crate::manager::view::SessionStatus;
use crate::run::EndReason;

#[tokio::test(start_paused = true)]
async fn each_failure_at_the_start_is_reported_and_leaves_nothing() {
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
async fn a_set_that_starts_nothing_is_an_error_and_still_replaces_the_session() {
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
async fn a_set_replaces_the_whole_session() {
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
async fn of_two_concurrent_sets_the_later_one_lives() {
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
async fn a_start_completes_although_its_client_hangs_up() {
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
async fn a_stop_during_a_start_calls_off_starting_runs_and_stops_the_others() {
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
async fn a_single_stop_during_a_start_calls_off_only_that_run() {
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
