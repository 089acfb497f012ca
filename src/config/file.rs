//! The configuration file, as far as it is a mapping in YAML.

use std::io::{self, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::ConfigError;
use super::yaml::{self, Yaml};

/// The file that is read when none is named; it may be missing.
pub(crate) const DEFAULT_FILE: &str = "etc/mockserver.yaml";
/// The name that stands for standard input.
pub(crate) const STDIN: &str = "-";
/// The largest configuration file that is read, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// What a configuration file holds.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// Where it was read; none where there is no file.
    pub(super) source: Option<String>,
    pub(super) values: Map<String, Value>,
    /// The same, each number and boolean as it is written.
    pub(super) written: Value,
}

/// The configuration file; an empty one where the default file is missing.
pub(super) fn read_file(named: Option<&Path>) -> Result<ConfigFile, ConfigError> {
    let file = named.unwrap_or(Path::new(DEFAULT_FILE));
    let (source, text) = if file == Path::new(STDIN) {
        ("standard input".to_owned(), read_text(io::stdin().lock()))
    } else {
        let text = read_bounded(file);
        let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        if named.is_none() && text.as_ref().is_err_and(is_missing) {
            return Ok(ConfigFile::default());
        }
        (file.display().to_string(), text)
    };
    let text = text.map_err(|error| ConfigError(format!("{source}: cannot be read: {error}")))?;
    let Yaml { values, written } =
        yaml::read(&text).map_err(|error| ConfigError(format!("{source}: {error}")))?;
    match values {
        Value::Object(mut values) => {
            // As in compose files: a place for anchors.
            values.retain(|key, _| !key.starts_with("x-"));
            Ok(ConfigFile {
                source: Some(source),
                values,
                written,
            })
        }
        Value::Null => Ok(ConfigFile {
            source: Some(source),
            ..ConfigFile::default()
        }),
        _ => Err(ConfigError(format!(
            "{source}: must be a mapping of keys to values"
        ))),
    }
}

/// The text of a file that is no larger than a configuration can be.
pub(super) fn read_bounded(file: &Path) -> io::Result<String> {
    read_text(std::fs::File::open(file)?)
}

/// The text of `source` without a byte order mark, which some editors write.
fn read_text(source: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    source.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("it is larger than a configuration can be"));
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not text in UTF-8"))?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}
