//! `fd_leak` and `thread_leak`: the count as the kernel has it, the way back, and the admin listener meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::load::{Load, admin_row};
use crate::row::Row;
use crate::support::Daemon;
use crate::table::Table;

const MANY: usize = 5000;
const PER_SECOND: u32 = 2000;
/// How long the admin listener is measured: from the start over the growth, the full number and the stop.
const WINDOW: Duration = Duration::from_secs(5);

pub(crate) fn measure_descriptors(table: &mut Table) {
    for kind in ["file", "socket"] {
        let daemon = Daemon::start();
        let base = daemon.process().open_files();
        let leak = Leak {
            what: &format!("descriptors ({kind})"),
            name: "fd_leak",
            metric: "current_descriptors",
            params: json!({ "per_second": PER_SECOND, "max": MANY, "kind": kind }),
        };
        leak.measure(table, &daemon, || daemon.process().open_files() - base);
    }
}

pub(crate) fn measure_threads(table: &mut Table) {
    let daemon = Daemon::start();
    let base = daemon.process().threads();
    let leak = Leak {
        what: "threads",
        name: "thread_leak",
        metric: "current_threads",
        params: json!({ "per_second": PER_SECOND, "max": MANY }),
    };
    leak.measure(table, &daemon, || daemon.process().threads() - base);
}

struct Leak<'a> {
    what: &'a str,
    name: &'a str,
    metric: &'a str,
    params: serde_json::Value,
}

impl Leak<'_> {
    fn measure(self, table: &mut Table, daemon: &Daemon, count: impl Fn() -> usize) {
        let (what, most) = (self.what, MANY as f64);
        let admin = Load {
            address: daemon.admin,
            path: "/health",
            connections: 4,
            per_second: 200,
        };
        let load = std::thread::spawn(move || admin.run(WINDOW));
        // Its connections are there, and those of this client.
        std::thread::sleep(Duration::from_millis(200));
        daemon.get("/health");
        daemon.session();
        let connections = count();
        daemon.start_scenario(self.name, self.params);
        daemon.wait_for_metric(self.name, self.metric, |count| count == most);
        let counted = count().saturating_sub(connections);
        let from = Instant::now();
        daemon.stop_all();
        let (took, left) = (from.elapsed(), count().saturating_sub(connections));
        let admin = load.join().unwrap();
        table.row(Row {
            what: &format!("{what}: in /proc, of the process"),
            asked: MANY.to_string(),
            achieved: counted.to_string(),
            error: String::new(),
            bar: "exact",
            held: counted == MANY,
        });
        table.row(Row {
            what: &format!("{what}: gone when stop answers"),
            asked: format!("{MANY} in 1 s"),
            achieved: format!(
                "{} in {:.3} s",
                MANY.saturating_sub(left),
                took.as_secs_f64()
            ),
            error: String::new(),
            bar: "all",
            held: left == 0 && took <= Duration::from_secs(1),
        });
        admin_row(table, what, admin.at(0.99));
    }
}
