//! mockserver: an HTTP service that goes wrong on command, exactly as told, and stops when told.
//!
//! - [`app`] puts the parts together: two listeners, two runtimes, one shut-down.
//! - [`cli`] is the command line.
//! - [`config`] and [`logging`] are read once at the start; [`panics`] are told in the log.
//! - [`boot`] makes a version that is bad from birth.
//! - [`http`] has the only list of routes; its handlers call the [`manager`].
//! - [`listener`] accepts their connections, within bounds.
//! - [`manager`] checks requests and runs the one live session.
//! - [`ledger`] keeps what happened, over the death of the process too.
//! - [`metrics`] tells how the process does, [`traces`] tells of each request.
//! - [`readiness`] tells whether the service may get traffic.
//! - [`shutdown`] takes the signals, [`death`] ends the process abruptly.
//! - [`plugin`] says what a fault is; [`scenarios`] are the faults, one file each.
//! - [`fault`] puts faults before requests.
//! - [`host`] tells what the machine or the container gives.
//! - [`fields`] reads whatever comes from outside; [`limits`] says how much of it is allowed, as [`ceilings`].

pub mod app;
pub mod boot;
pub mod ceilings;
pub mod cli;
pub mod client;
pub mod config;
pub mod death;
pub mod fault;
pub mod fields;
pub mod healthcheck;
pub mod host;
pub mod http;
pub mod json;
pub mod ledger;
pub mod limits;
pub mod listener;
pub mod logging;
pub mod manager;
pub mod metrics;
pub mod panics;
pub mod plugin;
pub mod readiness;
pub mod scenarios;
pub mod shutdown;
mod sync;
pub mod traces;
