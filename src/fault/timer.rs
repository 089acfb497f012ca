//! A timer for delayed requests that is late by tens of microseconds; maintained async timers are no finer than 1 ms.
//!
//! Tokio rounds every sleep up to its one-millisecond wheel, which would add a millisecond to each delayed request.
//! Here one thread sleeps on a condition variable until the earliest deadline; it costs nothing while no request waits.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rustix::thread::set_current_timer_slack;

use crate::host::threads;
use crate::sync::{Arc, Builder, Condvar, Lock, PoisonError};

/// A handle to the timer; the thread ends when the last handle and the last sleep are gone.
#[derive(Debug, Clone)]
pub(crate) struct FineTimer(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Sleeps>);

/// What the sleeps share with the timer's thread.
#[derive(Debug, Default)]
struct Sleeps {
    queue: Lock<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// By deadline; the number distinguishes sleeps with the same deadline.
    waiting: BTreeMap<(Instant, u64), Waker>,
    next_number: u64,
    closed: bool,
}

impl Sleeps {
    /// The timer's thread: wakes what is due, then sleeps until the next deadline or a change.
    fn run(&self) {
        // By default the kernel may end a wait 50 us late, to wake up for several at once. Where it refuses, it may.
        set_current_timer_slack(NonZeroU64::new(1)).ok();
        let mut queue = self.queue.lock();
        while !queue.closed {
            let now = Instant::now();
            let Some((&(deadline, number), _)) = queue.waiting.first_key_value() else {
                queue = self
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if deadline > now {
                let left = deadline - now;
                queue = self
                    .changed
                    .wait_timeout(queue, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                continue;
            }
            if let Some(waker) = queue.waiting.remove(&(deadline, number)) {
                // Outside the lock: the woken task may drop its sleep at once.
                drop(queue);
                // A panic of one task must not end the thread that others wait for. The panic hook logs it.
                catch_unwind(AssertUnwindSafe(|| waker.wake())).ok();
                queue = self.queue.lock();
            }
        }
    }
}

impl FineTimer {
    /// Starts the timer's thread.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let sleeps = Arc::new(Sleeps::default());
        let owner = Owner(Arc::clone(&sleeps));
        Builder::new()
            .name(threads::name("timer"))
            .spawn(move || sleeps.run())?;
        Ok(Self(Arc::new(owner)))
    }

    /// Completes at `deadline`, never before. Dropping the sleep cancels it.
    pub(crate) fn sleep_until(&self, deadline: Instant) -> FineSleep {
        FineSleep {
            timer: self.clone(),
            deadline,
            number: None,
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.queue.lock().closed = true;
        self.0.changed.notify_one();
    }
}

/// A sleep of a [`FineTimer`].
#[derive(Debug)]
pub(crate) struct FineSleep {
    timer: FineTimer,
    deadline: Instant,
    /// Its number in the queue, once it has been polled.
    number: Option<u64>,
}

impl Future for FineSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let sleeps = Arc::clone(&self.timer.0.0);
        let mut queue = sleeps.queue.lock();
        let number = *self.number.get_or_insert_with(|| {
            queue.next_number += 1;
            queue.next_number
        });
        let key = (self.deadline, number);
        let former = queue.waiting.insert(key, cx.waker().clone());
        if queue
            .waiting
            .first_key_value()
            .is_some_and(|(first, _)| *first == key)
        {
            sleeps.changed.notify_one();
        }
        drop(queue);
        // Outside the lock: this may be the last handle of a task, which then drops its sleeps.
        drop(former);
        Poll::Pending
    }
}

impl Drop for FineSleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut queue = self.timer.0.0.queue.lock();
            let waker = queue.waiting.remove(&(self.deadline, number));
            drop(queue);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn no_sleep_is_early_and_each_ends() {
        let timer = FineTimer::start().expect("a thread");
        let start = Instant::now();
        let mut sleeps = tokio::task::JoinSet::new();
        for ms in [30_u64, 10, 20, 10] {
            let sleep = timer.sleep_until(start + Duration::from_millis(ms));
            sleeps.spawn(async move {
                sleep.await;
                (ms, start.elapsed())
            });
        }
        for (ms, slept) in sleeps.join_all().await {
            assert!(slept >= Duration::from_millis(ms), "{ms} ms took {slept:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_of_a_woken_task_does_not_end_the_timer() {
        struct Panics;
        impl std::task::Wake for Panics {
            fn wake(self: Arc<Self>) {
                panic!("a defect");
            }
        }
        let timer = FineTimer::start().expect("a thread");
        let soon = Instant::now() + Duration::from_millis(10);
        let sleep = timer.sleep_until(soon);
        tokio::pin!(sleep);
        let waker = Waker::from(Arc::new(Panics));
        assert!(
            sleep
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        timer.sleep_until(soon + Duration::from_millis(10)).await;
    }

    #[tokio::test]
    async fn a_dropped_sleep_leaves_nothing_in_the_queue() {
        let timer = FineTimer::start().expect("a thread");
        let sleep = timer.sleep_until(Instant::now() + Duration::from_secs(3600));
        tokio::pin!(sleep);
        assert!(poll_once(sleep.as_mut()).is_pending());
        assert_eq!(timer.0.0.queue.lock().waiting.len(), 1);
        // A second poll does not queue it twice.
        assert!(poll_once(sleep.as_mut()).is_pending());
        assert_eq!(timer.0.0.queue.lock().waiting.len(), 1);
        sleep.set(timer.sleep_until(Instant::now()));
        assert_eq!(timer.0.0.queue.lock().waiting.len(), 0);
    }

    fn poll_once(sleep: Pin<&mut FineSleep>) -> Poll<()> {
        sleep.poll(&mut Context::from_waker(Waker::noop()))
    }
}
