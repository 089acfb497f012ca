//! Does a drill do what it says? Opens drills in the real binary, restarts it as a kubelet does where it dies, closes
//! them, and recomputes their marks offline.
//!
//! ```text
//! cargo bench --bench exam                  everything, about eight minutes
//! cargo bench --bench exam -- observable    the groups whose name contains a word
//! ```
//!
//! Groups: `drills`, `observable`, `stamps`, `masked`. Presets that need a limit run in a control group of their own,
//! which needs root and cgroup v1. Bars that are missed are marked, and the exit code is 1.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics, with its line"
)]

#[path = "../shared/groups.rs"]
mod groups;
#[path = "../shared/row.rs"]
mod row;
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod support;
#[path = "../shared/table.rs"]
mod table;

mod drills;
mod limited;
mod masked;
mod observable;
mod patient;
mod stamps;

use groups::Group;

const GROUPS: &[Group] = &[
    ("drills", drills::measure),
    ("observable", observable::measure),
    ("stamps", stamps::measure),
    ("masked", masked::measure),
];

fn main() -> std::process::ExitCode {
    groups::run(row::COLUMNS, GROUPS)
}
