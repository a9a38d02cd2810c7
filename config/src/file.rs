//! Files: the configuration file (YAML) and files that hold one secret.
//!
//! Contract: a file is read up to a bound, must be UTF-8, and is refused in one line. The text of a
//! secret's file is never part of a refusal.
//!
//! The YAML parser behind the `config` crate leaves three things out of sight here, so they are not
//! refused: a value whose explicit type tag does not fit it (`!!int abc`) counts as null, a key
//! that is a number is taken in its shortest form (`007` as `7`), and of two keys that are the same
//! only then (`1` and `"1"`) one wins. Of all maps, only `channels` has keys that can be numbers.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use config::{FileFormat, Map, Source, Value};

use crate::error::ConfigError;
use crate::secret::SECRET_BYTES_MAX;
use crate::text::FromText;
use crate::tree::Layer;

/// Longest configuration file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 20;

/// What the configuration file sets.
pub(crate) fn read_layer(path: &Path) -> Result<Layer, ConfigError> {
    let origin = path.display().to_string();
    let refuse = |problem: &str| ConfigError::new(&origin, "", problem);
    let bytes = read_bounded(path, FILE_BYTES_MAX)
        .map_err(|error| refuse(&format!("cannot be read: {error}")))?;
    let Some(bytes) = bytes else {
        return Err(refuse(&format!("is longer than {FILE_BYTES_MAX} bytes")));
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        refuse(&format!("line {line}: is not UTF-8"))
    })?;
    let table = parse_yaml(text).map_err(|problem| refuse(&problem))?;
    Layer::adopt(table, &origin)
}

/// The text at a top-level key, whatever is wrong with the rest of the file; none where that cannot be told.
pub(crate) fn read_text(path: &Path, key: &str) -> Option<String> {
    let bytes = read_bounded(path, FILE_BYTES_MAX).ok()??;
    let table = parse_yaml(std::str::from_utf8(&bytes).ok()?).ok()?;
    match &table.get(key)?.kind {
        config::ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

pub(crate) fn parse_yaml(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let error = match config::File::from_str(text, FileFormat::Yaml).collect() {
        Ok(table) => return Ok(table),
        Err(error) => error,
    };
    let config::ConfigError::FileParse { cause, .. } = error else {
        return Err(error.to_string());
    };
    // That crate boxes its own error once more before it becomes the cause.
    match cause
        .downcast_ref::<Box<config::ConfigError>>()
        .map(|cause| &**cause)
    {
        Some(config::ConfigError::Type { unexpected, .. }) => match unexpected.to_string() {
            // A file of nothing but comments, or `null`.
            nothing if nothing == "unit value" => Ok(Map::new()),
            list if list == "sequence" => {
                Err("found a list, expected a map of settings".to_owned())
            }
            found => Err(format!("found {found}, expected a map of settings")),
        },
        _ => Err(position_first(&cause.to_string())),
    }
}

/// The parser's `PROBLEM at byte 1 line 2 column 3` as `line 2 column 3: PROBLEM`.
fn position_first(message: &str) -> String {
    let split = message
        .rsplit_once(" at byte ")
        .and_then(|(problem, position)| {
            position
                .split_once(" line ")
                .map(|(_, line)| (problem, line))
        });
    match split {
        Some((problem, line)) => format!("line {line}: not valid YAML: {}", plain_key(problem)),
        None => format!("not valid YAML: {message}"),
    }
}

/// The parser's `String("a"): duplicated key in mapping` in words.
fn plain_key(problem: &str) -> String {
    match problem.strip_suffix(": duplicated key in mapping") {
        Some(key) => {
            let key = key
                .split_once('(')
                .map_or(key, |(_, key)| key.trim_end_matches(')'));
            format!("duplicate key {}", key.replace('"', "`"))
        }
        None => problem.to_owned(),
    }
}

/// The secret in the file at `path`, or what is wrong with that file.
pub(crate) fn read_secret<T: FromText>(path: &Path) -> Result<T, String> {
    let shown = path.display();
    let bytes = read_bounded(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    let Some(bytes) = bytes else {
        return Err(format!("`{shown}` is longer than {SECRET_BYTES_MAX} bytes"));
    };
    if bytes.trim_ascii().is_empty() {
        return Err(format!("`{shown}` is empty"));
    }
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(T::from_text)
        .ok_or_else(|| format!("what `{shown}` holds is not {}", T::EXPECTED))
}

/// The bytes of a file; `None` if there are more than `bytes_max`.
fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}
