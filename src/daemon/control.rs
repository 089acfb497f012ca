//! The control thread: the admin listener, the session, the boot profile and the signals.

use std::fs::{self, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::build::Daemon;
use super::{ReloadFn, TerminateFn};
use crate::boot::BootSequence;
use crate::config::Config;
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::Runtimes;
use crate::host::threads;
use crate::host::turns::take_short_turns;
use crate::http::{Api, Tokens};
use crate::ledger::Ledger;
use crate::ledger::event::{BootFacts, EventKind, NewEvent};
use crate::lifecycle::LAST_WORDS;
use crate::lifecycle::signals::{AtSignal, OtherSignals, RestOfSignals, Signals};
use crate::lifecycle::termination::{EXIT_BY_SIGNAL, Termination};
use crate::listener::bind::{Which, bind};
use crate::listener::budget::ConnectionBudget;
use crate::plugin::{Hooks, Registry};
use crate::run::Initiator;
use crate::traffic::{TrafficControl, TrafficMeter};

/// How long an immediate exit waits for its event to be on disk.
const LAST_EVENT: Duration = Duration::from_millis(300);

/// What sets the address of each listener, for the error where it is taken.
const SERVICE_SET_BY: &str = "the port is set by Port, MOCKSERVER_PORT or --port, the address by Host, MOCKSERVER_HOST or --host";
const ADMIN_SET_BY: &str = "the port is set by Admin.Port, MOCKSERVER_ADMIN_PORT or --admin-port, the address by \
                            Admin.Host, MOCKSERVER_ADMIN_HOST or --admin-host";

/// Makes the ledger's folder one that only this user can read: what is in it names every fault.
fn keep_from_others(folder: &Path) {
    let only_own = Permissions::from_mode(0o700);
    let made = fs::create_dir_all(folder).and_then(|()| fs::set_permissions(folder, only_own));
    if let Err(error) = made {
        warn!(%error, "The ledger's folder may be read by others.");
    }
}

/// The runtime of the control thread, with handlers for the signals that the daemon outlives. It is made early: from
/// then on no such signal ends the process or is lost.
#[derive(Debug)]
pub(crate) struct ControlRuntime {
    runtime: Runtime,
    signals: OtherSignals,
}

impl ControlRuntime {
    /// # Errors
    /// The system gives no descriptors for it.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let signals = {
            let _entered = runtime.enter();
            OtherSignals::new()?
        };
        Ok(Self { runtime, signals })
    }
}

/// What the control thread works with.
#[derive(Clone)]
pub(super) struct Control {
    /// Cancelled when the daemon ends.
    pub(super) root: CancellationToken,
    /// Cancelled when the service listener is done; until then a second signal must be heard.
    pub(super) drained: CancellationToken,
    /// Cancelled when the service listener is to end at once and the rest after it.
    pub(super) cut_off: CancellationToken,
    pub(super) table: FaultTable,
    pub(super) timer: FineTimer,
    pub(super) runtimes: Runtimes,
    pub(super) terminate: TerminateFn,
    pub(super) reload: ReloadFn,
    pub(super) tokens: Tokens,
    pub(super) connections: ConnectionBudget,
    /// The counters of the traffic, where there is any.
    pub(super) traffic: Option<TrafficMeter>,
    /// What may change the traffic.
    pub(super) traffic_control: TrafficControl,
    /// What is known of this boot so far.
    pub(super) boot_facts: BootFacts,
    pub(super) registry: Registry,
    pub(super) hooks: Hooks,
    pub(super) config: Config,
}

impl Control {
    /// The life of the control thread: carries out the boot profile, binds the listeners, hands the service listener
    /// and the API over, serves the admin listener, and ends the session at a signal.
    pub(super) fn run(
        self,
        runtime: ControlRuntime,
        hand_over: &mpsc::Sender<(TcpListener, Api)>,
    ) -> io::Result<()> {
        // Where the kernel refuses, it competes with the faults like any other thread.
        let _taken: bool = take_short_turns();
        // However this thread ends, the rest must not go on without it.
        let _ends_all = self.root.clone().drop_guard();
        let ControlRuntime { runtime, signals } = runtime;
        let _counted = self.runtimes.enter(runtime.handle());
        runtime.block_on(self.live(signals, hand_over))
    }

