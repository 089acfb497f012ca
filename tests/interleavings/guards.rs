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
    (
        "a group ends when it is told to",
        a_group_ends_when_it_is_told_to,
    ),
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
        sleeper.join().expect("no panic");
    }
}

fn a_stop_ends_a_timed_sleep() {
    let flag = Arc::new(StopFlag::default());
    let sleeper = {
        let flag = Arc::clone(&flag);
        thread::spawn(move || flag.sleep_until(crate::in_an_hour()))
    };
    flag.set();
    assert!(sleeper.join().expect("no panic"), "it was the stop");
}

/// A group whose one thread sleeps until it is told to end.
fn sleeping(census: &LiveGuards) -> ThreadGroup {
    let mut group = ThreadGroup::new(census);
    let sleeps = |stop: &StopFlag| {
        stop.sleep();
        Ok(())
    };
    group.spawn("sleeps", sleeps).expect("a thread");
    group
}

fn a_group_ends_when_it_is_told_to() {
    let census = LiveGuards::default();
    let group = sleeping(&census);
    let (stop, told) = (CancellationToken::new(), CancellationToken::new());
    let teller = {
        let (stop, told) = (stop.clone(), told.clone());
        thread::spawn(move || {
            stop.cancel();
            told.cancel();
        })
    };
    assert_eq!(block_on(group.run_until(stop)), Exit::Stopped);
    assert_eq!(census.count(), 0);
    teller.join().expect("no panic");
    assert!(told.is_cancelled());
}

fn a_failure_ends_the_whole_group() {
    let census = LiveGuards::default();
    let mut group = sleeping(&census);
    group
        .spawn("fails", |_| Err("broke".to_owned()))
        .expect("a thread");
    let exit = block_on(group.run_until(CancellationToken::new()));
    assert_eq!(exit, Exit::Failed("broke".to_owned()));
    assert_eq!(census.count(), 0);
}

/// Loom itself reports a thread that does not end.
fn a_dropped_group_leaves_no_thread() {
    drop(sleeping(&LiveGuards::default()));
}
