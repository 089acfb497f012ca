//! The fine timer: its thread, those who sleep, and who lets go of it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use loom::thread;

use crate::timer::FineTimer;

pub(crate) const MODELS: &[crate::Model] = &[
    (
        "the timer ends when nobody has it any more",
        the_timer_ends_when_nobody_has_it,
    ),
    (
        "sleeps come and go while the timer looks",
        sleeps_come_and_go,
    ),
];

/// Loom itself reports a thread that does not end: one that missed the last handle's word.
fn the_timer_ends_when_nobody_has_it() {
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
    other.join().expect("no panic");
}

/// Asks to be woken in an hour, and goes before.
fn sleep_for_a_moment(timer: &FineTimer) {
    let sleep = pin!(timer.sleep_until(crate::in_an_hour()));
    let polled = sleep.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Pending);
}
