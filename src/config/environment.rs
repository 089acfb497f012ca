//! The variables of the environment: which there are, and which of them are ours.

use std::ffi::OsString;

use serde_json::Value;

use crate::input::json;
use crate::input::suggest::did_you_mean;

/// The environment, as a parameter, so that tests need not change the process's own.
pub(crate) trait Env {
    /// The value of the variable `name`.
    fn get(&self, name: &str) -> Option<OsString>;
    /// The names of all variables.
    fn names(&self) -> Vec<OsString>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessEnv;

impl Env for ProcessEnv {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn names(&self) -> Vec<OsString> {
        std::env::vars_os().map(|(name, _)| name).collect()
    }
}

/// One key of the configuration, as the environment and the flags set it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// The key and its sections, such as `["Log", "Level"]`.
    pub(crate) path: Vec<String>,
    /// The variable that sets it: its path in upper case, such as `MOCKSERVER_LOG_LEVEL`.
    pub(crate) variable: String,
    /// JSON Schema of its value.
    pub(crate) schema: Value,
}

impl Setting {
    /// The value as a file would hold it, since the environment and the flags know only text. What does not
    /// parse stays a text, and is refused where it is read.
    pub(super) fn typed(&self, text: String) -> Value {
        let kinds = &self.schema["type"];
        if self.may_be_json() && text.trim_start().starts_with(['{', '[']) {
            return json::parse(text.as_bytes()).unwrap_or(Value::String(text));
        }
        // Of a time, which may be a text, the first.
        let parsed = match kinds.get(0).unwrap_or(kinds).as_str() {
            Some("array") => return text.split(',').map(str::trim).collect(),
            Some("boolean") => boolean(&text).map(Value::from),
            Some("integer") => text.parse::<u64>().ok().map(Value::from),
            Some("number") => {
                let number = text.parse::<f64>().ok();
                // JSON has no infinities.
                let number = number.filter(|n| n.is_finite());
                json::tiny(&text).or(number).map(Value::from)
            }
            _ => None,
        };
        parsed.unwrap_or(Value::String(text))
    }

    /// Whether it is or may be an object, or a list of objects.
    fn may_be_json(&self) -> bool {
        let mut kinds = self.schema["type"].as_array().into_iter().flatten();
        self.schema.get("anyOf").is_some()
            || kinds.any(|kind| kind == "object")
            || self.schema["items"]["type"] == "object"
    }

    /// Writes each word of `value` as the schema does: the case of letters does not count.
    pub(super) fn normalise(&self, value: &mut Value) {
        normalise(&self.schema, value);
    }

    /// Whether an empty variable is a value, and not an unset one.
    pub(super) fn may_be_empty(&self) -> bool {
        let path = self.path.iter().map(String::as_str);
        // A token that was forgotten in a template must not open the API.
        let mut keys = TOKEN_KEYS.iter().flatten();
        path.clone().eq(["Otel", "Endpoint"]) || keys.any(|key| path.clone().eq(["Auth", *key]))
    }
}

fn normalise(schema: &Value, value: &mut Value) {
    match value {
        Value::Array(items) => {
            for item in items {
                normalise(&schema["items"], item);
            }
        }
        Value::String(text) => {
            let mut words = schema["enum"].as_array().into_iter().flatten();
            let is_it = |word: &&Value| {
                word.as_str()
                    .is_some_and(|word| word.eq_ignore_ascii_case(text))
            };
            if let Some(word) = words.find(is_it) {
                *value = word.clone();
            }
        }
        _ => {}
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// Every key that one variable sets, in the order of `schema`. `Boot` has a variable for all of it, and so has what can
/// be given by a name or as an object.
pub(crate) fn settings_of(schema: &Value) -> Vec<Setting> {
    let mut settings = Vec::new();
    collect(schema, &[], &mut settings);
    settings
}

fn collect(schema: &Value, at: &[String], settings: &mut Vec<Setting>) {
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        let path = [at, std::slice::from_ref(key)].concat();
        if key == "Boot" {
            continue;
        }
        if schema["type"] == "object" {
            collect(schema, &path, settings);
            continue;
        }
        settings.push(Setting {
            variable: variable_of(&path),
            path,
            schema: schema.clone(),
        });
    }
}

/// `["Limits", "CpuPercent"]` is `MOCKSERVER_LIMITS_CPU_PERCENT`.
fn variable_of(path: &[String]) -> String {
    let mut name = "MOCKSERVER".to_owned();
    for key in path {
        for c in key.chars() {
            if c.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
    }
    name
}

/// The name that every OpenTelemetry SDK knows and that operators of Kubernetes set for all pods.
pub(super) const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The keys of `Auth` that set a token, each in two ways.
pub(super) const TOKEN_KEYS: [[&str; 2]; 3] = [
    ["Token", "TokenFile"],
    ["ReleaseToken", "ReleaseTokenFile"],
    ["CandidateToken", "CandidateTokenFile"],
];

/// All there is of `Boot`, as JSON; it wins over the file as a whole.
pub(super) const BOOT: &str = "MOCKSERVER_BOOT";
/// Ignores `Boot` from wherever it comes.
pub(super) const SAFE_BOOT: &str = "MOCKSERVER_SAFE_BOOT";

pub(super) fn read_boot(text: &str) -> Result<Value, String> {
    json::parse(text.as_bytes())
        .map_err(|error| format!("must be the members of Boot as JSON: {error}"))
}

pub(super) fn read_safe_boot(text: &str) -> Result<bool, String> {
    boolean(text).ok_or_else(|| format!("must be 1 or 0, not {text:?}"))
}

/// A variable of the environment that sets nothing, though its name says that it might.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IgnoredVariable {
    pub(crate) name: String,
    /// Why, as the end of a sentence.
    pub(crate) because: String,
}

/// The variables of `env` that are named like ours and set nothing, in the order of the alphabet. They are no reason to
/// refuse: the examples' clients use some, such as `MOCKSERVER_URL`, in the same shell.
pub(super) fn unknown_variables(env: &dyn Env, settings: &[Setting]) -> Vec<IgnoredVariable> {
    let ours = || {
        let variables = settings.iter().map(|setting| setting.variable.as_str());
        variables.chain([BOOT, SAFE_BOOT])
    };
    let is_ours = |name: &str| ours().any(|ours| ours == name);
    let names = env.names().into_iter();
    let mut unknown: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| {
            name.starts_with("MOCKSERVER_") && !is_ours(name) && !is_service_link_name(name)
        })
        .filter(|name| {
            let value = env.get(name).and_then(|value| value.into_string().ok());
            !(name.ends_with("_PORT") && value.is_some_and(|value| is_service_link(&value)))
        })
        .collect();
    unknown.sort_unstable();
    let ignored = |name: String| {
        let meant = did_you_mean(&name, ours());
        let because = format!("mockserver has no such variable{meant}");
        IgnoredVariable { name, because }
    };
    unknown.into_iter().map(ignored).collect()
}

/// Whether `name` is one that Kubernetes gives to the addresses of a Service, such as
/// `MOCKSERVER_SERVICE_PORT_HTTP` and `MOCKSERVER_PORT_8888_TCP_ADDR`.
fn is_service_link_name(name: &str) -> bool {
    let numbered = |after: &str| after.starts_with(|c: char| c.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split("_PORT_").skip(1).any(numbered)
}

/// Whether `value` is the address of a Service, as Kubernetes puts it in the environment of pods.
pub(super) fn is_service_link(value: &str) -> bool {
    let protocols = ["tcp://", "udp://", "sctp://"];
    protocols.iter().any(|protocol| value.starts_with(protocol))
}
