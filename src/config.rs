//! The configuration: defaults < file < `MOCKSERVER_*` variables < flags.
//!
//! The file's keys are those of `Config::read`, which is also where every range and default stands.
//! All that is wrong is told in one message.

mod environment;
mod file;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::Uri;
use serde_json::{Map, Value};

use crate::boot::profile::Boot;
use crate::client;
use crate::fields::{FieldError, Fields};
use crate::limits::Limits;
use crate::scenarios;
use environment::{
    BOOT, SAFE_BOOT, TOKEN_VARIABLES, VARIABLES, is_link, read_boot, read_safe_boot,
    unknown_variables,
};
use file::{read_bounded, read_file};

pub use environment::{Env, ProcessEnv};
pub use file::DEFAULT_FILE;

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
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
    /// Where files may be written.
    pub data_dir: PathBuf,
    /// Where traces go.
    pub otel: Otel,
    /// How a version that is bad from birth behaves.
    pub boot: Boot,
    /// What a request may ask for.
    pub limits: Limits,
}

/// Where and how logs are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Standard output or files.
    pub mode: LogMode,
    /// The least severe level that is written.
    pub level: tracing::Level,
    /// The folder of the log files.
    pub path: PathBuf,
    /// Text or JSON lines.
    pub format: LogFormat,
}

/// Where logs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogMode {
    /// Standard output.
    Console,
    /// One file a day under `Log.Path`.
    File,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The listener that no fault touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address.
    pub host: IpAddr,
    /// Its port; none turns it off.
    pub port: Option<u16>,
}

/// Who may change anything. Never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// The bearer token that every change must carry; none leaves the API open.
    pub token: Option<String>,
    /// Whether the control API's reads must carry it too.
    pub protect_reads: bool,
    /// Names, beside addresses and localhost, by which the browsers of people may know the daemon.
    pub allowed_hosts: Vec<String>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("protect_reads", &self.protect_reads)
            .field("allowed_hosts", &self.allowed_hosts)
            .finish()
    }
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Otel {
    /// The URL of an OpenTelemetry collector, below which `/v1/traces` is; none sends no traces.
    pub endpoint: Option<Uri>,
}

/// What the command line says; it wins over everything else.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The configuration file; it must exist when it is named.
    pub file: Option<PathBuf>,
    /// `Host`.
    pub host: Option<String>,
    /// `Port`.
    pub port: Option<String>,
    /// `Log.Level`.
    pub log_level: Option<String>,
}

/// All that is wrong with a configuration, as one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A good configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read; none when the default file is missing.
    pub file: Option<PathBuf>,
    /// The values as they would stand in a file, with the token hidden.
    pub effective: Map<String, Value>,
    /// Whether the boot profile was to be ignored.
    pub safe_boot: bool,
    /// The variables that are named like ours and set nothing, in the order of the alphabet.
    pub unknown_variables: Vec<String>,
}

impl Loaded {
    /// The values as a configuration file.
    #[must_use]
    pub fn as_yaml(&self) -> String {
        // Texts, numbers and mappings always have a form in YAML.
        serde_yaml::to_string(&self.effective).unwrap_or_default()
    }
}

