//! What the daemon holds, counted from outside.

use std::path::Path;

use crate::support::{Daemon, send_raw};

/// Memory that the allocator may keep after it was used and freed.
const KEPT_MB: f64 = 8.0;
/// The size of an event in memory as a multiple of its line on disk, as measured.
const EVENT_IN_MEMORY: f64 = 4.0;
/// The files of the ledger: eight of a mebibyte, and one more until the oldest is deleted.
const MOST_LEDGER_MB: f64 = 9.0;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) threads: usize,
    pub(crate) open_files: usize,
    /// Tasks of all runtimes.
    pub(crate) tasks: u64,
    /// Requests in flight on the service listener, the scrape included.
    pub(crate) requests: u64,
    pub(crate) resident_mb: f64,
    /// Files in `DataDir`, the ledger aside.
    pub(crate) files: usize,
    pub(crate) ledger_mb: f64,
    /// Active faults, and 1 if there is a session.
    pub(crate) running: u64,
}

impl Footprint {
    /// The limits before the first count: anything but running faults.
    pub(crate) const NOTHING_RUNS: Self = Self {
        threads: usize::MAX,
        open_files: usize::MAX,
        tasks: u64::MAX,
        requests: 1,
        resident_mb: f64::INFINITY,
        files: 0,
        ledger_mb: 0.0,
        running: 0,
    };

    pub(crate) fn of(daemon: &Daemon) -> Self {
        // Each over a new connection, so that every count sees the same number of connections.
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let on_service = send_raw(daemon.service, request);
        let on_admin = send_raw(daemon.admin, request);
        let sum = |name: &str| sum_of(&on_admin, name);
        let data = daemon.folder.path().join("data");
        let process = daemon.process();
        Self {
            threads: process.threads(),
            open_files: process.open_files(),
            tasks: sum("tokio_num_alive_tasks"),
            requests: sum_of(&on_service, "http_server_active_requests"),
            resident_mb: process.resident_mb(),
            files: names_in(&data).filter(|name| name != "ledger").count(),
            ledger_mb: megabytes_in(&data.join("ledger")),
            running: sum("mockserver_fault_active") + sum("mockserver_session_info"),
        }
    }

    /// What exceeds `base`, each as a sentence.
    pub(crate) fn excess(&self, base: &Self) -> Vec<String> {
        let counts = [
            ("threads", self.threads, base.threads),
            ("open files", self.open_files, base.open_files),
            ("tasks", self.tasks as usize, base.tasks as usize),
            ("requests", self.requests as usize, base.requests as usize),
            ("files in DataDir", self.files, base.files),
            ("faults", self.running as usize, base.running as usize),
        ];
        // The ledger in memory grows with its files until those are full.
        let ledger_mb = (self.ledger_mb - base.ledger_mb).max(0.0) * EVENT_IN_MEMORY;
        let megabytes = [
            (
                "resident",
                self.resident_mb,
                base.resident_mb + KEPT_MB + ledger_mb,
            ),
            ("in the ledger", self.ledger_mb, MOST_LEDGER_MB),
        ];
        let more = |what: &str, now: f64, most: f64| {
            (now > most).then(|| format!("{now:.1} {what}, more than {most:.1}"))
        };
        let counts = counts
            .into_iter()
            .filter_map(|(what, now, most)| more(what, now as f64, most as f64));
        let megabytes = megabytes
            .into_iter()
            .filter_map(|(what, now, most)| more(&format!("MiB {what}"), now, most));
        counts.chain(megabytes).collect()
    }
}

/// The sum of all series of a metric.
fn sum_of(metrics: &str, name: &str) -> u64 {
    let series = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with('{') || rest.starts_with(' ')).then_some(rest)
    });
    let values: Vec<f64> = series
        .map(|rest| {
            let (_, value) = rest.rsplit_once(' ').unwrap();
            value.parse().unwrap()
        })
        .collect();
    assert!(!values.is_empty(), "no metric {name} ");
    values.iter().sum::<f64>() as u64
}

fn names_in(folder: &Path) -> impl Iterator<Item = std::ffi::OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name())
}

fn megabytes_in(folder: &Path) -> f64 {
    let sizes = names_in(folder).filter_map(|name| folder.join(name).metadata().ok());
    sizes.map(|file| file.len() as f64).sum::<f64>() / 1_048_576.0
}
