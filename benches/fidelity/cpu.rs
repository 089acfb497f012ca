//! `cpu_burner`: the CPU clock of the process against the target, on the machine and in containers.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::container::{self, Container};
use crate::load::Load;
use crate::proc;
use crate::row::Row;
use crate::support::Daemon;
use crate::support::proc::Process;
use crate::table::Table;

const TARGETS: &[u32] = &[1, 5, 10, 25, 50, 75, 80, 90, 95, 100];
const WINDOWS: usize = 10;
const QUOTAS: &[&str] = &["0.25", "0.5", "1.5"];
/// Up to this target the three containers together fit the machine and are measured side by side.
const SIDE_BY_SIDE: u32 = 50;
const START: &str = "/api/v1/scenarios/cpu_burner/start";
const STOP: &str = "/api/v1/composite/stop";

/// A daemon whose CPU use is measured.
struct MeasuredDaemon<'a> {
    name: String,
    process: Process,
    cores: f64,
    post: &'a dyn Fn(&str, &Value),
}

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let post = |path: &str, body: &Value| drop(daemon.admin_post(path, body.to_string()));
    let daemons = [MeasuredDaemon {
        name: "machine".to_owned(),
        process: daemon.process(),
        cores: proc::machine_cores(),
        post: &post,
    }];
    for target in TARGETS {
        one_target(table, &daemons, *target);
        stress_ng(table, *target);
    }
    drop(daemon);
    match container::missing() {
        Some(why) => table.note(format!("cpu in containers: {why}")),
        None => in_containers(table),
    }
}

fn in_containers(table: &mut Table) {
    let quotas = QUOTAS.iter().map(|quota| quota.parse::<f64>().unwrap());
    let containers: Vec<(f64, Container)> = quotas
        .filter(|cores| *cores <= proc::machine_cores())
        .map(|cores| (cores, Container::start(&[&format!("--cpus={cores}")])))
        .collect();
    let posts: Vec<_> = containers
        .iter()
        .map(|(_, container)| |path: &str, body: &Value| drop(container.post(path, body)))
        .collect();
    let daemons: Vec<MeasuredDaemon<'_>> = containers
        .iter()
        .zip(&posts)
        .map(|((cores, container), post)| MeasuredDaemon {
            name: format!("{cores} CPU container"),
            process: container.process,
            cores: *cores,
            post,
        })
        .collect();
    for target in TARGETS {
        if *target <= SIDE_BY_SIDE {
            one_target(table, &daemons, *target);
            continue;
        }
        let (small, large) = daemons.split_at(daemons.len() - 1);
        one_target(table, small, *target);
        one_target(table, large, *target);
    }
}

/// The CPU clock of a daemon at moments of a run at one target.
#[derive(Default)]
struct CpuMarks {
    /// At the answer to the start, and after each second of the run.
    running: Vec<(Instant, Duration)>,
    /// CPU time in the 200 ms after the stop.
    idle: Duration,
}

