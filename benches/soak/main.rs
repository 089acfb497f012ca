//! Do clients who do anything at all ever leave something behind? Thirty-two of them start, stop,
//! replace, halt, ask, hang up and send nonsense, in rounds. After each round everything is stopped and
//! the daemon must hold exactly what it held at the beginning. Each answer must be one that is right in
//! a state in which the daemon may have been.
//!
//! ```text
//! cargo bench --bench soak                                      a minute
//! cargo bench --bench soak -- --seconds 3600 --seed 7           an hour, with the choices of seed 7
//! ```
//!
//! The seed is printed; it settles what each client chooses, not how the clients interleave. The daemon
//! is configured to refuse `crash`, which is meant to end it. The exit code tells whether all held.

#[path = "../../tests/it/common.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod common;

mod census;
mod client;
mod figures;
mod halts;
mod history;
mod rails;
mod right;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use census::Footprint;
use client::{Client, SCENARIOS};
use common::Daemon;
use figures::Figures;
use halts::Halts;
use history::History;

const CLIENTS: u64 = 32;
/// How long the clients go on before everything is stopped and counted.
const ROUND: Duration = Duration::from_secs(4);
/// How long the kernel and the connections' tasks may take to be gone after a stop has answered.
const BOOKKEEPING: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let (length, seed) = match wanted(std::env::args().skip(1)) {
        Ok(wanted) => wanted,
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

/// How long, and with which seed.
fn wanted(args: impl Iterator<Item = String>) -> Result<(Duration, Option<u64>), String> {
    let (mut length, mut seed) = (Duration::from_secs(60), None);
    // Cargo adds --bench of its own.
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
    clients: Vec<Client>,
    figures: Arc<Mutex<Figures>>,
    halts: Arc<Mutex<Halts>>,
    history: History,
}

impl Soak {
    fn begin(seed: u64) -> Self {
        // The crash is left out by the daemon's configuration; that the clients ask for it shows it.
        let allowed = format!("Limits: {{Scenarios: [{}]}}\n", SCENARIOS.join(", "));
        let daemon = Daemon::start_with(&allowed, &[]);
        let (figures, halts) = (Arc::default(), Arc::default());
        let client = |number| Client::new(&daemon, seed, number, &figures, &halts);
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            daemon,
            figures,
            halts,
            history: History::default(),
        }
    }

    fn run(mut self, length: Duration) -> Result<(), ()> {
        // The first round makes what a process makes once: stacks, the allocator's arenas.
        self.round();
        let base = self.settled(None);
        let start = Instant::now();
        while start.elapsed() < length {
            self.round();
            self.settled(Some(base));
        }
        let figures = self.figures.lock().expect("no panic");
        figures.print(base);
        if figures.faults.is_empty() {
            Ok(())
        } else {
            Err(())
        }
    }

    /// All clients at once; they have closed their connections when it ends.
    fn round(&mut self) {
        let end = Instant::now() + ROUND;
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(move || client.act_until(end));
            }
        });
    }

    /// Stops everything, waits until the daemon holds no more than `base`, and notes what it holds.
    fn settled(&mut self, base: Option<Footprint>) -> Footprint {
        self.rearm();
        let start = Instant::now();
        let answer = self.daemon.stop_all();
        let stopped_in = start.elapsed();
        let mut now = Footprint::of(&self.daemon);
        let mut figures = self.figures.lock().expect("no panic");
        if answer.status != 200 {
            figures.fault(format!("stop-all was answered with {answer:?}"));
        }
        let wanted = base.unwrap_or(Footprint::NOTHING_RUNS);
        while start.elapsed() < stopped_in + BOOKKEEPING && !now.excess(&wanted).is_empty() {
            std::thread::sleep(Duration::from_millis(10));
            now = Footprint::of(&self.daemon);
        }
        figures.round(stopped_in, start.elapsed(), now);
        for excess in now.excess(&wanted) {
            figures.fault(excess);
        }
        for fault in rails::check(&self.daemon) {
            figures.fault(fault);
        }
        for fault in self.history.read_on(&self.daemon, &mut figures) {
            figures.fault(fault);
        }
        now
    }

    /// Ends a halt in which the clients may have left the daemon, if the daemon says so too.
    fn rearm(&self) {
        let mut halts = self.halts.lock().expect("no panic");
        let possible = halts.since(Instant::now());
        let is_halted = self.daemon.session()["halted_since"].is_string();
        let armed = self.daemon.admin_post("/api/v1/rearm", "");
        *halts = Halts::default();
        if (is_halted && !possible.on) || (!is_halted && !possible.off) || armed.status != 200 {
            let fault = format!("halted: {is_halted}, where {possible:?}; rearmed: {armed:?}");
            self.figures.lock().expect("no panic").fault(fault);
        }
    }
}
