//! Puts the parts together: two listeners, two runtimes, one shut-down.
//!
//! The control runtime has a thread of its own and runs the admin listener, the session and the
//! signals: it answers whatever the requests on the service listener suffer. The service runtime runs
//! on the main thread and its workers and has nothing but the service listener.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use rustix::process::Signal as FileSizeSignal;
use socket2::{Domain, Socket, Type};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, Loaded};
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::Runtimes;
use crate::http::{Api, Parts, admin_router, service_router};
use crate::ledger::Ledger;
use crate::ledger::event::BootFacts;
use crate::listener::budget::{ConnectionBudget, raise_limit};
use crate::listener::serve;
use crate::manager::ScenarioManager;
use crate::manager::session::SessionManager;
use crate::metrics::Metrics;
use crate::plugin::Host;
use crate::plugin::guard::Census;
use crate::scenarios;

/// Connections that may wait to be accepted. The standard library's 128 would let a burst of clients wait
/// a second for their second try.
const BACKLOG: i32 = 4096;
/// A process that a signal ended exits with this plus the signal's number, by the shells' convention.
const EXIT_BY_SIGNAL: i32 = 128;

/// Ends the process at once with the given exit code.
pub type ExitHook = fn(i32);

/// The daemon with its listeners bound, not serving yet.
#[derive(Debug)]
pub struct App {
    admin: Option<TcpListener>,
    service: TcpListener,
    config: Config,
}

impl App {
    /// Binds the listeners, the admin one first.
    ///
    /// # Errors
    /// An address cannot be taken; the message names it.
    pub fn bind(loaded: Loaded) -> io::Result<Self> {
        let config = loaded.config;
        let admin = config
            .admin
            .port
            .map(|port| bind("admin", (config.admin.host, port).into()));
        let admin = admin.transpose()?;
        let service = bind("service", (config.host, config.port).into())?;
        match &loaded.file {
            Some(file) => info!(file = %file.display(), "Configuration read."),
            None => info!("No configuration file; the built-in defaults apply."),
        }
        Ok(Self {
            admin,
            service,
            config,
        })
    }

    /// Serves until SIGTERM or SIGINT, then stops every fault, drains and returns.
    ///
    /// # Errors
    /// A thread, a runtime or a signal handler cannot be had, or a listener fails.
    pub fn run(self, exit: ExitHook) -> io::Result<()> {
        let Self {
            admin,
            service,
            config,
        } = self;
        let table = FaultTable::default();
        let timer = FineTimer::start()?;
        let runtimes = Runtimes::default();
        let drained = CancellationToken::new();
        let memory = memory_limit_bytes(&Cgroup::system());
        let connections = ConnectionBudget::of(raise_limit(), memory);
        let control = Control {
            root: CancellationToken::new(),
            drained: drained.clone(),
            table: table.clone(),
            timer,
            runtimes: runtimes.clone(),
            exit,
            admin,
            connections,
            config: config.clone(),
        };
        let root = control.root.clone();
        let (hand_over, api) = std::sync::mpsc::channel();
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control.run(&hand_over))?;
        let Ok(api) = api.recv() else {
            let early = io::Error::other("the control thread ended at its start");
            return joined(control).and(Err(early));
        };

        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtimes.build_serving(builder.enable_all())?;
        announce(&config, service.local_addr()?);
        let router = service_router(api, &table);
        let served = runtime.block_on(serve(service, router, connections.service, root.clone()));
        // Nothing is left to wait for: what could be drained is drained.
        runtime.shutdown_background();
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
    exit: ExitHook,
    admin: Option<TcpListener>,
    connections: ConnectionBudget,
    config: Config,
}

impl Control {
    /// The life of the control thread: hand the API over to the service listener, serve the admin
    /// listener, and end the session at a signal.
    fn run(self, hand_over: &std::sync::mpsc::Sender<Api>) -> io::Result<()> {
        // However this thread ends, the rest must not go on without it.
        let _ends_all = self.root.clone().drop_guard();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let cgroup = Cgroup::system();
        let ledger = open_ledger(&self.config.data_dir, &cgroup);
        let _counted = self.runtimes.enter(runtime.handle());
        runtime.block_on(async {
            let mut signals = Signals::new()?;
            // Unhandled, this one ends the process where a file size is limited; handled, the write
            // fails, and so does the run that wrote.
            let _file_size = signal(SignalKind::from_raw(FileSizeSignal::XFSZ.as_raw()))?;
            // Whoever asks first hears of the boot.
            ledger.synced().await;
            let host = Arc::new(Host {
                exit: Box::new(self.exit),
                cgroup,
                runtimes: self.runtimes.clone(),
                data_dir: self.config.data_dir.clone(),
                census: Census::default(),
                ledger: ledger.clone(),
            });
            let (sessions, actor) = SessionManager::spawn(host, self.table, self.root.clone());
            let manager = ScenarioManager::new(scenarios::ALL, sessions);
            let metrics = Metrics::new(&self.config, &self.runtimes, manager.clone());
            let token = self.config.auth.token.map(Arc::from);
            let api = Api::new(Parts {
                manager,
                metrics,
                timer: self.timer,
                ledger,
                end: self.root.clone(),
                token,
                traced: self.config.otel.endpoint.is_some(),
            });
            hand_over
                .send(api.clone())
                .map_err(|_| io::Error::other("the main thread is gone"))?;

            let admin = async {
                let Some(listener) = self.admin else {
                    return Ok(());
                };
                let _ends_all = self.root.clone().drop_guard();
                let most = self.connections.admin;
                serve(listener, admin_router(api), most, self.root.clone()).await
            };
            let watch = async {
                tokio::select! {
                    number = signals.next() => info!(number, "Signal received: shutting down."),
                    // Something that must go on has ended.
                    () = self.root.cancelled() => {}
                }
                self.root.cancel();
                tokio::spawn(async move {
                    let number = signals.next().await;
                    warn!(number, "Second signal received: exiting at once.");
                    (self.exit)(EXIT_BY_SIGNAL + number);
                });
            };
            let actor = async {
                let ended = actor.await;
                info!("All faults stopped.");
                ended
            };
            let drained = self.drained.cancelled();
            let (served, (), ended, ()) = tokio::join!(admin, watch, actor, drained);
            served.and(ended.map_err(io::Error::other))
        })
    }
}

/// The ledger under `data_dir`, or one in memory where nothing can be written there.
fn open_ledger(data_dir: &Path, cgroup: &Cgroup) -> Ledger {
    let facts = BootFacts {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        memory_limit_bytes: memory_limit_bytes(cgroup),
        oom_kills: cgroup.oom_kills(),
        ..BootFacts::default()
    };
    Ledger::open(&data_dir.join("ledger"), facts)
}

/// SIGTERM and SIGINT. Handlers are installed even as PID 1, where the kernel has no default for them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self {
            terminate,
            interrupt,
        })
    }

    /// The number of the next signal.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
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

fn announce(config: &Config, address: SocketAddr) {
    let limit = Cgroup::system().cpu_limit();
    info!(
        service = config.name,
        cpu_limit_cores = limit.cores,
        "Ready."
    );
    let open = |address: std::net::IpAddr| config.auth.token.is_none() && !address.is_loopback();
    if open(address.ip()) || (config.admin.port.is_some() && open(config.admin.host)) {
        warn!(
            "The API is open: it needs no token and listens beyond this machine, so anyone who \
             reaches it can start faults. Set Auth.TokenFile, or Host to 127.0.0.1."
        );
    }
}
