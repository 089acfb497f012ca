//! Puts the parts together: two listeners, two runtimes, one shutdown.
//!
//! The control runtime has its own thread and runs the admin listener, the session and the signals: it answers
//! whatever happens to the requests on the service listener. The service runtime runs on the main thread and its
//! workers and has nothing but the service listener.

mod build;
mod control;
mod failures;
mod serve;
pub(crate) mod startup_checks;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::boot;
use crate::boot::profile::BootProfile;
use crate::config::{Config, IgnoredVariable, Loaded};
use crate::fault::table::FaultTable;
use crate::fault::timer::FineTimer;
use crate::host::cgroup::Cgroup;
use crate::host::memory_limit_bytes;
use crate::host::runtimes::{Runtimes, workers};
use crate::host::{allocator, code, threads};
use crate::http::plain::PlainErrors;
use crate::http::{Api, Tokens, service_router};
use crate::ledger::event::BootFacts;
use crate::lifecycle::SERVICE;
use crate::lifecycle::readiness::Readiness;
use crate::lifecycle::termination::Termination;
use crate::listener::budget::{ConnectionBudget, raise_limit};
use crate::listener::serve;
use crate::plugin::{Hooks, Registry};
use crate::traffic::{self, Surroundings, Traffic, TrafficControl, TrafficSpec};
use control::Control;

pub(crate) use control::ControlRuntime;

/// How long requests that are cut off may take to notice.
const CUT_OFF_GRACE: Duration = Duration::from_millis(300);

/// Ends the process at once.
pub(crate) type TerminateFn = fn(Termination);

/// Opens the log file anew and takes the log's level from the configuration, which it reads again and returns; none
/// where that is bad.
pub(crate) type ReloadFn = Arc<dyn Fn() -> Option<Config> + Send + Sync>;

/// The daemon.
#[derive(Debug)]
pub(crate) struct App {
    loaded: Loaded,
    registry: Registry,
    hooks: Hooks,
}

impl App {
    /// The daemon that `loaded` describes, with the scenarios of `registry`, whose runs have `hooks` into what is around
    /// it. It does nothing yet.
    pub(crate) fn new(loaded: Loaded, registry: Registry, hooks: Hooks) -> Self {
        Self {
            loaded,
            registry,
            hooks,
        }
    }

    /// Carries out the boot profile, binds the listeners, the admin one first, and serves until SIGTERM or SIGINT;
    /// then stops every fault, drains and returns.
    ///
    /// # Errors
    /// An address cannot be bound, which the message names; a thread, a runtime or a signal handler is refused, or a
    /// listener fails.
    pub(crate) fn run(
        mut self,
        runtime: ControlRuntime,
        terminate: TerminateFn,
        reload: ReloadFn,
    ) -> io::Result<()> {
        let (profile, safe_boot) = (self.profile().cloned(), self.loaded.safe_boot);
        introduce(&self.loaded, profile.as_ref());
        let traffic_facts = self.traffic_facts();
        let config = self.loaded.config;
        if config.boot.hang {
            boot::hang();
        }
        allocator::start()?;
        code::keep_in_memory();
        let cgroup = Cgroup::system();
        // Connections that bring the container to its memory.high would slow all of it down.
        let memory = cgroup
            .memory_high()
            .unwrap_or(u64::MAX)
            .min(memory_limit_bytes(&cgroup));
        let connections = ConnectionBudget::of(raise_limit(), memory, config.traffic.is_some());
        let control = Control {
            root: CancellationToken::new(),
            drained: CancellationToken::new(),
            cut_off: CancellationToken::new(),
            table: FaultTable::default(),
            timer: FineTimer::start()?,
            runtimes: Runtimes::default(),
            terminate,
            reload,
            tokens: {
                let auth = config.auth.clone();
                Tokens::new([auth.token, auth.release_token, auth.candidate_token])
            },
            connections,
            traffic: config.traffic.as_ref().map(TrafficSpec::meter),
            traffic_control: TrafficControl::default(),
            boot_facts: BootFacts {
                profile,
                safe_boot,
                traffic: traffic_facts,
                ..BootFacts::default()
            },
            registry: self.registry,
            hooks: self.hooks,
            config,
        };
        let (hand_over, ready_to_serve) = mpsc::channel();
        let thread = std::thread::Builder::new().name(threads::name("control"));
        let of_thread = control.clone();
        let thread = thread.spawn(move || of_thread.run(runtime, &hand_over))?;
        let Ok((service, api)) = ready_to_serve.recv() else {
            // It could not begin, or ended before it began.
            return joined(thread);
        };
        let served = serve_requests(&control, service, api);
        control.root.cancel();
        control.drained.cancel();
        served.and(joined(thread))
    }

