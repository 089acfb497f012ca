//! The daemon that suffers: a process of this machine, or one in a container.

use std::any::Any;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::ask;
use crate::common::{Daemon, Process, eventually, free_port};
use crate::container::Container;

/// What the allocator may keep of memory that was used and freed.
const KEPT_MB: f64 = 4.0;
/// The share of the memory of a fault that may be kept, and the most of it.
const KEPT_SHARE: f64 = 0.05;
const KEPT_MOST_MB: f64 = 16.0;

pub(crate) struct Subject {
    /// The daemon's `DataDir`, as the daemon sees it.
    data_dir: String,
    pub(crate) service: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) process: Process,
    /// Keeps the daemon alive.
    _keeper: Box<dyn Any>,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    threads: usize,
    open_files: usize,
    pub(crate) resident_mb: f64,
}

impl Holding {
    /// Whether no more is held than before, when `peak` was held in between.
    pub(crate) fn is_back(self, before: Self, peak: Self) -> bool {
        let grown_mb = (peak.resident_mb - before.resident_mb).max(0.0);
        let kept_mb = (grown_mb * KEPT_SHARE).clamp(KEPT_MB, KEPT_MOST_MB);
        self.threads <= before.threads
            && self.open_files <= before.open_files
            && self.resident_mb <= before.resident_mb + kept_mb
    }
}

impl std::fmt::Display for Holding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (threads, files, mb) = (self.threads, self.open_files, self.resident_mb);
        write!(f, "{threads} threads, {files} files, {mb:.0} MiB")
    }
}

impl Subject {
    /// A process of this machine, started by a command that becomes it.
    pub(crate) fn on_machine(by: &[&str]) -> Self {
        let daemon = Daemon::start_under(by, "", &[]);
        Self {
            service: daemon.service,
            admin: daemon.admin,
            process: daemon.process(),
            data_dir: format!("{}/data", daemon.folder.path().display()),
            _keeper: Box::new(daemon),
        }
    }

    /// A process in a container with limits such as `--cpus=0.5`.
    pub(crate) fn in_container(limits: &[&str]) -> Self {
        let service: SocketAddr = ([127, 0, 0, 1], free_port()).into();
        let port = format!("MOCKSERVER_PORT={}", service.port());
        let container = Container::start(&[&["--env", &port], limits].concat());
        Self {
            service,
            admin: container.admin,
            process: container.process,
            data_dir: "/data".to_owned(),
            _keeper: Box::new(container),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.0
    }

    /// The daemon's `DataDir`, as this process reaches it whatever the daemon has mounted there.
    pub(crate) fn data_dir(&self) -> String {
        format!("/proc/{}/root{}", self.pid(), self.data_dir)
    }

    pub(crate) fn holding(&self) -> Holding {
        Holding {
            threads: self.process.threads(),
            open_files: self.process.open_files(),
            resident_mb: self.process.resident_mb(),
        }
    }

    /// Starts a set over the admin listener.
    pub(crate) fn start(&self, scenarios: &Value) {
        let body = json!({ "scenarios": scenarios }).to_string();
        let answer = ask(self.admin, "POST", "/api/v1/composite/start", &body);
        let (status, report) = answer.expect("an answer");
        assert_eq!(status, 200, "{report}");
    }

    /// Starts one more scenario over the admin listener.
    pub(crate) fn add(&self, name: &str, params: &Value) {
        let path = format!("/api/v1/scenarios/{name}/start");
        let answer = ask(self.admin, "POST", &path, &params.to_string());
        let (status, report) = answer.expect("an answer");
        assert_eq!(status, 200, "{report}");
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let path = format!("/api/v1/scenarios/{name}/status");
        ask(self.admin, "GET", &path, "").expect("an answer").1
    }

    /// Waits until a figure of a running scenario has come to `least`; gives what it is then.
    pub(crate) fn reached(&self, name: &str, metric: &str, least: f64) -> f64 {
        eventually(&format!("{metric} {least}"), || {
            let value = self.status(name)["metrics"][metric].as_f64();
            value.filter(|value| *value >= least)
        })
    }

    /// Memory in use that the kernel cannot take back, and its limit, as the container itself tells them.
    pub(crate) fn memory_mb(&self) -> (f64, f64) {
        let (_, metrics) = ask(self.admin, "GET", "/metrics", "").expect("an answer");
        let of = |name: &str| -> f64 {
            let mut lines = metrics.as_str().expect("a text").lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            let bytes = value.and_then(|value| value.trim().parse::<f64>().ok());
            bytes.expect("a number") / 1_048_576.0
        };
        (
            of("container_memory_working_set_bytes "),
            of("container_spec_memory_limit_bytes "),
        )
    }

    /// Leaves the process not one file descriptor more than it has open, until this is dropped.
    pub(crate) fn without_more_files(&self) -> impl Any + use<> {
        struct Limited(Process);
        impl Drop for Limited {
            fn drop(&mut self) {
                self.0.limit("nofile", 10_000);
            }
        }
        self.process
            .limit("nofile", self.process.open_files() as u64);
        Limited(self.process)
    }
}