impl Config {
    /// Reads file, environment and flags into one checked configuration.
    ///
    /// # Errors
    /// Every fault that was found, in one message.
    pub fn load(flags: &Flags, env: &dyn Env) -> Result<Loaded, ConfigError> {
        let (file, mut values) = read_file(flags.file.as_deref())?;
        let token_is_set = TOKEN_VARIABLES.iter().any(|name| env.get(name).is_some());
        if let Some(Value::Object(auth)) = values.get_mut("Auth").filter(|_| token_is_set) {
            // The file may name the token in the other of the two ways.
            auth.retain(|key, _| !["Token", "TokenFile"].contains(&key.as_str()));
        }
        let mut faults = Vec::new();
        let mut text_of = |variable: &'static str| match env.get(variable)?.into_string() {
            Ok(text) => Some(text),
            Err(_) => {
                faults.push((variable, "must be valid UTF-8".to_owned()));
                None
            }
        };
        let mut sources: Vec<Source<'_>> = Vec::new();
        for (variable, path) in VARIABLES {
            // Kubernetes sets MOCKSERVER_PORT=tcp://… in every pod beside a Service of that name.
            let may_be_link = path.ends_with(&["Port"]);
            let value = text_of(variable).filter(|value| !(may_be_link && is_link(value)));
            if let Some(value) = value {
                set(&mut values, path, value.clone());
                sources.push(Source {
                    path,
                    by: variable,
                    text: value,
                });
            }
        }
        let (safe_boot, profile) = (text_of(SAFE_BOOT), text_of(BOOT));
        let by_flag: [(&[&str], &str, &Option<String>); 3] = [
            (&["Host"], "--host", &flags.host),
            (&["Port"], "--port", &flags.port),
            (&["Log", "Level"], "--log-level", &flags.log_level),
        ];
        for (path, flag, value) in by_flag {
            if let Some(value) = value {
                set(&mut values, path, value.clone());
                sources.push(Source {
                    path,
                    by: flag,
                    text: value.clone(),
                });
            }
        }
        let safe_boot = read_safe_boot(safe_boot.as_deref()).unwrap_or_else(|fault| {
            faults.push((SAFE_BOOT, fault));
            false
        });
        if safe_boot {
            values.remove("Boot");
        } else if let Some(text) = profile {
            match read_boot(&text) {
                Ok(boot) => drop(values.insert("Boot".to_owned(), boot)),
                Err(fault) => faults.push((BOOT, fault)),
            }
        }
        let from = file
            .as_ref()
            .map_or("built-in defaults".to_owned(), |f| f.display().to_string());
        let mut fields = Fields::new("", values);
        for (variable, fault) in faults {
            fields.reject(variable, fault);
        }
        let config = Self::read(&mut fields);
        let effective = fields
            .finish()
            .map_err(|errors| told(&from, &sources, &errors))?;
        Ok(Loaded {
            config,
            file,
            effective,
            safe_boot,
            unknown_variables: unknown_variables(env),
        })
    }

    fn read(fields: &mut Fields) -> Self {
        let any = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let path = |text: &str| any(text).map(PathBuf::from);
        let address = |text: &str| match text {
            "localhost" => Some(LOOPBACK),
            _ => text.parse::<IpAddr>().ok(),
        };
        let name = fields.field("Name", "The name of the service.").text(
            "must be a text that is not empty",
            ("mockserver".to_owned(), "mockserver"),
            any,
        );
        let version = fields
            .field("Version", "The version of the service.")
            .optional_text("must be a text that is not empty", any);
        let host = fields
            .field("Host", "Address of the service listener.")
            .text("must be an IP address", (LOOPBACK, "127.0.0.1"), address);
        let port = fields
            .field("Port", "Port of the service listener.")
            .integer(0..=u16::MAX, 8888);
        let log = fields.section("Log", "Where and how logs are written.", |log| Log {
            mode: log
                .field("Mode", "Standard output or files.")
                .choice(&[("console", LogMode::Console), ("file", LogMode::File)]),
            level: log
                .field("Level", "The least severe level that is written.")
                .choice(&[
                    ("info", tracing::Level::INFO),
                    ("debug", tracing::Level::DEBUG),
                    ("warn", tracing::Level::WARN),
                    ("error", tracing::Level::ERROR),
                ]),
            path: log.field("Path", "Folder of the log files.").text(
                "must be a path",
                ("logs".into(), "logs"),
                path,
            ),
            format: log
                .field("Format", "Text or JSON lines.")
                .choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        });
        let admin = fields.section("Admin", "The listener that no fault touches.", |admin| {
            let host = admin.field("Host", "Its address.").text(
                "must be an IP address",
                (LOOPBACK, "127.0.0.1"),
                address,
            );
            let port = admin
                .field("Port", "Its port; 0 turns it off.")
                .integer(0..=u16::MAX, 8889);
            Admin {
                host,
                port: (port > 0).then_some(port),
            }
        });
        let same_host = host == admin.host || host.is_unspecified() || admin.host.is_unspecified();
        if admin.port == Some(port) && same_host {
            fields.reject_at(
                "/Admin/Port",
                "must differ from Port: both listeners cannot have one",
            );
        }
        let auth = fields.section("Auth", "Who may change anything.", |auth| {
            let both = auth.has("Token") && auth.has("TokenFile");
            let token = auth
                .field("Token", "The bearer token that every change must carry.")
                .secret()
                .optional_text(TOKEN_RULE, token_of);
            let from_file = auth
                .field("TokenFile", "A file that holds the token.")
                .optional_text(
                    "must be a readable file that holds nothing but visible ASCII characters",
                    |file| token_of(read_bounded(Path::new(file)).ok()?.trim()),
                );
            if both {
                auth.reject("TokenFile", "give either Token or TokenFile, not both");
            }
            let token = token.or(from_file);
            let protect_reads = auth
                .field("ProtectReads", "Whether reads must carry the token too.")
                .flag(false);
            if protect_reads && token.is_none() {
                auth.reject("ProtectReads", "needs a Token or a TokenFile");
            }
            let allowed_hosts = auth.field("AllowedHosts", "Names that browsers may use.");
            Auth {
                token,
                protect_reads,
                allowed_hosts: allowed_hosts.texts("names of hosts without ports", |name| {
                    let authority: http::uri::Authority = name.parse().ok()?;
                    (authority.host() == name).then(|| name.to_owned())
                }),
            }
        });
        let data_dir = fields.field("DataDir", "Where files may be written.").text(
            "must be a path",
            ("data".into(), "data"),
            path,
        );
        let otel = fields.section("Otel", "Where traces go.", |otel| {
            let endpoint = otel
                .field(
                    "Endpoint",
                    "A collector's URL; an empty text sends no traces.",
                )
                .optional_text(
                    "must be a URL of the form http://host:port, or empty",
                    collector,
                );
            Otel {
                endpoint: endpoint.flatten(),
            }
        });
        let about = "How a version that is bad from birth behaves.";
        let boot = fields.section("Boot", about, |boot| Boot::read(boot, scenarios::ALL));
        let names: Vec<_> = scenarios::ALL.iter().map(|plugin| plugin.name()).collect();
        let limits = fields.section("Limits", "What a request may ask for.", |limits| {
            Limits::read(limits, &names)
        });
        Self {
            name,
            version: version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            host,
            port,
            log,
            admin,
            auth,
            data_dir,
            otel,
            boot,
            limits,
        }
    }
}

