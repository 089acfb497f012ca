//! SIGHUP: opens the log file anew and reads the configuration again.
//!
//! Only the level of the log and the tokens follow it. What is bad changes nothing.

use std::path::Path;

use serde_json::{Map, Value};
use tracing::{info, warn};

use super::logging;
use crate::config::{Config, Flags, Loaded, ProcessEnv, STDIN};
use crate::scenarios;

/// Keys that a reload takes over. The tokens' are here too: the daemon says what becomes of it.
const TAKEN_OVER: [&str; 7] = [
    "Log.Level",
    "Auth.Token",
    "Auth.TokenFile",
    "Auth.ReleaseToken",
    "Auth.ReleaseTokenFile",
    "Auth.CandidateToken",
    "Auth.CandidateTokenFile",
];

/// The reload of the daemon that was started with `flags` and `loaded`; its return value is the configuration, or none
/// where that is bad.
pub(super) fn of(flags: Flags, loaded: &Loaded) -> impl Fn() -> Option<Config> + use<> {
    let (had_file, before) = (loaded.file.is_some(), loaded.effective.clone());
    move || {
        reopen_log();
        let now = match read(&flags, had_file) {
            Ok(now) => now,
            Err(error) => {
                warn!(
                    error,
                    "The configuration is not taken over: everything stays as it was."
                );
                return None;
            }
        };
        logging::set_level(now.config.log.level);
        let log_level = now.config.log.level.as_str().to_lowercase();
        info!(log_level, "The configuration is read again.");
        let keys = changed(&before, &now.effective);
        if !keys.is_empty() {
            let keys = keys.join(", ");
            warn!(keys, "Keys have changed that only a restart takes over.");
        }
        Some(now.config)
    }
}

fn reopen_log() {
    match logging::reopen() {
        Ok(true) => info!("The log file is opened anew."),
        Ok(false) => {}
        Err(error) => {
            warn!(%error, "The log file could not be opened anew: the log goes on in the one before.");
        }
    }
}

fn read(flags: &Flags, had_file: bool) -> Result<Loaded, String> {
    let file = flags.file.as_deref();
    let is_stream = |file: &&Path| *file == Path::new(STDIN) || (file.exists() && !file.is_file());
    if let Some(pipe) = file.filter(is_stream) {
        return Err(format!(
            "{}: is no file that can be read twice",
            pipe.display()
        ));
    }
    let loaded = Config::load(flags, &ProcessEnv, scenarios::ALL);
    let loaded = loaded.map_err(|refused| refused.to_string())?;
    match loaded.file {
        None if had_file => Err("the configuration file is gone".to_owned()),
        _ => Ok(loaded),
    }
}

/// The keys whose values differ, save those that a reload takes over.
fn changed(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    flatten(before, "", &mut old);
    flatten(now, "", &mut new);
    let differs = |(key, value): &&(String, &Value)| !old.contains(&(key.clone(), *value));
    let gone = |(key, _): &&(String, &Value)| new.iter().all(|(other, _)| other != key);
    let mut keys: Vec<String> = new
        .iter()
        .filter(differs)
        .map(|(key, _)| key.clone())
        .collect();
    keys.extend(old.iter().filter(gone).map(|(key, _)| key.clone()));
    keys.retain(|key| !TAKEN_OVER.contains(&key.as_str()));
    keys
}

fn flatten<'v>(values: &'v Map<String, Value>, prefix: &str, into: &mut Vec<(String, &'v Value)>) {
    for (key, value) in values {
        let path = format!("{prefix}{key}");
        match value {
            Value::Object(inner) => flatten(inner, &format!("{path}."), into),
            _ => into.push((path, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_need_a_restart_are_named_and_the_others_are_not() {
        let object = |value: Value| value.as_object().expect("an object").clone();
        let before = object(
            json!({ "Port": 1, "Log": { "Level": "info", "Mode": "file" },
                                    "Limits": { "CpuCores": 1 }, "Auth": { "Token": "…" } }),
        );
        let now = object(
            json!({ "Port": 2, "Log": { "Level": "debug", "Mode": "file" },
                                 "Limits": { "MemoryMb": 7 }, "Auth": { "TokenFile": "a" } }),
        );
        assert_eq!(
            changed(&before, &now),
            ["Port", "Limits.MemoryMb", "Limits.CpuCores"]
        );
        assert!(changed(&before, &before).is_empty());
    }
}
