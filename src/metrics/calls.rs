//! Durations and counts of the service's calls to its upstreams, and the connections of their pools.
//!
//! All series exist at zero from the start, and their number is bounded by the configuration: what has no series of its
//! own counts as [`OTHER`].

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::histogram::{Histogram, Resolution};
use super::measure::{OTHER, RequestMeter};
use super::page;
use crate::fault::Pool;
use crate::fault::pool::Pools;

/// The simulated dependency of the test routes.
pub(crate) const DEPENDENCY: &str = "inventory";

/// How many statuses beside those that are listed get a series of each real call.
const EXTRA: usize = 2;

/// How a call ends that has a series from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With an answer.
    Status(u16),
    /// Without one, by the value of OpenTelemetry's `error.type`.
    Error(&'static str),
}

impl Ending {
    const OK: Self = Self::Status(200);
    const FAILED: Self = Self::Status(500);

    /// Of calls to the simulated dependency.
    const SIMULATED: &[Self] = &[Self::OK, Self::FAILED];
    /// Of calls without a server behind them.
    const PRETENDED: &[Self] = &[Self::OK, Self::FAILED, Self::TIMEOUT];
    /// Of calls over a network.
    const REAL: &[Self] = &[
        Self::OK,
        Self::FAILED,
        Self::Status(502),
        Self::Status(503),
        Self::Status(504),
        Self::TIMEOUT,
        Self::REFUSED,
        Self::RESET,
    ];

    /// No answer came in time.
    pub(crate) const TIMEOUT: Self = Self::Error("timeout");
    /// Nothing listened.
    pub(crate) const REFUSED: Self = Self::Error("connection_refused");
    /// The connection ended before the answer.
    pub(crate) const RESET: Self = Self::Error("connection_reset");
    /// Any other reason.
    pub(crate) const OTHER: Self = Self::Error(OTHER);

    /// The label that says so.
    fn label(self) -> (&'static str, String) {
        match self {
            Self::Status(status) => ("http_response_status_code", status.to_string()),
            Self::Error(kind) => ("error_type", kind.to_owned()),
        }
    }
}

/// One kind of call that counts separately.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeasuredCall<'n> {
    /// The name of the upstream.
    pub(crate) upstream: &'n str,
    pub(crate) method: &'static str,
    /// Whether it goes over a network.
    pub(crate) is_real: bool,
    /// The most connections of the upstream's pool, if it has one.
    pub(crate) pool: Option<u32>,
}

/// The counters of all calls; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    counters: Arc<Counters>,
    /// Those that faults put before requests; they look like the others.
    pools: Pools,
}

#[derive(Debug)]
struct Counters {
    calls: Vec<CallCounters>,
    pools: Vec<Arc<PoolCounters>>,
}

#[derive(Debug)]
struct CallCounters {
    upstream: String,
    method: &'static str,
    endings: Vec<(Ending, Histogram)>,
    /// Of real calls.
    extra: Vec<ExtraStatus>,
    /// All other endings; the simulated dependency has none.
    rest: Option<Histogram>,
}

/// Answers with a status that is not listed; the first such status keeps it.
#[derive(Debug, Default)]
struct ExtraStatus {
    status: OnceLock<u16>,
    times: Histogram,
}

#[derive(Debug)]
struct PoolCounters {
    name: String,
    most: u32,
    used: AtomicI64,
    idle: AtomicI64,
    pending: AtomicI64,
    timeouts: AtomicU64,
}