/// Holds all daemons at `target` percent for ten seconds, counted from the answer to the start.
fn one_target(table: &mut Table, daemons: &[MeasuredDaemon<'_>], target: u32) {
    for daemon in daemons {
        (daemon.post)(START, &json!({ "target_percent": target }));
    }
    let started = Instant::now();
    let mut marks: Vec<CpuMarks> = daemons.iter().map(|_| CpuMarks::default()).collect();
    for second in 0..=WINDOWS {
        proc::sleep_until(started + Duration::from_secs(second as u64));
        for (daemon, marks) in daemons.iter().zip(&mut marks) {
            marks
                .running
                .push((Instant::now(), daemon.process.live_cpu()));
        }
    }
    for daemon in daemons {
        (daemon.post)(STOP, &json!({}));
    }
    let clocks = daemons.iter().map(|daemon| daemon.process.live_cpu());
    let stopped: Vec<Duration> = clocks.collect();
    proc::sleep_until(Instant::now() + Duration::from_millis(200));
    for ((daemon, mut marks), stopped) in daemons.iter().zip(marks).zip(stopped) {
        marks.idle = daemon.process.live_cpu().saturating_sub(stopped);
        rows_of(table, daemon, target, &marks);
    }
}

fn rows_of(table: &mut Table, daemon: &MeasuredDaemon<'_>, target: u32, marks: &CpuMarks) {
    let percent = |a: (Instant, Duration), b: (Instant, Duration)| {
        let cpu = b.1.saturating_sub(a.1).as_secs_f64();
        cpu / (b.0 - a.0).as_secs_f64() / daemon.cores * 100.0
    };
    let off = |achieved: f64| achieved - f64::from(target);
    let mean = percent(marks.running[0], marks.running[WINDOWS]);
    let windows = marks.running.windows(2);
    let worst = windows
        .map(|pair| off(percent(pair[0], pair[1])))
        .fold(
            0.0,
            |worst: f64, x| {
                if x.abs() > worst.abs() { x } else { worst }
            },
        );
    let idle = marks.idle.as_secs_f64() / 0.2;
    let (bar, held) = match target {
        100 => ("at least 99", mean >= 99.0),
        _ => ("±0.2", off(mean).abs() <= 0.2),
    };
    let name = &daemon.name;
    table.row(Row {
        what: &format!("CPU, {name}: mean of 10 s"),
        asked: format!("{target} %"),
        achieved: format!("{mean:.2} %"),
        error: format!("{:+.2}", off(mean)),
        bar,
        held,
    });
    table.row(Row {
        what: &format!("CPU, {name}: worst of its 1 s windows; idle 200 ms after"),
        asked: format!("{target} %"),
        achieved: format!(
            "{:.2} %; {:.1} % idle",
            f64::from(target) + worst,
            idle * 100.0
        ),
        error: format!("{worst:+.2}"),
        bar: "±1; below 2 % of a core",
        held: worst.abs() <= 1.0 && idle < 0.02,
    });
}

/// stress-ng at the same target, for comparison; it has no bar.
fn stress_ng(table: &mut Table, target: u32) {
    let cpus = (proc::machine_cores() as u32).to_string();
    let load = target.to_string();
    let args = [
        "--cpu",
        &cpus,
        "--cpu-load",
        &load,
        "--timeout",
        "4s",
        "--quiet",
    ];
    let Ok(mut child) = Command::new("stress-ng").args(args).spawn() else {
        if target == TARGETS[0] {
            table.note("stress-ng beside the CPU rows: it is not installed");
        }
        return;
    };
    let workers = || {
        let pids = proc::children(child.id());
        pids.map(|pid| Process(pid).live_cpu()).sum::<Duration>()
    };
    let started = Instant::now();
    proc::sleep_until(started + Duration::from_millis(700));
    let (from, before) = (Instant::now(), workers());
    proc::sleep_until(from + Duration::from_secs(3));
    let used = workers().saturating_sub(before).as_secs_f64() / from.elapsed().as_secs_f64();
    child.wait().ok();
    let percent = used / proc::machine_cores() * 100.0;
    table.row(Row {
        what: "CPU, machine: stress-ng --cpu-load, mean of 3 s",
        asked: format!("{target} %"),
        achieved: format!("{percent:.2} %"),
        error: format!("{:+.2}", percent - f64::from(target)),
        bar: "none, for comparison",
        held: true,
    });
}

/// The target holds while the process serves requests, and the admin listener answers at full load.
pub(crate) fn measure_under_load(table: &mut Table) {
    let daemon = Daemon::start();
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 50 }));
    let load = Load {
        address: daemon.service,
        path: "/health",
        connections: 50,
        per_second: 1000,
    };
    let warm = load.run(Duration::from_secs(1));
    let (from, before) = (Instant::now(), daemon.process().live_cpu());
    let done = load.run(Duration::from_secs(10));
    let used = daemon
        .process()
        .live_cpu()
        .saturating_sub(before)
        .as_secs_f64();
    let percent = used / from.elapsed().as_secs_f64() / proc::machine_cores() * 100.0;
    drop(warm);
    table.row(Row {
        what: &format!(
            "CPU, machine, at {:.0} requests/s: mean of 10 s",
            done.per_second()
        ),
        asked: "50 %".to_owned(),
        achieved: format!("{percent:.2} %"),
        error: format!("{:+.2}", percent - 50.0),
        bar: "±1",
        held: (percent - 50.0).abs() <= 1.0,
    });
    drop(daemon);

    if container::missing().is_some() {
        return;
    }
    let container = Container::start(&["--cpus=0.25"]);
    container.post(START, &json!({ "target_percent": 100 }));
    let mut took: Vec<Duration> = Vec::new();
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let asked = Instant::now();
        container.get("/api/v1/composite/status").unwrap();
        took.push(asked.elapsed());
        proc::sleep_until(asked + Duration::from_millis(10));
    }
    took.sort_unstable();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1000.0;
    table.row(Row {
        what: "admin listener at 100 % of 0.25 CPU: p50; p99",
        asked: "an answer".to_owned(),
        achieved: format!("{:.1} ms; {:.1} ms", at(0.5), at(0.99)),
        error: String::new(),
        bar: "p99 at most 100 ms",
        held: at(0.99) <= 100.0,
    });
}
