//! Slack, asked whether it will take what the configuration sends: `auditrelay check --online`, and once
//! in the background when the relay starts, and of what a reload changed.
//!
//! Invariant: the check in the background delays nothing and ends nothing: lanes and ports are up before it, it
//! takes their turns, and whatever becomes of it, the relay runs on.

use std::{io::IsTerminal, process::ExitCode, sync::Arc, time::Duration};

use auditrelay_config::{Config, Destination, Loaded, SlackConfig};
use auditrelay_dispatch::slack::{
    Http,
    check::{Budget, Finding, Level, Report, Subject, check},
};
use serde::Serialize;
use tokio::{sync::watch, task::JoinSet, time::Instant};

use crate::{
    Failure,
    check::{door, loaded},
    cli::CheckArgs,
    lanes::Shared,
    output::{count, say, say_json, table, wrap},
    progress::Progress,
};

/// Two hundred channels at the lanes' pace are eight minutes.
const AT_START: Duration = Duration::from_secs(15 * 60);
/// A bar is shown for what takes longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Wide columns are broken, so that a line fits a terminal.
const FINDING_CHARS: usize = 46;
const ADVICE_CHARS: usize = 36;

/// Checks the configuration and asks Slack.
///
/// # Errors
/// What is wrong with the configuration.
pub(crate) async fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let Loaded { config, notes } = loaded(args.config.as_deref())?;
    let door = door(&config)?;
    let http = Http::new(config.slack.timeout(), config.slack.proxy.as_ref());
    let budget = Budget {
        within: Duration::from_secs(args.within),
        workspaces: std::collections::HashMap::new(),
    };
    let (bar, start) = (Progress::new("asking Slack"), Instant::now());
    let progress = |_: &Subject, done: usize, total: usize| {
        if start.elapsed() > PATIENCE {
            bar.set(done as u64, total as u64);
        }
    };
    let report = check(&config, &http, budget, progress).await;
    bar.end();
    if args.json {
        say_json(&Answer::new(&report))?;
    } else {
        let notes: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
        let colour = std::io::stdout().is_terminal();
        say(&format!("{notes}{door}\n{}", show(&report, colour)))?;
    }
    Ok(match report.worst() {
        Level::Problem => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    })
}

/// A report for scripts.
#[derive(Serialize)]
struct Answer<'a> {
    /// The worst there is.
    worst: Level,
    problems: usize,
    warnings: usize,
    notes: usize,
    #[serde(flatten)]
    report: &'a Report,
}

impl<'a> Answer<'a> {
    fn new(report: &'a Report) -> Self {
        Self {
            worst: report.worst(),
            problems: report.count(Level::Problem),
            warnings: report.count(Level::Warning),
            notes: report.count(Level::Note),
            report,
        }
    }
}

