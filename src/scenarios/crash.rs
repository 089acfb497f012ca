//! `crash`: the process ends abruptly after a while, or at a request.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{MIB, metrics};
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::input::{FieldError, Fields, Resource};
use crate::lifecycle::LAST_WORDS;
use crate::lifecycle::termination::Termination;
use crate::plugin::{
    Active, Exit, Group, PreflightContext, Probe, Reading, RunContext, Scenario, StartError,
};

/// How many times the memory limit the mode `oom` takes before it gives up: where swap does not count against the
/// limit, the container may have that much.
const OVER_THE_LIMIT: u64 = 4;

const NO_LIMIT: &str = "the mode oom needs a container with a memory limit below the machine's memory: \
                        without one it would take all that the machine has";

/// What a service logs before it exits by itself.
const FATAL: &str =
    "Fatal: the connection to the database at db:5432 is lost: broken pipe (os error 32)";

/// Ends the process without draining or cleaning up.
#[derive(Debug)]
pub(super) struct Crash {
    mode: CrashMode,
    /// None where only requests count.
    delay: Option<Duration>,
    after_requests: Option<u32>,
    exit_code: u8,
    scrape_window: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CrashMode {
    Exit,
    Panic,
    Abort,
    Segfault,
    Kill,
    StackOverflow,
    Oom,
}

const MODES: [(&str, CrashMode); 7] = [
    ("exit", CrashMode::Exit),
    ("panic", CrashMode::Panic),
    ("abort", CrashMode::Abort),
    ("segfault", CrashMode::Segfault),
    ("kill", CrashMode::Kill),
    ("stack_overflow", CrashMode::StackOverflow),
    ("oom", CrashMode::Oom),
];

impl Scenario for Crash {
    const NAME: &'static str = "crash";
    const GROUP: Group = Group::Process;
    const SUMMARY: &'static str = "Crashes the service after the specified delay";
    const ENDS_PROCESS: bool = true;
    const EXAMPLE: &'static str = r#"{"crash_delay": 5, "exit_code": 137}"#;

    fn read(fields: &mut Fields) -> Self {
        let about = "How the process ends; each as the real thing does.";
        // The last one takes all memory.
        let most = MODES.len() - usize::from(fields.is_limited(Resource::MemoryMb));
        let mode = fields.field("mode", about).choice(&MODES[..most]);
        let has_delay = fields.has("crash_delay");
        let about =
            "How long until the process ends; no time limit if only after_requests is given.";
        let delay = fields
            .field("crash_delay", about)
            .seconds(0.0..=86_400.0, 10.0);
        let about = "Ends the process right after this request on the service listener, counted from \
                     the start of the fault; with crash_delay, whichever comes first. Requests that \
                     come in the milliseconds until it ends are still answered.";
        let after_requests = fields.field("after_requests", about);
        let after_requests = after_requests.optional().integer(1..=u32::MAX);
        let counts_only = after_requests.is_some() && !has_delay;
        if counts_only {
            fields.withdraw("crash_delay");
        }
        let has_exit_code = fields.has("exit_code");
        let about = "The exit status of the process (exit).";
        let exit_code = fields.field("exit_code", about).integer(0..=255, 1);
        if mode != CrashMode::Exit {
            if has_exit_code {
                let detail = "applies to the mode exit only: each other mode has its own status";
                fields.reject("exit_code", detail);
            }
            fields.withdraw("exit_code");
        }
        let about = "How long the process lives on, and can be scraped, after the metrics and the ledger \
                     report the crash.";
        let window = fields
            .field("scrape_window", about)
            .seconds(0.0..=3600.0, 0.0);
        Self {
            mode,
            delay: (!counts_only).then_some(delay),
            after_requests,
            exit_code,
            scrape_window: window,
        }
    }

    fn preflight(&self, context: PreflightContext<'_>) -> Result<Option<String>, FieldError> {
        if self.mode == CrashMode::Oom {
            out_of_reach(context.cgroup).map_err(|why| FieldError::new("/mode", why))?;
        }
        let earliest = self.earliest();
        let ends_before = context.duration.filter(|duration| *duration < earliest);
        Ok(ends_before.map(|duration| {
            format!(
                "it will not crash: the run ends by itself after {} s, and the crash would come after {} s",
                duration.as_secs_f64(),
                earliest.as_secs_f64()
            )
        }))
    }

