//! The workload: does a healthy service look as the configuration describes it?

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::load::{Load, LoadResult};
use crate::row::Row;
use crate::support::{Daemon, agent};
use crate::table::Table;

/// Standard deviations of a 99.9 % interval.
const SIGMAS: f64 = 3.29;

/// A log-normal law by its p50 and p99, in ms.
type Law = (f64, f64);

/// Each route with its own law and those of its calls.
const ROUTES: &[(&str, &[Law])] = &[
    ("/own", &[(12.0, 60.0)]),
    ("/one-call", &[(4.0, 20.0), (6.0, 40.0)]),
    ("/two-calls", &[(8.0, 30.0), (3.0, 25.0), (10.0, 60.0)]),
];

/// Times at 500 requests/s for two minutes.
pub(crate) fn measure(table: &mut Table) {
    let routes: String = ROUTES
        .iter()
        .map(|(path, laws)| route(path, laws))
        .collect();
    let daemon = Daemon::builder()
        .file(&format!(
            "Log: {{Requests: never}}\nWorkload:\n  Routes:\n{routes}"
        ))
        .start();
    let loads = ROUTES.iter().map(|(path, laws)| {
        let load = Load {
            address: daemon.service,
            path,
            connections: 100,
            per_second: 167,
        };
        let running = std::thread::spawn(move || load.run(Duration::from_secs(120)));
        (path, laws, running)
    });
    let loads: Vec<_> = loads.collect();
    for (path, laws, running) in loads {
        let measured = running.join().unwrap();
        let law = sums(laws);
        for (share, name, bar) in [(0.5, "p50", 0.05), (0.99, "p99", 0.15)] {
            quantile_row(table, path, &measured, &law, (share, name, bar));
        }
    }
}

fn route(path: &str, laws: &[Law]) -> String {
    let (own, calls) = laws.split_first().unwrap();
    let law = |(p50, p99): &Law| format!("{{p50_ms: {p50}, p99_ms: {p99}}}");
    let calls = calls.iter().enumerate();
    let calls: Vec<String> = calls
        .map(|(n, call)| format!("{{Name: upstream-{n}, Latency: {}}}", law(call)))
        .collect();
    let calls = calls.join(", ");
    format!(
        "    - {{Path: {path}, Latency: {}, Calls: [{calls}]}}\n",
        law(own)
    )
}

