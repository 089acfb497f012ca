//! `shutdown_hang`: the process does not end as it should when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::fields::Fields;
use crate::plugin::{
    Active, Exit, Params, Probe, Reading, RunContext, Scenario, Shortfall, StartError,
};
use crate::shutdown::Manner;

/// Changes what SIGTERM does.
#[derive(Debug)]
pub(super) struct ShutdownHang;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Ignore,
    Slow,
    StayReady,
    Drop,
}

#[derive(Debug)]
pub(super) struct ShutdownHangParams(Manner);

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
        Self(match mode {
            Mode::Ignore => Manner::Ignore,
            Mode::Drop => Manner::Drop,
            Mode::Slow | Mode::StayReady => Manner::Linger {
                time: Duration::from_secs_f64(seconds),
                stay_ready: mode == Mode::StayReady,
            },
        })
    }
}

impl Scenario for ShutdownHang {
    const NAME: &'static str = "shutdown_hang";
    const SUMMARY: &'static str = "Makes the service end badly when it gets SIGTERM";
    type Params = ShutdownHangParams;

    async fn start(params: ShutdownHangParams, cx: RunContext) -> Result<Active, StartError> {
        let guard = cx.host.shutdown.hang(params.0);
        let counted = cx.host.census.enter();
        let probe = Arc::new(HangProbe(guard.signals()));
        let body = async move {
            let _held = (guard, counted);
            cx.stop.cancelled().await;
            Exit::Stopped
        };
        Ok(Active::new(probe, body))
    }
}

/// The signals that the fault was met by.
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