    async fn live(
        self,
        other_signals: OtherSignals,
        hand_over: &mpsc::Sender<(TcpListener, Api)>,
    ) -> io::Result<()> {
        let mut signals = Signals::new()?;
        tokio::spawn(self.clone().attend(other_signals.rest));
        let booting = BootSequence::begin(self.config.boot.clone(), self.config.boot_count())?;
        let ending = tokio::select! {
            number = signals.next() => {
                info!(target: LAST_WORDS, number, "Signal received before the start: exiting.");
                return Ok(());
            }
            ending = booting.before_listening() => ending,
        };
        if let Some(ending) = ending {
            let ledger = self.open_ledger(&booting, &Cgroup::system());
            let exit_code = ending.record(&ledger).await;
            (self.terminate)(Termination::Exit(exit_code));
            return Ok(());
        }
        let (admin, service) = self.bind_both()?;
        let (daemon, actor) = Daemon::build(self, booting, service.local_addr()?).await;
        hand_over
            .send((service, daemon.api.clone()))
            .map_err(|_| io::Error::other("the main thread is gone"))?;
        daemon
            .serve(admin, actor, signals, other_signals.halt)
            .await
    }

    /// Attends to the signals that the daemon outlives, until it ends.
    async fn attend(self, mut signals: RestOfSignals) {
        loop {
            match signals.next().await {
                AtSignal::Reload => self.reload().await,
                AtSignal::Ignore(number, signal) => {
                    warn!(signal, number, "Signal received: ignored.");
                }
            }
        }
    }

    /// Opens the log file anew and takes over the log level and the tokens.
    async fn reload(&self) {
        info!("SIGHUP received: reading the configuration again.");
        let (done, outcome) = oneshot::channel();
        let reload = Arc::clone(&self.reload);
        // A thread of its own: a file may be slow or a pipe.
        let thread = std::thread::Builder::new().name(threads::name("reload"));
        let thread = thread.spawn(move || {
            // At the daemon's end the outcome is of no use.
            done.send(reload()).ok();
        });
        if let Err(error) = thread {
            warn!(%error, "The configuration could not be read again; everything stays as it was.");
            return;
        }
        // A panic is in the log already.
        let Ok(Some(config)) = outcome.await else {
            return;
        };
        let auth = config.auth;
        match auth.token {
            Some(token) if self.tokens.admin.replace(&token) => {
                info!("The token of the API is replaced.");
            }
            None if self.tokens.admin.is_required() => {
                warn!("The token of the API stays: only a restart can open the API.");
            }
            _ => {}
        }
        let roles = [
            ("release system", &self.tokens.release, auth.release_token),
            ("candidate", &self.tokens.candidate, auth.candidate_token),
        ];
        for (role, token, new) in roles {
            if token.set(new) {
                info!(role, "The token of a role is replaced.");
            }
        }
    }

    /// The admin listener, unless it is off, and the service listener.
    fn bind_both(&self) -> io::Result<(Option<TcpListener>, TcpListener)> {
        let Config {
            host, port, admin, ..
        } = &self.config;
        let admin = admin
            .port
            .map(|port| bind(Which::Admin(ADMIN_SET_BY), (admin.host, port).into()));
        let admin = admin.transpose()?;
        let service = bind(Which::Service(SERVICE_SET_BY), (*host, *port).into())?;
        Ok((admin, service))
    }

    /// The ledger under `DataDir`, or one in memory where nothing can be written there.
    pub(super) fn open_ledger(&self, booting: &BootSequence, cgroup: &Cgroup) -> Ledger {
        let facts = BootFacts {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            memory_limit_bytes: memory_limit_bytes(cgroup),
            oom_kills: cgroup.oom_kills(),
            crashing_boot: booting.crashing_boot(),
            ..self.boot_facts.clone()
        };
        let folder = self.config.data_dir.join("ledger");
        if self.config.blind {
            keep_from_others(&folder);
        }
        Ledger::open(&folder, facts)
    }

    /// Exits as soon as the intent is on disk, so that the next boot knows that the exit was asked for.
    pub(super) async fn exit_by(&self, signal: i32, ledger: &Ledger) {
        warn!(target: LAST_WORDS, number = signal, "Second signal received: exiting at once.");
        let termination = Termination::Exit(EXIT_BY_SIGNAL + signal);
        let intent = NewEvent::new(EventKind::ExitIntent).by(Some(Initiator::Signal));
        ledger.note(intent.exit_code(termination.exit_status()));
        ledger.synced_within(LAST_EVENT).await;
        (self.terminate)(termination);
    }
}