/// Many draws of the sum of `laws`, sorted. Computed here and not by the daemon's code, which is under test.
fn sums(laws: &[Law]) -> Vec<f64> {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut normal = || {
        // The sum of twelve uniform numbers is too coarse for a tail: Marsaglia's polar method.
        loop {
            let (x, y): (f64, f64) = (rng.random_range(-1.0..1.0), rng.random_range(-1.0..1.0));
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    };
    let mut draw = |&(p50, p99): &Law| p50 * ((p99 / p50).ln() / 2.326_348 * normal()).exp();
    let mut sums: Vec<f64> = (0..1_000_000)
        .map(|_| laws.iter().map(&mut draw).sum())
        .collect();
    sums.sort_unstable_by(f64::total_cmp);
    sums
}

fn quantile_row(
    table: &mut Table,
    path: &str,
    measured: &LoadResult,
    law: &[f64],
    (share, name, bar): (f64, &str, f64),
) {
    let of_law = |share: f64| law[(law.len() as f64 * share) as usize];
    let (asked, achieved) = (of_law(share), measured.at(share));
    let spread = SIGMAS * (share * (1.0 - share) / measured.count() as f64).sqrt();
    let sampling = of_law(share - spread)..=of_law(share + spread);
    let error = achieved / asked - 1.0;
    table.row(Row {
        what: &format!(
            "workload {path}: {name} at 500 requests/s in all, {} requests",
            measured.count()
        ),
        asked: format!("{asked:.2} ms"),
        achieved: format!("{achieved:.2} ms"),
        error: format!("{:+.1} %", error * 100.0),
        bar: &format!("{:.0} % or its sampling interval", bar * 100.0),
        held: error.abs() <= bar || sampling.contains(&achieved),
    });
}

/// Errors, CPU time, and a burn beside it.
pub(crate) fn measure_work(table: &mut Table) {
    errors(table);
    cpu(table);
    burn(table);
}

/// As many requests as 8 a second make in ten minutes, in half a minute.
fn errors(table: &mut Table) {
    const SHARE: f64 = 0.02;
    let workload = format!(
        "Log: {{Requests: never}}\nWorkload: {{Routes: [{{Path: /work, ErrorShare: {SHARE}}}]}}\n"
    );
    let daemon = Daemon::builder().file(&workload).start();
    let load = Load {
        address: daemon.service,
        path: "/work",
        connections: 20,
        per_second: 160,
    };
    let requests = load.run(Duration::from_secs(30)).count() as f64;
    let failed = failed(&daemon);
    let expected = requests * SHARE;
    let spread = SIGMAS * (expected * (1.0 - SHARE)).sqrt();
    table.row(Row {
        what: &format!("workload: errors of {requests} requests"),
        asked: format!("{expected:.0}"),
        achieved: format!("{failed:.0}"),
        error: format!("{:+.0}", failed - expected),
        bar: "99.9 % binomial interval",
        held: (failed - expected).abs() <= spread,
    });
}

/// Answers with status 500 on /work, as the daemon counts them.
fn failed(daemon: &Daemon) -> f64 {
    let url = format!("http://{}/metrics", daemon.service);
    let page = agent().get(url).call().unwrap();
    let page = page.into_body().read_to_string().unwrap();
    let series = "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/work\",\
                  http_response_status_code=\"500\"} ";
    let value = page.lines().find_map(|line| line.strip_prefix(series));
    value.unwrap().parse().unwrap()
}

/// CPU time of the process over `within` at 200 requests/s with `cpu_ms` each.
fn cpu_at(cpu_ms: f64, within: Duration) -> (f64, Duration) {
    let workload = format!(
        "Log: {{Requests: never}}\nWorkload: {{Routes: [{{Path: /work, CpuMs: {cpu_ms}}}]}}\n"
    );
    let daemon = Daemon::builder().file(&workload).start();
    let load = Load {
        address: daemon.service,
        path: "/work",
        connections: 50,
        per_second: 200,
    };
    let before = daemon.process().live_cpu();
    let requests = load.run(within).count() as f64;
    (requests, daemon.process().live_cpu() - before)
}

fn cpu(table: &mut Table) {
    const CPU_MS: f64 = 0.5;
    let within = Duration::from_secs(15);
    let (_, idle) = cpu_at(0.0, within);
    let (requests, busy) = cpu_at(CPU_MS, within);
    let asked = requests * CPU_MS / 1000.0;
    let achieved = busy.saturating_sub(idle).as_secs_f64();
    let error = achieved / asked - 1.0;
    table.row(Row {
        what: "workload: CPU time at 200 requests/s, less that without CpuMs",
        asked: format!("{asked:.2} s"),
        achieved: format!("{achieved:.2} s"),
        error: format!("{:+.1} %", error * 100.0),
        bar: "20 %",
        held: error.abs() <= 0.2,
    });
}

/// The service's own work is a part of what the burner holds.
fn burn(table: &mut Table) {
    let daemon = Daemon::builder()
        .file("Log: {Requests: never}\nWorkload: shop\n")
        .start();
    daemon.start_scenario("cpu_burner", json!({ "target_percent": 60 }));
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    let load = Load {
        address: daemon.service,
        path: "/api/products",
        connections: 50,
        per_second: 100,
    };
    let (start, before) = (Instant::now(), daemon.process().live_cpu());
    load.run(Duration::from_secs(20));
    let used = (daemon.process().live_cpu() - before).as_secs_f64();
    let achieved = used / start.elapsed().as_secs_f64() / cores * 100.0;
    daemon.stop_all();
    let error = achieved - 60.0;
    table.row(Row {
        what: "cpu_burner beside the workload shop at 100 requests/s",
        asked: "60 %".to_owned(),
        achieved: format!("{achieved:.2} %"),
        error: format!("{error:+.2}"),
        bar: "0.5",
        held: error.abs() <= 0.5,
    });
}
