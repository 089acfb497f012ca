//! `crash`: the process ends abruptly after a while, or at a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::input::Resource;
use crate::input::{FieldError, Fields};
use crate::lifecycle::termination::Termination;
use crate::plugin::{
    Active, Exit, Params, PreflightContext, Probe, Reading, RunContext, Scenario, StartError,
};

/// How much more than the memory limit a crash in mode `oom` takes before it gives up: where swap does
/// not count against the limit, the container may have that much.
const OVER_THE_LIMIT: u64 = 4;

/// Ends the process without draining or cleaning up.
#[derive(Debug)]
pub(super) struct Crash;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Exit,
    Panic,
    Abort,
    Segfault,
    Kill,
    StackOverflow,
    Oom,
}

const MODES: [(&str, Mode); 7] = [
    ("exit", Mode::Exit),
    ("panic", Mode::Panic),
    ("abort", Mode::Abort),
    ("segfault", Mode::Segfault),
    ("kill", Mode::Kill),
    ("stack_overflow", Mode::StackOverflow),
    ("oom", Mode::Oom),
];

#[derive(Debug)]
pub(super) struct CrashParams {
    mode: Mode,
    /// None where only requests count.
    delay: Option<Duration>,
    after_requests: Option<u32>,
    exit_code: u8,
    scrape_window: Duration,
}

impl Params for CrashParams {
    fn read(fields: &mut Fields) -> Self {
        let about = "How the process ends; each as the real thing does.";
        // The last one asks for all the memory that there is.
        let most = MODES.len() - usize::from(fields.is_limited(Resource::MemoryMb));
        let mode = fields.field("mode", about).choice(&MODES[..most]);
        let waits = fields.has("crash_delay");
        let about =
            "How long until the process ends; without a bound where only after_requests is given.";
        let delay = fields
            .field("crash_delay", about)
            .unit("s")
            .number(0.0..=86_400.0, 10.0);
        let about = "Ends the process right after this request on the service listener, counted from \
                     the start of the fault; with crash_delay, whichever comes first. Requests that \
                     come in the milliseconds until it ends are still answered.";
        let after_requests = fields.field("after_requests", about);
        let after_requests = after_requests.optional().integer(1..=u32::MAX);
        let counts_only = after_requests.is_some() && !waits;
        if counts_only {
            fields.withdraw("crash_delay");
        }
        let codes = fields.has("exit_code");
        let about = "The exit status of the process (exit).";
        let exit_code = fields.field("exit_code", about).integer(0..=255, 1);
        if mode != Mode::Exit {
            if codes {
                let detail =
                    "is for the mode exit: the other modes have the status of the real thing";
                fields.reject("exit_code", detail);
            }
            fields.withdraw("exit_code");
        }
        let about = "How long the process lives on, and can be scraped, after the crash is told in the \
                     metrics and the ledger.";
        let window = fields
            .field("scrape_window", about)
            .unit("s")
            .number(0.0..=3600.0, 0.0);
        Self {
            mode,
            delay: (!counts_only).then(|| Duration::from_secs_f64(delay)),
            after_requests,
            exit_code,
            scrape_window: Duration::from_secs_f64(window),
        }
    }
}

impl Scenario for Crash {
    const NAME: &'static str = "crash";
    const SUMMARY: &'static str = "Crashes the service after the specified delay";
    const ENDS_PROCESS: bool = true;
    type Params = CrashParams;

    fn preflight(
        params: &CrashParams,
        context: PreflightContext<'_>,
    ) -> Result<Option<String>, FieldError> {
        if params.mode == Mode::Oom && limit_to_exceed(context.cgroup).is_none() {
            return Err(FieldError::new("/mode", NO_LIMIT));
        }
        let earliest = params.earliest();
        let ends_before = context.duration.filter(|duration| *duration < earliest);
        Ok(ends_before.map(|duration| {
            format!(
                "it will not crash: the run ends by itself after {} s, and the crash would come after {} s",
                duration.as_secs_f64(),
                earliest.as_secs_f64()
            )
        }))
    }

    async fn start(params: CrashParams, cx: RunContext) -> Result<Active, StartError> {
        let death = params.death(&cx)?;
        let requests = cx.arrivals().clone();
        let at_request = params
            .after_requests
            .map(|more| requests.count() + u64::from(more));
        let probe = Arc::new(CrashProbe {
            at: params.delay.map(|delay| Instant::now() + delay),
            crashes: AtomicBool::new(false),
        });
        let shown = Arc::clone(&probe);
        let body = async move {
            let in_time = async {
                match shown.at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let by_count = async {
                match at_request {
                    Some(count) => requests.reach(count).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cx.stop.cancelled() => return Exit::Stopped,
                () = in_time => {}
                () = by_count => {}
            }
            shown.crashes.store(true, Ordering::Relaxed);
            warn!(exit_code = death.exit_status(), ?death, "Crashing as told.");
            cx.terminate(death, params.scrape_window).await;
            Exit::Stopped
        };
        Ok(Active::new(probe, body))
    }
}

impl CrashParams {
    fn death(&self, cx: &RunContext) -> Result<Termination, StartError> {
        Ok(match self.mode {
            Mode::Exit => Termination::Exit(self.exit_code.into()),
            Mode::Panic => Termination::Panic,
            Mode::Abort => Termination::Abort,
            Mode::Segfault => Termination::Segfault,
            Mode::Kill => Termination::Kill,
            Mode::StackOverflow => Termination::StackOverflow,
            Mode::Oom => match limit_to_exceed(cx.cgroup()) {
                Some(limit) => Termination::OutOfMemory(limit.saturating_mul(OVER_THE_LIMIT)),
                None => return Err(StartError::new(NO_LIMIT)),
            },
        })
    }

    /// How long after the start the process can end at the earliest.
    fn earliest(&self) -> Duration {
        let delay = match self.after_requests {
            Some(_) => Duration::ZERO,
            None => self.delay.unwrap_or_default(),
        };
        delay + self.scrape_window
    }
}

/// The container's memory limit in bytes; none where it is no less than the machine's memory, for such a
/// one protects nobody.
fn limit_to_exceed(cgroup: &Cgroup) -> Option<u64> {
    let machine = memory_limit_bytes(cgroup);
    cgroup.memory_limit().filter(|limit| *limit <= machine)
}

const NO_LIMIT: &str = "the mode oom needs a container with a memory limit below the machine's memory: \
                        without one it would take all that the machine has";

struct CrashProbe {
    at: Option<Instant>,
    crashes: AtomicBool,
}

impl Probe for CrashProbe {
    fn read(&self) -> Reading {
        let left = |at: Instant| at.saturating_duration_since(Instant::now()).as_secs_f64();
        let crashes = self.crashes.load(Ordering::Relaxed);
        Reading {
            asked: 1.0,
            achieved: Some(f64::from(u8::from(crashes))),
            unit: "crashes",
            shortfall: None,
            metrics: super::object(json!({ "seconds_left": self.at.map(left) })),
        }
    }
}
