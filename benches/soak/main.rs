//! Do clients that do anything at all leave something behind? Thirty-two of them start, stop, replace, halt, read, hang up
//! and send garbage, in rounds. After each round everything is stopped and the daemon must hold exactly what it held at
//! the beginning. Each answer must be correct in a state that the daemon may have been in.
//!
//! ```text
//! cargo bench --bench soak                                      a minute
//! cargo bench --bench soak -- --seconds 3600 --seed 7           an hour, with the choices of seed 7
//! ```
//!
//! The seed is printed; it determines what each client chooses, not how the clients interleave. The daemon is configured
//! to refuse scenarios that end it. The exit code is 0 if every check passed.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on panics, with its line"
)]
#[path = "../../tests/it/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use more of it")]
mod support;

mod client;
mod expectation;
mod footprint;
mod guard_rails;
mod halts;
mod history;
mod params;
mod report;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{SoakClient, silencing, startable};
use footprint::Footprint;
use halts::Halts;
use history::History;
use report::Report;
use support::Daemon;

const CLIENTS: u64 = 32;
/// How long the clients act before everything is stopped and counted.
const ROUND: Duration = Duration::from_secs(4);
/// How long the kernel and the tasks of connections may take to end after a stop has answered.
const CLEANUP: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let (length, seed) = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(64);
        }
    };
    let seed = seed.unwrap_or_else(rand::random);
    println!("{CLIENTS} clients, {} s, --seed {seed}", length.as_secs());
    let soak = Soak::begin(seed);
    match soak.run(length) {
        Ok(()) => ExitCode::SUCCESS,
        Err(()) => ExitCode::FAILURE,
    }
}

/// The duration and the seed of the command line.
fn options(args: impl Iterator<Item = String>) -> Result<(Duration, Option<u64>), String> {
    let (mut length, mut seed) = (Duration::from_secs(60), None);
    // Cargo adds --bench.
    let mut args = args.filter(|arg| arg != "--bench");
    while let Some(flag) = args.next() {
        let number = args.next().and_then(|text| text.parse().ok());
        match (flag.as_str(), number) {
            ("--seconds", Some(seconds)) => length = Duration::from_secs(seconds),
            ("--seed", Some(number)) => seed = Some(number),
            _ => return Err(format!("{flag}: give --seconds N or --seed N")),
        }
    }
    Ok((length, seed))
}

struct Soak {
    daemon: Daemon,
    clients: Vec<SoakClient>,
    report: Arc<Mutex<Report>>,
    halts: Arc<Mutex<Halts>>,
    history: History,
}

impl Soak {
    fn begin(seed: u64) -> Self {
        let plugins = startable().into_iter().chain(silencing());
        let names: Vec<&str> = plugins.map(|plugin| plugin.name()).collect();
        let allowed = format!("Limits: {{Scenarios: [{}]}}\n", names.join(", "));
        let daemon = Daemon::builder().file(&allowed).start();
        let (report, halts) = (Arc::default(), Arc::default());
        let client = |number| SoakClient::new(&daemon, seed, number, &report, &halts);
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            daemon,
            report,
            halts,
            history: History::default(),
        }
    }

    fn run(mut self, length: Duration) -> Result<(), ()> {
        // The first round makes what a process keeps: stacks, arenas of the allocator.
        self.round();
        let base = self.settle(None);
        let start = Instant::now();
        while start.elapsed() < length {
            self.round();
            self.settle(Some(base));
        }
        let report = self.report.lock().unwrap();
        report.print(base);
        if report.failures.is_empty() {
            Ok(())
        } else {
            Err(())
        }
    }

    /// Runs all clients; their connections are closed when it returns.
    fn round(&mut self) {
        let end = Instant::now() + ROUND;
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(move || client.act_until(end));
            }
        });
    }

    /// Stops everything, waits until the daemon holds no more than `base`, and records what it holds.
    fn settle(&mut self, base: Option<Footprint>) -> Footprint {
        self.rearm();
        let start = Instant::now();
        let answer = self.daemon.stop_all();
        let stopped_in = start.elapsed();
        let mut now = Footprint::of(&self.daemon);
        let mut report = self.report.lock().unwrap();
        if answer.status != 200 {
            report.failure(format!("the stop of all was answered with {answer:?}"));
        }
        let wanted = base.unwrap_or(Footprint::NOTHING_RUNS);
        while start.elapsed() < stopped_in + CLEANUP && !now.excess(&wanted).is_empty() {
            std::thread::sleep(Duration::from_millis(10));
            now = Footprint::of(&self.daemon);
        }
        report.round(stopped_in, start.elapsed(), now);
        for excess in now.excess(&wanted) {
            report.failure(excess);
        }
        for failure in guard_rails::check(&self.daemon) {
            report.failure(failure);
        }
        for failure in self.history.check(&self.daemon, &mut report) {
            report.failure(failure);
        }
        now
    }

    /// Ends the halt that clients may have left, and checks that the daemon was halted as they know it.
    fn rearm(&self) {
        let mut halts = self.halts.lock().unwrap();
        let possible = halts.since(Instant::now());
        let is_halted = self.daemon.session()["halted_since"].is_string();
        let armed = self.daemon.admin_post("/api/v1/rearm", "");
        *halts = Halts::default();
        if (is_halted && !possible.on) || (!is_halted && !possible.off) || armed.status != 200 {
            let failure = format!("halted: {is_halted}, possible: {possible:?}, rearm: {armed:?}");
            self.report.lock().unwrap().failure(failure);
        }
    }
}
