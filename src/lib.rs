//! mockserver: an HTTP service that goes wrong on command, exactly as asked, and stops on command.
//!
//! The folders are floors: each may use those below it and none above it, which a test checks
//! (`tests/it/floors.rs`).
//!
//! | floor | what it is for |
//! |---|---|
//! | `entry` | the command line, the log, the subcommands |
//! | `ctl` | the API from a terminal, for one daemon or many |
//! | `daemon` | puts the parts together: two listeners, two runtimes, one shutdown |
//! | `config` | the configuration: file, environment, flags |
//! | `boot` | the boot profile: a version that is bad from birth |
//! | `listener` | accepts connections, within bounds |
//! | `http` | the only list of routes, and their handlers |
//! | `exam` | drills that mark a diagnosis |
//! | `traffic` | clients that ask this service or another |
//! | `workload` | the service's own work: routes with latency, CPU time and errors |
//! | `upstream` | calls to other services |
//! | `traces` | spans of the service's own requests |
//! | `metrics` | what a scraper reads |
//! | `manager` | checks requests and runs the one live session |
//! | `scenarios` | the faults, one file each |
//! | `plugin` | what a fault is, and what a run can do |
//! | `fault` | request faults: which requests, and what happens to them |
//! | `ledger` | records what happened, across the death of the process |
//! | `lifecycle` | readiness, shutdown, abrupt termination, panics |
//! | `input` | reads whatever comes from outside |
//! | `host` | what the machine or the container gives |
//! | `client` | one HTTP request |
//! | `run` | what a run is: tag, effect, end, time |
//! | `sync` | the standard library's types that loom replaces in models |

pub(crate) mod boot;
pub(crate) mod client;
pub(crate) mod config;
pub(crate) mod ctl;
pub(crate) mod daemon;
pub(crate) mod entry;
pub(crate) mod exam;
pub mod fault;
pub(crate) mod host;
pub(crate) mod http;
pub mod input;
pub(crate) mod ledger;
pub(crate) mod lifecycle;
pub(crate) mod listener;
pub(crate) mod manager;
pub(crate) mod metrics;
pub mod plugin;
pub mod run;
pub mod scenarios;
mod sync;
pub(crate) mod traces;
pub(crate) mod traffic;
pub(crate) mod upstream;
pub(crate) mod workload;

pub use entry::main;
