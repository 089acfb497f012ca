//! Is there a way out of every fault? Starts the real binary, puts it under each of its own faults and
//! under all at once, and measures from outside how fast its admin listener answers, how fast a stop
//! of all answers, and whether everything is given back.
//!
//! ```text
//! cargo bench --bench survival              everything, about four minutes
//! cargo bench --bench survival -- latency   the groups whose name contains a word
//! ```
//!
//! Groups: `cpu`, `quota`, `tasks`, `latency`, `files`, `workers`, `disk`, `memory`, `all`. Each status
//! is asked over a connection of its own, as by somebody who comes to help. Needs root on Linux; what
//! cannot be had, such as a container, is named at the end. Bars that are missed are marked; the exit
//! code tells them.

#[path = "../../tests/it/common.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod common;
#[path = "../shared/container.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod container;
#[path = "../shared/groups.rs"]
mod groups;
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
