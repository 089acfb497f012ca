//! Builds what the control thread serves, before anything is served.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::control::Control;
use crate::boot::BootSequence;
use crate::client::health;
use crate::exam::drill::{Clients, Exam, ExamParts};
use crate::exam::preset::Presets;
use crate::fault::arrivals::Arrivals;
use crate::host::cgroup::Cgroup;
use crate::host::lived::LivedClock;
use crate::http::own_probe::OwnProbe;
use crate::http::{Api, Parts};
use crate::ledger::Ledger;
use crate::lifecycle::readiness::Readiness;
use crate::lifecycle::shutdown::Shutdown;
use crate::manager::ScenarioManager;
use crate::manager::session::{Onsets, SessionManager};
use crate::metrics::calls::Calls;
use crate::metrics::requests::Requests;
use crate::metrics::{Metrics, MetricsPage};
use crate::plugin::guard::LiveGuards;
use crate::plugin::{BoxFuture, Hooks, Services};
use crate::traffic::{Surroundings, TrafficSpec};
use crate::upstream::{self, CallServices};
use crate::workload::{WorkloadRoute, WorkloadSpec};

/// The clients that come with a drill use at most this part of the connections of the service listener.
const OWN_CLIENTS: u32 = 4;

/// Everything that the control thread serves.
pub(super) struct Daemon {
    pub(super) control: Control,
    pub(super) booting: BootSequence,
    pub(super) onsets: Onsets,
    pub(super) arrivals: Arrivals,
    pub(super) shutdown: Shutdown,
    pub(super) readiness: Readiness,
    pub(super) ledger: Ledger,
    pub(super) sessions: SessionManager,
    pub(super) api: Api,
}

impl Daemon {
    /// Opens the ledger, starts the session actor and what the boot profile starts at once. `service` is the address
    /// of the service listener. The task that it returns completes when the session actor has ended.
    pub(super) async fn build(
        control: Control,
        booting: BootSequence,
        service: SocketAddr,
    ) -> (Self, JoinHandle<()>) {
        let cgroup = Cgroup::system();
        let ledger = control.open_ledger(&booting, &cgroup);
        // The first reader finds the boot.
        ledger.synced().await;
        let (arrivals, shutdown) = (Arrivals::default(), Shutdown::default());
        let own_probe = OwnProbe::new();
        // A blind service has no simulated dependency.
        let (workload, calls) = workload_of(&control);
        let services = Arc::new(Services {
            terminate: Box::new(control.terminate),
            probe_health: probe_health(health::url_of(service, own_probe.path())),
            cgroup: cgroup.clone(),
            runtimes: control.runtimes.clone(),
            lived: LivedClock::default(),
            data_dir: control.config.data_dir.clone(),
            live_guards: LiveGuards::default(),
            ledger: ledger.clone(),
            arrivals: arrivals.clone(),
            shutdown: shutdown.clone(),
            upstreams: calls.upstreams(),
            hooks: control.hooks.clone(),
            has_admin: control.config.admin.port.is_some(),
            pools: calls.faulty_pools().clone(),
        });
        let (table, root) = (control.table.clone(), control.root.clone());
        let onsets = booting.onsets(&root);
        let (sessions, actor) = SessionManager::spawn(services, table, root, onsets.clone());
        let manager = manager_of(&control, sessions.clone(), &cgroup).calling(calls.upstreams());
        let readiness = Readiness::default();
        if booting.is_ready_at_once() {
            readiness.begin();
        }
        booting.start_first(&sessions, control.registry).await;
        let of_exam = (manager.clone(), ledger.clone(), cgroup);
        let exam = exam_of(&control, of_exam, (service, &readiness));
        exam.resume(control.boot_facts.safe_boot).await;
        let api = Api::new(parts(
            &control,
            (manager, exam),
            &ledger,
            &arrivals,
            &readiness,
            own_probe,
            (workload, calls),
        ));
        connect_page(&api, &control.hooks);
        let daemon = Self {
            control,
            booting,
            onsets,
            arrivals,
            shutdown,
            readiness,
            ledger,
            sessions,
            api,
        };
        (daemon, actor)
    }
}

