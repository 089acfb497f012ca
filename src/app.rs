//! Puts the parts together: two listeners, two runtimes, one shut-down.
//!
//! The control runtime has a thread of its own and runs the admin listener, the session and the
//! signals: it answers whatever the requests on the service listener suffer. The service runtime runs
//! on the main thread and its workers and has nothing but the service listener.

mod control;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::boot;
use crate::boot::profile::Boot;
use crate::config::{Config, Loaded};
use crate::death::Death;
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::host::allocator;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::{Runtimes, workers};
use crate::http::{Api, service_router};
use crate::ledger::event::BootFacts;
use crate::listener::budget::{ConnectionBudget, raise_limit};
use crate::listener::serve;
use control::Control;

/// How long what is cut off may take to notice.
const CUT_OFF: Duration = Duration::from_millis(300);

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
