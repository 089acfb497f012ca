//! The life of the process: when it is ready, how it shuts down, how it is terminated, what its panics leave.

pub(crate) mod panics;
pub(crate) mod readiness;
pub(crate) mod shutdown;
pub(crate) mod termination;
