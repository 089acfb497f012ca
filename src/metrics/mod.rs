//! The metrics of this process, under the names that dashboards and canary checks know.
//!
//! The service listener's page shows what any service shows and never names a fault: the system under test must not
//! read the answer there. The admin listener's page adds the faults, and shows requests in fewer buckets.
//!
//! The service page has at most 290 series: 24 of the process, its runtimes and its container, 6 of active requests,
//! and 20 for each of 13 histograms. The admin page has at most 190, with 12 for each histogram and 4 more of the
//! session, the halt, the ledger and panics, plus 10 for each scenario of the registry: active, asked, achieved, and runs by 7
//! ends. `tests.rs` holds both pages to that.
//!
//! Calls to configured upstreams add at most 9 histograms for each upstream and method, and 5 series for each pool.

pub(crate) mod calls;
mod fault_metrics;
pub(crate) mod histogram;
pub(crate) mod measure;
pub(crate) mod page;
pub(crate) mod requests;
mod system;
#[cfg(test)]
mod tests;
pub(crate) mod totals;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::host::cgroup::Cgroup;
use crate::host::runtimes::Runtimes;
use crate::manager::ScenarioManager;
use calls::{CallMetrics, Calls};
use histogram::Resolution;
use page::Format;
use requests::{RequestMetrics, Requests};

/// Which listener a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricsPage {
    /// For callers and the system under test.
    Service,
    /// For operators and judges.
    Admin,
}

/// Both pages and the counters behind them.
#[derive(Debug)]
pub(crate) struct Metrics {
    service: Registry,
    admin: Registry,
    requests: Requests,
    calls: Calls,
    runtimes: Runtimes,
}

impl Metrics {
    /// Metrics of the service `name` in `version`, whose requests count in `requests` and whose calls in `calls`.
    pub(crate) fn new(
        (name, version): (&str, &str),
        runtimes: &Runtimes,
        manager: ScenarioManager,
        requests: Requests,
        calls: Calls,
    ) -> Self {
        let common = |resolution| {
            let mut registry = system(name, version, runtimes);
            registry.register_collector(Box::new(RequestMetrics {
                requests: requests.clone(),
                resolution,
            }));
            registry.register_collector(Box::new(CallMetrics {
                calls: calls.clone(),
                resolution,
            }));
            registry
        };
        let service = common(Resolution::Fine);
        let mut admin = common(Resolution::Coarse);
        admin.register_collector(Box::new(fault_metrics::FaultMetrics(manager)));
        Self {
            service,
            admin,
            requests,
            calls,
            runtimes: runtimes.clone(),
        }
    }

    /// Adds what only operators and judges may read.
    pub(crate) fn and_on_admin(mut self, collector: impl Collector) -> Self {
        self.admin.register_collector(Box::new(collector));
        self
    }

    /// The counters of the service's calls.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(crate) fn runtimes(&self) -> &Runtimes {
        &self.runtimes
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// A page as of now.
    ///
    /// # Errors
    /// A collector cannot write its metrics, which is a defect of the collector.
    pub(crate) fn write(&self, page: MetricsPage, format: Format) -> Result<String, fmt::Error> {
        let registry = match page {
            MetricsPage::Service => &self.service,
            MetricsPage::Admin => &self.admin,
        };
        page::write(registry, format)
    }
}

fn system(name: &str, version: &str, runtimes: &Runtimes) -> Registry {
    let mut registry = Registry::default();
    let labels = [
        ("service_name", name.to_owned()),
        ("service_version", version.to_owned()),
    ];
    registry.register("target", "The service", Info::new(labels));
    registry.register_collector(Box::new(system::ProcessMetrics::default()));
    registry.register_collector(Box::new(system::TokioMetrics::new(runtimes.clone())));
    registry.register_collector(Box::new(system::ContainerMetrics(Cgroup::system())));
    registry
}
