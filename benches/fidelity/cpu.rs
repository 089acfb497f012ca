//! `cpu_burner`: the process's own CPU clock against the target, on the machine and in containers.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Daemon, Process};
use crate::container::{self, Container};
use crate::load::Load;
use crate::proc;
use crate::row::Row;
use crate::table::Table;

const TARGETS: &[u32] = &[1, 5, 10, 25, 50, 75, 80, 90, 95, 100];
const WINDOWS: usize = 10;
const QUOTAS: &[&str] = &["0.25", "0.5", "1.5"];
/// Up to this target the three containers together fit the machine and are measured side by side.
const SIDE_BY_SIDE: u32 = 50;
const START: &str = "/api/v1/scenarios/cpu_burner/start";
const STOP: &str = "/api/v1/composite/stop";

/// A daemon of which the CPU use is measured.
struct Subject<'a> {
    name: String,
    process: Process,
    cores: f64,
    post: &'a dyn Fn(&str, &Value),
}

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    let post = |path: &str, body: &Value| drop(daemon.admin_post(path, body.to_string()));
    let subjects = [Subject {
        name: "machine".to_owned(),
        process: daemon.process(),
        cores: proc::machine_cores(),
        post: &post,
    }];
    for target in TARGETS {
        one_target(table, &subjects, *target);
        stress_ng(table, *target);
    }
    drop(daemon);

    if let Some(why) = container::missing() {
        table.note(format!("cpu in containers: {why}"));
        return;
    }
    let limit = |quota: &&str| {
        (
            quota.parse::<f64>().expect("a number"),
            format!("--cpus={quota}"),
        )
    };
    let quotas = QUOTAS
        .iter()
        .map(limit)
        .filter(|(cores, _)| *cores <= proc::machine_cores());
    let containers: Vec<(f64, Container)> = quotas
        .map(|(cores, flag)| (cores, Container::start(&[&flag])))
        .collect();
    let posts: Vec<_> = containers
        .iter()
        .map(|(_, container)| |path: &str, body: &Value| drop(container.post(path, body)))
        .collect();
    let subjects: Vec<Subject<'_>> = containers
        .iter()
        .zip(&posts)
        .map(|((cores, container), post)| Subject {
            name: format!("{cores} CPU container"),
            process: container.process,
            cores: *cores,
            post,
        })
        .collect();
    for target in TARGETS {
        if *target <= SIDE_BY_SIDE {
            one_target(table, &subjects, *target);
            continue;
        }
        let (small, large) = subjects.split_at(subjects.len() - 1);
        one_target(table, small, *target);
        one_target(table, large, *target);
    }
}

/// Holds all subjects at `target` percent for ten seconds, counted from the moment the start answers.
fn one_target(table: &mut Table, subjects: &[Subject<'_>], target: u32) {
    for subject in subjects {
        (subject.post)(START, &json!({ "target_percent": target }));
    }
    let started = Instant::now();
    let mut marks: Vec<Vec<(Instant, Duration)>> = vec![Vec::new(); subjects.len()];
    for second in 0..=WINDOWS {
        proc::sleep_until(started + Duration::from_secs(second as u64));
        for (subject, marks) in subjects.iter().zip(&mut marks) {
            marks.push((Instant::now(), subject.process.live_cpu()));
        }
    }
    for subject in subjects {
        (subject.post)(STOP, &json!({}));
    }
    let stopped: Vec<_> = subjects
        .iter()
        .map(|subject| subject.process.live_cpu())
        .collect();
    let stopped_at = Instant::now();
    proc::sleep_until(stopped_at + Duration::from_millis(200));
    for ((subject, marks), stopped) in subjects.iter().zip(marks).zip(stopped) {
        let percent = |a: (Instant, Duration), b: (Instant, Duration)| {
            let cpu = b.1.saturating_sub(a.1).as_secs_f64();
            cpu / (b.0 - a.0).as_secs_f64() / subject.cores * 100.0
        };
        let mean = percent(marks[0], marks[WINDOWS]);
        let off = |achieved: f64| achieved - f64::from(target);
        let windows = marks.windows(2).map(|pair| off(percent(pair[0], pair[1])));
        let worst = windows.fold(
            0.0,
            |worst: f64, x| if x.abs() > worst.abs() { x } else { worst },
        );
        // After the stop: CPU used in the 200 ms that the process has to come to rest.
        let idle = subject
            .process
            .live_cpu()
            .saturating_sub(stopped)
            .as_secs_f64()
            / 0.2;
        let full = target == 100;
        table.row(Row {
            what: &format!("CPU, {}: mean of 10 s", subject.name),
            asked: format!("{target} %"),
            achieved: format!("{mean:.2} %"),
            error: format!("{:+.2}", off(mean)),
            bar: if full { "at least 99" } else { "±0.2" },
            held: if full {
                mean >= 99.0
            } else {
                off(mean).abs() <= 0.2
            },
        });
        table.row(Row {
            what: &format!(
                "CPU, {}: worst of its 1 s windows; idle 200 ms after",
                subject.name
            ),
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
}

/// stress-ng at the same target, for comparison; it has no bar to hold here.
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
        let list = format!("/proc/{0}/task/{0}/children", child.id());
        let text = std::fs::read_to_string(list).unwrap_or_default();
        let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.map(|pid| Process::of(pid).live_cpu())
            .sum::<Duration>()
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
    daemon.started("cpu_burner", json!({ "target_percent": 50 }));
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
        container
            .get("/api/v1/composite/status")
            .expect("an answer");
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
