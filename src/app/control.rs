//! The control thread: the admin listener, the session, the boot profile and the signals.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::Signal as FileSizeSignal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::DeathHook;
use crate::boot::Booting;
use crate::config::Config;
use crate::death::{Death, EXIT_BY_SIGNAL};
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::healthcheck;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::Runtimes;
use crate::http::own_probe::OwnProbe;
use crate::http::{Api, Parts, admin_router};
use crate::ledger::Ledger;
use crate::ledger::event::{Asker, BootFacts, Draft, Kind};
use crate::listener::bind::bind;
use crate::listener::budget::ConnectionBudget;
use crate::listener::serve;
use crate::manager::ScenarioManager;
use crate::manager::session::SessionManager;
use crate::metrics::Metrics;
use crate::metrics::requests::Requests;
use crate::plugin::guard::Census;
use crate::plugin::{BoxFuture, Host};
use crate::readiness::Readiness;
use crate::scenarios;
use crate::shutdown::{Order, Shutdown, Signals};

/// How long an exit at once may take to be told in the ledger.
const TOLD_WITHIN: Duration = Duration::from_millis(300);

/// What the control thread is given.
pub(super) struct Control {
    pub(super) root: CancellationToken,
    /// Cancelled when the service listener is done; until then a second signal must be heard.
    pub(super) drained: CancellationToken,
    pub(super) table: FaultTable,
    pub(super) timer: FineTimer,
    pub(super) runtimes: Runtimes,
    pub(super) die: DeathHook,
    /// Cancelled when the service listener is to end at once and the rest after it.
    pub(super) dropped: CancellationToken,
    pub(super) connections: ConnectionBudget,
    /// What the ledger is told of the boot profile.
    pub(super) boot_facts: BootFacts,
    pub(super) config: Config,
}

