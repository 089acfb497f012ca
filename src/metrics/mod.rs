//! The metrics of this process, in the names that dashboards and canary checks know.
//!
//! There are two pages. The service listener's shows what any service shows, and nothing that names a
//! fault: whoever is tested must not read the answer there. The admin listener's shows the same and the
//! truth about faults beside it. So that both stay small, its histograms have half of the buckets; that
//! leaves room there for some more scenarios. What the system counts is read at each scrape, what only
//! this process knows is counted as it happens.

mod histogram;
pub(crate) mod measure;
pub(crate) mod page;
pub(crate) mod requests;
mod system;
mod truth;

use std::fmt;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::host::cgroup::Cgroup;
use crate::host::runtimes::Runtimes;
use crate::manager::ScenarioManager;
use histogram::Resolution;
use page::Format;
use requests::Requests;

/// Which listener a page is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// What callers and the system under test see.
    Service,
    /// What operators and referees see.
    Admin,
}

/// Both pages and the counters behind them.
#[derive(Debug)]
pub(crate) struct Metrics {
    service: Registry,
    admin: Registry,
    requests: Requests,
}

impl Metrics {
    /// Metrics of the service `name` in `version`, with the counters of its `requests`.
    pub(crate) fn new(
        (name, version): (&str, &str),
        runtimes: &Runtimes,
        manager: ScenarioManager,
        requests: Requests,
    ) -> Self {
        let mut service = system(name, version, runtimes);
        let shown = |resolution| {
            let requests = requests.clone();
            Box::new(requests::Shown {
                requests,
                resolution,
            })
        };
        service.register_collector(shown(Resolution::Fine));
        let mut admin = system(name, version, runtimes);
        admin.register_collector(shown(Resolution::Coarse));
        admin.register_collector(Box::new(truth::Truth(manager)));
        Self {
            service,
            admin,
            requests,
        }
    }

    /// Where requests are counted.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// A page as it is now.
    ///
    /// # Errors
    /// A collector cannot write its metrics, which is a defect of the collector.
    pub(crate) fn write(&self, page: Page, format: Format) -> Result<String, fmt::Error> {
        let registry = match page {
            Page::Service => &self.service,
            Page::Admin => &self.admin,
        };
        page::write(registry, format)
    }
}

/// What both pages have.
fn system(name: &str, version: &str, runtimes: &Runtimes) -> Registry {
    let mut registry = Registry::default();
    let labels = [
        ("service_name", name.to_owned()),
        ("service_version", version.to_owned()),
    ];
    registry.register("target", "The service", Info::new(labels));
    registry.register_collector(Box::new(system::Process::default()));
    registry.register_collector(Box::new(system::Tokio::new(runtimes.clone())));
    registry.register_collector(Box::new(system::Container(Cgroup::system())));
    registry
}
