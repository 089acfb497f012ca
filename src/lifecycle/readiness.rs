//! Whether the service may get traffic, as its readiness probe reports.
//!
//! ```text
//! NotYet => Ready (the daemon serves, or the time in the boot profile has come) | Ending
//! Ready  => Ending (the daemon shuts down)
//! ```

use std::sync::Arc;

use tokio::sync::watch;

/// A handle to the service's readiness; cheap to clone. It begins as not ready.
#[derive(Debug, Clone, Default)]
pub(crate) struct Readiness(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    NotYet,
    Ready,
    Ending,
}

impl Readiness {
    pub(crate) fn is_ready(&self) -> bool {
        *self.0.borrow() == State::Ready
    }

    /// Turns ready, unless the daemon is shutting down.
    pub(crate) fn begin(&self) {
        self.0.send_if_modified(|state| {
            let turns = *state == State::NotYet;
            if turns {
                *state = State::Ready;
            }
            turns
        });
    }

    /// Turns unready for good.
    pub(crate) fn end(&self) {
        self.0.send_replace(State::Ending);
    }

    /// Waits until it is ready, which may be forever.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn ready(&self) {
        let mut state = self.0.subscribe();
        // It cannot fail: this handle holds the sender.
        drop(state.wait_for(|state| *state == State::Ready).await);
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
}
