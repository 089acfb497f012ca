//! What a signal that ends the daemon does, and the hook by which a fault changes that.
//!
//! Such a signal shuts it down: readiness ends, every fault stops, requests under way are drained. A run may hook
//! SIGTERM; when that run ends, a signal that it held back takes effect at once, unless another run has set a hook.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::LAST_WORDS;
use super::readiness::Readiness;
use super::signals::{Signals, is_sigterm};
use crate::sync::Lock;

/// How the daemon ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShutdownAction {
    /// Drain the requests under way, then end.
    Drain,
    /// Cut off the requests under way, then end.
    CutOff,
    /// Exit at once, because of this signal.
    ExitNow(i32),
}

/// Says in the service's log that the signal of this `number` shuts it down, as any service does, however it goes on.
pub(crate) fn announce(number: i32) {
    info!(target: LAST_WORDS, number, "Signal received: shutting down.");
}

/// A fault that changes what SIGTERM does.
pub(crate) trait ShutdownHook: fmt::Debug + Send + Sync {
    /// Called for the first SIGTERM; takes its time to decide how the daemon ends. `signals` has the later signals.
    ///
    /// # Cancel safety
    /// The future is dropped when the run of the hook ends.
    fn on_sigterm<'a>(
        &'a self,
        signals: &'a mut Signals,
        readiness: &'a Readiness,
    ) -> BoxFuture<'a, ShutdownAction>;
}

#[derive(Debug, Clone)]
struct ActiveHook {
    /// The scenario that set it.
    scenario: &'static str,
    hook: Arc<dyn ShutdownHook>,
    /// Cancelled when the run of the hook ends.
    over: CancellationToken,
}

/// A handle to the SIGTERM hook in effect, if there is one; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown(Arc<Lock<Held>>);

#[derive(Debug, Default)]
struct Held {
    by: Option<ActiveHook>,
    /// Whether a signal has come.
    is_pending: bool,
}

impl Shutdown {
    /// Puts the `hook` of `scenario` into effect until the guard is dropped.
    pub(crate) fn hook(&self, scenario: &'static str, hook: Arc<dyn ShutdownHook>) -> HookGuard {
        let over = CancellationToken::new();
        self.0.lock().by = Some(ActiveHook {
            scenario,
            hook,
            over: over.clone(),
        });
        HookGuard {
            shutdown: self.clone(),
            over,
        }
    }

    /// The scenario that holds back a signal that has come. Once its run ends, so does the daemon.
    pub(crate) fn held_back_by(&self) -> Option<&'static str> {
        let held = self.0.lock();
        let by = held.by.as_ref().filter(|_| held.is_pending);
        by.map(|hook| hook.scenario)
    }

    /// Waits for a signal and decides how the daemon ends. `settled` waits until a start under way is done: a run that
    /// replaces the one with the hook may set its own.
    pub(crate) async fn decide(
        &self,
        signals: &mut Signals,
        readiness: &Readiness,
        settled: impl AsyncFn(),
    ) -> ShutdownAction {
        let number = signals.next().await;
        self.0.lock().is_pending = true;
        let mut held_by = self.current().filter(|_| is_sigterm(number));
        while let Some(ActiveHook { hook, over, .. }) = held_by {
            let mut decision = hook.on_sigterm(signals, readiness);
            tokio::select! {
                biased;
                action = &mut decision => return action,
                () = over.cancelled() => {}
            }
            settled().await;
            held_by = self.current();
            if held_by.is_none() {
                // Before the decision is dropped, which may give readiness back.
                readiness.end();
            }
        }
        announce(number);
        ShutdownAction::Drain
    }

    fn current(&self) -> Option<ActiveHook> {
        self.0.lock().by.clone()
    }
}

/// Keeps a hook in effect.
#[derive(Debug)]
pub(crate) struct HookGuard {
    shutdown: Shutdown,
    over: CancellationToken,
}

impl Drop for HookGuard {
    fn drop(&mut self) {
        self.shutdown.0.lock().by = None;
        self.over.cancel();
    }
}