fn parts(
    control: &Control,
    (manager, exam): (ScenarioManager, Exam),
    ledger: &Ledger,
    arrivals: &Arrivals,
    readiness: &Readiness,
    own_probe: OwnProbe,
    (workload, calls): (Vec<WorkloadRoute>, Calls),
) -> Parts {
    let config = &control.config;
    let service = (config.name.as_str(), config.version.as_str());
    let served = workload.iter().map(|route| route.spec().served());
    let requests = Requests::new(arrivals.clone(), served.collect(), config.blind);
    let runtimes = &control.runtimes;
    let metrics = Metrics::new(service, runtimes, manager.clone(), requests, calls);
    Parts {
        metrics: match &control.traffic {
            Some(traffic) => metrics.and_on_admin(traffic.clone()),
            None => metrics,
        },
        manager,
        exam,
        scrapes: control.hooks.scrapes.clone(),
        timer: control.timer.clone(),
        ledger: ledger.clone(),
        live: Default::default(),
        end: control.root.clone(),
        readiness: readiness.clone(),
        admin: config
            .admin
            .port
            .map(|port| (config.admin.host, port).into()),
        name: config.name.clone(),
        version: config.version.clone(),
        tokens: control.tokens.clone(),
        protect_reads: config.auth.protect_reads,
        allowed_hosts: config.auth.allowed_hosts.clone(),
        logs_requests: config.logs_requests().then_some(config.log.request_share),
        traced: config.otel.endpoint.is_some(),
        blind: config.blind,
        own_probe,
        workload: workload.into_iter().map(Arc::new).collect(),
        description: Default::default(),
    }
}

fn manager_of(control: &Control, sessions: SessionManager, cgroup: &Cgroup) -> ScenarioManager {
    let config = &control.config;
    let limits = config.limits.clone();
    let manager = ScenarioManager::new(control.registry, sessions, limits, cgroup.clone());
    manager.beside(config.admin.port.is_some(), &config.data_dir)
}

/// The exam of the service at `service`.
fn exam_of(
    control: &Control,
    (manager, ledger, cgroup): (ScenarioManager, Ledger, Cgroup),
    (service, readiness): (SocketAddr, &Readiness),
) -> Exam {
    let config = &control.config;
    let traffic = control.traffic_control.clone();
    let clients = match &config.traffic {
        Some(_) => Clients::Configured(traffic),
        None => Clients::Own(
            Box::new(TrafficSpec::of_own(config.workload.as_ref())),
            Surroundings {
                service,
                readiness: readiness.clone(),
                most: control.connections.service / OWN_CLIENTS,
                control: traffic,
                end: control.root.clone(),
            },
        ),
    };
    let parts = ExamParts {
        manager,
        ledger,
        presets: Presets::new(config.exam.presets.clone()),
        clients,
        cgroup,
        workload: config.workload.clone(),
        service: (config.name.clone(), config.version.clone()),
        blind: config.blind,
        end: control.root.clone(),
    };
    Exam::new(parts, &config.data_dir)
}

/// Lets faults of the service's page see the true one.
fn connect_page(api: &Api, hooks: &Hooks) {
    // Weak: the API has the hooks too.
    let api = Arc::downgrade(api);
    hooks.scrapes.connect(move |format| {
        let api = api.upgrade()?;
        api.metrics.write(MetricsPage::Service, format).ok()
    });
}

/// The routes of the workload, and the counters of their calls.
fn workload_of(control: &Control) -> (Vec<WorkloadRoute>, Calls) {
    let config = &control.config;
    let specs = config.workload.iter().flat_map(WorkloadSpec::calls);
    let calls = upstream::calls_of(!config.blind, specs);
    let Some(spec) = &config.workload else {
        return (Vec::new(), calls);
    };
    let services = CallServices {
        table: control.table.clone(),
        timer: control.timer.clone(),
        calls: calls.clone(),
        traced: config.otel.endpoint.is_some(),
        seed: spec.seed.unwrap_or_else(rand::random),
    };
    (WorkloadRoute::all(spec, services), calls)
}

/// Asks the service's own health probe at `url`.
fn probe_health(url: String) -> Box<dyn Fn() -> BoxFuture<bool> + Send + Sync> {
    Box::new(move || {
        let url = url.clone();
        Box::pin(async move { health::check(&url).await.is_ok() })
    })
}
