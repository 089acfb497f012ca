//! What of the service a run may change beside its requests: its clock, its log and its metrics.
//!
//! Each is made before the parts that use it, and does nothing until a run holds its guard.

use super::Scrapes;
use crate::lifecycle::service_log::ServiceLog;
use crate::run::ServiceClock;

/// Handles to what a run may change; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    /// The wall clock as the service shows it.
    pub(crate) clock: ServiceClock,
    /// The service's log.
    pub(crate) log: ServiceLog,
    /// The page that it shows to scrapers.
    pub(crate) scrapes: Scrapes,
}
