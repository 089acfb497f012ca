//! The actor against plugins that misbehave, on a paused clock: time passes only when every task waits.

mod bench;
mod deadline;
mod halt;

mod later;
mod lease;
mod ledger;
mod model;
mod onset;
mod start;
mod stop;