    /// The traffic as the configuration has it; draws the seed that it does not have.
    fn traffic_facts(&mut self) -> Option<Map<String, Value>> {
        let seed = self.loaded.config.traffic.as_mut()?.draw_seed();
        let mut facts = self.loaded.effective.get("Traffic")?.as_object()?.clone();
        facts.insert("Seed".to_owned(), seed.into());
        Some(facts)
    }

    /// The boot profile as the configuration has it; none where the version is good.
    fn profile(&self) -> Option<&Map<String, Value>> {
        let profile = self.loaded.effective.get("Boot")?.as_object();
        profile.filter(|_| self.loaded.config.boot != BootProfile::default())
    }
}

/// The traffic that the configuration asks for, to the service listener at `service` or elsewhere.
fn start_traffic(
    control: &Control,
    service: SocketAddr,
    readiness: Readiness,
) -> io::Result<Option<Traffic>> {
    let Some((spec, meter)) = control
        .config
        .traffic
        .as_ref()
        .zip(control.traffic.as_ref())
    else {
        return Ok(None);
    };
    let surroundings = Surroundings {
        service,
        readiness,
        most: control.connections.clients,
        control: control.traffic_control.clone(),
        end: control.root.clone(),
    };
    traffic::start(spec.clone(), meter.clone(), surroundings).map(Some)
}

/// The service listener with its runtime, on this thread, until the daemon ends.
fn serve_requests(control: &Control, service: TcpListener, api: Api) -> io::Result<()> {
    let runtime = service_runtime(&control.runtimes)?;
    runtime.spawn(control.runtimes.measure_lag());
    announce(&control.config, service.local_addr()?, &api);
    let traffic = start_traffic(control, service.local_addr()?, api.readiness.clone())?;
    let router = service_router(api, &control.table);
    let most = control.connections.service;
    let plain = match control.config.blind {
        true => PlainErrors::All,
        false => PlainErrors::None,
    };
    let clock = control.hooks.clock.clone();
    let served = runtime.block_on(async {
        tokio::select! {
            served = serve(service, router, most, plain, clock, control.root.clone()) => served,
            () = control.cut_off.cancelled() => Ok(()),
        }
    });
    drop(traffic);
    if control.cut_off.is_cancelled() {
        // Drop the runtime before faults are released, so that no delayed request slips through.
        runtime.shutdown_timeout(CUT_OFF_GRACE);
    } else {
        // Nothing is left to wait for: what can be drained is drained.
        runtime.shutdown_background();
    }
    served
}

fn service_runtime(runtimes: &Runtimes) -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    runtimes.build_serving(builder.worker_threads(workers()).enable_all())
}

fn joined(control: JoinHandle<io::Result<()>>) -> io::Result<()> {
    let panicked = |_| Err(io::Error::other("the control thread panicked"));
    control.join().unwrap_or_else(panicked)
}

/// The first lines of the log.
fn introduce(loaded: &Loaded, profile: Option<&Map<String, Value>>) {
    let program = (!loaded.config.blind).then_some(env!("CARGO_PKG_VERSION"));
    info!(
        target: SERVICE,
        service = loaded.config.name,
        version = loaded.config.version,
        mockserver = program,
        "Starting."
    );
    match &loaded.file {
        Some(file) => info!(file, "Configuration read."),
        None => info!("No configuration file; the built-in defaults apply."),
    }
    if loaded.safe_boot {
        warn!("Safe boot: a boot profile is ignored.");
    } else if let Some(profile) = profile {
        let profile = Value::Object(profile.clone());
        // Limits are for the API's clients: the author of the configuration may do anything.
        warn!(
            %profile,
            "Boot profile: this version is bad by its configuration; Limits do not apply to it."
        );
    }
    for IgnoredVariable { name, because } in &loaded.ignored_variables {
        warn!(
            variable = name,
            because, "A variable of the environment is ignored."
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
        target: SERVICE,
        service = config.name,
        cpu_limit_cores = limit.cores,
        "{message}"
    );
    if let Some(endpoint) = &config.otel.endpoint {
        info!(target: SERVICE, %endpoint, "Requests are traced.");
    }
    let is_open = |ip: std::net::IpAddr| config.auth.token.is_none() && !ip.is_loopback();
    let service_is_open = !config.blind && is_open(address.ip());
    if service_is_open || (config.admin.port.is_some() && is_open(config.admin.host)) {
        warn!(
            "The API is open: it needs no token and listens beyond this machine, so anyone who reaches it \
             can start faults. Set Auth.TokenFile, or Host to 127.0.0.1."
        );
    }
}
