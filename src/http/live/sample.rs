//! One sample: what is read, and how two readings become a rate.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::host::cgroup::Cgroup;
use crate::host::process::{ProcessMeter, Usage, process_cpu, threads};
use crate::http::Api;
use crate::manager::view::{SessionStatus, View};
use crate::metrics::totals::Totals;
use crate::run::{Shortfall, Timestamp};

/// Listing all descriptors and threads costs more than the rest, so it is done in every fourth sample.
const COUNT_EVERY: u32 = 4;

#[derive(Debug, Serialize)]
pub(super) struct Sample<'a> {
    time_ms: u64,
    service: &'a str,
    version: &'a str,
    /// `ready`, or `not_ready` while it starts, ends or is kept from traffic.
    state: &'static str,
    /// Where the admin listener is, which no fault slows down.
    admin: Option<SocketAddr>,
    halted_since: Option<Timestamp>,
    session: Option<SessionStatus>,
    scenarios: Vec<Fault>,
    requests: RequestRates,
    process: Process,
}

/// A scenario that runs or is still to start.
#[derive(Debug, Serialize)]
struct Fault {
    name: &'static str,
    running: bool,
    asked: Option<f64>,
    achieved: Option<f64>,
    unit: &'static str,
    shortfall: Option<Shortfall>,
    starts_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

/// Requests to the service listener since the sample before.
#[derive(Debug, Serialize)]
struct RequestRates {
    per_s: f64,
    error_share: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Process {
    cpu_cores: f64,
    cpu_limit_cores: f64,
    memory_bytes: u64,
    memory_limit_bytes: Option<u64>,
    threads: usize,
    tasks: usize,
    open_files: usize,
    most_files: usize,
}

/// What the next sample is compared with.
#[derive(Debug)]
pub(super) struct Sampler {
    at: Instant,
    cpu: Duration,
    requests: Totals,
    meter: ProcessMeter,
    cgroup: Cgroup,
    limits: (f64, Option<u64>),
    usage: Usage,
    threads: usize,
    samples: u32,
}

impl Sampler {
    pub(super) fn new(api: &Api) -> Self {
        let cgroup = Cgroup::system();
        Self {
            at: Instant::now(),
            cpu: process_cpu(),
            requests: api.metrics.requests().totals(),
            meter: ProcessMeter::default(),
            limits: (cgroup.cpu_limit().cores, cgroup.memory_limit()),
            cgroup,
            usage: Usage::default(),
            threads: 0,
            samples: 0,
        }
    }

    pub(super) fn sample<'a>(&mut self, api: &'a Api) -> Sample<'a> {
        let now = Instant::now();
        let over = (now - self.at).as_secs_f64().max(1e-3);
        self.at = now;
        let view = api.manager.sessions.view();
        Sample {
            time_ms: millis_since_1970(),
            service: &api.name,
            version: &api.version,
            state: match api.readiness.is_ready() {
                true => "ready",
                false => "not_ready",
            },
            admin: api.admin,
            halted_since: view.halted_since,
            session: view.session_now(),
            scenarios: faults(&api.manager.names(), &view),
            requests: self.requests(api, over),
            process: self.process(api, over),
        }
    }

    fn requests(&mut self, api: &Api, over: f64) -> RequestRates {
        let now = api.metrics.requests().totals();
        let new = now.since(&self.requests);
        self.requests = now;
        let count = new.count() as f64;
        let ms = |share| new.quantile(share).map(|took| took.as_secs_f64() * 1e3);
        RequestRates {
            per_s: count / over,
            error_share: (count > 0.0).then(|| (new.failed as f64 / count).min(1.0)),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
        }
    }

    fn process(&mut self, api: &Api, over: f64) -> Process {
        let cpu = process_cpu();
        let used = cpu.saturating_sub(self.cpu).as_secs_f64();
        self.cpu = cpu;
        if self.samples.is_multiple_of(COUNT_EVERY) {
            self.usage = self.meter.usage().unwrap_or_default();
            self.threads = threads();
            self.limits = (self.cgroup.cpu_limit().cores, self.cgroup.memory_limit());
        } else if let Some(resident) = self.meter.resident_bytes() {
            self.usage.resident = resident;
        }
        self.samples = self.samples.wrapping_add(1);
        Process {
            cpu_cores: used / over,
            cpu_limit_cores: self.limits.0,
            memory_bytes: self.usage.resident,
            memory_limit_bytes: self.limits.1,
            threads: self.threads,
            tasks: api.metrics.runtimes().load().tasks,
            open_files: self.usage.open_files,
            most_files: self.usage.most_files,
        }
    }
}

/// What runs or is planned, in the order of the registry.
fn faults(names: &[&'static str], view: &View) -> Vec<Fault> {
    let faults = names.iter().filter_map(|name| {
        let planned = view.planned.get(name);
        let latest = view.latest.get(name);
        let live = latest.filter(|latest| latest.end.is_none());
        if planned.is_none() && live.is_none() {
            return None;
        }
        let reading = live.map(|latest| latest.run.probe.read());
        let expires_at = live.map_or(planned.and_then(|run| run.expires_at), |latest| {
            latest.run.expires_at
        });
        Some(Fault {
            name,
            running: live.is_some(),
            asked: reading.as_ref().map(|reading| reading.asked),
            achieved: reading.as_ref().and_then(|reading| reading.achieved),
            unit: reading.as_ref().map_or("", |reading| reading.unit),
            shortfall: reading.and_then(|reading| reading.shortfall),
            starts_at: planned.map(|run| run.starts_at),
            expires_at,
        })
    });
    faults.collect()
}

fn millis_since_1970() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
