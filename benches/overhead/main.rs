//! The cost of the machinery for faults while no fault runs.
//!
//! Requests a second and p99 of `/health` against one bare axum route in a process of the same shape, in turn; and the
//! memory, the time to the first answer and the size of the idle daemon. Needs wrk.
//!
//! ```text
//! cargo bench --bench overhead              everything
//! cargo bench --bench overhead -- idle      the groups whose name contains a word
//! ```
//!
//! Groups: `requests`, `idle`, `start-up`, `scrape`, `ledger`, `size`.

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

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use groups::Group;
use row::Row;
use serde_json::json;
use support::{ChildGuard, Daemon, UNUSABLE_DATA_DIR};
use table::Table;

const BARE: &str = "bare-server";
const ROUNDS: usize = 7;

const GROUPS: &[Group] = &[
    ("requests", requests),
    ("idle", idle),
    ("start-up", start_up),
    ("scrape", scrape),
    ("ledger", ledger),
    ("size", size),
];

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == BARE) {
        serve_bare();
        return ExitCode::SUCCESS;
    }
    groups::run(row::COLUMNS, GROUPS)
}

/// One route without layers; otherwise like the daemon: workers of a multi-thread runtime, TCP_NODELAY.
fn serve_bare() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        use axum::serve::ListenerExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
        let health = || async { Json(json!({ "status": "healthy" })) };
        let router = Router::new().route("/health", get(health));
        axum::serve(listener, router).await.unwrap();
    });
}

struct BareServer {
    _child: ChildGuard,
    address: SocketAddr,
}

impl BareServer {
    fn start() -> Self {
        let own = std::env::current_exe().unwrap();
        let mut child = Command::new(own)
            .arg(BARE)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        Self {
            _child: ChildGuard(child),
            address: line.trim().parse().unwrap(),
        }
    }
}

/// Requests a second and the p99 in milliseconds.
fn wrk(address: SocketAddr) -> Option<(f64, f64)> {
    let url = format!("http://{address}/health");
    let output = Command::new("wrk")
        .args(["-t1", "-c32", "-d2s", "--latency", &url])
        .output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let after = |label: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(label))?;
        line.split_whitespace().last().map(str::to_owned)
    };
    let p99 = after("99%")?;
    let p99_ms = match p99.strip_suffix("us").or(p99.strip_suffix("ms")) {
        Some(number) if p99.ends_with("us") => number.parse::<f64>().ok()? / 1000.0,
        Some(number) => number.parse().ok()?,
        None => p99.strip_suffix('s')?.parse::<f64>().ok()? * 1000.0,
    };
    Some((after("Requests/sec:")?.parse().ok()?, p99_ms))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn requests(table: &mut Table) {
    let (bare, daemon) = (BareServer::start(), Daemon::start());
    let (mut rates, mut tails, mut ratios) = (Vec::new(), (Vec::new(), Vec::new()), Vec::new());
    for round in 0..ROUNDS {
        // Alternating, because the speed of the machine drifts.
        let pair = if round % 2 == 0 {
            wrk(bare.address).zip(wrk(daemon.service))
        } else {
            let ours = wrk(daemon.service);
            wrk(bare.address).zip(ours)
        };
        let Some((theirs, ours)) = pair else {
            table.note("requests a second: wrk is not installed");
            return;
        };
        ratios.push(ours.0 / theirs.0 * 100.0);
        rates.push(ours.0);
        tails.0.push(theirs.1);
        tails.1.push(ours.1);
    }
    let spread = ratios
        .iter()
        .fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
    let ratio = median(ratios);
    table.row(Row {
        what: "requests/s of /health beside bare axum, median of 7",
        asked: "bare axum".to_owned(),
        achieved: format!("{ratio:.1} % ({:.0}/s)", median(rates)),
        error: format!("{:.1} to {:.1} %", spread.0, spread.1),
        bar: "at least 95 %",
        held: ratio >= 95.0,
    });
    let (theirs, ours) = (median(tails.0), median(tails.1));
    table.row(Row {
        what: "p99 of the same",
        asked: format!("{theirs:.2} ms"),
        achieved: format!("{ours:.2} ms"),
        error: format!("{:+.2} ms", ours - theirs),
        bar: "none",
        held: true,
    });
}

