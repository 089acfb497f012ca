//! The scenarios. A new one is a new file here and one line in [`ALL`]; nothing else names it.

mod cpu_burner;
mod crash;
mod dependency;
mod disk_io;
mod goroutine_leak;
mod health_check;
mod http_error;
mod log_flood;
mod log_silence;
mod memory_leaker;
mod network_latency;
mod shutdown_hang;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::plugin::{Plugin, plugin};

/// Every scenario, in the order of lists and documents.
pub static ALL: &[&dyn Plugin] = &[
    plugin::<cpu_burner::CpuBurner>(),
    plugin::<memory_leaker::MemoryLeaker>(),
    plugin::<network_latency::NetworkLatency>(),
    plugin::<health_check::HealthCheck>(),
    plugin::<goroutine_leak::GoroutineLeak>(),
    plugin::<disk_io::DiskIo>(),
    plugin::<crash::Crash>(),
    plugin::<dependency::Dependency>(),
    plugin::<shutdown_hang::ShutdownHang>(),
    plugin::<http_error::HttpError>(),
    plugin::<log_flood::LogFlood>(),
    plugin::<log_silence::LogSilence>(),
];

/// Bytes in the MB of parameters and metrics: a mebibyte.
const MIB: u64 = 1024 * 1024;

/// A scenario's own metrics, in this order.
fn metrics<const N: usize>(metrics: [(&str, Value); N]) -> Map<String, Value> {
    let named = |(name, value): (&str, Value)| (name.to_owned(), value);
    metrics.into_iter().map(named).collect()
}
