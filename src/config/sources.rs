//! Merges the sources of the configuration, and names the one that set a bad value.

use serde_json::{Map, Value};

use super::environment::{
    BOOT, OTLP_ENDPOINT, SAFE_BOOT, Setting, TOKEN_VARIABLES, is_service_link, read_boot,
    read_safe_boot, settings_of, unknown_variables,
};
use super::file::read_file;
use super::{Config, ConfigError, Env, Flags, Loaded, LogFormat, Refused};
use crate::input::{FieldError, Fields};
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
        let (file, values) = read_file(flags.file.as_deref())?;
        let settings = settings_of(&Self::schema(registry));
        let mut merge = Merge {
            values,
            overrides: Vec::new(),
            faults: Vec::new(),
        };
        merge.environment(&settings, env);
        let safe_boot = merge.boot(env);
        merge.flags(&settings, flags);
        let log = merge.values.get("Log");
        *log_format = log_format_of(
            log.and_then(|log| log.get("Format"))
                .unwrap_or(&Value::Null),
        );

        let mut fields = Fields::new("", merge.values);
        for (variable, fault) in merge.faults {
            fields.reject(&variable, fault);
        }
        let config = Self::read(&mut fields, registry);
        let from = match &file {
            Some(file) => file.display().to_string(),
            None => "built-in defaults".to_owned(),
        };
        let effective = fields
            .finish()
            .map_err(|errors| report(&from, &merge.overrides, &errors))?;
        Ok(Loaded {
            config,
            file,
            effective,
            safe_boot,
            ignored_variables: unknown_variables(env, &settings),
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
    values: Map<String, Value>,
    overrides: Vec<Override>,
    /// Variables that cannot be read at all, and why.
    faults: Vec<(String, String)>,
}

/// A key that the file did not set, or not last.
struct Override {
    path: Vec<String>,
    /// The variable or the flag that set it.
    by: String,
    text: String,
}

impl Merge {
    fn environment(&mut self, settings: &[Setting], env: &dyn Env) {
        let token_is_set = TOKEN_VARIABLES.iter().any(|name| env.get(name).is_some());
        if let Some(Value::Object(auth)) = self.values.get_mut("Auth").filter(|_| token_is_set) {
            // The file may set the token in the other of the two ways.
            auth.retain(|key, _| !["Token", "TokenFile"].contains(&key.as_str()));
        }
        for setting in settings {
            // The common variable first: ours wins.
            let common = (setting.path == ["Otel", "Endpoint"]).then_some(OTLP_ENDPOINT);
            for variable in common.into_iter().chain([setting.variable.as_str()]) {
                if let Some(text) = self.text_of(variable, env)
                    // Kubernetes sets MOCKSERVER_PORT=tcp://... in each pod beside a Service of that name.
                    && !(setting.path.last().is_some_and(|key| key == "Port") && is_service_link(&text))
                {
                    self.set(setting, variable, text);
                }
            }
        }
    }

    /// Replaces the boot profile by that of the environment. Returns whether to ignore all of it.
    fn boot(&mut self, env: &dyn Env) -> bool {
        let safe_boot = self.text_of(SAFE_BOOT, env);
        let profile = self.text_of(BOOT, env);
        let safe_boot = read_safe_boot(safe_boot.as_deref()).unwrap_or_else(|fault| {
            self.faults.push((SAFE_BOOT.to_owned(), fault));
            false
        });
        if safe_boot {
            self.values.remove("Boot");
        } else if let Some(text) = profile {
            match read_boot(&text) {
                Ok(boot) => drop(self.values.insert("Boot".to_owned(), boot)),
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
            text: text.clone(),
        });
        let mut at = &mut self.values;
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
}

/// The message for `errors`; of two overrides of one key the last counts.
fn report(from: &str, overrides: &[Override], errors: &[FieldError]) -> ConfigError {
    let line = |error: &FieldError| {
        let key = error.pointer.trim_start_matches('/').replace('/', ".");
        let source = overrides.iter().rfind(|set| set.path.join(".") == key);
        let detail = match (source, &error.number_rule) {
            // The number as it was written, not as it was parsed.
            (Some(Override { by, text, .. }), Some(rule)) => {
                format!("{rule}, not {text} (set by {by})")
            }
            (Some(Override { by, .. }), None) => format!("{} (set by {by})", error.detail),
            (None, _) => error.detail.clone(),
        };
        format!("\n  {key}: {detail}")
    };
    let lines: String = errors.iter().map(line).collect();
    ConfigError(format!(
        "bad configuration ({from}, environment, flags):{lines}"
    ))
}
