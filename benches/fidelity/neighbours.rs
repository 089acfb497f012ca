//! `cpu_burner` beside busy loops: the share that fair scheduling leaves it, and stress-ng in the same place.
//!
//! The fair share is worked out from what was there: the CPU time that the burn and the loops got together, shared out
//! evenly among their threads. So a machine that is busy with something else moves all figures alike.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::proc;
use crate::row::Row;
use crate::support::proc::Process;
use crate::support::{ChildGuard, Daemon};
use crate::table::Table;

const ASKED: [u32; 2] = [30, 50];
/// For each CPU of the machine.
const LOOPS: [usize; 2] = [1, 2];
/// How often each start is measured in its first second, which depends on where the scheduler puts the threads.
const STARTS: u32 = 3;
/// The measured time after the first second of the last start.
const WINDOW: Duration = Duration::from_secs(4);
/// In percentage points.
const BAR: f64 = 2.0;
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Busy loops, and how many threads compete.
struct Neighbours {
    loops: Vec<ChildGuard>,
    burners: f64,
}

impl Neighbours {
    fn start(count: usize) -> Self {
        let busy = |_| {
            let child = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn();
            ChildGuard(child.unwrap())
        };
        let loops = (0..count).map(busy).collect();
        let burners = proc::machine_cores();
        Self { loops, burners }
    }

    fn cpu(&self) -> Duration {
        let clocks = self.loops.iter().map(|busy| Process(busy.id()).live_cpu());
        clocks.sum()
    }

    /// Measures the burn whose CPU clock is `burn` until `end`.
    fn measure(&self, burn: &dyn Fn() -> Duration, end: Instant) -> Shares {
        let (from, ours, theirs) = (Instant::now(), burn(), self.cpu());
        proc::sleep_until(end);
        let used = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64();
        let (ours, theirs) = (used(burn(), ours), used(self.cpu(), theirs));
        Shares {
            wall: from.elapsed().as_secs_f64() * proc::machine_cores(),
            ours,
            fair: (ours + theirs) * self.burners / (self.burners + self.loops.len() as f64),
        }
    }
}

/// CPU seconds over a time: `wall` is all that the machine has.
#[derive(Default)]
struct Shares {
    wall: f64,
    ours: f64,
    fair: f64,
}

impl Shares {
    fn add(&mut self, other: &Self) {
        self.wall += other.wall;
        self.ours += other.ours;
        self.fair += other.fair;
    }

    fn ours_percent(&self) -> f64 {
        self.ours / self.wall * 100.0
    }

    fn fair_percent(&self) -> f64 {
        self.fair / self.wall * 100.0
    }

    /// What the burn should have got.
    fn due_percent(&self, asked: u32) -> f64 {
        f64::from(asked).min(self.fair_percent())
    }
}

/// The first seconds of all starts, and the time after that.
struct Measured {
    first: Shares,
    later: Shares,
}

pub(crate) fn measure(table: &mut Table) {
    let has_stress_ng = Command::new("stress-ng")
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok();
    if !has_stress_ng {
        table.note("stress-ng beside neighbours: it is not installed");
    }
    for per_cpu in LOOPS {
        let neighbours = Neighbours::start(per_cpu * proc::machine_cores() as usize);
        for asked in ASKED {
            let ours = of_daemon(&neighbours, asked);
            let other = has_stress_ng.then(|| of_stress_ng(&neighbours, asked));
            rows_of(table, &neighbours, asked, &ours, other.as_ref());
        }
        admin_listener(table, &neighbours);
    }
    admin_listener(table, &Neighbours::start(0));
}

/// Starts the burn [`STARTS`] times.
fn of_daemon(neighbours: &Neighbours, asked: u32) -> Measured {
    let daemon = Daemon::start();
    let burn = || daemon.process().live_cpu();
    let mut first = Shares::default();
    for start in 1..=STARTS {
        daemon.start_scenario("cpu_burner", json!({ "target_percent": asked }));
        first.add(&neighbours.measure(&burn, Instant::now() + Duration::from_secs(1)));
        if start < STARTS {
            daemon.stop_all();
        }
    }
    let later = neighbours.measure(&burn, Instant::now() + WINDOW);
    Measured { first, later }
}

