//! The variables of the environment: which there are, and which of them are ours.

use std::ffi::OsString;

use serde_json::Value;

use crate::json::StrictValue;

/// The environment, as a parameter, so that tests need not change the process's own.
pub trait Env {
    /// The value of the variable `name`.
    fn get(&self, name: &str) -> Option<OsString>;
    /// The names of all variables.
    fn names(&self) -> Vec<OsString>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn names(&self) -> Vec<OsString> {
        std::env::vars_os().map(|(name, _)| name).collect()
    }
}

/// The variables and the keys that they set; of two that set the same, the later one wins.
pub(super) const VARIABLES: &[(&str, &[&str])] = &[
    ("MOCKSERVER_NAME", &["Name"]),
    ("MOCKSERVER_VERSION", &["Version"]),
    ("MOCKSERVER_HOST", &["Host"]),
    ("MOCKSERVER_PORT", &["Port"]),
    ("MOCKSERVER_LOG_MODE", &["Log", "Mode"]),
    ("MOCKSERVER_LOG_LEVEL", &["Log", "Level"]),
    ("MOCKSERVER_LOG_PATH", &["Log", "Path"]),
    ("MOCKSERVER_LOG_FORMAT", &["Log", "Format"]),
    ("MOCKSERVER_ADMIN_HOST", &["Admin", "Host"]),
    ("MOCKSERVER_ADMIN_PORT", &["Admin", "Port"]),
    ("MOCKSERVER_AUTH_TOKEN", &["Auth", "Token"]),
    ("MOCKSERVER_AUTH_TOKEN_FILE", &["Auth", "TokenFile"]),
    ("MOCKSERVER_AUTH_PROTECT_READS", &["Auth", "ProtectReads"]),
    ("MOCKSERVER_AUTH_ALLOWED_HOSTS", &["Auth", "AllowedHosts"]),
    ("MOCKSERVER_DATA_DIR", &["DataDir"]),
    // The name that every OpenTelemetry SDK knows and that operators of Kubernetes set for all pods.
    ("OTEL_EXPORTER_OTLP_ENDPOINT", &["Otel", "Endpoint"]),
    ("MOCKSERVER_OTEL_ENDPOINT", &["Otel", "Endpoint"]),
    ("MOCKSERVER_LIMITS_CPU_PERCENT", &["Limits", "CpuPercent"]),
    ("MOCKSERVER_LIMITS_CPU_CORES", &["Limits", "CpuCores"]),
    ("MOCKSERVER_LIMITS_MEMORY_MB", &["Limits", "MemoryMb"]),
    (
        "MOCKSERVER_LIMITS_MEMORY_PERCENT",
        &["Limits", "MemoryPercent"],
    ),
    (
        "MOCKSERVER_LIMITS_DISK_MB_PER_SECOND",
        &["Limits", "DiskMbPerSecond"],
    ),
    (
        "MOCKSERVER_LIMITS_TASKS_PER_SECOND",
        &["Limits", "TasksPerSecond"],
    ),
    ("MOCKSERVER_LIMITS_TASKS", &["Limits", "Tasks"]),
    ("MOCKSERVER_LIMITS_LATENCY_MS", &["Limits", "LatencyMs"]),
    ("MOCKSERVER_LIMITS_MAX_DURATION", &["Limits", "MaxDuration"]),
    (
        "MOCKSERVER_LIMITS_DEFAULT_DURATION",
        &["Limits", "DefaultDuration"],
    ),
    (
        "MOCKSERVER_LIMITS_CONCURRENT_SCENARIOS",
        &["Limits", "ConcurrentScenarios"],
    ),
    ("MOCKSERVER_LIMITS_SCENARIOS", &["Limits", "Scenarios"]),
];

/// The variables that set the token, in two ways.
pub(super) const TOKEN_VARIABLES: [&str; 2] =
    ["MOCKSERVER_AUTH_TOKEN", "MOCKSERVER_AUTH_TOKEN_FILE"];

/// All there is of `Boot`, as JSON; it wins over the file as a whole.
pub(super) const BOOT: &str = "MOCKSERVER_BOOT";
/// Ignores `Boot` from wherever it comes.
pub(super) const SAFE_BOOT: &str = "MOCKSERVER_SAFE_BOOT";

/// An empty text is no profile, so that a template may leave it out.
pub(super) fn read_boot(text: &str) -> Result<Value, String> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    match serde_json::from_str::<StrictValue>(text) {
        Ok(StrictValue(value)) => Ok(value),
        Err(error) => Err(format!("must be the members of Boot as JSON: {error}")),
    }
}

pub(super) fn read_safe_boot(text: Option<&str>) -> Result<bool, String> {
    match text {
        Some("1" | "true") => Ok(true),
        None | Some("" | "0" | "false") => Ok(false),
        Some(other) => Err(format!("must be 1 or 0, not {other:?}")),
    }
}

/// The variables of `env` that are named like ours and set nothing. They are no reason to refuse: the
/// examples' clients have some such as `MOCKSERVER_URL`, which may stand in the same shell.
pub(super) fn unknown_variables(env: &dyn Env) -> Vec<String> {
    let is_ours = |name: &str| {
        let variables = VARIABLES.iter().map(|(variable, _)| *variable);
        variables.chain([BOOT, SAFE_BOOT]).any(|ours| ours == name)
    };
    let names = env.names().into_iter();
    let mut unknown: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("MOCKSERVER_") && !is_ours(name) && !is_link_name(name))
        .filter(|name| {
            let value = env.get(name).and_then(|value| value.into_string().ok());
            !(name.ends_with("_PORT") && value.is_some_and(|value| is_link(&value)))
        })
        .collect();
    unknown.sort_unstable();
    unknown
}

/// Whether `name` is one that Kubernetes gives to the addresses of a Service, such as
/// `MOCKSERVER_SERVICE_PORT_HTTP` and `MOCKSERVER_PORT_8888_TCP_ADDR`.
fn is_link_name(name: &str) -> bool {
    let numbered = |after: &str| after.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split("_PORT_").skip(1).any(numbered)
}

/// Whether `value` is the address of a Service, as Kubernetes puts it in the environment of pods.
pub(super) fn is_link(value: &str) -> bool {
    let protocols = ["tcp://", "udp://", "sctp://"];
    protocols.iter().any(|protocol| value.starts_with(protocol))
}
