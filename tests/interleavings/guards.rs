//! The stop flag, and the threads of a run.

use loom::future::block_on;
use loom::thread;
use tokio_util::sync::CancellationToken;

use crate::Exit;
use crate::guard::{LiveGuards, StopFlag, ThreadGroup};
use crate::sync::Arc;

pub(crate) const MODELS: &[crate::Model] = &[
    ("a stop wakes every sleeper", a_stop_wakes_every_sleeper),
    ("a stop ends a timed sleep", a_stop_ends_a_timed_sleep),
    ("a cancelled group ends", a_cancelled_group_ends),
    (
        "a failure ends the whole group",
        a_failure_ends_the_whole_group,
    ),
    (
        "a dropped group leaves no thread",
        a_dropped_group_leaves_no_thread,
    ),
];

fn a_stop_wakes_every_sleeper() {
    let flag = Arc::new(StopFlag::default());
    let sleepers: Vec<_> = (0..2)
        .map(|_| {
            let flag = Arc::clone(&flag);
            thread::spawn(move || flag.sleep())
        })
        .collect();
    flag.set();
    for sleeper in sleepers {
        sleeper.join().expect("the sleeper does not panic");
    }
}

fn a_stop_ends_a_timed_sleep() {
    let flag = Arc::new(StopFlag::default());
    let sleeper = {
        let flag = Arc::clone(&flag);
        thread::spawn(move || flag.sleep_until(crate::in_an_hour()))
    };
    flag.set();
    let stopped = sleeper.join().expect("the sleeper does not panic");
    assert!(stopped, "the stop ended the sleep");
}

/// A group whose one thread sleeps until the group's stop flag is set.
fn sleeping(live_guards: &LiveGuards) -> ThreadGroup {
    let mut group = ThreadGroup::new(live_guards);
    let sleeps = |stop: &StopFlag| {
        stop.sleep();
        Ok(())
    };
    group.spawn("sleeps", sleeps).expect("a thread");
    group
}

fn a_cancelled_group_ends() {
    let live_guards = LiveGuards::default();
    let group = sleeping(&live_guards);
    let stop = CancellationToken::new();
    let canceller = {
        let stop = stop.clone();
        thread::spawn(move || stop.cancel())
    };
    assert_eq!(block_on(group.run_until(stop)), Exit::Stopped);
    assert_eq!(live_guards.count(), 0);
    canceller.join().expect("the canceller does not panic");
}

fn a_failure_ends_the_whole_group() {
    let live_guards = LiveGuards::default();
    let mut group = sleeping(&live_guards);
    group
        .spawn("fails", |_| Err("broke".to_owned()))
        .expect("a thread");
    let exit = block_on(group.run_until(CancellationToken::new()));
    assert_eq!(exit, Exit::Failed("broke".to_owned()));
    assert_eq!(live_guards.count(), 0);
}

/// Loom itself reports a thread that does not end.
fn a_dropped_group_leaves_no_thread() {
    drop(sleeping(&LiveGuards::default()));
}
