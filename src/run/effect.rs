//! What is measured of a run: what was asked, what is achieved, and why it may be less.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Timestamp;

/// The unit of readings that measure memory held by the process. The ledger looks for runs with this unit to infer
/// whether the process before ran out of memory.
pub const MEMORY_UNIT: &str = "MiB";

/// How a warning of the preflight says that the run needs more memory than there is. The ledger looks for it.
pub const SYSTEM_ENDS_PROCESS: &str = "the system will end the process";

/// Reports what a run does, from numbers that the run keeps up to date. A call never measures.
///
/// A closure that returns a [`Reading`] is a probe.
pub trait Probe: Send + Sync {
    /// The state right now.
    fn read(&self) -> Reading;

    /// Where the effect goes in the end, in the reading's unit, such as the full size of a leak that grows; none where
    /// that is what is asked now.
    fn target(&self) -> Option<f64> {
        None
    }

    /// Below this, what is measured may be noise, in the reading's unit.
    fn noise(&self) -> f64 {
        0.0
    }

    /// What the run has achieved when it ends and the process lives on, given its last `reading`.
    fn in_the_end(&self, reading: Reading) -> Reading {
        reading
    }

    /// The requests that it has touched; none where it touches no requests.
    fn touched(&self) -> Option<Touched> {
        None
    }

    /// What is left of the effect once the run is over, in the reading's unit; none where it cannot be measured.
    fn left(&self) -> Option<f64> {
        None
    }
}

impl<F: Fn() -> Reading + Send + Sync> Probe for F {
    fn read(&self) -> Reading {
        self()
    }
}

/// The requests that a run has touched: those that it delayed, answered or changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// How many there are.
    pub requests: u64,
    /// When the first came.
    pub first_at: Option<Timestamp>,
}

/// What was asked of a run and what is achieved, in one unit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Reading {
    /// What the effect should measure now.
    pub asked: f64,
    /// What it measures now; null when nothing could be measured yet.
    pub achieved: Option<f64>,
    /// The unit of both, such as `percent of limit` or `MiB`.
    pub unit: &'static str,
    /// Why less is achieved than was asked; null when it is not.
    pub shortfall: Option<Shortfall>,
    /// The scenario's own figures, such as `current_mb`.
    #[serde(skip)]
    pub metrics: Map<String, Value>,
}

impl Reading {
    /// Whether the effect that `probe` measures is effective: at least half of what is asked now, and more than noise
    /// could be, which never counts for more than half of where the effect goes.
    pub fn is_effective(&self, probe: &dyn Probe) -> bool {
        let noise = probe
            .noise()
            .min(probe.target().unwrap_or(self.asked) / 2.0);
        let least = (self.asked / 2.0).max(noise);
        let achieved = self.achieved.unwrap_or_default();
        self.asked > 0.0 && achieved > 0.0 && achieved >= least
    }
}

/// Why less is achieved than was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shortfall {
    /// The container's CPU quota held the process back.
    Throttled,
    /// Other processes use the machine.
    Contended,
    /// The machine can do no more, though nothing else holds the fault back.
    Saturated,
    /// More memory would bring the control group above its `memory.high`, and the kernel would slow the process down.
    MemoryHigh,
    /// No request has come that the fault could act on.
    NoTraffic,
    /// The system refused a resource that the fault needs.
    Refused,
    /// The reader of the service's log is too slow, or nothing reads it.
    SlowReader,
    /// What is left of a resource is kept for the daemon, so that the fault can be seen and stopped.
    Reserved,
}