fn idle(table: &mut Table) {
    let daemon = Daemon::start();
    daemon.get("/health");
    let resident = daemon.process().resident_mb();
    table.row(Row {
        what: "resident memory, idle",
        asked: String::new(),
        achieved: format!("{resident:.1} MiB"),
        error: String::new(),
        bar: "at most 10 MiB",
        held: resident <= 10.0,
    });
}

fn start_up(table: &mut Table) {
    let port = support::free_port();
    let agent = support::agent();
    let folder = tempfile::tempdir().unwrap();
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_mockserver"))
            .current_dir(folder.path())
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--log-level",
                "error",
            ])
            .env("MOCKSERVER_ADMIN_PORT", "0")
            .spawn()
            .unwrap();
        while agent
            .get(format!("http://127.0.0.1:{port}/health"))
            .call()
            .is_err()
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        took.push(started.elapsed().as_secs_f64() * 1000.0);
        child.kill().ok();
        child.wait().ok();
    }
    let took = median(took);
    table.row(Row {
        what: "start of the process to the first 200, median of 7",
        asked: String::new(),
        achieved: format!("{took:.1} ms"),
        error: String::new(),
        bar: "at most 50 ms",
        held: took <= 50.0,
    });
}

fn scrape(table: &mut Table) {
    const SCRAPES: usize = 101;
    let daemon = Daemon::start();
    let scrape = |to: SocketAddr| {
        let started = Instant::now();
        assert_eq!(daemon.ask("GET", to, "/metrics", b"").status, 200);
        started.elapsed().as_secs_f64() * 1000.0
    };
    let of = |to| median((0..SCRAPES).map(|_| scrape(to)).collect());
    let (service, admin) = (of(daemon.service), of(daemon.admin));
    table.row(Row {
        what: "a scrape of /metrics, median of 101: service; admin listener",
        asked: String::new(),
        achieved: format!("{service:.2}; {admin:.2} ms"),
        error: String::new(),
        bar: "at most 5 ms",
        held: service.max(admin) <= 5.0,
    });
}

/// A start writes one batch of events and syncs it; beside it the same without a disk, and a bare write and sync of as
/// many bytes.
fn ledger(table: &mut Table) {
    const STARTS: usize = 100;
    let start = |daemon: &Daemon| {
        // Apart from each other, as real ones are: a busy disk syncs quicker.
        std::thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        daemon.admin_post("/api/v1/scenarios/dependency/start", "");
        started.elapsed().as_secs_f64() * 1000.0
    };
    let in_memory = Daemon::builder().file(UNUSABLE_DATA_DIR).start();
    let on_disk = Daemon::start();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut bare = || {
        std::thread::sleep(Duration::from_millis(20));
        let started = Instant::now();
        file.write_all(&[b'x'; 1000]).unwrap();
        file.as_file().sync_data().unwrap();
        started.elapsed().as_secs_f64() * 1000.0
    };
    let (mut without, mut with, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        without.push(start(&in_memory));
        with.push(start(&on_disk));
        syncs.push(bare());
    }
    let (without, with, sync) = (median(without), median(with), median(syncs));
    table.row(Row {
        what: "a start with its events synced, beside one in memory, median of 100",
        asked: format!("{sync:.2} ms (one bare sync)"),
        achieved: format!("{with:.2} ms"),
        error: format!("{:+.2} ms", with - without),
        bar: "one sync: at most twice a bare one and 1 ms",
        held: with - without <= 2.0 * sync + 1.0,
    });
}

fn size(table: &mut Table) {
    let bytes = std::fs::metadata(env!("CARGO_BIN_EXE_mockserver")).map_or(0, |file| file.len());
    let mib = bytes as f64 / 1_048_576.0;
    table.row(Row {
        what: "size of the binary",
        asked: String::new(),
        achieved: format!("{mib:.1} MiB"),
        error: String::new(),
        bar: "at most 10 MiB",
        held: mib <= 10.0,
    });
}