    async fn start(self, cx: RunContext) -> Result<Active, StartError> {
        let termination = self.termination(cx.cgroup())?;
        let mode = MODES.iter().find(|(_, mode)| *mode == self.mode);
        let mode = mode.map(|(name, _)| *name);
        let arrivals = cx.arrivals().clone();
        let at = self.delay.map(|delay| Instant::now() + delay);
        let last_request = self
            .after_requests
            .map(|more| arrivals.count() + u64::from(more));
        let probe = Arc::new(CrashProbe {
            at,
            crashes: AtomicBool::new(false),
            stop: cx.stop.clone(),
        });
        let coming = Arc::clone(&probe);
        let body = async move {
            let delay = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            let requests = async {
                match last_request {
                    Some(count) => arrivals.reach(count).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = cx.stop.cancelled() => return Exit::Stopped,
                () = delay => {}
                () = requests => {}
            }
            coming.crashes.store(true, Ordering::Relaxed);
            // The limit may have changed since the start.
            let termination = self.termination(cx.cgroup()).unwrap_or(termination);
            let exit_code = termination.exit_status();
            if matches!(termination, Termination::Exit(code) if code != 0) {
                // The other ways have last words of their own, or none.
                error!(target: LAST_WORDS, "{FATAL}");
            }
            warn!(mode, exit_code, "The crash scenario ends the process.");
            let reading = coming.read();
            cx.terminate(termination, self.scrape_window, &reading)
                .await;
            Exit::Stopped
        };
        Ok(Active::new(probe, body))
    }
}

#[derive(Debug)]
struct CrashProbe {
    /// None where only requests count.
    at: Option<Instant>,
    /// It is about to happen.
    crashes: AtomicBool,
    stop: CancellationToken,
}

impl Probe for CrashProbe {
    fn read(&self) -> Reading {
        let is_called_off = self.stop.is_cancelled();
        let crashes = self.crashes.load(Ordering::Relaxed) && !is_called_off;
        let left = self
            .at
            .map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.filter(|_| !is_called_off);
        Reading {
            asked: 1.0,
            achieved: Some(f64::from(u8::from(crashes))),
            unit: "crashes",
            shortfall: None,
            metrics: metrics([("seconds_left", left.map(|left| left.as_secs_f64()).into())]),
        }
    }

    /// A crash that was announced has not happened where the process lives on.
    fn in_the_end(&self, reading: Reading) -> Reading {
        Reading {
            achieved: Some(0.0),
            ..reading
        }
    }
}

impl Crash {
    fn termination(&self, cgroup: &Cgroup) -> Result<Termination, StartError> {
        Ok(match self.mode {
            CrashMode::Exit => Termination::Exit(self.exit_code.into()),
            CrashMode::Panic => Termination::Panic,
            CrashMode::Abort => Termination::Abort,
            CrashMode::Segfault => Termination::Segfault,
            CrashMode::Kill => Termination::Kill,
            CrashMode::StackOverflow => Termination::StackOverflow,
            CrashMode::Oom => match limit_to_exceed(cgroup) {
                Some(limit) => Termination::OutOfMemory(limit.saturating_mul(OVER_THE_LIMIT)),
                None => return Err(StartError::new(NO_LIMIT)),
            },
        })
    }

    /// The earliest end of the process after the start.
    fn earliest(&self) -> Duration {
        let delay = match self.after_requests {
            Some(_) => Duration::ZERO,
            None => self.delay.unwrap_or_default(),
        };
        delay + self.scrape_window
    }
}

/// Why the kernel will not kill the process for its memory, if so: there is no limit to exceed, or the kernel slows the
/// process down on the way there, until nothing moves.
fn out_of_reach(cgroup: &Cgroup) -> Result<(), String> {
    let limit = limit_to_exceed(cgroup).ok_or(NO_LIMIT)?;
    match cgroup.memory_high().filter(|high| *high < limit) {
        Some(high) => Err(format!(
            "the mode oom needs a memory limit that can be reached: above the memory.high of {} MiB the kernel slows \
             the process down and does not kill it; the mode kill has the same exit status",
            high / MIB
        )),
        None => Ok(()),
    }
}

/// The container's memory limit in bytes; none where it exceeds the machine's memory, for such a limit protects
/// nothing.
fn limit_to_exceed(cgroup: &Cgroup) -> Option<u64> {
    let machine = memory_limit_bytes(cgroup);
    cgroup.memory_limit().filter(|limit| *limit <= machine)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenarios::tests::assert_defaults;

    #[test]
    fn the_kernel_kills_above_a_limit_that_no_memory_high_precedes() {
        let group = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: &str| {
            std::fs::write(group.path().join(name), text).expect("written")
        };
        let cgroup = Cgroup::at(group.path(), group.path());
        file("memory.max", "max");
        file("memory.high", "1000000");
        assert_eq!(out_of_reach(&cgroup), Err(NO_LIMIT.to_owned()));
        file("memory.max", "8388608");
        file("memory.high", "max");
        assert_eq!(out_of_reach(&cgroup), Ok(()));
        file("memory.high", "8388608");
        assert_eq!(out_of_reach(&cgroup), Ok(()));
        file("memory.high", "4194304");
        let why = out_of_reach(&cgroup).expect_err("out of reach");
        assert!(why.contains("memory.high of 4 MiB"), "{why}");
    }

    #[test]
    fn defaults() {
        assert_defaults::<Crash>(json!({
            "mode": "exit",
            "crash_delay": 10,
            "exit_code": 1,
            "scrape_window": 0,
        }));
    }
}
