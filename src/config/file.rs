//! The configuration file, as far as it is a mapping in YAML.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ConfigError;
use crate::input::json::StrictValue;

/// The file that is read when none is named; it may be missing.
pub(crate) const DEFAULT_FILE: &str = "etc/mockserver.yaml";

/// The largest configuration file that is read, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The values of the configuration file; none of the default file when that is missing.
pub(super) fn read_file(
    named: Option<&Path>,
) -> Result<(Option<PathBuf>, Map<String, Value>), ConfigError> {
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    let shown = file.display();
    let text = match read_bounded(file) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((None, Map::new()));
        }
        Err(error) => return Err(ConfigError(format!("{shown}: cannot be read: {error}"))),
    };
    let value = serde_yaml::from_str::<StrictValue>(&text)
        .map_err(|error| ConfigError(format!("{shown}: not valid YAML: {error}")))?;
    match value.0 {
        Value::Object(values) => Ok((Some(file.to_owned()), values)),
        Value::Null => Ok((Some(file.to_owned()), Map::new())),
        _ => Err(ConfigError(format!(
            "{shown}: must be a mapping of keys to values"
        ))),
    }
}

/// The text of a file that is no larger than a configuration can be.
pub(super) fn read_bounded(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(file)?
        .take(LARGEST_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_FILE {
        return Err(std::io::Error::other(
            "it is larger than a configuration can be",
        ));
    }
    Ok(text)
}