/// A report for people.
fn show(report: &Report, colour: bool) -> String {
    let mut rows = Vec::new();
    let mut levels = Vec::new();
    for (subject, finding) in report.findings() {
        let what_to_do = finding.what_to_do.as_deref().unwrap_or_default();
        let texts = wrap(&finding.text, FINDING_CHARS);
        let todos = wrap(what_to_do, ADVICE_CHARS);
        for line in 0..texts.len().max(todos.len()) {
            let cell = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            let first = |text: &str| if line == 0 { text } else { "" }.to_owned();
            rows.push(vec![
                first(finding.level.as_str()),
                first(&subject.name),
                first(&subject.place),
                cell(&texts),
                cell(&todos),
            ]);
            levels.push((line == 0).then_some(finding.level));
        }
    }
    let headers = ["result", "channel", "where", "finding", "what to do"];
    let text = table(&headers, &rows);
    let mut shown = String::new();
    for (line, level) in text.lines().zip(std::iter::once(None).chain(levels)) {
        match level.filter(|_| colour) {
            Some(level) => shown.push_str(&paint(line, level)),
            None => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown.push('\n');
    shown.push_str(&summary(report));
    shown.push('\n');
    shown
}

/// A line that begins with its level, in colour.
fn paint(line: &str, level: Level) -> String {
    let colour = match level {
        Level::Ok => "32",
        Level::Note => "36",
        Level::Warning => "33",
        Level::Problem => "1;31",
    };
    let (word, rest) = line.split_at(level.as_str().len());
    format!("\u{1b}[{colour}m{word}\u{1b}[0m{rest}")
}

fn summary(report: &Report) -> String {
    let of = |level: Level| count(report.count(level) as u64, level.as_str());
    match report.worst() {
        Level::Problem => format!(
            "{}, {}: something will not be delivered",
            of(Level::Problem),
            of(Level::Warning)
        ),
        Level::Warning => format!("no problems, {}", of(Level::Warning)),
        Level::Note | Level::Ok if report.tokens.is_empty() => {
            "no channel has a token, so Slack was asked nothing".to_owned()
        }
        Level::Note | Level::Ok => "Slack is as it should be".to_owned(),
    }
}

/// Asks Slack once and logs what is not as it should be; and again, when a reload changed channels or tokens, of those
/// that changed.
pub(crate) async fn follow(mut shared: watch::Receiver<Shared>) {
    let mut to_check = (*shared.borrow().config).clone();
    loop {
        let now = shared.borrow_and_update().clone();
        let config = Arc::clone(&now.config);
        let mut channels = to_check.channels.values();
        let has_token = channels.any(|channel| {
            matches!(
                channel.destination(&to_check.slack),
                Destination::SlackApi { .. }
            )
        });
        // A task of its own: its panic would be its own too. It ends when this does.
        let mut asking = JoinSet::new();
        if has_token {
            asking.spawn(ask_and_log(to_check, now));
        }
        if shared.changed().await.is_err() {
            return std::future::pending().await;
        }
        let new = Arc::clone(&shared.borrow().config);
        // Who is asked about still is asked about again.
        let is_asking = asking.try_join_next().is_none() && !asking.is_empty();
        to_check = match is_asking {
            true => (*new).clone(),
            false => changed(&config, &new),
        };
    }
}

/// The new configuration, of channels for which Slack has to be asked again.
fn changed(old: &Config, new: &Config) -> Config {
    let mut changed = new.clone();
    let is_other = |one: &SlackConfig, other: &SlackConfig| {
        (&one.api_url, &one.token, &one.proxy) != (&other.api_url, &other.token, &other.proxy)
    };
    if !is_other(&old.slack, &new.slack) {
        changed.channels.retain(|name, channel| {
            let before = old.channels.get(name);
            before.is_none_or(|before| {
                (&before.slack_channel, &before.token, before.digest_details)
                    != (
                        &channel.slack_channel,
                        &channel.token,
                        channel.digest_details,
                    )
            })
        });
    }
    changed
}

async fn ask_and_log(config: Config, shared: Shared) {
    let budget = Budget {
        within: AT_START,
        workspaces: shared.workspaces,
    };
    let as_found = |subject: &Subject, _: usize, _: usize| {
        let own = subject.findings.iter().filter(|finding| !finding.follows);
        own.for_each(|finding| log(&subject.name, &subject.place, finding));
    };
    let report = check(&config, &shared.http, budget, as_found).await;
    if report.worst() < Level::Warning {
        tracing::info!(
            tokens = report.tokens.len(),
            channels = report.channels.len(),
            notes = report.count(Level::Note),
            summary = summary(&report),
            "the look at Slack at the start found nothing wrong"
        );
    }
    let following = report.findings().filter(|(_, finding)| finding.follows);
    let following = following.count();
    if following > 0 {
        tracing::warn!(
            channels = following,
            "channels were not checked, or cannot work for what is said of their token; `auditrelay check \
             --online` lists them"
        );
    }
}

fn log(name: &str, place: &str, finding: &Finding) {
    let Finding { code, text, .. } = finding;
    let what_to_do = finding.what_to_do.as_deref().unwrap_or("nothing");
    match finding.level {
        Level::Problem => {
            tracing::error!(
                checked = name,
                place,
                code,
                problem = text,
                what_to_do,
                "Slack will not take what is posted there; events wait for it"
            );
        }
        Level::Warning => {
            tracing::warn!(
                checked = name,
                place,
                code,
                problem = text,
                what_to_do,
                "Slack takes what is posted there, but something needs a look"
            );
        }
        Level::Note | Level::Ok => {}
    }
}
