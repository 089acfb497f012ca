//! The scenarios. A new one is a new file here and one line in [`ALL`]; nothing else names it.

mod bad_payload;
mod clock_skew;
mod connection_abort;
mod cpu_burner;
mod crash;
mod deadlock;
mod dependency;
mod disk_fill;
mod disk_io;
mod fd_leak;
mod goroutine_leak;
mod health_check;
mod http_error;
mod lock_contention;
mod log_flood;
mod log_silence;
mod memory_churn;
mod memory_leaker;
mod metrics_fault;
mod network_latency;
mod pool_exhaustion;
mod rate_limit;
mod runtime_stall;
mod shutdown_hang;
#[cfg(test)]
mod tests;
mod thread_leak;

use serde_json::{Map, Value};

use crate::input::{Fields, Resource};
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
    plugin::<fd_leak::FdLeak>(),
    plugin::<thread_leak::ThreadLeak>(),
    plugin::<runtime_stall::RuntimeStall>(),
    plugin::<deadlock::Deadlock>(),
    plugin::<disk_fill::DiskFill>(),
    plugin::<memory_churn::MemoryChurn>(),
    plugin::<lock_contention::LockContention>(),
    plugin::<metrics_fault::MetricsFault>(),
    plugin::<clock_skew::ClockSkew>(),
    plugin::<rate_limit::RateLimit>(),
    plugin::<connection_abort::ConnectionAbort>(),
    plugin::<pool_exhaustion::PoolExhaustion>(),
    plugin::<bad_payload::BadPayload>(),
];

/// Bytes in the MB of parameters and metrics: a mebibyte.
const MIB: u64 = 1024 * 1024;

/// A scenario's own metrics, in this order.
fn metrics<const N: usize>(metrics: [(&str, Value); N]) -> Map<String, Value> {
    let named = |(name, value): (&str, Value)| (name.to_owned(), value);
    metrics.into_iter().map(named).collect()
}

/// Reads how many of a leak's `unit` there are in the end, `largest` at most; none is without an end. Where the operator
/// limits the `resource`, a leak without a number ends at the limit.
fn most_in_the_end(
    fields: &mut Fields,
    resource: Resource,
    unit: &'static str,
    largest: u32,
) -> Option<f64> {
    let is_limited = fields.is_limited(resource);
    let about = match is_limited {
        true => "How many there are in the end.",
        false => "Stops at this number; unlimited if omitted.",
    };
    let field = fields.field("max", about).unit(unit).asks_for(resource);
    let most = match is_limited {
        true => Some(field.integer(1..=largest, largest)),
        false => field.optional().integer(1..=largest),
    };
    most.map(f64::from)
}
