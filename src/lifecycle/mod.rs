//! The life of the process: readiness, signals, shutdown, abrupt termination and panics.

/// The target of log lines that any service would write. The log of a blind service has no others, so it must stay clear
/// of faults and of this program.
pub(crate) const SERVICE: &str = "service";
/// The same of lines about why the process ends, which no fault holds back.
pub(crate) const LAST_WORDS: &str = "service::end";

/// Whether any service would write lines of this target.
pub(crate) fn is_of_service(target: &str) -> bool {
    target == SERVICE || target == LAST_WORDS
}

pub(crate) mod panics;
pub(crate) mod readiness;
pub(crate) mod service_log;
pub(crate) mod shutdown;
pub(crate) mod signals;
pub(crate) mod termination;
