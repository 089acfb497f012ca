//! `log_flood`: lines a second as the reader of the log counts them, and the admin listener beside it.

use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::row::Row;
use crate::support::program::{command, with_file};
use crate::support::{ChildGuard, Daemon, eventually, free_port, request, start_path};
use crate::table::Table;

const RATES: [f64; 3] = [100.0, 1000.0, 10_000.0];
const WINDOW: Duration = Duration::from_secs(5);
/// The pause between two requests to the admin listener.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn measure(table: &mut Table) {
    let daemon = Daemon::start();
    for rate in RATES {
        for template in ["retry", "stack_trace"] {
            let params = json!({ "lines_per_second": rate, "template": template });
            daemon.start_scenario("log_flood", params);
            lines_until(&daemon, Instant::now() + Duration::from_millis(300));
            let from = Instant::now();
            let lines = lines_until(&daemon, from + WINDOW);
            let achieved = lines / from.elapsed().as_secs_f64();
            let error = (achieved / rate - 1.0) * 100.0;
            daemon.stop_all();
            table.row(Row {
                what: &format!("log lines ({template})"),
                asked: format!("{rate:.0}/s"),
                achieved: format!("{achieved:.1}/s"),
                error: format!("{error:+.2} %"),
                bar: "±5 %",
                held: error.abs() <= 5.0,
            });
        }
    }
    daemon.start_scenario("log_flood", json!({ "lines_per_second": 10_000 }));
    p99(table, "admin p99 at 10,000 lines/s", daemon.admin);
    drop(daemon);
    unread(table);
}

/// Lines that come until then.
fn lines_until(daemon: &Daemon, until: Instant) -> f64 {
    let left = || until.saturating_duration_since(Instant::now());
    let lines = std::iter::from_fn(|| daemon.log.recv_timeout(left()).ok());
    lines.count() as f64
}

fn p99(table: &mut Table, what: &str, admin: SocketAddr) {
    let until = Instant::now() + WINDOW;
    let mut times = Vec::new();
    while Instant::now() < until {
        let from = Instant::now();
        assert_eq!(request("GET", admin, "/health", "", &[]).status, 200);
        times.push(from.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(PAUSE);
    }
    times.sort_by(f64::total_cmp);
    let p99 = times[times.len() * 99 / 100];
    table.row(Row {
        what,
        asked: String::new(),
        achieved: format!("{p99:.2} ms"),
        error: String::new(),
        bar: "at most 10 ms",
        held: p99 <= 10.0,
    });
}

/// With a reader that never reads.
fn unread(table: &mut Table) {
    let folder = with_file("Log: {Format: json}\n");
    let (port, admin) = (free_port(), free_port());
    let (flag, admin_flag) = (port.to_string(), admin.to_string());
    let flags = ["-f", "a.yaml", "--port", &flag, "--admin-port", &admin_flag];
    let child = command(&folder, &flags).stdout(Stdio::piped()).spawn();
    let _child = ChildGuard(child.unwrap());
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    eventually("it listens", || TcpStream::connect(admin).ok());
    let params = json!({ "lines_per_second": 10_000 }).to_string();
    request("POST", admin, &start_path("log_flood"), &params, &[]);
    p99(table, "the same, and nothing reads them", admin);
    let path = "/api/v1/scenarios/log_flood/status";
    let effect = request("GET", admin, path, "", &[]).body["effect"].take();
    let from = Instant::now();
    let stop = request("POST", admin, "/api/v1/composite/stop", "", &[]);
    let answered = from.elapsed().as_secs_f64();
    let shortfall = effect["shortfall"].as_str().unwrap_or("none");
    table.row(Row {
        what: "its reading; its stop",
        asked: "10,000/s".to_owned(),
        achieved: format!("{}/s, {shortfall}; {answered:.3} s", effect["achieved"]),
        error: String::new(),
        bar: "slow_reader; 1 s",
        held: shortfall == "slow_reader" && stop.status == 200 && answered <= 1.0,
    });
}
