//! What the check found: values for a table, for scripts and for the log.
//!
//! Contract: no token and no webhook URL stands in any of it, and text of Slack's is clean.

use serde::Serialize;

/// How bad something is; the worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Messages are delivered, but something is degraded, or not known.
    Warning,
    /// Nothing will be delivered.
    Problem,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is, for scripts: these words stay.
    pub code: &'static str,
    /// What it is, for people.
    pub text: String,
    /// What to do about it.
    pub what_to_do: Option<String>,
    /// Whether it follows from a finding about the token, or from the time that was up.
    #[serde(skip)]
    pub follows: bool,
}

impl Finding {
    pub(super) fn new(level: Level, code: &'static str, text: impl Into<String>) -> Self {
        Self {
            level,
            code,
            text: text.into(),
            what_to_do: None,
            follows: false,
        }
    }

    pub(super) fn todo(mut self, what: impl Into<String>) -> Self {
        self.what_to_do = Some(what.into());
        self
    }

    pub(super) fn following(mut self) -> Self {
        self.follows = true;
        self
    }
}

/// A token or a channel, and what was found out about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// A channel's name, or where a token is configured.
    pub name: String,
    /// What it is at Slack: a workspace, a channel, the host of a webhook.
    pub place: String,
    /// Never empty; the worst comes first.
    pub findings: Vec<Finding>,
}

impl Subject {
    pub(super) fn new(name: &str, place: String, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Self {
            name: name.to_owned(),
            place,
            findings,
        }
    }
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each distinct token.
    pub tokens: Vec<Subject>,
    /// Each channel, by name.
    pub channels: Vec<Subject>,
}

impl Report {
    /// Each finding with what it is about.
    pub fn findings(&self) -> impl Iterator<Item = (&Subject, &Finding)> {
        let subjects = self.tokens.iter().chain(&self.channels);
        subjects.flat_map(|subject| subject.findings.iter().map(move |one| (subject, one)))
    }

    /// The worst there is.
    pub fn worst(&self) -> Level {
        let levels = self.findings().map(|(_, finding)| finding.level);
        levels.max().unwrap_or(Level::Ok)
    }

    /// How many findings are of this level.
    pub fn count(&self, level: Level) -> usize {
        let findings = self.findings();
        findings.filter(|(_, one)| one.level == level).count()
    }
}
