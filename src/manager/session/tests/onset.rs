//! Onsets: starts that the boot profile has scheduled.

use tokio_util::sync::CancellationToken;

use super::bench::{Act, BY, Bench, errors, pass, run};
use crate::ledger::event::EventKind;
use crate::manager::session::{Onsets, SessionError, Start};
use crate::manager::terms::Terms;
use crate::run::Initiator;

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
    // A client may still start it.
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
async fn a_refused_start_calls_off_no_onset() {
    let (bench, onset) = with_onset();
    let full = Terms {
        most_at_once: Some(1),
        ..Terms::default()
    };
    let boot = Some(Initiator::Boot);
    bench
        .sessions
        .start(Start::set(vec![run('b', Act::Well, 0)], full.clone()), boot)
        .await
        .expect("a start");
    let refused = bench
        .sessions
        .start(Start::single(run('a', Act::Well, 0), full), BY)
        .await;
    assert_eq!(refused, Err(SessionError::NoRoom(1)));
    assert!(!onset.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_called_off_onset_calls_off_no_start() {
    let (bench, onset) = with_onset();
    onset.cancel();
    let sessions = bench.sessions.clone();
    let slow = vec![run('a', Act::NeverStarts, 0), run('b', Act::Well, 0)];
    let starting =
        tokio::spawn(async move { sessions.start(Start::set(slow, Terms::default()), BY).await });
    pass(1.0).await;
    let void = bench
        .start_one_by(run('a', Act::Well, 0), Some(Initiator::Boot))
        .await;
    assert_eq!(void, Err(SessionError::Closed));
    let report = starting.await.expect("no panic").expect("b starts");
    assert_eq!(errors(&report), [Some("did not start within 5 s"), None]);
}

#[tokio::test(start_paused = true)]
async fn an_onset_joins_what_runs_and_the_ledger_names_the_initiator() {
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
