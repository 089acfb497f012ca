//! Merges the sources of the configuration, and names the one that set a bad value.

use serde_json::{Map, Value};

use super::environment::{
    BOOT, IgnoredVariable, OTLP_ENDPOINT, SAFE_BOOT, Setting, TOKEN_KEYS, is_service_link,
    read_boot, read_safe_boot, settings_of, unknown_variables,
};
use super::file::{ConfigFile, read_file};
use super::schema::collector;
use super::{Config, ConfigError, Env, Flags, Loaded, LogFormat, Refused};
use crate::input::{FieldError, Fields, Found};
use crate::plugin::Registry;

impl Config {
    /// Reads file, environment and flags into one checked configuration.
    ///
    /// # Errors
    /// Everything that is wrong, in one message.
    pub(crate) fn load(
        flags: &Flags,
        env: &dyn Env,
        registry: Registry,
    ) -> Result<Loaded, Refused> {
        let mut log_format = env.get(LOG_FORMAT).map_or(LogFormat::Text, |text| {
            log_format_of(&Value::String(text.to_string_lossy().into_owned()))
        });
        Self::merged(flags, env, registry, &mut log_format)
            .map_err(|error| Refused { error, log_format })
    }

    /// Notes the format of the log as soon as it is known: an error is written in it.
    fn merged(
        flags: &Flags,
        env: &dyn Env,
        registry: Registry,
        log_format: &mut LogFormat,
    ) -> Result<Loaded, ConfigError> {
        let settings = settings_of(&Self::schema(registry));
        let mut merge = Merge {
            file: read_file(flags.file.as_deref())?,
            overrides: Vec::new(),
            faults: Vec::new(),
            ignored: unknown_variables(env, &settings),
        };
        merge.environment(&settings, env);
        let safe_boot = merge.boot(env);
        merge.flags(&settings, flags);
        merge.normalise(&settings);
        let log = merge.file.values.get("Log");
        *log_format = log_format_of(
            log.and_then(|log| log.get("Format"))
                .unwrap_or(&Value::Null),
        );

        let mut fields = Fields::new("", std::mem::take(&mut merge.file.values)).only_read();
        for (variable, fault) in std::mem::take(&mut merge.faults) {
            fields.reject(&variable, fault);
        }
        let config = Self::read(&mut fields, registry);
        let effective = fields.finish().map_err(|errors| merge.report(&errors))?;
        Ok(Loaded {
            config,
            file: merge.file.source,
            effective,
            safe_boot,
            ignored_variables: merge.ignored,
        })
    }
}

/// The variable of `Log.Format`, which is needed before it is read.
const LOG_FORMAT: &str = "MOCKSERVER_LOG_FORMAT";

/// The default where it is no format.
fn log_format_of(value: &Value) -> LogFormat {
    let is_json = value
        .as_str()
        .is_some_and(|text| text.eq_ignore_ascii_case("json"));
    if is_json {
        LogFormat::Json
    } else {
        LogFormat::Text
    }
}

/// The values of the file while other sources override them.
struct Merge {
    file: ConfigFile,
    overrides: Vec<Override>,
    /// Variables that cannot be read at all, and why.
    faults: Vec<(String, String)>,
    ignored: Vec<IgnoredVariable>,
}

/// A key that the file did not set, or not last.
struct Override {
    path: Vec<String>,
    /// The variable or the flag that set it.
    by: String,
    /// Its value, where it sets nothing but this key.
    text: Option<String>,
}

impl Merge {
    fn environment(&mut self, settings: &[Setting], env: &dyn Env) {
        for keys in TOKEN_KEYS {
            let is_its = |setting: &&Setting| {
                keys.iter()
                    .any(|key| setting.path.iter().eq(["Auth", *key]))
            };
            let mut ways = settings.iter().filter(is_its);
            let is_set = ways.any(|setting| env.get(&setting.variable).is_some());
            let auth = self.file.values.get_mut("Auth");
            if let Some(Value::Object(auth)) = auth.filter(|_| is_set) {
                // The file may set the token in the other of the two ways.
                auth.retain(|key, _| !keys.contains(&key.as_str()));
            }
        }
        for setting in settings {
            let variable = &setting.variable;
            let text = self.text_of(variable, env).filter(|text| {
                // Kubernetes sets MOCKSERVER_PORT=tcp://... in each pod beside a Service of that name.
                let is_port = setting.path.last().is_some_and(|key| key == "Port");
                let is_unset = text.trim().is_empty() && !setting.may_be_empty();
                let is_link = is_port && is_service_link(text);
                !is_unset && !is_link
            });
            if let Some(text) = text {
                self.set(setting, variable, text);
            } else if setting.path == ["Otel", "Endpoint"] {
                self.common_endpoint(setting, env);
            }
        }
    }

    /// Takes the collector that OpenTelemetry's own variable names. That is set for every program around, so one that
    /// cannot be used is no reason to refuse.
    fn common_endpoint(&mut self, setting: &Setting, env: &dyn Env) {
        let text = env.get(OTLP_ENDPOINT).filter(|text| !text.is_empty());
        let Some(text) = text else { return };
        match text.into_string() {
            Ok(text) if collector(&text).is_some() => self.set(setting, OTLP_ENDPOINT, text),
            _ => self.ignored.push(IgnoredVariable {
                name: OTLP_ENDPOINT.to_owned(),
                because:
                    "traces are sent over HTTP without TLS, to a URL of the form http://host:port"
                        .to_owned(),
            }),
        }
    }

