//! The emergency stop.

use tokio::time::Instant;

use super::bench::{Act, BY, Bench, SECOND, pass, run};
use crate::manager::session::{SessionError, Start};
use crate::manager::terms::Terms;

#[tokio::test(start_paused = true)]
async fn a_halt_calls_off_a_start_and_refuses_later_ones() {
    let bench = Bench::new();
    let sessions = bench.sessions.clone();
    let set = vec![run('a', Act::NeverStarts, 0)];
    let starting = tokio::spawn(async move {
        sessions
            .start(Start::set(set, Terms::default()), None)
            .await
    });
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
    let order = [
        "accepted a",
        "failed a",
        "cleared a",
        "halted",
        "rearmed",
        "accepted a",
    ];
    assert_eq!(bench.events()[..6], order);
}
