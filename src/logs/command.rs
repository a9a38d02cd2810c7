//! `auditrelay log-filter`: asks the relay that runs which lines it writes, and lets it write others.

use std::process::ExitCode;

use super::{Filter, LogFilter, LogFilterArgs};
use crate::{
    Failure,
    output::{say, say_json, time},
    request::{Outcome, Request},
    session::{Session, unexpected},
};

pub(crate) async fn run(args: &LogFilterArgs) -> Result<ExitCode, Failure> {
    if let Some(Err(problem)) = args.filter.as_deref().map(Filter::parse) {
        return Err(Failure::Usage(format!("found {problem}")));
    }
    let session = Session::with_relay(&args.place)?;
    let request = if args.filter.is_some() || args.reset {
        Request::LogFilterSet {
            filter: args.filter.clone(),
            lasts_ms: args.lasts,
        }
    } else {
        Request::LogFilterShow {}
    };
    match session.ask("asking", request).await?.outcome {
        Outcome::LogFilter(shown) if args.json => say_json(&shown)?,
        Outcome::LogFilter(shown) => say(&told(&shown))?,
        _ => return Err(unexpected()),
    }
    Ok(ExitCode::SUCCESS)
}

fn told(shown: &LogFilter) -> String {
    let LogFilter {
        filter,
        source,
        until_unix_ms,
        back_to,
        back_to_source,
    } = shown;
    let until = match (source.as_str(), until_unix_ms) {
        ("command", Some(until)) => format!(
            "until {}, then {back_to} ({back_to_source})\n",
            time(*until)
        ),
        ("command", None) => {
            format!("until the relay starts again, or --reset: then {back_to} ({back_to_source})\n")
        }
        _ => String::new(),
    };
    format!("{filter} (from: {source})\n{until}")
}
