//! Whether the service may get traffic, as its readiness probe reports.
//!
//! ```text
//! NotYet => Ready (the daemon serves, or the time in the boot profile has come) | Ending
//! Ready  => Ending (the daemon shuts down)
//! ```
//!
//! A fault may withdraw it for a time, in any of these phases.

use std::sync::Arc;

use tokio::sync::watch;

/// A handle to the service's readiness; cheap to clone. It begins as not ready.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    phase: Phase,
    is_withdrawn: bool,
}

impl State {
    fn is_ready(&self) -> bool {
        self.phase == Phase::Ready && !self.is_withdrawn
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    NotYet,
    Ready,
    Ending,
}

impl Readiness {
    pub(crate) fn is_ready(&self) -> bool {
        self.0.borrow().is_ready()
    }

    /// Turns ready, unless the daemon is shutting down.
    pub(crate) fn begin(&self) {
        self.0.send_if_modified(|state| {
            let turns = state.phase == Phase::NotYet;
            if turns {
                state.phase = Phase::Ready;
            }
            turns
        });
    }

    /// Turns unready for good.
    pub(crate) fn end(&self) {
        self.0.send_modify(|state| state.phase = Phase::Ending);
    }

    /// Is unready until the guard is dropped; there is one guard at a time.
    pub(crate) fn withdraw(&self) -> Withdrawn {
        self.0.send_modify(|state| state.is_withdrawn = true);
        Withdrawn(self.clone())
    }

    /// Waits until it is ready, which may be forever.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn ready(&self) {
        let mut state = self.0.subscribe();
        // It cannot fail: this handle holds the sender.
        drop(state.wait_for(State::is_ready).await);
    }
}

/// Keeps the service unready.
#[derive(Debug)]
pub(crate) struct Withdrawn(Readiness);

impl Drop for Withdrawn {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.is_withdrawn = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_turns_ready_once_and_never_after_its_end() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        readiness.begin();
        readiness.ready().await;
        assert!(readiness.is_ready());
        readiness.end();
        readiness.begin();
        assert!(!readiness.is_ready());
    }

    #[test]
    fn it_is_withdrawn_for_as_long_as_the_guard_lives() {
        let readiness = Readiness::default();
        let withdrawn = readiness.withdraw();
        readiness.begin();
        assert!(!readiness.is_ready());
        drop(withdrawn);
        assert!(readiness.is_ready());
        let withdrawn = readiness.withdraw();
        readiness.end();
        drop(withdrawn);
        assert!(!readiness.is_ready());
    }
}
