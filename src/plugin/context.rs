//! What a run gets to work with; there are no globals.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::guard::{LiveGuard, LiveGuards, ThreadGroup};
use super::{BoxFuture, PreflightContext};
use crate::fault::arrivals::Arrivals;
use crate::fault::table::StagedFault;
use crate::fault::{Matcher, RequestFault, Tally};
use crate::host::cgroup::Cgroup;
use crate::host::runtimes::Runtimes;
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::lifecycle::shutdown::{HookGuard, Shutdown, ShutdownHook};
use crate::lifecycle::termination::Termination;
use crate::run::RunTag;

/// What the daemon offers to all runs.
pub(crate) struct Services {
    /// Ends the process at once; replaced in tests.
    pub(crate) terminate: Box<dyn Fn(Termination) + Send + Sync>,
    /// Whether the service's own health probe answers that it is healthy; replaced in tests.
    pub(crate) probe_health: Box<dyn Fn() -> BoxFuture<bool> + Send + Sync>,
    /// The limits that the process lives under.
    pub(crate) cgroup: Cgroup,
    /// The async runtimes of the process, for its metrics.
    pub(crate) runtimes: Runtimes,
    /// Where files may be written.
    pub(crate) data_dir: PathBuf,
    /// Counts what runs hold: threads, mappings, tasks. Zero when all is released.
    pub(crate) live_guards: LiveGuards,
    /// Records what happens.
    pub(crate) ledger: Ledger,
    /// Counts what comes to the service listener.
    pub(crate) arrivals: Arrivals,
    /// How the daemon takes SIGTERM.
    pub(crate) shutdown: Shutdown,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Services {
    /// Services without a process behind them: the ledger is in memory and the process lives on.
    pub(crate) fn for_tests(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            terminate: Box::new(|_| {}),
            probe_health: Box::new(|| Box::pin(std::future::ready(true))),
            cgroup: Cgroup::system(),
            runtimes: Runtimes::default(),
            data_dir: data_dir.into(),
            live_guards: LiveGuards::default(),
            ledger: Ledger::in_memory("a test", Default::default()),
            arrivals: Arrivals::default(),
            shutdown: Shutdown::default(),
        }
    }
}

/// What the core keeps of a run on its way up.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// Stops the run.
    pub(crate) stop: CancellationToken,
    /// To be cancelled when the ledger has noted that the run is up.
    pub(crate) begun: CancellationToken,
    // A std mutex: held to push or to take, never over an await.
    staged: Arc<Mutex<Vec<StagedFault>>>,
}

impl Launch {
    /// A run that `stop` will stop.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            begun: CancellationToken::new(),
            staged: Arc::default(),
        }
    }

    /// Takes the request faults that the run has armed so far.
    pub(crate) fn take_staged(&self) -> Vec<StagedFault> {
        std::mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a run can do and see.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// Cancelled when the run must end; every wait of the run listens to it.
    pub stop: CancellationToken,
    launch: Launch,
    services: Arc<Services>,
    tag: RunTag,
    duration: Option<Duration>,
}

impl RunContext {
    pub(crate) fn new(
        launch: Launch,
        services: Arc<Services>,
        tag: RunTag,
        duration: Option<Duration>,
    ) -> Self {
        Self {
            stop: launch.stop.clone(),
            launch,
            services,
            tag,
            duration,
        }
    }

    /// A run of `scenario` for tests, which `stop` stops.
    #[cfg(test)]
    pub(crate) fn for_tests(
        services: &Arc<Services>,
        scenario: &'static str,
        stop: &CancellationToken,
    ) -> Self {
        let tag = RunTag {
            session_id: "session-1".to_owned(),
            run_id: 1,
            scenario,
        };
        Self::new(Launch::new(stop.clone()), Arc::clone(services), tag, None)
    }

    /// What is known of the run before its start.
    pub(crate) fn preflight(&self) -> PreflightContext<'_> {
        PreflightContext {
            cgroup: &self.services.cgroup,
            duration: self.duration,
        }
    }

    /// Puts `fault` before the requests that `matcher` selects, from the moment that the set is up until the run
    /// ends. Returns the counters of what it does.
    pub fn arm(&self, matcher: Matcher, fault: impl RequestFault) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let staged = StagedFault {
            matcher,
            fault: Box::new(fault),
            tally: Arc::clone(&tally),
        };
        let staging = self.launch.staged.lock();
        staging.unwrap_or_else(PoisonError::into_inner).push(staged);
        tally
    }

    /// A group for the OS threads of the run.
    #[must_use]
    pub fn threads(&self) -> ThreadGroup {
        ThreadGroup::new(&self.services.live_guards)
    }

    /// Counts as something that the run holds, until it is dropped.
    #[must_use]
    pub fn live_guard(&self) -> LiveGuard {
        self.services.live_guards.enter()
    }

    /// The limits that the process lives under.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.services.cgroup
    }

    /// The async runtimes of the process; a run that makes its own enters it here.
    pub(crate) fn runtimes(&self) -> &Runtimes {
        &self.services.runtimes
    }

    /// Where files may be written.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.services.data_dir
    }

    /// Counts the requests that come to the service listener.
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.services.arrivals
    }

    /// Changes what SIGTERM does until the guard is dropped.
    pub(crate) fn on_sigterm(&self, hook: Arc<dyn ShutdownHook>) -> HookGuard {
        self.services.shutdown.hook(hook)
    }

    /// Ends the process by `termination`, `window` after it is on disk that this was intended.
    ///
    /// A disk that does not answer cannot delay it for long. Returns only when the run is stopped before the end, and
    /// in tests.
    pub(crate) async fn terminate(&self, termination: Termination, window: Duration) {
        tokio::select! {
            biased;
            () = self.launch.begun.cancelled() => {}
            () = self.stop.cancelled() => return,
        }
        let intent = NewEvent::of(EventKind::ExitIntent, &self.tag);
        let exit_code = termination.exit_status();
        self.services.ledger.note(intent.exit_code(exit_code));
        self.services.ledger.synced().await;
        if !window.is_zero() {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(window) => {}
            }
        }
        (self.services.terminate)(termination);
    }
}
