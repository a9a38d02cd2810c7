//! What in a policy that loads is likely not meant so.
//!
//! Contract: what is said of secrets, of noise and of what leaves no trace is found by asking the policy about
//! sample requests, never by reading its rules, so rules that stand before others count. A rule is said to decide
//! nothing only where that is proven (`Policy::covered_by`).

use auditrelay_audit::policy::{Loaded, Place, Problem};
use serde::Serialize;

mod blind;
mod noise;
mod requests;
mod secrets;
mod shape;
mod values;

/// How sure it is that something should be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weight {
    /// It does not do what it says, or writes secrets.
    Error,
    /// It costs or misses something.
    Warning,
    /// Good to know.
    Note,
}

impl Weight {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) severity: Weight,
    /// One word for what kind it is; these do not change.
    pub(super) code: &'static str,
    /// The rule that it is about, counted from 0.
    pub(super) rule: Option<usize>,
    /// The field, as the API server writes it; empty if it is the whole policy.
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) what: String,
    pub(super) advice: String,
}

impl Finding {
    /// What the API server itself says of a policy.
    pub(super) fn of(problem: &Problem, severity: Weight, code: &'static str) -> Self {
        let number = problem.path.strip_prefix("rules[");
        let number = number.and_then(|rest| rest.split(']').next()?.parse().ok());
        Self {
            severity,
            code,
            rule: number,
            path: problem.path.clone(),
            line: problem.place.line,
            column: problem.place.column,
            what: problem.what.clone(),
            advice: problem.advice.clone(),
        }
    }
}

/// Findings as they come in.
pub(super) struct Report<'a> {
    loaded: &'a Loaded,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn add(
        &mut self,
        (severity, code): (Weight, &'static str),
        path: &str,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let Place { line, column } = self.loaded.lines.at(path);
        let problem = Problem {
            path: path.to_owned(),
            place: Place { line, column },
            what: what.into(),
            advice: advice.into(),
        };
        self.findings.push(Finding::of(&problem, severity, code));
    }
}

/// Looks for everything; in the order of the text, what is of the whole policy first.
pub(super) fn lint(loaded: &Loaded) -> Vec<Finding> {
    let mut report = Report {
        loaded,
        findings: Vec::new(),
    };
    for warning in &loaded.warnings {
        let code = if warning.what.starts_with("* is any group") {
            "group-star"
        } else {
            "loading"
        };
        let finding = Finding::of(warning, Weight::Warning, code);
        report.findings.push(finding);
    }
    shape::look(&mut report);
    values::look(&mut report);
    secrets::look(&mut report);
    blind::look(&mut report);
    noise::look(&mut report);
    let mut findings = report.findings;
    findings.sort_by(|left, right| {
        (left.line, left.rule, left.severity, left.code).cmp(&(
            right.line,
            right.rule,
            right.severity,
            right.code,
        ))
    });
    findings
}

/// Several rules, as the text says them.
fn rules(numbers: &[usize]) -> String {
    let names: Vec<String> = numbers
        .iter()
        .map(|number| format!("rules[{number}]"))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod advice_tests;
#[cfg(test)]
mod tests;
