//! How a run is identified.

/// The name of a run in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunTag {
    /// The session that the run belongs to.
    pub session_id: String,
    /// The `seq` of the run's `accepted` event; unique over restarts.
    pub run_id: u64,
    /// The scenario.
    pub scenario: &'static str,
}
