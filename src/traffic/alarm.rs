//! A sleep that ends some tens of microseconds after its time, on the thread of its runtime.
//!
//! Tokio's own are rounded up to milliseconds. The daemon's fine timer has a thread that requests wait for, which the
//! clients of a busy service must not hold up.

use std::io;
use std::time::Instant;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// A timer of the kernel that one task waits for: it is read like a pipe, which is the type that Tokio has for that.
#[derive(Debug)]
pub(super) struct Alarm(Receiver);

impl Alarm {
    /// To be called on the runtime that will wait.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(Receiver::from_owned_fd_unchecked(timer)?))
    }

    /// Completes at `deadline`, never before.
    ///
    /// # Errors
    /// The kernel refuses, which is a defect.
    pub(super) async fn sleep_until(&self, deadline: Instant) -> io::Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec {
                    // A sleep is never that long.
                    tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: left.subsec_nanos().into(),
                },
            };
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
            self.0.readable().await?;
            // Until nothing is left to read, so that the next sleep does not find this one's ring.
            while self.0.try_read(&mut [0; 8]).is_ok() {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_sleep_is_never_early_and_can_be_repeated() {
        let alarm = Alarm::new().expect("a descriptor");
        for ms in [5, 0, 1, 20] {
            let deadline = Instant::now() + Duration::from_millis(ms);
            alarm.sleep_until(deadline).await.expect("a sleep");
            assert!(Instant::now() >= deadline);
        }
    }
}
