//! What a plan must know of the service that is to fall ill.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use crate::host::cgroup::{Cgroup, CpuLimitSource};
use crate::host::memory_limit;
use crate::workload::{PathTemplate, WorkloadSpec};

/// What the service has that a preset may need.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Patient {
    /// The CPU limit in cores; none where no quota is set, or none below what the machine has.
    pub cpu_limit_cores: Option<f64>,
    /// Whether a memory limit is set below what the machine has.
    pub has_memory_limit: bool,
    /// The other services that the workload calls, in the order of their names.
    pub upstreams: Vec<String>,
    /// The routes of the workload, as a matcher takes them, in the order of their paths.
    pub routes: Vec<String>,
}

/// What a preset needs of the service, beside its own parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Need {
    /// A CPU limit, a share of which it asks for.
    CpuLimit,
    /// A memory limit, a share of which it asks for.
    MemoryLimit,
    /// A workload that calls other services.
    Upstreams,
    /// A workload with routes.
    Routes,
}

impl Need {
    /// What it is, for a sentence.
    pub(crate) fn as_text(self) -> &'static str {
        match self {
            Self::CpuLimit => "a CPU limit below what the machine has",
            Self::MemoryLimit => "a memory limit below what the machine has",
            Self::Upstreams => "a Workload that calls other services",
            Self::Routes => "a Workload with routes",
        }
    }
}

impl Patient {
    /// The service with this workload, under the limits of this moment.
    pub(crate) fn of(cgroup: &Cgroup, workload: Option<&WorkloadSpec>) -> Self {
        let cpu = cgroup.cpu_limit();
        let limit = memory_limit(cgroup);
        let routes = workload.into_iter().flat_map(|workload| &workload.routes);
        let calls = workload.into_iter().flat_map(WorkloadSpec::calls);
        Self {
            cpu_limit_cores: (cpu.source == CpuLimitSource::Quota).then_some(cpu.cores),
            has_memory_limit: limit.is_some_and(|limit| limit.source != "MemTotal"),
            upstreams: once(calls.map(|call| call.name.clone())),
            routes: once(routes.map(|route| pattern_of(&route.path))),
        }
    }

    pub(super) fn has(&self, need: Need) -> bool {
        match need {
            Need::CpuLimit => self.cpu_limit_cores.is_some(),
            Need::MemoryLimit => self.has_memory_limit,
            Need::Upstreams => !self.upstreams.is_empty(),
            Need::Routes => !self.routes.is_empty(),
        }
    }

    /// One that has all, to check presets with.
    pub(super) fn complete() -> Self {
        Self {
            cpu_limit_cores: Some(1.0),
            has_memory_limit: true,
            upstreams: vec!["inventory".to_owned()],
            routes: vec!["/api/orders/*".to_owned()],
        }
    }
}

/// Each once, in order.
fn once(names: impl Iterator<Item = String>) -> Vec<String> {
    let names: BTreeSet<String> = names.collect();
    names.into_iter().collect()
}

/// The path as a matcher takes it.
fn pattern_of(path: &PathTemplate) -> String {
    path.filled(|_| "*".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::input::Fields;

    #[test]
    fn the_shop_has_upstreams_and_routes_each_once() {
        let given = [("Workload".to_owned(), json!("shop"))];
        let mut fields = Fields::new("", given.into_iter().collect());
        let shop = WorkloadSpec::read(&mut fields);
        let folder = tempfile::tempdir().expect("a folder");
        let cgroup = Cgroup::at(folder.path(), folder.path());
        let patient = Patient::of(&cgroup, shop.as_ref());
        assert_eq!(
            patient.upstreams,
            ["inventory", "payments", "postgres", "redis"]
        );
        let routes = [
            "/api/cart/*/items",
            "/api/orders",
            "/api/orders/*",
            "/api/products",
            "/api/products/*",
        ];
        assert_eq!(patient.routes, routes);
        assert_eq!(
            (patient.cpu_limit_cores, patient.has_memory_limit),
            (None, false)
        );
        assert!(Patient::of(&cgroup, None).routes.is_empty());
    }
}
