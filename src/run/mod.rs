//! What a run is, in the words that every part of the daemon shares: its tag, its effect, its end.
//!
//! A leaf: it does no I/O and imports nothing else of this crate.

mod effect;
mod end_reason;
mod initiator;
mod service_clock;
mod timestamp;

pub use effect::{MEMORY_UNIT, Probe, Reading, SYSTEM_ENDS_PROCESS, Shortfall, Touched};
pub use end_reason::EndReason;
pub use initiator::Initiator;
pub(crate) use service_clock::ServiceClock;
pub use timestamp::{Moment, Timestamp};

/// Identifies a run in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTag {
    /// The session that the run belongs to.
    pub session_id: String,
    /// The `seq` of the run's `accepted` event; unique across restarts.
    pub run_id: u64,
    /// The scenario.
    pub scenario: &'static str,
}
