//! A policy's text, read as kube-apiserver reads it.
//!
//! Kubernetes: `apiserver/pkg/audit/policy/reader.go`, `apiserver/pkg/apis/audit/validation`. YAML goes by the
//! rules of YAML 1.1 (`yes` is true), and only its first document is read; text that begins with `{` is JSON.
//! Fields are case-sensitive. Those that a policy does not have, and those that stand there twice (the last one
//! counts), are warned of; a value of another type, and what the API server's own check refuses, are errors.
//!
//! Contract: what loads here, loads there, and the other way round; all errors are told at once, each with the
//! path that the API server gives and with a line. Input is hostile: text, depth, nodes and the number of problems
//! that are told are bounded, whatever aliases stand in it.

use std::{collections::HashMap, fmt};

use super::Policy;

mod decode;
mod json;
mod scalar;
mod tabs;
mod tree;
mod validate;

/// No policy that a person wrote is longer.
pub const POLICY_BYTES_MAX: usize = 1024 * 1024;
/// More errors, or more warnings, are counted, not told.
const PROBLEMS_MAX: usize = 100;
/// Of text out of the policy that a problem quotes.
const QUOTED_CHARS_MAX: usize = 80;

/// Where something stands, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line of the text.
    pub line: usize,
    /// Character of the line.
    pub column: usize,
}

/// What is wrong with a policy's text, or strange about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, as the API server writes it (`rules[1].nonResourceURLs[0]`); empty if it is the whole text.
    pub path: String,
    /// Where it stands.
    pub place: Place,
    /// What is wrong. Text of the policy in it is shortened, and not yet harmless for a terminal.
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: ", self.place.line)?;
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        write!(out, "{}; {}", self.what, self.advice)
    }
}

/// Where the fields of a policy stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    places: HashMap<String, Place>,
}

impl Lines {
    /// Where a rule begins, counted from 0.
    pub fn rule(&self, number: usize) -> Place {
        self.at(&format!("rules[{number}]"))
    }

    /// Where a field stands (`rules[3].resources[0].group`), or where what it is part of does.
    pub fn at(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Place { line: 1, column: 1 },
            }
        }
    }

    fn note(&mut self, path: &str, place: Place) {
        self.places.insert(path.to_owned(), place);
    }
}

/// A policy that the API server would load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What the API server only warns of, or what only some of its versions take.
    pub warnings: Vec<Problem>,
    /// Where its fields stand.
    pub lines: Lines,
}

/// Reads a policy, YAML or JSON.
///
/// # Errors
/// Everything for which the API server would not start with it; never an empty list.
pub fn load(text: &str) -> Result<Loaded, Vec<Problem>> {
    let mut warnings = Problems::default();
    let root = tree::read(text, &mut warnings).map_err(|problem| vec![*problem])?;
    let mut problems = Problems::default();
    let mut lines = Lines::default();
    let raw = decode::policy(&root, &mut problems, &mut warnings, &mut lines);
    let policy = validate::policy(raw, &lines, &mut problems, &mut warnings);
    if problems.list.is_empty() {
        let warnings = warnings.told();
        Ok(Loaded {
            policy,
            warnings,
            lines,
        })
    } else {
        Err(problems.told())
    }
}

/// Problems of one kind, as many as are told.
#[derive(Debug, Default)]
struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl Problems {
    fn add(
        &mut self,
        path: &str,
        place: Place,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(Problem {
                path: path.to_owned(),
                place,
                what: what.into(),
                advice: advice.into(),
            });
        } else {
            self.more += 1;
        }
    }

    /// Whether something is told of just this field.
    fn has(&self, path: &str) -> bool {
        self.list.iter().any(|problem| problem.path == path)
    }

    /// In the order of the text.
    fn told(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.place);
        if let (true, Some(last)) = (self.more > 0, self.list.last()) {
            let place = last.place;
            self.list.push(Problem {
                path: String::new(),
                place,
                what: format!("there are {} more like these", self.more),
                advice: "mend these first".to_owned(),
            });
        }
        self.list
    }
}

/// Text of the policy, as much of it as a problem shows.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => format!("\"{text}\""),
        Some((end, _)) => format!("\"{}...\"", &text[..end]),
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
