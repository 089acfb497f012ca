//! Puts the parts together: two listeners, two runtimes, one shut-down.
//!
//! The control runtime has a thread of its own and runs the admin listener, the session and the
//! signals: it answers whatever the requests on the service listener suffer. The service runtime runs
//! on the main thread and its workers and has nothing but the service listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal as FileSizeSignal;
use serde_json::{Map, Value};
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::boot::profile::Boot;
use crate::boot::{self, Booting};
use crate::config::{Config, Loaded};
use crate::death::{Death, EXIT_BY_SIGNAL};
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::healthcheck;
use crate::host::allocator;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::{Runtimes, workers};
use crate::http::own_probe::OwnProbe;
use crate::http::{Api, Parts, admin_router, service_router};
use crate::ledger::Ledger;
use crate::ledger::event::{Asker, BootFacts, Draft, Kind};
use crate::listener::budget::{ConnectionBudget, raise_limit};
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

/// Connections that may wait to be accepted. The standard library's 128 would let a burst of clients wait
/// a second for their second try.
const BACKLOG: i32 = 4096;
/// How long what is cut off may take to notice.
const CUT_OFF: Duration = Duration::from_millis(300);
/// How long an exit at once may take to be told in the ledger.
const TOLD_WITHIN: Duration = Duration::from_millis(300);

/// Ends the process at once.
pub type DeathHook = fn(Death);

/// The daemon.
#[derive(Debug)]
pub struct App {
    loaded: Loaded,
}

impl App {
    /// The daemon that `loaded` tells of, which does nothing yet.
    #[must_use]
    pub fn new(loaded: Loaded) -> Self {
        Self { loaded }
    }

    /// Does what the boot profile says, binds the listeners, the admin one first, and serves until
    /// SIGTERM or SIGINT; then stops every fault, drains and returns.
    ///
    /// # Errors
    /// An address cannot be taken, which the message names; a thread, a runtime or a signal handler
    /// cannot be had, or a listener fails.
    pub fn run(self, die: DeathHook) -> io::Result<()> {
        let Loaded {
            config,
            file,
            safe_boot,
            effective,
            unknown_variables,
        } = self.loaded;
        let profile = effective.get("Boot").and_then(Value::as_object);
        let profile = profile.filter(|_| config.boot != Boot::default());
        introduce(&config, file.as_deref(), safe_boot, profile);
        for variable in &unknown_variables {
            warn!(
                variable,
                "No variable of mockserver has this name: it sets nothing."
            );
        }
        if config.boot.hang {
            boot::hang();
        }
        let table = FaultTable::default();
        let timer = FineTimer::start()?;
        allocator::start()?;
        let runtimes = Runtimes::default();
        let (drained, dropped) = (CancellationToken::new(), CancellationToken::new());
        let memory = memory_limit_bytes(&Cgroup::system());
        let connections = ConnectionBudget::of(raise_limit(), memory);
        let control = Control {
            root: CancellationToken::new(),
            drained: drained.clone(),
            table: table.clone(),
            timer,
            runtimes: runtimes.clone(),
            die,
            dropped: dropped.clone(),
            connections,
            boot_facts: BootFacts {
                profile: profile.cloned(),
                safe_boot,
                ..BootFacts::default()
            },
            config: config.clone(),
        };
        let root = control.root.clone();
        let (hand_over, ready_to_serve) = std::sync::mpsc::channel();
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control.run(&hand_over))?;
        let Ok((service, api)) = ready_to_serve.recv() else {
            // It could not begin, or was told to end before.
            return joined(control);
        };

        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let builder = builder.worker_threads(workers()).enable_all();
        let runtime = runtimes.build_serving(builder)?;
        announce(&config, service.local_addr()?, &api);
        let router = service_router(api, &table);
        let served = runtime.block_on(async {
            tokio::select! {
                served = serve(service, router, connections.service, root.clone()) => served,
                () = dropped.cancelled() => Ok(()),
            }
        });
        if dropped.is_cancelled() {
            // Gone before the faults are: none of the requests that wait in one is let through.
            runtime.shutdown_timeout(CUT_OFF);
        } else {
            // Nothing is left to wait for: what could be drained is drained.
            runtime.shutdown_background();
        }
        root.cancel();
        drained.cancel();
        served.and(joined(control))
    }
}

fn joined(control: std::thread::JoinHandle<io::Result<()>>) -> io::Result<()> {
    let panicked = |_| Err(io::Error::other("the control thread panicked"));
    control.join().unwrap_or_else(panicked)
}

/// What the control thread is given.
struct Control {
    root: CancellationToken,
    /// Cancelled when the service listener is done; until then a second signal must be heard.
    drained: CancellationToken,
    table: FaultTable,
    timer: FineTimer,
    runtimes: Runtimes,
    die: DeathHook,
    /// Cancelled when the service listener is to end at once and the rest after it.
    dropped: CancellationToken,
    connections: ConnectionBudget,
    /// What the ledger is told of the boot profile.
    boot_facts: BootFacts,
    config: Config,
}

impl Control {
    /// The life of the control thread: do what the boot profile says, bind the listeners, hand the
    /// service listener and the API over, serve the admin listener, and end the session at a signal.
    fn run(self, hand_over: &std::sync::mpsc::Sender<(TcpListener, Api)>) -> io::Result<()> {
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

fn bind(which: &str, address: SocketAddr) -> io::Result<TcpListener> {
    let bound = listen(address);
    let listener = bound.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("the {which} listener cannot take {address}: {error}"),
        )
    })?;
    info!(listener = which, address = %listener.local_addr()?, "Listening.");
    Ok(listener)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A daemon that crashed on command must be able to come back at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The first lines of the log.
fn introduce(
    config: &Config,
    file: Option<&Path>,
    safe_boot: bool,
    profile: Option<&Map<String, Value>>,
) {
    info!(
        service = config.name,
        version = config.version,
        mockserver = env!("CARGO_PKG_VERSION"),
        "Starting."
    );
    match file {
        Some(file) => info!(file = %file.display(), "Configuration read."),
        None => info!("No configuration file; the built-in defaults apply."),
    }
    if safe_boot {
        warn!("Safe boot: a boot profile is ignored.");
    } else if let Some(profile) = profile {
        let profile = Value::Object(profile.clone());
        // Limits are for the API's clients: who writes the configuration may do all.
        warn!(
            %profile,
            "Boot profile: this version is bad by its configuration; Limits do not apply to it."
        );
    }
}

fn announce(config: &Config, address: SocketAddr, api: &Api) {
    let limit = Cgroup::system().cpu_limit();
    let message = match api.readiness.is_ready() {
        true => "Ready.",
        false => "Serving, but not ready yet.",
    };
    info!(
        service = config.name,
        cpu_limit_cores = limit.cores,
        "{message}"
    );
    if let Some(endpoint) = &config.otel.endpoint {
        info!(%endpoint, "Requests are traced.");
    }
    let open = |address: std::net::IpAddr| config.auth.token.is_none() && !address.is_loopback();
    if open(address.ip()) || (config.admin.port.is_some() && open(config.admin.host)) {
        warn!(
            "The API is open: it needs no token and listens beyond this machine, so anyone who \
             reaches it can start faults. Set Auth.TokenFile, or Host to 127.0.0.1."
        );
    }
}
