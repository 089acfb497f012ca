//! Leases and `abort_when`: what ends a session.

use std::time::Duration;

use super::bench::{Act, Bench, pass, run};
use crate::ledger::event::EventKind;
use crate::manager::session::{SessionError, Start};
use crate::manager::terms::Terms;
use crate::run::EndReason;

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
        .start(Start::single(run('b', Act::Well, 0), leased(10)), None)
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
async fn a_set_drops_the_lease_of_the_session_it_replaces() {
    let bench = Bench::new();
    let set = vec![run('a', Act::Well, 0)];
    let started = bench.sessions.start(Start::set(set, leased(5)), None).await;
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
async fn a_session_aborts_when_a_run_achieves_more_than_allowed() {
    let bench = Bench::new();
    let mut terms = Terms::default();
    terms.abort_when.achieved_above.insert("a", 5.0);
    let set = vec![run('a', Act::GrowsAndFades, 0), run('b', Act::Well, 0)];
    let started = bench.sessions.start(Start::set(set, terms), None).await;
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
