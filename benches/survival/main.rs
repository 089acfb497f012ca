//! Is there a way out of every fault? Starts the real binary, puts it under each of its faults and
//! under all at once, and measures from outside how fast its admin listener answers, how fast a stop
//! of all answers, and whether everything is released.
//!
//! ```text
//! cargo bench --bench survival              everything, about four minutes
//! cargo bench --bench survival -- latency   the groups whose name contains a word
//! ```
//!
//! Groups: `cpu`, `quota`, `tasks`, `latency`, `files`, `workers`, `disk`, `memory`, `all`. Each status
//! request opens a new connection, as a helper would. Needs root on Linux; what is missing here, such as containers, is
//! named at the end. Bars that are missed are marked, and the exit code is 1.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics, with its line"
)]

#[path = "../shared/container.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod container;
#[path = "../shared/groups.rs"]
mod groups;

#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod support;
#[path = "../shared/table.rs"]
mod table;

mod client;
mod conditions;
mod freezer;
mod subject;
mod trial;

use table::Column;

const COLUMNS: &[Column] = &[
    Column::Words("while"),
    Column::Words("what"),
    Column::Figures("achieved"),
    Column::Words("bar"),
];

fn main() -> std::process::ExitCode {
    groups::run(COLUMNS, conditions::GROUPS)
}
