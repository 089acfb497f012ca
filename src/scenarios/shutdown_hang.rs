//! `shutdown_hang`: the process does not end properly on SIGTERM.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::time::sleep;
use tracing::{info, warn};

use super::metrics;
use crate::input::Fields;
use crate::lifecycle::readiness::Readiness;
use crate::lifecycle::shutdown::{ShutdownAction, ShutdownHook, announce};
use crate::lifecycle::signals::{Signals, is_sigterm};
use crate::plugin::{Active, Group, Reading, RunContext, Scenario, Shortfall, StartError};

/// Changes what SIGTERM does.
#[derive(Debug, Clone, Copy)]
pub(super) struct ShutdownHang {
    mode: HangMode,
    drain: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HangMode {
    /// SIGTERM does nothing, however often it comes.
    Ignore,
    /// The daemon turns unready, serves on for a time, then drains.
    Slow,
    /// The same, but it stays ready.
    StayReady,
    /// The daemon cuts off the requests under way.
    Drop,
}

impl Scenario for ShutdownHang {
    const NAME: &'static str = "shutdown_hang";
    const GROUP: Group = Group::Process;
    const SUMMARY: &'static str = "Makes the service end badly when it gets SIGTERM";
    const EXAMPLE: &'static str = r#"{"mode": "slow", "drain_seconds": 20}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "What SIGTERM does: nothing (ignore); a delayed exit, unready (slow) or still ready \
                     (stay_ready); or an immediate exit that drops requests in flight (drop).";
        let mode = fields.field("mode", about).choice(&[
            ("ignore", HangMode::Ignore),
            ("slow", HangMode::Slow),
            ("stay_ready", HangMode::StayReady),
            ("drop", HangMode::Drop),
        ]);
        let about = "How long the process serves on after the signal (slow, stay_ready).";
        let drain = fields
            .field("drain_seconds", about)
            .seconds(0.0..=86_400.0, 30.0);
        Self { mode, drain }
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let signals = Arc::<AtomicU64>::default();
        let hang = Hang {
            params: self,
            signals: Arc::clone(&signals),
        };
        let guards = (cx.on_sigterm(Arc::new(hang)), cx.live_guard());
        let probe = move || reading(signals.load(Ordering::Relaxed));
        Ok(Active::hold(probe, guards, cx.stop))
    }
}

fn reading(signals: u64) -> Reading {
    Reading {
        asked: 1.0,
        achieved: Some(f64::from(u8::from(signals > 0))),
        unit: "shut-downs",
        shortfall: (signals == 0).then_some(Shortfall::NoTraffic),
        metrics: metrics([("signals", signals.into())]),
    }
}

#[derive(Debug)]
struct Hang {
    params: ShutdownHang,
    /// How often SIGTERM has come.
    signals: Arc<AtomicU64>,
}

impl ShutdownHook for Hang {
    fn on_sigterm<'a>(
        &'a self,
        signals: &'a mut Signals,
        readiness: &'a Readiness,
    ) -> BoxFuture<'a, ShutdownAction> {
        self.signals.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match self.params.mode {
                HangMode::Drop => {
                    announce(Signal::TERM.as_raw());
                    info!("SIGTERM received: cutting off the requests under way.");
                    ShutdownAction::CutOff
                }
                HangMode::Ignore => {
                    warn!("SIGTERM received: ignored.");
                    self.ignore(signals).await
                }
                HangMode::Slow | HangMode::StayReady => self.linger(signals, readiness).await,
            }
        })
    }
}

impl Hang {
    /// Until a signal other than SIGTERM comes, which shuts the daemon down.
    async fn ignore(&self, signals: &mut Signals) -> ShutdownAction {
        loop {
            let number = signals.next().await;
            if !is_sigterm(number) {
                announce(number);
                return ShutdownAction::Drain;
            }
            self.signals.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn linger(&self, signals: &mut Signals, readiness: &Readiness) -> ShutdownAction {
        let stays_ready = self.params.mode == HangMode::StayReady;
        let after_s = self.params.drain.as_secs_f64();
        announce(Signal::TERM.as_raw());
        info!(
            after_s,
            stays_ready, "SIGTERM received: shutting down late."
        );
        // Given back if the run ends before: a later one may take the signal over and stay ready.
        let withdrawn = (!stays_ready).then(|| readiness.withdraw());
        let action = tokio::select! {
            () = sleep(self.params.drain) => ShutdownAction::Drain,
            number = signals.next() => ShutdownAction::ExitNow(number),
        };
        // The daemon ends now: no probe may see it ready in between.
        readiness.end();
        drop(withdrawn);
        action
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::assert_defaults;

    #[test]
    fn defaults() {
        assert_defaults::<ShutdownHang>(json!({ "mode": "ignore", "drain_seconds": 30 }));
    }
}