impl Calls {
    /// Counters at zero of the simulated dependency, where it `is_served`, and of `measured` calls, each upstream and
    /// method once.
    pub(crate) fn new<'n>(
        is_served: bool,
        measured: impl IntoIterator<Item = MeasuredCall<'n>>,
    ) -> Self {
        let (mut calls, mut pools) = (Vec::new(), Vec::new());
        if is_served {
            calls.push(CallCounters::new(DEPENDENCY, "GET"));
            calls[0].add(Ending::SIMULATED);
        }
        for call in measured {
            let at = calls.iter().position(|known| known.is_of(&call));
            let at = at.unwrap_or_else(|| {
                calls.push(CallCounters::new(call.upstream, call.method));
                calls.len() - 1
            });
            let endings = if call.is_real {
                Ending::REAL
            } else {
                Ending::PRETENDED
            };
            calls[at].add(endings);
            if call.is_real {
                calls[at].extra.resize_with(EXTRA, ExtraStatus::default);
            }
            calls[at].rest.get_or_insert_default();
            let is_new = |pool: &Arc<PoolCounters>| pool.name != call.upstream;
            if let Some(most) = call.pool.filter(|_| pools.iter().all(is_new)) {
                pools.push(Arc::new(PoolCounters::new(call.upstream, most)));
            }
        }
        Self {
            counters: Arc::new(Counters { calls, pools }),
            pools: Pools::default(),
        }
    }

    /// The upstreams that are called, each once.
    pub(crate) fn upstreams(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for call in &self.counters.calls {
            if !names.contains(&call.upstream) {
                names.push(call.upstream.clone());
            }
        }
        names
    }

    /// The meter of calls to `upstream`, if they are measured.
    pub(crate) fn meter(&self, upstream: &str, method: &str) -> Option<CallMeter> {
        let is_it = |call: &CallCounters| call.upstream == upstream && call.method == method;
        let call = self.counters.calls.iter().position(is_it)?;
        let counters = Arc::clone(&self.counters);
        Some(CallMeter { counters, call })
    }

    /// The meter of the simulated dependency, if it is served.
    pub(crate) fn dependency(&self) -> Option<DependencyMeter> {
        self.meter(DEPENDENCY, "GET").map(DependencyMeter)
    }

    /// The pools that faults put before requests.
    pub(crate) fn faulty_pools(&self) -> &Pools {
        &self.pools
    }

    /// The meter of the pool of connections to `upstream`, if it has one.
    pub(crate) fn pool(&self, upstream: &str) -> Option<PoolMeter> {
        let pool = self
            .counters
            .pools
            .iter()
            .find(|pool| pool.name == upstream)?;
        Some(PoolMeter(Arc::clone(pool)))
    }
}

#[cfg(test)]
impl Calls {
    /// Writes them as a page does.
    pub(crate) fn for_tests(&self) -> impl Collector + use<> {
        CallMetrics {
            calls: self.clone(),
            resolution: Resolution::Fine,
        }
    }
}

impl Default for Calls {
    /// The simulated dependency alone.
    fn default() -> Self {
        Self::new(true, [])
    }
}

impl CallCounters {
    fn new(upstream: &str, method: &'static str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            method,
            endings: Vec::new(),
            extra: Vec::new(),
            rest: None,
        }
    }

    fn is_of(&self, call: &MeasuredCall<'_>) -> bool {
        self.upstream == call.upstream && self.method == call.method
    }

    fn add(&mut self, endings: &[Ending]) {
        for ending in endings {
            if self.of(*ending).is_none() {
                self.endings.push((*ending, Histogram::default()));
            }
        }
    }

    fn of(&self, ending: Ending) -> Option<&Histogram> {
        let mut endings = self.endings.iter();
        let (_, times) = endings.find(|(known, _)| *known == ending)?;
        Some(times)
    }

    /// The histogram of a status that is not listed, if it has one or can still get one.
    fn extra(&self, ending: Ending) -> Option<&Histogram> {
        let Ending::Status(status) = ending else {
            return None;
        };
        let mut extra = self.extra.iter();
        let own = extra.find(|extra| *extra.status.get_or_init(|| status) == status);
        own.map(|extra| &extra.times)
    }
}

impl PoolCounters {
    fn new(name: &str, most: u32) -> Self {
        Self {
            name: name.to_owned(),
            most,
            used: AtomicI64::new(0),
            idle: AtomicI64::new(0),
            pending: AtomicI64::new(0),
            timeouts: AtomicU64::new(0),
        }
    }
}

/// Measures the calls to one upstream.
#[derive(Debug, Clone)]
pub(crate) struct CallMeter {
    counters: Arc<Counters>,
    call: usize,
}

impl CallMeter {
    /// Counts a call that took so long.
    pub(crate) fn note(&self, ending: Ending, took: Duration) {
        let call = &self.counters.calls[self.call];
        let own = call.of(ending).or_else(|| call.extra(ending));
        if let Some(times) = own.or(call.rest.as_ref()) {
            times.record(took);
        }
    }
}

/// Measures the calls to the simulated dependency.
#[derive(Debug, Clone)]
pub(crate) struct DependencyMeter(CallMeter);

impl RequestMeter for DependencyMeter {
    fn started(&self) {}

