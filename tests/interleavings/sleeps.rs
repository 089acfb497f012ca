//! The fine timer: its thread, its sleeps, and its last handle.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use loom::thread;

use crate::timer::FineTimer;

pub(crate) const MODELS: &[crate::Model] = &[
    (
        "the timer ends with its last handle",
        the_timer_ends_with_its_last_handle,
    ),
    (
        "sleeps come and go while the timer looks",
        sleeps_come_and_go,
    ),
];

/// Loom itself reports a thread that does not end: a timer that missed the notice of the last handle.
fn the_timer_ends_with_its_last_handle() {
    let timer = FineTimer::start().expect("a thread");
    sleep_for_a_moment(&timer);
    drop(timer);
}

fn sleeps_come_and_go() {
    let timer = FineTimer::start().expect("a thread");
    let other = {
        let timer = timer.clone();
        thread::spawn(move || sleep_for_a_moment(&timer))
    };
    sleep_for_a_moment(&timer);
    other.join().expect("the other sleeper does not panic");
}

/// Starts a sleep of an hour and drops it at once.
fn sleep_for_a_moment(timer: &FineTimer) {
    let sleep = pin!(timer.sleep_until(crate::in_an_hour()));
    let polled = sleep.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Pending);
}