const TOKEN_RULE: &str =
    "must be visible ASCII characters without spaces, as a header carries them";

/// A token that a client can send.
fn token_of(text: &str) -> Option<String> {
    let can_be_sent = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    can_be_sent.then(|| text.to_owned())
}

/// The URL of a collector, or none of an empty text. It carries no password: it is shown.
fn collector(text: &str) -> Option<Option<Uri>> {
    if text.is_empty() {
        return Some(None);
    }
    let uri: Uri = text.parse().ok()?;
    let is_bare = uri.query().is_none() && !uri.authority()?.as_str().contains('@');
    (is_bare && client::address_of(&uri).is_some()).then_some(Some(uri))
}

const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Puts `value` at `path`.
fn set(values: &mut Map<String, Value>, path: &[&str], value: String) {
    let [section @ .., key] = path else { return };
    let mut at = values;
    for name in section {
        let entry = at.entry(*name).or_insert_with(|| Value::Object(Map::new()));
        if entry.is_null() {
            // A section of the file whose every line is a comment.
            *entry = Value::Object(Map::new());
        }
        // A section that is no object is told of when it is read.
        let Value::Object(inner) = entry else { return };
        at = inner;
    }
    at.insert((*key).to_owned(), typed(path, value));
}

/// The value as a file would hold it, since the environment and flags know only text. What is not what it
/// should be stays a text, and is refused where it is read.
fn typed(path: &[&str], value: String) -> Value {
    let parsed = match path {
        [.., "Port"] => value.parse::<u64>().ok().map(Value::from),
        ["Auth", "ProtectReads"] => value.parse::<bool>().ok().map(Value::from),
        ["Auth", "AllowedHosts"] | ["Limits", "Scenarios"] => {
            return value.split(',').map(str::trim).collect();
        }
        // JSON has no other numbers.
        ["Limits", _] => value
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Value::from),
        _ => None,
    };
    parsed.unwrap_or(Value::String(value))
}