    fn finished(&self, _: &'static str, status: Option<StatusCode>, took: Duration) {
        // Without an answer this side cancelled the call, which says nothing about the dependency.
        let Some(status) = status else { return };
        let failed = status.is_client_error() || status.is_server_error();
        let ending = if failed { Ending::FAILED } else { Ending::OK };
        self.0.note(ending, took);
    }
}

/// Measures one pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct PoolMeter(Arc<PoolCounters>);

impl PoolMeter {
    /// Adds to the connections in use.
    pub(crate) fn add_used(&self, change: i64) {
        self.0.used.fetch_add(change, Ordering::Relaxed);
    }

    /// Adds to the open connections that no call uses.
    pub(crate) fn add_idle(&self, change: i64) {
        self.0.idle.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether those in use and the idle ones are together more than the pool may have.
    pub(crate) fn is_over(&self) -> bool {
        let open = self.0.used.load(Ordering::Relaxed) + self.0.idle.load(Ordering::Relaxed);
        open > i64::from(self.0.most)
    }

    /// Adds to the calls that wait for a connection.
    pub(crate) fn add_pending(&self, change: i64) {
        self.0.pending.fetch_add(change, Ordering::Relaxed);
    }

    /// Counts a call that got no connection in time.
    pub(crate) fn note_timeout(&self) {
        self.0.timeouts.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counters as one page shows them.
#[derive(Debug)]
pub(super) struct CallMetrics {
    pub(super) calls: Calls,
    pub(super) resolution: Resolution,
}

impl Collector for CallMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Counters { calls, pools } = &*self.calls.counters;
        if !calls.is_empty() {
            self.encode_calls(&mut encoder)?;
        }
        let before_requests = self.calls.pools.now();
        let of_requests = before_requests.iter().map(|pool| Figures::of(pool));
        let pools = pools.iter().map(|pool| Figures::of_calls(pool));
        let pools: Vec<_> = pools.chain(of_requests).collect();
        if !pools.is_empty() {
            encode_pools(&mut encoder, &pools)?;
        }
        if !before_requests.is_empty() {
            encode_waits(&mut encoder, &before_requests)?;
        }
        Ok(())
    }
}

impl CallMetrics {
    fn encode_calls(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "http_client_request_duration_seconds",
            "Time from a call to another service to its answer",
            None,
            MetricType::Histogram,
        )?;
        for call in &self.calls.counters.calls {
            let listed = call.endings.iter();
            let listed = listed.map(|(ending, times)| (ending.label(), times));
            let extra = call.extra.iter().filter_map(|extra| {
                let status = Ending::Status(*extra.status.get()?);
                Some((status.label(), &extra.times))
            });
            let rest = call.rest.as_ref();
            let rest = rest.map(|times| (Ending::OTHER.label(), times));
            for ((label, value), times) in listed.chain(extra).chain(rest) {
                let labels = [
                    ("server_address", call.upstream.as_str()),
                    ("http_request_method", call.method),
                    (label, &value),
                ];
                times.encode(&mut family, &labels, self.resolution)?;
            }
        }
        Ok(())
    }
}

/// What one pool is like now.
struct Figures<'p> {
    name: &'p str,
    most: u32,
    idle: f64,
    used: f64,
    pending: f64,
    timeouts: f64,
}

impl<'p> Figures<'p> {
    fn of_calls(pool: &'p PoolCounters) -> Self {
        let value = |counter: &AtomicI64| counter.load(Ordering::Relaxed) as f64;
        Self {
            name: &pool.name,
            most: pool.most,
            idle: value(&pool.idle),
            used: value(&pool.used),
            pending: value(&pool.pending),
            timeouts: pool.timeouts.load(Ordering::Relaxed) as f64,
        }
    }

    /// Its places are open connections, used or not.
    fn of(pool: &'p Pool) -> Self {
        let used = pool.used();
        Self {
            name: &pool.spec().name,
            most: pool.spec().size,
            idle: pool.spec().size.saturating_sub(used).into(),
            used: used.into(),
            pending: pool.pending() as f64,
            timeouts: pool.timeouts() as f64,
        }
    }
}

