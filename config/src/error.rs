//! The one error of this crate: a line a person can act on.
//!
//! Contract: [`ConfigError`] displays as one line of bounded length: where the value came from, the
//! key, what was found and what is expected. It holds no secret, not even in its `Debug` form.

use std::fmt;

use crate::secret::masked;

/// The exit code for a configuration that cannot be used (`EX_CONFIG` of sysexits.h).
pub const EX_CONFIG: u8 = 78;

/// Longest part of the line, in characters: a value of any length may have been found.
const PART_CHARACTERS_MAX: usize = 400;

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    origin: String,
    key: String,
    problem: String,
}

impl ConfigError {
    pub(crate) fn new(origin: &str, key: &str, problem: &str) -> Self {
        Self {
            origin: one_line(origin),
            key: one_line(key),
            problem: one_line(problem),
        }
    }

    /// Where the value came from: the file, `environment variable NAME` or `flag --NAME`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path of the key, such as `routes[1].channel`; empty if it is about a whole source.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// `text` without secrets, control characters or undue length.
fn one_line(text: &str) -> String {
    let text = masked(text);
    let mut line: String = text
        .chars()
        .take(PART_CHARACTERS_MAX)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    if text.chars().nth(PART_CHARACTERS_MAX).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::ConfigError;

    #[test]
    fn it_is_one_line_without_secrets() {
        let error = ConfigError::new("a.yaml", "slack", "found \"xoxb-1\",\nexpected a map");
        assert_eq!(
            error.to_string(),
            "a.yaml: slack: found \"[secret]\", expected a map"
        );
        assert!(!format!("{error:?}").contains("xoxb"));
        assert_eq!(
            ConfigError::new("a.yaml", "", "is empty").to_string(),
            "a.yaml: is empty"
        );
    }

    #[test]
    fn its_length_is_bounded() {
        let error = ConfigError::new("a.yaml", "cluster", &"é".repeat(5000));
        assert_eq!(
            error.to_string().chars().count(),
            "a.yaml: cluster: ".len() + 401
        );
    }
}