    /// Replaces the boot profile by that of the environment. Returns whether to ignore all of it.
    fn boot(&mut self, env: &dyn Env) -> bool {
        let mut given = |name| {
            let text = self.text_of(name, env);
            text.filter(|text| !text.trim().is_empty())
        };
        let (safe_boot, profile) = (given(SAFE_BOOT), given(BOOT));
        let safe_boot = safe_boot.map_or(Ok(false), |text| read_safe_boot(&text));
        let safe_boot = safe_boot.unwrap_or_else(|fault| {
            self.faults.push((SAFE_BOOT.to_owned(), fault));
            false
        });
        if safe_boot {
            self.file.values.shift_remove("Boot");
        } else if let Some(text) = profile {
            match read_boot(&text) {
                Ok(boot) => {
                    self.overrides.push(Override {
                        path: vec!["Boot".to_owned()],
                        by: BOOT.to_owned(),
                        text: None,
                    });
                    self.file.values.insert("Boot".to_owned(), boot);
                }
                Err(fault) => self.faults.push((BOOT.to_owned(), fault)),
            }
        }
        safe_boot
    }

    fn flags(&mut self, settings: &[Setting], flags: &Flags) {
        for (path, flag, value) in flags.set() {
            let setting = settings.iter().find(|setting| setting.path == path);
            if let (Some(setting), Some(value)) = (setting, value) {
                self.set(setting, flag, value.clone());
            }
        }
    }

    fn text_of(&mut self, variable: &str, env: &dyn Env) -> Option<String> {
        match env.get(variable)?.into_string() {
            Ok(text) => Some(text),
            Err(_) => {
                let fault = "must be valid UTF-8".to_owned();
                self.faults.push((variable.to_owned(), fault));
                None
            }
        }
    }

    fn set(&mut self, setting: &Setting, by: &str, text: String) {
        let [sections @ .., key] = setting.path.as_slice() else {
            return;
        };
        self.overrides.push(Override {
            path: setting.path.clone(),
            by: by.to_owned(),
            text: Some(text.clone()),
        });
        let mut at = &mut self.file.values;
        for section in sections {
            let entry = at
                .entry(section.as_str())
                .or_insert_with(|| Value::Object(Map::new()));
            if entry.is_null() {
                // A section of the file whose every line is a comment.
                *entry = Value::Object(Map::new());
            }
            // A section that is no object is refused when it is read.
            let Value::Object(inner) = entry else { return };
            at = inner;
        }
        at.insert(key.clone(), setting.typed(text));
    }

    fn normalise(&mut self, settings: &[Setting]) {
        for setting in settings {
            let [first, rest @ ..] = setting.path.as_slice() else {
                continue;
            };
            let mut value = self.file.values.get_mut(first);
            for key in rest {
                value = value.and_then(|value| value.get_mut(key));
            }
            if let Some(value) = value {
                setting.normalise(value);
            }
        }
    }

    /// The message for `errors`; of two overrides of one key the last counts.
    fn report(&self, errors: &[FieldError]) -> ConfigError {
        let lines = errors.iter().map(|error| {
            let key = error.pointer.trim_start_matches('/').replace('/', ".");
            let is_below = |path: &str| {
                let rest = key.strip_prefix(path);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let mut overrides = self.overrides.iter();
            let detail = match overrides.rfind(|set| is_below(&set.path.join("."))) {
                Some(Override { by, text, .. }) => {
                    let detail = of_override(error, text.as_deref());
                    format!("{detail} (set by {by})")
                }
                None => of_file(error, &self.file.written),
            };
            format!("\n  {key}: {detail}")
        });
        let from = self.file.source.as_deref().unwrap_or("built-in defaults");
        let lines: String = lines.collect();
        ConfigError(format!(
            "bad configuration ({from}, environment, flags):{lines}"
        ))
    }
}

/// The detail of an error in a value that a variable or a flag has set to `text`.
fn of_override(error: &FieldError, text: Option<&str>) -> String {
    match (&error.refused, text) {
        // The number as it was written, not as it was parsed.
        (Some(refused), Some(text)) if refused.found == Found::Number => {
            format!("{}, not {text}", refused.rule)
        }
        (Some(_), Some("")) => {
            format!(
                "{}; it is empty: give it a value, or unset it",
                error.detail
            )
        }
        _ => error.detail.clone(),
    }
}

/// The detail of an error in a value of the file, which holds `written`.
fn of_file(error: &FieldError, written: &Value) -> String {
    let Some(refused) = &error.refused else {
        return error.detail.clone();
    };
    let written = written.pointer(&error.pointer).and_then(Value::as_str);
    let detail = match written.filter(|_| refused.found == Found::Number && !refused.is_secret) {
        Some(written) => format!("{}, not {written}", refused.rule),
        None => error.detail.clone(),
    };
    let kind = match refused.found {
        Found::Number => "a number",
        Found::Boolean => "true or false",
        Found::Nothing => "nothing",
        Found::Other => return detail,
    };
    match refused.wants_text {
        true => format!("{detail}; in YAML this is {kind} and not a text: put it in quotes"),
        false => detail,
    }
}