/// The names are those of OpenTelemetry's database clients, which pools of any kind report under.
fn encode_pools(encoder: &mut DescriptorEncoder<'_>, pools: &[Figures<'_>]) -> fmt::Result {
    let states = pools.iter().flat_map(|pool| {
        let states = [("idle", pool.idle), ("used", pool.used)];
        states.map(|(state, count)| ([("pool_name", pool.name), ("state", state)], count))
    });
    let help = "Connections of a pool by state";
    page::gauges(encoder, "db_client_connections_usage", help, states)?;
    let of = |figure: fn(&Figures<'_>) -> f64| {
        let figures = pools.iter();
        figures.map(move |pool| ([("pool_name", pool.name)], figure(pool)))
    };
    let help = "Calls that wait for a connection of a pool";
    let pending = of(|pool| pool.pending);
    page::gauges(
        encoder,
        "db_client_connections_pending_requests",
        help,
        pending,
    )?;
    let help = "The most connections of a pool";
    let most = of(|pool| f64::from(pool.most));
    page::gauges(encoder, "db_client_connections_max", help, most)?;
    let help = "Calls that got no connection of a pool in time";
    let timeouts = of(|pool| pool.timeouts);
    page::counters(encoder, "db_client_connections_timeouts", help, timeouts)
}

fn encode_waits(encoder: &mut DescriptorEncoder<'_>, pools: &[Arc<Pool>]) -> fmt::Result {
    let mut family = encoder.encode_descriptor(
        "db_client_connections_wait_time_seconds",
        "Time until a connection of a pool was got",
        None,
        MetricType::Histogram,
    )?;
    for pool in pools {
        let (sum, count, buckets) = pool.waits();
        let labels = [("pool_name", pool.spec().name.as_str())];
        let mut member = family.encode_family(&labels)?;
        member.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(upstream: &str, is_real: bool, pool: Option<u32>) -> MeasuredCall<'_> {
        MeasuredCall {
            upstream,
            method: "GET",
            is_real,
            pool,
        }
    }

    /// Endings with the counts that are not zero.
    fn counted(calls: &Calls, upstream: &str) -> Vec<(Ending, u64)> {
        let of = calls
            .counters
            .calls
            .iter()
            .filter(|c| c.upstream == upstream);
        let listed = of.flat_map(|call| {
            let rest = call.rest.iter().map(|times| (Ending::OTHER, times.count()));
            let listed = call.endings.iter().map(|(e, times)| (*e, times.count()));
            let extra = call.extra.iter().filter_map(|extra| {
                let status = Ending::Status(*extra.status.get()?);
                Some((status, extra.times.count()))
            });
            listed.chain(extra).chain(rest)
        });
        listed.filter(|(_, count)| *count > 0).collect()
    }

    #[test]
    fn the_simulated_dependency_has_two_outcomes() {
        let calls = Calls::default();
        let meter = calls.dependency().expect("it is served");
        for code in [200, 204, 500, 404] {
            let status = StatusCode::from_u16(code).ok();
            meter.finished("GET", status, Duration::from_millis(1));
        }
        meter.finished("GET", None, Duration::ZERO);
        let expected = [(Ending::OK, 2), (Ending::FAILED, 2)];
        assert_eq!(counted(&calls, DEPENDENCY), expected);
        assert!(Calls::new(false, []).dependency().is_none());
    }

    #[test]
    fn a_status_has_its_series_and_what_has_none_counts_as_other() {
        let calls = Calls::new(false, [call("orders", true, None)]);
        let meter = calls.meter("orders", "GET").expect("it is measured");
        for ending in [
            Ending::Status(503),
            Ending::Status(404),
            Ending::Status(201),
            Ending::Status(201),
            Ending::Status(418),
            Ending::Error("name_not_resolved"),
            Ending::TIMEOUT,
        ] {
            meter.note(ending, Duration::from_millis(1));
        }
        let expected = [
            (Ending::Status(503), 1),
            (Ending::TIMEOUT, 1),
            (Ending::Status(404), 1),
            (Ending::Status(201), 2),
            (Ending::OTHER, 2),
        ];
        assert_eq!(counted(&calls, "orders"), expected);
        assert!(calls.meter("orders", "POST").is_none());
    }

    #[test]
    fn an_upstream_that_several_routes_call_counts_once() {
        let pooled = call(DEPENDENCY, false, Some(4));
        let calls = Calls::new(true, [pooled, pooled, call("orders", true, None)]);
        let series = calls.counters.calls.iter();
        let series: Vec<_> = series.map(|call| call.endings.len()).collect();
        assert_eq!(series, [3, 8]);
        assert_eq!(calls.counters.pools.len(), 1);
        assert!(calls.pool("orders").is_none());
    }
}
