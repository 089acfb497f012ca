//! What the ledger records of runs.

use serde_json::json;

use super::bench::{Act, BY, Bench, pass, run};
use crate::ledger::event::EventKind;
use crate::run::EndReason;

#[tokio::test(start_paused = true)]
async fn a_run_is_recorded_from_acceptance_to_release() {
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
    assert_eq!(bench.events(), order);

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
    assert_eq!(figures, (Some(1.0), Some(0.5), Some(10.0), Some("units")));
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
    assert!(cleared.monotonic_ns > accepted.monotonic_ns);
}

#[tokio::test(start_paused = true)]
async fn a_lost_effect_that_comes_back_is_recorded() {
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
    assert_eq!(bench.events(), order);
    assert_eq!(
        bench.event(EventKind::Cleared).reason,
        Some(EndReason::Expired)
    );
}

#[tokio::test(start_paused = true)]
async fn an_effect_reached_just_before_the_stop_is_recorded() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::GrowsAndFades, 0)])
        .await
        .expect("a starts");
    pass(5.1).await;
    bench.sessions.stop_all(None).await.expect("an answer");
    assert_eq!(
        bench.events()[2..],
        ["effective a", "stopping a", "cleared a"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_replacement_is_recorded_between_acceptance_and_start() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::Well, 0), run('b', Act::Well, 0)])
        .await
        .expect("both start");
    let before = bench.events().len();
    assert_eq!(
        bench.events(),
        ["accepted a", "accepted b", "started a", "started b"]
    );
    let again = bench
        .start_one_by(run('a', Act::Well, 0), BY)
        .await
        .expect("a again");
    let order = ["accepted a", "replaced a", "cleared a", "started a"];
    assert_eq!(bench.events()[before..], order);
    let (first, replaced) = (
        bench.event(EventKind::Accepted),
        bench.event(EventKind::Replaced),
    );
    assert_eq!((replaced.run_id, replaced.by), (first.run_id, BY));
    assert_eq!(replaced.session_id.as_ref(), Some(&again.session_id));

    let before = bench.events().len();
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
        "cleared a",
    ];
    assert_eq!(bench.events()[before..], order);
    assert_eq!(
        bench.event(EventKind::Failed).error.as_deref(),
        Some("out of luck")
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_recorded_with_its_reason() {
    let bench = Bench::new();
    bench
        .start(vec![run('a', Act::FailsAfterASecond, 0)])
        .await
        .expect("a starts");
    pass(1.1).await;
    assert_eq!(
        bench.events(),
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
async fn stopping_an_idle_scenario_is_not_recorded() {
    let bench = Bench::new();
    bench.sessions.stop_all(BY).await.expect("an answer");
    bench.sessions.stop_one("a", BY).await.expect("an answer");
    assert_eq!(bench.events(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_recorded_last_and_closes_the_ledger() {
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
async fn a_planned_exit_is_recorded_after_its_start_and_before_it_happens() {
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
    assert_eq!(bench.events()[..5], order);
    assert_eq!(bench.event(EventKind::ExitIntent).exit_code, Some(3));
    // The five and the boot.
    assert_eq!(*bench.exits.lock().expect("no panic"), [(3, 6)]);
}
