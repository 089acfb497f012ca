//! The handlers, by what they serve.

pub(super) mod drills;
pub(super) mod events;
pub(super) mod history;
pub(super) mod metrics;
pub(super) mod probes;
pub(super) mod scenarios;
pub(super) mod session;
pub(super) mod traffic;