/// A key that did not come from the file, what set it, and to which text.
struct Source<'s> {
    path: &'s [&'s str],
    by: &'s str,
    text: String,
}

impl Source<'_> {
    /// What is told of a bad value, with the number as it was given and not as it was understood.
    fn told(&self, detail: &str) -> String {
        let as_given = match detail.rsplit_once(", not ") {
            Some((rule, number)) if number.parse::<f64>().is_ok() => {
                format!("{rule}, not {}", self.text)
            }
            _ => detail.to_owned(),
        };
        format!("{as_given} (set by {})", self.by)
    }
}

/// The message of `errors`; of two `sources` of one key the last counts.
fn told(from: &str, sources: &[Source<'_>], errors: &[FieldError]) -> ConfigError {
    let lines: Vec<String> = errors
        .iter()
        .map(|error| {
            let key = error.pointer.trim_start_matches('/').replace('/', ".");
            let source = sources.iter().rfind(|source| source.path.join(".") == key);
            let told = source.map_or(error.detail.clone(), |source| source.told(&error.detail));
            format!("\n  {key}: {told}")
        })
        .collect();
    ConfigError(format!(
        "bad configuration ({from}, environment, flags):{}",
        lines.concat()
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::ffi::OsString;

    use proptest::prelude::*;

    use super::*;
    use crate::json::arbitrary;

    impl Env for HashMap<&str, &str> {
        fn get(&self, name: &str) -> Option<OsString> {
            HashMap::get(self, name).map(OsString::from)
        }

        fn names(&self) -> Vec<OsString> {
            self.keys().map(OsString::from).collect()
        }
    }

    fn load(
        yaml: &str,
        env: &[(&'static str, &'static str)],
        flags: Flags,
    ) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("mockserver.yaml");
        std::fs::write(&file, yaml).expect("a file");
        let env: HashMap<_, _> = env.iter().copied().collect();
        let loaded = Config::load(
            &Flags {
                file: Some(file),
                ..flags
            },
            &env,
        );
        loaded
            .map(|loaded| loaded.config)
            .map_err(|error| error.to_string())
    }

    /// What a file may hold: bytes, text, nearly YAML, and keys that are nearly ours.
    fn any_file() -> impl Strategy<Value = Vec<u8>> {
        let mut keys = vec!["Token", "TokenFile", "Mode", "Level", "Path", "Format"];
        keys.extend([
            "Name", "Version", "Host", "Port", "Log", "Admin", "Auth", "DataDir",
        ]);
        let texts = [
            "127.0.0.1",
            "::1",
            "localhost",
            "info",
            "console",
            "json",
            "a",
            "/",
        ];
        let sections = prop::collection::vec(
            (
                prop::sample::select(vec!["Log", "Admin", "Auth"]),
                arbitrary::object(&keys, &texts),
            ),
            0..3,
        );
        let ours = (arbitrary::object(&keys, &texts), sections).prop_map(|(mut file, sections)| {
            let sections = sections.into_iter();
            file.extend(sections.map(|(name, inner)| (name.to_owned(), inner.into())));
            serde_yaml::to_string(&file)
                .unwrap_or_default()
                .into_bytes()
        });
        prop_oneof![
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => "([A-Za-z]{1,4}: ?|[-&*!|>{}\\[\\]\"'#:,%@` \n\t0-9a-z]){0,20}".prop_map(Into::into),
            6 => ours,
        ]
    }

    proptest! {
        #[test]
        fn any_file_and_environment_are_taken_or_refused_in_one_message(
            file in any_file(),
            boot in prop::option::of("\\{\"(fail|hang|ready_after)\": ?(true|5|\\{\\})\\}|.{0,12}"),
            env in prop::collection::vec(
                (prop::sample::select(VARIABLES), "[0-9]{1,5}|[a-z]{0,6}|[^\\x00]{0,8}"),
                0..3,
            ),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("mockserver.yaml");
            std::fs::write(&path, file).expect("a file");
            let flags = Flags { file: Some(path.clone()), ..Flags::default() };
            let env: HashMap<&str, &str> =
                env.iter().map(|((name, _), value)| (*name, value.as_str())).collect();
            let mut env = env;
            env.extend(boot.as_deref().map(|boot| (BOOT, boot)));
            match Config::load(&flags, &env) {
                Err(error) => prop_assert!(!error.to_string().is_empty()),
                Ok(mut loaded) => {
                    std::fs::write(&path, loaded.as_yaml()).expect("a file");
                    let again = Config::load(&flags, &HashMap::new());
                    let mut again = again.expect("what is shown can be read");
                    // The token is not shown.
                    loaded.config.auth.token = None;
                    again.config.auth.token = None;
                    prop_assert_eq!(again.config, loaded.config);
                }
            }
        }
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let yaml = "Name: a\nPort: 1\nLog: {Level: error, Mode: file}\n";
        let flags = Flags {
            port: Some("3".into()),
            ..Flags::default()
        };
        let env = [("MOCKSERVER_PORT", "2"), ("MOCKSERVER_LOG_LEVEL", "debug")];
        let config = load(yaml, &env, flags).expect("good");
        assert_eq!((config.name.as_str(), config.port), ("a", 3));
        assert_eq!(config.log.level, tracing::Level::DEBUG);
        assert_eq!(config.log.mode, LogMode::File);
    }

    #[test]
    fn every_fault_is_in_one_message() {
        let yaml = "Port: 70000\nHost: here\nLog: {Level: loud}\nColour: red\nAdmin: 5\n";
        let message = load(yaml, &[], Flags::default()).expect_err("five faults");
        for part in [
            "Port: must be",
            "Host: must be",
            "Log.Level: must be",
            "Colour: unknown key",
            "Admin: must be an object",
        ] {
            assert!(message.contains(part), "{part} is missing in {message}");
        }
    }

    #[test]
    fn a_bad_number_is_told_as_it_was_given() {
        for (variable, text, told) in [
            ("MOCKSERVER_LIMITS_CPU_PERCENT", "0", "not 0 (set by"),
            ("MOCKSERVER_LIMITS_MEMORY_MB", "-0.50", "not -0.50 (set by"),
            ("MOCKSERVER_LIMITS_LATENCY_MS", "1e9", "not 1e9 (set by"),
            ("MOCKSERVER_LIMITS_CPU_CORES", "NaN", "not \"NaN\" (set by"),
            ("MOCKSERVER_PORT", "070000", "not 070000 (set by"),
            ("MOCKSERVER_PORT", "-1", "not \"-1\" (set by"),
        ] {
            let message = load("", &[(variable, text)], Flags::default()).expect_err("a fault");
            let told = format!("{told} {variable})");
            assert!(message.ends_with(&told), "{told} is missing in {message}");
        }
        let message = load("Limits: {CpuPercent: 0}", &[], Flags::default());
        assert!(message.expect_err("a fault").ends_with(", not 0"));
    }

    #[test]
    fn a_bad_value_is_told_with_the_variable_or_the_flag_that_set_it() {
        let flags = Flags {
            port: Some("many".into()),
            ..Flags::default()
        };
        let env = [("MOCKSERVER_PORT", "2"), ("MOCKSERVER_HOST", "here")];
        let message = load("Name: 5", &env, flags).expect_err("three faults");
        let lines: Vec<&str> = message.lines().skip(1).collect();
        assert_eq!(lines.len(), 3, "{message}");
        for (key, by) in [
            ("Host:", "(set by MOCKSERVER_HOST)"),
            ("Port:", "(set by --port)"),
            ("Name:", "not 5"),
        ] {
            let line = lines.iter().find(|line| line.trim().starts_with(key));
            assert!(line.is_some_and(|line| line.ends_with(by)), "{message}");
        }
    }

    #[test]
    fn a_kubernetes_service_link_is_not_a_port() {
        let env = [("MOCKSERVER_PORT", "tcp://10.0.0.1:8888")];
        assert_eq!(load("", &env, Flags::default()).expect("good").port, 8888);
        assert!(load("", &[("MOCKSERVER_PORT", "eighty")], Flags::default()).is_err());
    }

    #[test]
    fn only_a_port_may_be_a_kubernetes_service_link() {
        let env = [("MOCKSERVER_AUTH_TOKEN", "tcp://s3cret")];
        let config = load("", &env, Flags::default()).expect("good");
        assert_eq!(config.auth.token.as_deref(), Some("tcp://s3cret"));
        let env = [("MOCKSERVER_HOST", "tcp://10.0.0.1:8888")];
        assert!(load("", &env, Flags::default()).is_err());
    }

    #[test]
    fn a_variable_with_a_typo_in_its_name_is_told_and_a_service_link_is_not() {
        let links = [
            "MOCKSERVER_SERVICE_HOST",
            "MOCKSERVER_SERVICE_PORT",
            "MOCKSERVER_SERVICE_PORT_HTTP",
            "MOCKSERVER_PORT_8888_TCP",
            "MOCKSERVER_PORT_8888_TCP_PROTO",
            "MOCKSERVER_PORT_8888_TCP_PORT",
            "MOCKSERVER_PORT_8888_TCP_ADDR",
            "MOCKSERVER_PODS_SERVICE_HOST",
            "MOCKSERVER_PODS_PORT_8889_TCP",
        ];
        let typos = [
            "MOCKSERVER_ADMN_PORT",
            "MOCKSERVER_BOOOT",
            "MOCKSERVER_LIMITS_CPU_PERCNT",
        ];
        let ours = ["MOCKSERVER_NAME", SAFE_BOOT, BOOT, "PATH"];
        let names = links.iter().chain(&typos).chain(&ours);
        let mut env: HashMap<&str, &str> = names.map(|name| (*name, "0")).collect();
        env.insert("MOCKSERVER_PODS_PORT", "tcp://10.0.0.2:8889");
        assert_eq!(unknown_variables(&env), typos);
    }

    #[test]
    fn a_token_that_no_client_can_send_is_refused() {
        for bad in ["", "   ", "abc\n", "a b", "t\u{f6}ken", "\u{fffd}"] {
            let env = [("MOCKSERVER_AUTH_TOKEN", bad)];
            let message = load("", &env, Flags::default()).expect_err(bad);
            assert!(message.contains("Auth.Token: must be"), "{message}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "one\ntwo\n").expect("a file");
        let yaml = format!("Auth: {{TokenFile: {}}}", file.display());
        let message = load(&yaml, &[], Flags::default()).expect_err("two lines");
        assert!(message.contains("Auth.TokenFile: must be"), "{message}");
    }

    #[test]
    fn a_variable_that_is_not_unicode_is_refused_by_its_name() {
        struct NotUnicode;
        impl Env for NotUnicode {
            fn get(&self, name: &str) -> Option<OsString> {
                use std::os::unix::ffi::OsStringExt;
                (name == "MOCKSERVER_AUTH_TOKEN").then(|| OsString::from_vec(vec![0xff, 0xfe]))
            }

            fn names(&self) -> Vec<OsString> {
                vec!["MOCKSERVER_AUTH_TOKEN".into()]
            }
        }
        let error = Config::load(&Flags::default(), &NotUnicode).expect_err("no text");
        let message = error.to_string();
        assert!(
            message.contains("MOCKSERVER_AUTH_TOKEN: must be valid UTF-8"),
            "{message}"
        );
    }

    #[test]
    fn a_named_file_must_exist_and_the_default_one_need_not() {
        let env = HashMap::new();
        let named = Flags {
            file: Some("/no/such/file.yaml".into()),
            ..Flags::default()
        };
        assert!(Config::load(&named, &env).is_err());
        let config = Config::read(&mut Fields::new("", Map::new()));
        assert_eq!(
            (config.host, config.port, config.admin.port),
            (LOOPBACK, 8888, Some(8889))
        );
    }

    #[test]
    fn a_repeated_key_is_refused() {
        assert!(load("Port: 1\nPort: 2\n", &[], Flags::default()).is_err());
    }

    #[test]
    fn the_shipped_file_is_the_defaults_on_every_address() {
        let shipped = include_str!("../etc/mockserver.yaml");
        let mut expected = load("", &[], Flags::default()).expect("the defaults");
        expected.host = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        assert_eq!(load(shipped, &[], Flags::default()), Ok(expected));
    }

    #[test]
    fn every_key_stands_in_the_shipped_file_with_a_comment() {
        let mut fields = Fields::new("", Map::new());
        Config::read(&mut fields);
        let lines: Vec<&str> = include_str!("../etc/mockserver.yaml").lines().collect();
        let schema = fields.schema();
        let mut keys = Vec::new();
        for (key, spec) in schema["properties"].as_object().expect("keys") {
            keys.push(key.clone());
            keys.extend(
                spec["properties"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, _)| k.clone()),
            );
        }
        for key in keys {
            let at = lines.iter().position(|line| {
                line.trim_start_matches(['#', ' '])
                    .starts_with(&format!("{key}:"))
            });
            let at = at.unwrap_or_else(|| panic!("{key} is missing"));
            assert!(
                at > 0 && lines[at - 1].trim_start().starts_with("# "),
                "{key} has no comment"
            );
        }
    }

    #[test]
    fn a_variable_is_heeded_whatever_the_file_says_of_its_section() {
        let shipped = include_str!("../etc/mockserver.yaml");
        let values = ["/", "warn", "json", "file", "127.0.0.2", "7", "t0ken"];
        for (variable, path) in VARIABLES {
            for yaml in [shipped, "Log:\nAdmin:\nAuth:\n", ""] {
                let mut changed = false;
                for value in values {
                    let before = load(yaml, &[], Flags::default());
                    let after = load(yaml, &[(variable, value)], Flags::default());
                    changed |= after.is_err() || after != before;
                }
                assert!(changed, "{variable} sets {path:?}");
            }
        }
        let token = [("MOCKSERVER_AUTH_TOKEN", "t0ken")];
        let config = load(shipped, &token, Flags::default()).expect("good");
        assert_eq!(config.auth.token.as_deref(), Some("t0ken"));
        let other_way = "Auth: {TokenFile: /no/such/file}";
        let config = load(other_way, &token, Flags::default()).expect("the variable wins");
        assert_eq!(config.auth.token.as_deref(), Some("t0ken"));
    }

    #[test]
    fn traces_go_to_a_plain_url_and_ours_wins_over_the_common_variable() {
        let endpoint = |yaml, env: &[(&'static str, &'static str)]| {
            let config = load(yaml, env, Flags::default());
            config.map(|config| config.otel.endpoint.map(|uri| uri.to_string()))
        };
        let file = "Otel: {Endpoint: 'http://a:4318'}";
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318/base");
        let ours = ("MOCKSERVER_OTEL_ENDPOINT", "http://[::1]:4318");
        let off = ("MOCKSERVER_OTEL_ENDPOINT", "");
        assert_eq!(endpoint("", &[]), Ok(None));
        assert_eq!(endpoint(file, &[]), Ok(Some("http://a:4318/".to_owned())));
        assert_eq!(endpoint(file, &[common]), Ok(Some(common.1.to_owned())));
        let both = endpoint(file, &[common, ours]);
        assert_eq!(both, Ok(Some("http://[::1]:4318/".to_owned())));
        assert_eq!(endpoint(file, &[common, off]), Ok(None));
        for bad in [
            "a:4318",
            "https://a:4318",
            "http://",
            "http://user:pass@a:4318",
            "http://a:4318/?key=1",
            "/v1/traces",
        ] {
            let message = endpoint("", &[("MOCKSERVER_OTEL_ENDPOINT", bad)]);
            let message = message.expect_err(bad);
            assert!(message.contains("Otel.Endpoint: must be"), "{message}");
        }
    }

    #[test]
    fn the_boot_profile_of_the_environment_wins_over_the_file_as_a_whole() {
        let yaml = "Boot: {ready_after: 5, start_delay: 1}\n";
        let config = load(yaml, &[], Flags::default()).expect("good");
        assert_eq!(config.boot.ready_after.as_secs(), 5);
        let env = [(BOOT, r#"{"start_delay": 2}"#)];
        let config = load(yaml, &env, Flags::default()).expect("good");
        let boot = (config.boot.ready_after.as_secs(), config.boot.start_delay);
        assert_eq!(boot, (0, std::time::Duration::from_secs(2)));
        for text in ["", " "] {
            let config = load(yaml, &[(BOOT, text)], Flags::default()).expect("good");
            assert_eq!(config.boot, Boot::default());
        }
        let twice = [(BOOT, r#"{"hang": true, "hang": true}"#)];
        assert!(load(yaml, &twice, Flags::default()).is_err());
    }

    #[test]
    fn a_safe_boot_looks_at_no_profile() {
        let yaml = "Boot: {colour: red}\n";
        assert!(load(yaml, &[], Flags::default()).is_err());
        for (value, ignored) in [("1", true), ("true", true), ("0", false), ("", false)] {
            let env = [(SAFE_BOOT, value), (BOOT, "{")];
            assert_eq!(
                load(yaml, &env, Flags::default()).is_ok(),
                ignored,
                "{value}"
            );
        }
        let message = load("", &[(SAFE_BOOT, "yes")], Flags::default()).expect_err("no");
        assert!(message.contains("MOCKSERVER_SAFE_BOOT: must"), "{message}");
    }

    #[test]
    fn reads_are_protected_by_a_token_or_not_at_all() {
        let yaml = "Auth: {ProtectReads: true, AllowedHosts: [a.example]}";
        let message = load(yaml, &[], Flags::default()).expect_err("no token");
        assert!(message.contains("Auth.ProtectReads: needs"), "{message}");
        let env = [("MOCKSERVER_AUTH_TOKEN", "t0ken")];
        let auth = load(yaml, &env, Flags::default()).expect("good").auth;
        assert!(auth.protect_reads);
        assert_eq!(auth.allowed_hosts, ["a.example"]);
    }

    #[test]
    fn the_environment_lists_hosts_by_commas() {
        let hosts = |list| {
            let env = [("MOCKSERVER_AUTH_ALLOWED_HOSTS", list)];
            load("", &env, Flags::default()).map(|config| config.auth.allowed_hosts)
        };
        assert_eq!(
            hosts("a.example, b").expect("good"),
            ["a.example", "b"].map(str::to_owned)
        );
        for bad in ["a.example:80", "http://a.example", "a b", "", "a/"] {
            let message = hosts(bad).expect_err(bad);
            assert!(message.contains("Auth.AllowedHosts: must be"), "{message}");
        }
    }

    #[test]
    fn a_token_is_read_from_its_file_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").expect("a file");
        let yaml = format!("Auth: {{TokenFile: {}}}", file.display());
        let config = load(&yaml, &[], Flags::default()).expect("good");
        assert_eq!(config.auth.token.as_deref(), Some("s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
