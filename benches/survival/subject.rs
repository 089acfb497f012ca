//! The daemon under a condition: a process of this machine, or one in a container.

use std::any::Any;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::ask;
use crate::container::Container;
use crate::support::proc::Process;
use crate::support::{Daemon, Usage, eventually, free_port};

/// Memory that the allocator may keep after it was used and freed.
const KEPT_MB: f64 = 4.0;
/// The share of the memory of a fault that may be kept, and the maximum of that.
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

/// Whether no more is in use than before, when `peak` was in use in between.
pub(crate) fn is_released(now: Usage, before: Usage, peak: Usage) -> bool {
    let grown_mb = (peak.resident_mb - before.resident_mb).max(0.0);
    let kept_mb = (grown_mb * KEPT_SHARE).clamp(KEPT_MB, KEPT_MOST_MB);
    now.is_within(before, kept_mb)
}

pub(crate) fn in_words(usage: Usage) -> String {
    let (threads, files, mb) = (usage.threads, usage.open_files, usage.resident_mb);
    format!("{threads} threads, {files} files, {mb:.0} MiB")
}

impl Subject {
    /// A process of this machine, started by a command that becomes it.
    pub(crate) fn on_machine(by: &[&str]) -> Self {
        let daemon = Daemon::builder().wrapper(by).start();
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

    /// Starts a set over the admin listener.
    pub(crate) fn start(&self, scenarios: &Value) {
        let body = json!({ "scenarios": scenarios }).to_string();
        let answer = ask(self.admin, "POST", "/api/v1/composite/start", &body);
        let (status, report) = answer.unwrap();
        assert_eq!(status, 200, "{report}");
    }

    /// Starts one more scenario over the admin listener.
    pub(crate) fn add(&self, name: &str, params: &Value) {
        let path = format!("/api/v1/scenarios/{name}/start");
        let answer = ask(self.admin, "POST", &path, &params.to_string());
        let (status, report) = answer.unwrap();
        assert_eq!(status, 200, "{report}");
    }

    pub(crate) fn status(&self, name: &str) -> Value {
        let path = format!("/api/v1/scenarios/{name}/status");
        ask(self.admin, "GET", &path, "").unwrap().1
    }

    /// Waits until a metric of a running scenario has reached `least`, and returns it.
    pub(crate) fn reached(&self, name: &str, metric: &str, least: f64) -> f64 {
        eventually(&format!("{metric} of {name} reaches {least}"), || {
            let value = self.status(name)["metrics"][metric].as_f64();
            value.filter(|value| *value >= least)
        })
    }

    /// Memory in use that the kernel cannot reclaim, and its limit, as the container reports them.
    pub(crate) fn memory_mb(&self) -> (f64, f64) {
        let (_, metrics) = ask(self.admin, "GET", "/metrics", "").unwrap();
        let of = |name: &str| -> f64 {
            let mut lines = metrics.as_str().unwrap().lines();
            let value = lines.find_map(|line| line.strip_prefix(name));
            let bytes = value.and_then(|value| value.trim().parse::<f64>().ok());
            bytes.unwrap() / 1_048_576.0
        };
        (
            of("container_memory_working_set_bytes "),
            of("container_spec_memory_limit_bytes "),
        )
    }

    /// Allows the process no more file descriptors than it has open, until this is dropped.
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
