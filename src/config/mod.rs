//! The configuration: defaults < file < `MOCKSERVER_*` variables < flags.
//!
//! Every key, range and default is defined once, in `schema.rs`; `sources.rs` merges the sources. Everything that
//! is wrong is reported in one message.

mod environment;
mod file;
mod schema;
mod sources;
#[cfg(test)]
mod tests;
mod yaml;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;
use serde_json::{Map, Value};

use crate::boot::profile::BootProfile;
use crate::exam::preset::ExamSpec;
use crate::input::limits::Limits;
use crate::traffic::TrafficSpec;
use crate::workload::WorkloadSpec;

pub(crate) use environment::{Env, IgnoredVariable, ProcessEnv, settings_of};
pub(crate) use file::STDIN;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The name of the service, in its logs and metrics.
    pub name: String,
    /// The version of the service, in its metrics.
    pub version: String,
    /// The address of the service listener.
    pub host: IpAddr,
    /// The port of the service listener; 0 takes a free one.
    pub port: u16,
    /// Where and how logs are written.
    pub log: Log,
    /// The listener that no fault touches.
    pub admin: Admin,
    /// Who may change anything.
    pub auth: Auth,
    /// Whether the service listener and the log are those of an ordinary service.
    pub blind: bool,
    /// Where files may be written.
    pub data_dir: PathBuf,
    /// Where traces go.
    pub otel: Otel,
    /// How a version that is bad from birth behaves.
    pub boot: BootProfile,
    /// What a request may ask for.
    pub limits: Limits,
    /// The service's own work; none without.
    pub workload: Option<WorkloadSpec>,
    /// What clients ask, this service or another; none without.
    pub traffic: Option<TrafficSpec>,
    /// What drills can be made of.
    pub exam: ExamSpec,
}

impl Config {
    /// The file that counts the boots of a crash loop.
    pub(crate) fn boot_count(&self) -> PathBuf {
        let file = match self.blind {
            // In a folder that others cannot read.
            true => "ledger/boots",
            false => "crash-loop-boots",
        };
        self.data_dir.join(file)
    }

    /// Whether each request to the service has a line in the log at level `info`.
    pub(crate) fn logs_requests(&self) -> bool {
        self.log.requests.unwrap_or(self.workload.is_some())
    }
}

/// Where and how logs are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Log {
    /// A file for the daemon's own lines, rotated like the log; the log has them where there is none.
    pub admin: Option<PathBuf>,
    /// Standard output or files.
    pub mode: LogMode,
    /// The least severe level that is written.
    pub level: tracing::Level,
    /// The folder of the log files.
    pub path: PathBuf,
    /// Text or JSON lines.
    pub format: LogFormat,
    /// How many days log files are kept, today included; 0 keeps all.
    pub keep_days: u32,
    /// The most that all log files together may have, in MiB; 0 is no bound.
    pub max_mb: u32,
    /// Whether each request to the service has a line at level `info`; none as the workload is.
    pub requests: Option<bool>,
    /// Share of the requests that do not fail that have one.
    pub request_share: f64,
}

/// Where logs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogMode {
    /// Standard output.
    Console,
    /// Files under `Log.Path`, at least one a day.
    File,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The listener that no fault touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Its address.
    pub host: IpAddr,
    /// Its port; none turns it off.
    pub port: Option<u16>,
}

/// Access to the API. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Auth {
    /// The bearer token that every change must carry; none leaves the API open.
    pub token: Option<String>,
    /// The one of a release system, which may only report what it did.
    pub release_token: Option<String>,
    /// The one of a candidate, who may only see the open drill and answer it.
    pub candidate_token: Option<String>,
    /// Whether the control API's reads must carry it too.
    pub protect_reads: bool,
    /// Names, beside addresses and localhost, by which the browsers of people may know the daemon.
    pub allowed_hosts: Vec<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("release_token", &self.release_token.as_ref().map(|_| "…"))
            .field(
                "candidate_token",
                &self.candidate_token.as_ref().map(|_| "…"),
            )
            .field("protect_reads", &self.protect_reads)
            .field("allowed_hosts", &self.allowed_hosts)
            .finish()
    }
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Otel {
    /// The URL of an OpenTelemetry collector, below which `/v1/traces` is; none sends no traces.
    pub endpoint: Option<Uri>,
}

/// What the command line says; it wins over everything else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// The configuration file; it must exist when it is named.
    pub file: Option<PathBuf>,
    /// `Host`.
    pub host: Option<String>,
    /// `Port`.
    pub port: Option<String>,
    /// `Log.Level`.
    pub log_level: Option<String>,
    /// `Admin.Host`.
    pub admin_host: Option<String>,
    /// `Admin.Port`.
    pub admin_port: Option<String>,
    /// `DataDir`.
    pub data_dir: Option<String>,
}

/// Everything that is wrong with a configuration, as one message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(String);

/// A configuration that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Refused {
    error: ConfigError,
    /// How to write the error, as far as that is known.
    pub log_format: LogFormat,
}

/// A good configuration and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The values.
    pub config: Config,
    /// Where the file was read; none when the default file is missing.
    pub file: Option<String>,
    /// The values as a file would hold them, with the tokens hidden.
    pub effective: Map<String, Value>,
    /// Whether the boot profile was to be ignored.
    pub safe_boot: bool,
    /// The variables that set nothing, though their names say that they might.
    pub ignored_variables: Vec<IgnoredVariable>,
}

impl Loaded {
    /// The values as a configuration file.
    pub(crate) fn as_yaml(&self) -> String {
        // Texts, numbers and mappings always have a form in YAML.
        serde_yaml::to_string(&self.effective).unwrap_or_default()
    }
}

impl Flags {
    /// Each flag with the key that it sets and its value, if it is given.
    pub(crate) fn set(&self) -> [(&'static [&'static str], &'static str, &Option<String>); 6] {
        [
            (&["Host"], "--host", &self.host),
            (&["Port"], "--port", &self.port),
            (&["Log", "Level"], "--log-level", &self.log_level),
            (&["Admin", "Host"], "--admin-host", &self.admin_host),
            (&["Admin", "Port"], "--admin-port", &self.admin_port),
            (&["DataDir"], "--data-dir", &self.data_dir),
        ]
    }
}