impl Control {
    /// The life of the control thread: do what the boot profile says, bind the listeners, hand the
    /// service listener and the API over, serve the admin listener, and end the session at a signal.
    pub(super) fn run(self, hand_over: &mpsc::Sender<(TcpListener, Api)>) -> io::Result<()> {
        // However this thread ends, the rest must not go on without it.
        let _ends_all = self.root.clone().drop_guard();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let _counted = self.runtimes.enter(runtime.handle());
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            let mut user_signal = signal(SignalKind::user_defined1())?;
            // Unhandled, this one ends the process where a file size is limited; handled, the write
            // fails, and so does the run that wrote.
            let _file_size = signal(SignalKind::from_raw(FileSizeSignal::XFSZ.as_raw()))?;
            let booting = Booting::begin(self.config.boot.clone(), &self.config.data_dir)?;
            let ending = tokio::select! {
                number = signals.next() => {
                    info!(number, "Signal received before the start: exiting.");
                    return Ok(());
                }
                ending = booting.before_listening() => ending,
            };
            if let Some(ending) = ending {
                let ledger = self.open_ledger(&booting, &Cgroup::system());
                (self.die)(Death::Exit(ending.told(&ledger).await));
                return Ok(());
            }
            let (admin, service) = bind_both(&self.config)?;
            let cgroup = Cgroup::system();
            let ledger = self.open_ledger(&booting, &cgroup);
            // Whoever asks first hears of the boot.
            ledger.synced().await;
            let (requests, shutdown) = (Requests::default(), Shutdown::default());
            let own_probe = OwnProbe::new();
            let own_health = healthcheck::url_of(service.local_addr()?, own_probe.path());
            let probe_health = move || -> BoxFuture<bool> {
                let url = own_health.clone();
                Box::pin(async move { healthcheck::check(&url).await.is_ok() })
            };
            let host = Arc::new(Host {
                die: Box::new(self.die),
                probe_health: Box::new(probe_health),
                cgroup: cgroup.clone(),
                runtimes: self.runtimes.clone(),
                data_dir: self.config.data_dir.clone(),
                census: Census::default(),
                ledger: ledger.clone(),
                requests: requests.clone(),
                shutdown: shutdown.clone(),
            });
            let onsets = booting.onsets(&self.root);
            let (sessions, actor) =
                SessionManager::spawn(host, self.table, self.root.clone(), onsets.clone());
            let limits = self.config.limits.clone();
            let manager = ScenarioManager::new(scenarios::ALL, sessions.clone(), limits, cgroup);
            let metrics = Metrics::new(
                &self.config,
                &self.runtimes,
                manager.clone(),
                requests.clone(),
            );
            let readiness = Readiness::default();
            if booting.is_ready_at_once() {
                readiness.begin();
            }
            booting.start_first(&sessions).await;
            let auth = self.config.auth;
            let api = Api::new(Parts {
                manager,
                metrics,
                timer: self.timer,
                ledger: ledger.clone(),
                end: self.root.clone(),
                readiness: readiness.clone(),
                name: self.config.name.clone(),
                version: self.config.version.clone(),
                token: auth.token.map(Arc::from),
                protect_reads: auth.protect_reads,
                allowed_hosts: auth.allowed_hosts,
                traced: self.config.otel.endpoint.is_some(),
                own_probe,
            });
            hand_over
                .send((service, api.clone()))
                .map_err(|_| io::Error::other("the main thread is gone"))?;

            let admin = async {
                let Some(listener) = admin else {
                    return Ok(());
                };
                let _ends_all = self.root.clone().drop_guard();
                let most = self.connections.admin;
                serve(listener, admin_router(api), most, self.root.clone()).await
            };
            let boot = async {
                let turn_ready = async {
                    booting.until_ready().await;
                    if !booting.is_ready_at_once() {
                        readiness.begin();
                        info!("Ready.");
                    }
                };
                let end = async {
                    let exit_code = booting.while_listening().await.told(&ledger).await;
                    (self.die)(Death::Exit(exit_code));
                };
                let carried_out = async {
                    let late = booting.start_late(&sessions, &onsets, &readiness, &requests);
                    tokio::join!(late, turn_ready, end)
                };
                tokio::select! {
                    _ = carried_out => {}
                    () = self.root.cancelled() => {}
                }
            };
            let settled = async || drop(sessions.settled().await);
            let watch = async {
                let order = tokio::select! {
                    order = shutdown.order(&mut signals, &readiness, settled) => order,
                    // Something that must go on has ended.
                    () = self.root.cancelled() => Order::Drain,
                };
                readiness.end();
                match order {
                    Order::Drain => self.root.cancel(),
                    // The main thread does, when it is done.
                    Order::Drop => self.dropped.cancel(),
                    Order::AtOnce(number) => exit_by(self.die, number, &ledger).await,
                }
                let ledger = ledger.clone();
                tokio::spawn(async move {
                    let number = signals.next().await;
                    exit_by(self.die, number, &ledger).await;
                });
            };
            let halter = sessions.clone();
            tokio::spawn(async move {
                while user_signal.recv().await.is_some() {
                    info!("SIGUSR1 received: halting.");
                    // At the daemon's end everything is being stopped as it is.
                    drop(halter.halt(Some(Asker::Signal)).await);
                }
            });
            let actor = async {
                let ended = actor.await;
                info!("All faults stopped.");
                ended
            };
            let drained = self.drained.cancelled();
            let (served, (), (), ended, ()) = tokio::join!(admin, boot, watch, actor, drained);
            served.and(ended.map_err(io::Error::other))
        })
    }

    /// The ledger under `DataDir`, or one in memory where nothing can be written there.
    fn open_ledger(&self, booting: &Booting, cgroup: &Cgroup) -> Ledger {
        let facts = BootFacts {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            memory_limit_bytes: memory_limit_bytes(cgroup),
            oom_kills: cgroup.oom_kills(),
            crashing_boot: booting.crashing_boot(),
            ..self.boot_facts.clone()
        };
        Ledger::open(&self.config.data_dir.join("ledger"), facts)
    }
}

/// Exits as soon as the ledger has it on disk, so that the next boot knows that the end was asked for.
async fn exit_by(die: DeathHook, number: i32, ledger: &Ledger) {
    warn!(number, "Second signal received: exiting at once.");
    let death = Death::Exit(EXIT_BY_SIGNAL + number);
    let mut intent = Draft::new(Kind::ExitIntent).by(Some(Asker::Signal));
    intent.event.exit_code = Some(death.exit_status());
    ledger.note(intent);
    ledger.synced_within(TOLD_WITHIN).await;
    die(death);
}

/// The admin listener, unless it is off, and the service listener.
fn bind_both(config: &Config) -> io::Result<(Option<TcpListener>, TcpListener)> {
    let admin = config
        .admin
        .port
        .map(|port| bind("admin", (config.admin.host, port).into()));
    let admin = admin.transpose()?;
    let service = bind("service", (config.host, config.port).into())?;
    Ok((admin, service))
}
