//! Does every fault hold its figure? Starts the real binary, measures it from outside and prints one
//! table of asked and achieved.
//!
//! ```text
//! cargo bench --bench fidelity              everything, about twelve minutes
//! cargo bench --bench fidelity -- memory    the groups whose name contains a word
//! ```
//!
//! Groups: `cpu` (also in containers, where podman and a Debian image are there, and beside stress-ng, where that is
//! installed), `cpu-load`, `neighbours` (beside busy loops), `memory`, `oom`, `disk`, `latency`, `logs`,
//! `latency-laws`, `tasks`, `descriptors`, `threads`, `stall` (also a deadlock), `fill`, `churn`, `locks`, `shapes`,
//! `shares`, `limits`, `traffic`, `patient` (the workload's times), `patient-work` (its errors and its CPU time). Bars
//! that are missed are marked, and the exit code is 1.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics, with its line"
)]

#[path = "../shared/container.rs"]
mod container;
#[path = "../shared/groups.rs"]
mod groups;
#[path = "../shared/row.rs"]
mod row;

#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod support;
#[path = "../shared/table.rs"]
mod table;

mod churn;
mod cpu;
mod disk;
mod fill;
mod latency;
mod leaks;
mod limits;
mod load;
mod logs;
mod memory;
mod neighbours;
mod patient;
mod proc;
mod shapes;
mod shares;
mod stall;
mod tasks;
mod traffic;

use groups::Group;

const GROUPS: &[Group] = &[
    ("cpu", cpu::measure),
    ("cpu-load", cpu::measure_under_load),
    ("neighbours", neighbours::measure),
    ("memory", memory::measure),
    ("oom", memory::measure_oom),
    ("disk", disk::measure),
    ("latency", latency::measure),
    ("logs", logs::measure),
    ("latency-laws", latency::measure_laws),
    ("tasks", tasks::measure),
    ("descriptors", leaks::measure_descriptors),
    ("threads", leaks::measure_threads),
    ("stall", stall::measure),
    ("fill", fill::measure),
    ("churn", churn::measure),
    ("locks", churn::measure_locks),
    ("shapes", shapes::measure),
    ("shares", shares::measure),
    ("limits", limits::measure),
    ("traffic", traffic::measure),
    ("patient", patient::measure),
    ("patient-work", patient::measure_work),
];

fn main() -> std::process::ExitCode {
    groups::run(row::COLUMNS, GROUPS)
}