/// As [`of_daemon`], from the moment on at which all workers are there.
fn of_stress_ng(neighbours: &Neighbours, asked: u32) -> Measured {
    let cpus = proc::machine_cores() as usize;
    let mut first = Shares::default();
    let mut later = Shares::default();
    for start in 1..=STARTS {
        let child = Command::new("stress-ng")
            .args(["--cpu", &cpus.to_string(), "--cpu-load", &asked.to_string()])
            .args(["--timeout", "60s", "--quiet"])
            .spawn();
        let child = ChildGuard(child.unwrap());
        let burn = || {
            let workers = proc::children(child.id());
            workers.map(|pid| Process(pid).live_cpu()).sum()
        };
        while proc::children(child.id()).count() < cpus {
            std::thread::sleep(Duration::from_millis(1));
        }
        first.add(&neighbours.measure(&burn, Instant::now() + Duration::from_secs(1)));
        if start == STARTS {
            later = neighbours.measure(&burn, Instant::now() + WINDOW);
        }
        // It ends its workers itself.
        child.signal(rustix::process::Signal::TERM);
        let mut child = child;
        child.ended();
    }
    Measured { first, later }
}

fn rows_of(
    table: &mut Table,
    neighbours: &Neighbours,
    asked: u32,
    ours: &Measured,
    other: Option<&Measured>,
) {
    let loops = neighbours.loops.len();
    for (when, of) in [
        (
            "first second, mean of 3 starts",
            (|of| &of.first) as fn(&Measured) -> &Shares,
        ),
        ("mean of 4 s", |of| &of.later),
    ] {
        let (shares, other) = (of(ours), other.map(of));
        let due = shares.due_percent(asked);
        let error = shares.ours_percent() - due;
        // Each as a part of what was due to it, since they run one after the other.
        let part = |shares: &Shares| shares.ours_percent() / shares.due_percent(asked);
        let is_no_less = other.is_none_or(|other| part(shares) >= part(other) - BAR / 100.0);
        let other = other.map_or("–".to_owned(), |other| {
            format!(
                "{:.1} of {:.1} %",
                other.ours_percent(),
                other.due_percent(asked)
            )
        });
        table.row(Row {
            what: &format!("CPU beside {loops} busy loops, {when}; stress-ng there"),
            asked: format!("{asked} %; fair share {:.1} %", shares.fair_percent()),
            achieved: format!("{:.1} %; {other}", shares.ours_percent()),
            error: format!("{error:+.1}"),
            bar: "±2, and no less than stress-ng",
            held: error.abs() <= BAR && is_no_less,
        });
    }
}

/// The admin listener at 100 %. The client has a raised priority where that is allowed, so that the figure is the
/// daemon's.
fn admin_listener(table: &mut Table, neighbours: &Neighbours) {
    let daemon = Daemon::start();
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 100 }));
    let before = rustix::process::getpriority_process(None).unwrap_or(0);
    let raised = rustix::process::setpriority_process(None, -20).is_ok();
    let mut took = Vec::new();
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let asked = Instant::now();
        let answer = daemon.admin_get("/api/v1/composite/status");
        took.push(asked.elapsed());
        assert_eq!(answer.status, 200);
        proc::sleep_until(asked + ASK_EVERY);
    }
    if raised {
        rustix::process::setpriority_process(None, before).ok();
    } else {
        table.note(
            "the admin listener beside neighbours, alone: the client waits for a CPU as well",
        );
    }
    took.sort_unstable();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1000.0;
    table.row(Row {
        what: &format!(
            "admin listener with CPU at 100 %, beside {} busy loops: p50; p99",
            neighbours.loops.len()
        ),
        asked: "an answer".to_owned(),
        achieved: format!("{:.1} ms; {:.1} ms", at(0.5), at(0.99)),
        error: String::new(),
        bar: "p99 at most 10 ms",
        held: at(0.99) <= 10.0,
    });
}
