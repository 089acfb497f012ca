//! `shutdown_hang`: the process does not end as it should when SIGTERM comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::input::Fields;
use crate::lifecycle::readiness::Readiness;
use crate::lifecycle::shutdown::{ShutdownAction, ShutdownHook, Signals, is_sigterm};
use crate::plugin::{Active, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError};

/// Changes what SIGTERM does.
#[derive(Debug)]
pub(super) struct ShutdownHang;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing, however often it comes.
    Ignore,
    /// The daemon turns unready, serves on for a time, then drains.
    Slow,
    /// The same, but it stays ready.
    StayReady,
    /// The daemon cuts off the requests under way.
    Drop,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ShutdownHangParams {
    mode: Mode,
    drain: Duration,
}

impl Params for ShutdownHangParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "What SIGTERM does: nothing, an end after a time that is unready or that stays \
                     ready, or an end that cuts off the requests under way.";
        let mode = fields.field("mode", about).choice(&[
            ("ignore", Mode::Ignore),
            ("slow", Mode::Slow),
            ("stay_ready", Mode::StayReady),
            ("drop", Mode::Drop),
        ]);
        let about = "How long the process serves on after the signal (slow, stay_ready).";
        let seconds = fields
            .field("drain_seconds", about)
            .unit("s")
            .number(0.0..=86_400.0, 30.0);
        Self {
            mode,
            drain: Duration::from_secs_f64(seconds),
        }
    }
}

impl Scenario for ShutdownHang {
    const NAME: &'static str = "shutdown_hang";
    const SUMMARY: &'static str = "Makes the service end badly when it gets SIGTERM";
    type Params = ShutdownHangParams;

    async fn start(params: ShutdownHangParams, cx: RunContext) -> Result<Active, StartError> {
        let signals = Arc::default();
        let hang = Hang {
            params,
            signals: Arc::clone(&signals),
        };
        let guards = (cx.on_sigterm(Arc::new(hang)), cx.live_guard());
        Ok(Active::hold(HangProbe(signals), guards, cx.stop))
    }
}

#[derive(Debug)]
struct Hang {
    params: ShutdownHangParams,
    /// How many SIGTERM it has met.
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
                Mode::Drop => {
                    info!("SIGTERM received: requests under way are cut off.");
                    ShutdownAction::CutOff
                }
                Mode::Ignore => {
                    warn!("SIGTERM received and ignored.");
                    self.ignore(signals).await
                }
                Mode::Slow | Mode::StayReady => self.linger(signals, readiness).await,
            }
        })
    }
}

impl Hang {
    /// Until another signal than SIGTERM comes, which is obeyed.
    async fn ignore(&self, signals: &mut Signals) -> ShutdownAction {
        loop {
            let number = signals.next().await;
            if !is_sigterm(number) {
                info!(number, "Signal received: shutting down.");
                return ShutdownAction::Drain;
            }
            self.signals.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn linger(&self, signals: &mut Signals, readiness: &Readiness) -> ShutdownAction {
        let stays_ready = self.params.mode == Mode::StayReady;
        let after_s = self.params.drain.as_secs_f64();
        info!(
            after_s,
            stays_ready, "SIGTERM received: shutting down late."
        );
        if !stays_ready {
            readiness.end();
        }
        tokio::select! {
            () = sleep(self.params.drain) => ShutdownAction::Drain,
            number = signals.next() => ShutdownAction::ExitNow(number),
        }
    }
}

/// The signals that the fault has met.
struct HangProbe(Arc<AtomicU64>);

impl Probe for HangProbe {
    fn read(&self) -> Reading {
        let signals = self.0.load(Ordering::Relaxed);
        Reading {
            asked: 1.0,
            achieved: Some(f64::from(u8::from(signals > 0))),
            unit: "shut-downs",
            shortfall: (signals == 0).then_some(Shortfall::NoTraffic),
            metrics: super::object(json!({ "signals": signals })),
        }
    }
}
