//! Durations: when a run ends, and which deadlines never fire.

use super::bench::{Act, Bench, pass, run};
use crate::run::EndReason;

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
