//! What the tests and the benchmarks share: a daemon under test, its clients, its process as the kernel sees it, its
//! ledger, and assertions that wait.

mod assert;
mod client;
mod daemon;
mod ledger;
mod params;
pub(crate) mod proc;
pub(crate) mod program;

use std::time::Duration;

pub(crate) use assert::{assert_problem, eventually, exclusive};
pub(crate) use client::{
    Answer, Client, agent, connect_and_write, header_of, request, send, send_raw, start_path,
};
pub(crate) use daemon::{Daemon, free_port};
pub(crate) use ledger::{event_labels, events_on_disk, find_event};
pub(crate) use params::{harmless, scenario_names, together};
pub(crate) use proc::{ChildGuard, Usage};

/// How long anything that must happen may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The probes under all their names.
pub(crate) const PROBES: [&str; 7] = [
    "/health",
    "/healthz",
    "/livez",
    "/ready",
    "/readyz",
    "/startup",
    "/startupz",
];

/// Configuration under which `DataDir` is a file: the ledger stays in memory and `disk_io` cannot start.
pub(crate) const UNUSABLE_DATA_DIR: &str = "DataDir: mockserver.yaml\n";
