//! `auditrelay policy check`: whether the API server would start with a policy, and what in it is likely not meant.
//!
//! Exit codes: 65 if it would not start; 1 if an error was found, or what `--deny` names; else 0.

use std::{path::PathBuf, process::ExitCode};

use auditrelay_audit::policy;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    lint::{Finding, Weight, lint},
    source,
};
use crate::{
    Failure,
    failure::EX_DATAERR,
    output::{count, line, say, say_commands, say_json, wrap},
};

const WIDTH_CHARS: usize = 110;
const TEXT_CHARS_MAX: usize = 600;
/// Rules that are written out in full.
const ADVICE_CHARS_MAX: usize = 4_000;

/// What `policy check` takes.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The policy, YAML or JSON; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// For people, for scripts, or as commands that GitHub shows beside the line.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// End with exit code 1 for these, too; errors always do.
    #[arg(long, value_enum)]
    deny: Option<Deny>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
    Github,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deny {
    /// Warnings.
    Warnings,
    /// Warnings and notes.
    Notes,
}

/// What a check found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    file: String,
    is_valid: bool,
    rules: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: Vec<Finding>,
}

pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let (is_valid, rules, findings) = match policy::load(&source::text(&args.file)?) {
        Ok(loaded) => (true, loaded.policy.rules.len(), lint(&loaded)),
        Err(problems) => {
            let findings = problems.iter();
            let findings = findings.map(|problem| Finding::of(problem, Weight::Error, "invalid"));
            (false, 0, findings.collect())
        }
    };
    let of = |weight: Weight| findings.iter().filter(|one| one.severity == weight).count();
    let checked = Checked {
        file: args.file.display().to_string(),
        is_valid,
        rules,
        errors: of(Weight::Error),
        warnings: of(Weight::Warning),
        notes: of(Weight::Note),
        findings,
    };
    match args.format {
        Format::Text => say(&text(&checked))?,
        Format::Json => say_json(&checked)?,
        Format::Github => say_commands(&github(&checked))?,
    }
    let denied = match args.deny {
        None => checked.errors,
        Some(Deny::Warnings) => checked.errors + checked.warnings,
        Some(Deny::Notes) => checked.findings.len(),
    };
    Ok(if !checked.is_valid {
        ExitCode::from(EX_DATAERR)
    } else if denied > 0 {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// A finding's text on one line, harmless for a terminal.
fn message(finding: &Finding) -> String {
    let path = match finding.path.as_str() {
        "" => String::new(),
        path => format!("{path}: "),
    };
    line(&format!("{path}{}", finding.what), TEXT_CHARS_MAX)
}

fn text(checked: &Checked) -> String {
    let mut text = String::new();
    for finding in &checked.findings {
        let (line_number, severity, code) = (finding.line, finding.severity.as_str(), finding.code);
        text.push_str(&format!("line {line_number}: {severity} ({code})\n"));
        let advice = line(&finding.advice, ADVICE_CHARS_MAX);
        for (head, body) in [("  ", message(finding)), ("  -> ", advice)] {
            let mut margin = head.to_owned();
            // Each rule that is written out begins on a line of its own.
            let body = body.replace(" - {level", "\n- {level");
            let lines = body.lines();
            for wrapped in lines.flat_map(|line| wrap(line, WIDTH_CHARS - head.len())) {
                text.push_str(&format!("{margin}{wrapped}\n"));
                margin = " ".repeat(head.len());
            }
        }
    }
    if !checked.findings.is_empty() {
        text.push('\n');
    }
    let file = line(&checked.file, TEXT_CHARS_MAX);
    let found = [
        count(checked.errors as u64, "error"),
        count(checked.warnings as u64, "warning"),
        count(checked.notes as u64, "note"),
    ];
    let verdict = if checked.is_valid {
        format!(
            "the API server starts with it; {}",
            count(checked.rules as u64, "rule")
        )
    } else {
        "the API server does not start with it".to_owned()
    };
    text.push_str(&format!("{file}: {verdict}, {}\n", found.join(", ")));
    text
}

/// GitHub: workflow commands; a message ends with its line, and a property with a comma or a colon.
fn github(checked: &Checked) -> String {
    let escaped = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let mut text = String::new();
    for finding in &checked.findings {
        let command = match finding.severity {
            Weight::Error => "error",
            Weight::Warning => "warning",
            Weight::Note => "notice",
        };
        let file = match checked.file.as_str() {
            "-" => String::new(),
            file => format!("file={},", property(file)),
        };
        let advice = line(&finding.advice, ADVICE_CHARS_MAX);
        text.push_str(&format!(
            "::{command} {file}line={},col={},title={}::{}\n",
            finding.line,
            finding.column,
            property(&format!("audit policy: {}", finding.code)),
            escaped(&format!("{}; {advice}", message(finding))),
        ));
    }
    text
}
