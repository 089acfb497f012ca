//! The life of the process: readiness, signals, shutdown, abrupt termination and panics.

/// The target of log lines that any service would write. The log of a blind service has no others, so it must stay clear
/// of faults and of this program.
pub(crate) const SERVICE: &str = "service";

pub(crate) mod panics;
pub(crate) mod readiness;
pub(crate) mod shutdown;
pub(crate) mod signals;
pub(crate) mod termination;
