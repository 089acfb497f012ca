//! `crash`: the process ends abruptly after a while.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use crate::fields::Fields;
use crate::plugin::{Active, Exit, Params, Probe, Reading, RunContext, Scenario, StartError};

/// Ends the process without draining or cleaning up.
#[derive(Debug)]
pub(super) struct Crash;

#[derive(Debug)]
pub(super) struct CrashParams {
    delay: Duration,
    exit_code: u8,
}

impl Params for CrashParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "How long until the process ends.";
        let delay = fields
            .field("crash_delay", about)
            .unit("s")
            .number(0.0..=86_400.0, 10.0);
        let about = "The exit status of the process.";
        let exit_code = fields.field("exit_code", about).integer(0..=255, 1);
        Self {
            delay: Duration::from_secs_f64(delay),
            exit_code,
        }
    }
}

impl Scenario for Crash {
    const NAME: &'static str = "crash";
    const SUMMARY: &'static str = "Crashes the service after the specified delay";
    type Params = CrashParams;

    async fn start(params: CrashParams, cx: RunContext) -> Result<Active, StartError> {
        let at = Instant::now() + params.delay;
        let body = async move {
            tokio::select! {
                () = cx.stop.cancelled() => {}
                () = tokio::time::sleep_until(at) => {
                    warn!(exit_code = params.exit_code, "Crashing as told.");
                    cx.exit(params.exit_code.into()).await;
                }
            }
            Exit::Stopped
        };
        Ok(Active::new(Arc::new(CrashProbe { at }), body))
    }
}

struct CrashProbe {
    at: Instant,
}

impl Probe for CrashProbe {
    fn read(&self) -> Reading {
        let left = self.at.saturating_duration_since(Instant::now());
        Reading {
            asked: 1.0,
            // Whoever could read it after the crash would read nothing.
            achieved: Some(0.0),
            unit: "crashes",
            shortfall: None,
            metrics: super::object(json!({ "seconds_left": left.as_secs_f64() })),
        }
    }
}
