//! What the daemon offers to runs; there are no globals.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::guard::{LiveGuard, LiveGuards, ThreadGroup};
use super::{BoxFuture, Hooks, PreflightContext};
use crate::fault::arrivals::Arrivals;
use crate::fault::pool::Pools;
use crate::fault::table::StagedFault;
use crate::fault::{Action, Draw, Exchange, Matcher, Pool, ShownPool, Tally};
use crate::host::cgroup::Cgroup;
use crate::host::lived::LivedClock;
use crate::host::runtimes::Runtimes;
use crate::ledger::Ledger;
use crate::ledger::event::{EventKind, NewEvent};
use crate::lifecycle::shutdown::{HookGuard, Shutdown, ShutdownHook};
use crate::lifecycle::termination::Termination;
use crate::run::{Reading, RunTag};
use crate::sync::Lock;

/// What the daemon offers to all runs.
pub(crate) struct Services {
    /// Ends the process at once; replaced in tests.
    pub(crate) terminate: Box<dyn Fn(Termination) + Send + Sync>,
    /// Whether the service's health probe would succeed now; replaced in tests.
    pub(crate) probe_health: Box<dyn Fn() -> BoxFuture<bool> + Send + Sync>,
    pub(crate) cgroup: Cgroup,
    pub(crate) runtimes: Runtimes,
    pub(crate) lived: LivedClock,
    /// Where runs may write files.
    pub(crate) data_dir: PathBuf,
    pub(crate) live_guards: LiveGuards,
    pub(crate) ledger: Ledger,
    /// Of the service listener.
    pub(crate) arrivals: Arrivals,
    pub(crate) shutdown: Shutdown,
    /// The upstreams that the service calls.
    pub(crate) upstreams: Vec<String>,
    pub(crate) hooks: Hooks,
    /// Whether there is an admin listener.
    pub(crate) has_admin: bool,
    /// The pools that runs have put before requests.
    pub(crate) pools: Pools,
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services")
            .field("data_dir", &self.data_dir)
            .finish_non_exhaustive()
    }
}

impl Services {
    /// What the preflight of a run sees that lasts for `duration`.
    pub(crate) fn preflight(&self, duration: Option<Duration>) -> PreflightContext<'_> {
        PreflightContext {
            cgroup: &self.cgroup,
            duration,
            upstreams: Some(&self.upstreams),
            has_admin: self.has_admin,
            data_dir: Some(&self.data_dir),
        }
    }
}

#[cfg(test)]
impl Services {
    /// The ledger is in memory, and a termination does nothing.
    pub(crate) fn for_tests(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            terminate: Box::new(|_| {}),
            probe_health: Box::new(|| Box::pin(std::future::ready(true))),
            cgroup: Cgroup::system(),
            runtimes: Runtimes::default(),
            lived: LivedClock::default(),
            data_dir: data_dir.into(),
            live_guards: LiveGuards::default(),
            ledger: Ledger::in_memory("a test", Default::default()),
            arrivals: Arrivals::default(),
            shutdown: Shutdown::default(),
            upstreams: Vec::new(),
            hooks: Hooks::default(),
            has_admin: true,
            pools: Pools::default(),
        }
    }
}

/// What the core keeps of a run that is starting.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) stop: CancellationToken,
    /// Cancelled once the ledger has noted the start.
    pub(crate) begun: CancellationToken,
    staged: Arc<Lock<Vec<StagedFault>>>,
}

impl Launch {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            begun: CancellationToken::new(),
            staged: Arc::default(),
        }
    }

    /// The request faults that the run has armed.
    pub(crate) fn take_staged(&self) -> Vec<StagedFault> {
        std::mem::take(&mut *self.staged.lock())
    }
}

/// What a run can do and see.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// Cancelled when the run must end; no wait of the run may outlast it.
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

    /// A run of `scenario` that `stop` stops.
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

    pub(crate) fn preflight(&self) -> PreflightContext<'_> {
        self.services.preflight(self.duration)
    }

    /// Arms a request fault: from the moment that the whole session is up until the run ends, `act` decides what
    /// happens to the requests that `matcher` selects. Returns the counters of what it does.
    ///
    /// To be called before the start returns: the set is armed as one, and what comes later has no effect.
    ///
    /// `act` runs on the request path, so it must neither block nor wait; `Draw` is its only source of chance.
    pub fn arm(
        &self,
        matcher: Matcher,
        act: impl Fn(&Exchange<'_>, &mut Draw) -> Action + Send + Sync + 'static,
    ) -> Arc<Tally> {
        let fault = StagedFault::new(matcher, act);
        let tally = Arc::clone(&fault.tally);
        self.launch.staged.lock().push(fault);
        tally
    }

    /// A group for the OS threads of the run.
    #[must_use]
    pub fn threads(&self) -> ThreadGroup {
        ThreadGroup::new(&self.services.live_guards)
    }

    /// A guard that counts as alive until it is dropped, to be held beside what the run must release.
    #[must_use]
    pub fn live_guard(&self) -> LiveGuard {
        self.services.live_guards.guard()
    }

    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.services.cgroup
    }

    /// The async runtimes of the process; a run that builds one enters it here.
    pub(crate) fn runtimes(&self) -> &Runtimes {
        &self.services.runtimes
    }

    /// The clock of schedules: it stands still while the process is frozen.
    pub(crate) fn lived(&self) -> &LivedClock {
        &self.services.lived
    }

    /// Where the run may write files.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.services.data_dir
    }

    /// The count of requests on the service listener.
    pub(crate) fn arrivals(&self) -> &Arrivals {
        &self.services.arrivals
    }

    /// What of the service the run may change beside its requests.
    pub(crate) fn hooks(&self) -> &Hooks {
        &self.services.hooks
    }

    /// Waits until the ledger has noted the start: the answer to it is about to leave.
    pub(crate) async fn begun(&self) {
        self.launch.begun.cancelled().await;
    }

    /// Shows `pool` among the metrics of the service until the guard is dropped.
    #[must_use]
    pub fn show_pool(&self, pool: &Arc<Pool>) -> ShownPool {
        self.services.pools.show(pool)
    }

    /// Changes what SIGTERM does until the guard is dropped.
    pub(crate) fn on_sigterm(&self, hook: Arc<dyn ShutdownHook>) -> HookGuard {
        self.services.shutdown.hook(self.tag.scenario, hook)
    }

    /// Records in the ledger that the end is intended, with the effect that it will have had, waits for `window`, and ends the process by `termination`.
    ///
    /// A disk that does not answer delays the end only for a bounded time. Returns only when the run is stopped before
    /// the end, and in tests.
    pub(crate) async fn terminate(
        &self,
        termination: Termination,
        window: Duration,
        reading: &Reading,
    ) {
        tokio::select! {
            biased;
            () = self.launch.begun.cancelled() => {}
            () = self.stop.cancelled() => return,
        }
        let intent = NewEvent::of(EventKind::ExitIntent, &self.tag)
            .reading(reading)
            .duration(Some(window));
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
