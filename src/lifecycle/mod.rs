//! The life of the process: readiness, signals, shutdown, abrupt termination and panics.

pub(crate) mod panics;
pub(crate) mod readiness;
pub(crate) mod shutdown;
pub(crate) mod signals;
pub(crate) mod termination;
