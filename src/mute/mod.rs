//! `auditrelay mute add|list|expire`: not to hear of some events for a while.
//!
//! Invariant: who mutes, what and why is said aloud. There is no mute without an author, a reason and an end.

use std::process::ExitCode;

use auditrelay_config::MatchConfig;
use auditrelay_store::{Mute, NewMute};
use serde_json::{Value, json};

use crate::{
    Failure,
    output::{count, duration, line, say, say_json, table, time, wrap},
    request::{AskedMute, Outcome, Request},
    session::Session,
    when::now_unix_ms,
};

mod args;
#[cfg(test)]
mod asked_tests;
mod matching;

pub(crate) use args::MuteCommand;
use args::{AddArgs, ExpireArgs, ListArgs};

/// Longest name of an author, in characters.
pub(crate) const AUTHOR_CHARS_MAX: usize = 64;
/// Longest reason, in characters.
pub(crate) const REASON_CHARS_MAX: usize = 120;
/// The longest that a mute may last, in milliseconds: 30 days.
pub(crate) const LASTS_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// The shortest that a command may ask for, in milliseconds: a minute.
const LASTS_MS_MIN: i64 = 60_000;
/// What a mute is about, within a row of the table.
const WORDS_CHARS_MAX: usize = 80;

pub(crate) async fn run(command: &MuteCommand) -> Result<ExitCode, Failure> {
    match command {
        MuteCommand::Add(args) => add(args).await,
        MuteCommand::List(args) => list(args).await,
        MuteCommand::Expire(args) => expire(args).await,
    }
}

async fn add(args: &AddArgs) -> Result<ExitCode, Failure> {
    let mute = asked(args)?;
    let session = Session::open(&args.place, true).await?;
    let answer = session.ask("muting", Request::MuteAdd { mute }).await?;
    let Some(mute) = answer.mutes.first() else {
        return Err(crate::session::unexpected());
    };
    if args.json {
        say_json(&as_json(mute))?;
    } else {
        say(&told(mute))?;
        say(
            "\nThe channels concerned are told of it now, and of its end with what it held back.\n",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is asked for, if it can be: what the relay would refuse whatever its configuration is, is refused here, as any
/// other wrong use is.
fn asked(args: &AddArgs) -> Result<AskedMute, Failure> {
    matching::judge("channel", &args.channel, false)?;
    matching::judge("route", &args.route, false)?;
    let matches = matching::text(&args.matching)?;
    let read = MatchConfig::parse(&matches, "the mute")
        .map_err(|error| Failure::Usage(line(&error.to_string(), 500)))?;
    let lasts_ms = match (args.lasts, args.until) {
        (Some(lasts_ms), _) => lasts_ms,
        (None, Some(until)) => until - now_unix_ms(),
        (None, None) => 0,
    };
    if !(LASTS_MS_MIN..=LASTS_MS_MAX).contains(&lasts_ms) {
        let text = "a mute lasts from 1 minute to 30 days, such as --for 2h";
        return Err(Failure::Usage(text.to_owned()));
    }
    let author = author(args.author.as_deref())?;
    for (flag, text, chars_max) in [
        ("author", author.as_str(), AUTHOR_CHARS_MAX),
        ("reason", args.reason.trim(), REASON_CHARS_MAX),
    ] {
        let problem = match text.chars().count() {
            0 => "is empty; say it, others will read it".to_owned(),
            count if count > chars_max => {
                format!("is longer than {chars_max} characters; say it in fewer")
            }
            _ => continue,
        };
        return Err(Failure::Usage(format!("--{flag} {problem}")));
    }
    let is_all = read.is_everything() && args.channel.is_empty() && args.route.is_empty();
    if is_all && !args.all_events {
        let text = "it would hold back every event of every channel; say which, or --all-events";
        return Err(Failure::Usage(text.to_owned()));
    }
    Ok(AskedMute {
        author,
        reason: args.reason.clone(),
        matches,
        all_events: args.all_events,
        channels: args.channel.clone(),
        routes: args.route.clone(),
        lasts_ms,
    })
}

async fn list(args: &ListArgs) -> Result<ExitCode, Failure> {
    let session = Session::open(&args.place, false).await?;
    let answer = session.ask("reading", Request::MuteList {}).await?;
    let mutes: Vec<&Mute> = answer
        .mutes
        .iter()
        .filter(|mute| args.all || mute.is_active())
        .collect();
    if args.json {
        let all: Vec<Value> = mutes.iter().map(|mute| as_json(mute)).collect();
        say_json(&all)?;
    } else if mutes.is_empty() {
        say(match args.all {
            true => "there are no mutes\n",
            false => "no mute is active\n",
        })?;
    } else {
        let now = now_unix_ms();
        let rows: Vec<_> = mutes.iter().map(|mute| row(mute, now)).collect();
        let headers = [
            ">id",
            "until",
            "left",
            "author",
            "reason",
            "holds back",
            ">held",
            "from",
        ];
        say(&table(&headers, &rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn expire(args: &ExpireArgs) -> Result<ExitCode, Failure> {
    let author = author(args.author.as_deref())?;
    let session = Session::open(&args.place, true).await?;
    let request = Request::MuteExpire {
        id: args.id,
        author,
        reason: args.reason.clone().unwrap_or_default(),
    };
    let answer = session.ask("ending", request).await?;
    let Some(mute) = answer
        .mutes
        .first()
        .filter(|_| answer.outcome == Outcome::Listed)
    else {
        let id = args.id;
        return Err(Failure::No(format!(
            "no mute {id} is active: it ended, or never was (auditrelay mute list --all)"
        )));
    };
    if args.json {
        say_json(&as_json(mute))?;
    } else {
        say(&told(mute))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever is said to be the author, or runs this.
fn author(given: Option<&str>) -> Result<String, Failure> {
    let variables = ["SUDO_USER", "USER", "LOGNAME"];
    let of_environment = || variables.iter().find_map(|name| std::env::var(name).ok());
    let author = given.map(str::to_owned).or_else(of_environment);
    let author = author.map(|author| author.trim().to_owned());
    author.filter(|author| !author.is_empty()).ok_or_else(|| {
        let text = "who asks? Neither SUDO_USER nor USER says it; use --author NAME";
        Failure::Usage(text.to_owned())
    })
}

/// Which channels and routes a mute keeps to, behind what it is about.
pub(crate) fn restriction(mute: &NewMute) -> String {
    let part = |noun: &str, names: &[String]| match names {
        [] => String::new(),
        [one] => format!("{noun} {one}"),
        many => format!("{noun}s {}", many.join(", ")),
    };
    let parts = [part("channel", &mute.channels), part("route", &mute.routes)];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!(" (only {})", parts.join(", ")),
    }
}

fn row(mute: &Mute, now_unix_ms: i64) -> Vec<String> {
    let asked = &mute.asked;
    let (until, left) = match &mute.ended {
        Some(end) => (end.at_unix_ms, "ended".to_owned()),
        // A relay that is stopped ends it when it starts.
        None if asked.until_unix_ms <= now_unix_ms => (asked.until_unix_ms, "over".to_owned()),
        None => (
            asked.until_unix_ms,
            duration(asked.until_unix_ms - now_unix_ms),
        ),
    };
    let words = format!("{}{}", asked.words, restriction(asked));
    vec![
        mute.id.to_string(),
        time(until),
        left,
        line(&asked.author, AUTHOR_CHARS_MAX),
        line(&asked.reason, REASON_CHARS_MAX),
        line(&words, WORDS_CHARS_MAX),
        mute.held_total().to_string(),
        held(mute),
    ]
}

/// How much it held back from which channel.
fn held(mute: &Mute) -> String {
    let part = |(channel, events): (&String, &u64)| format!("{} {events}", line(channel, 64));
    match mute.held.is_empty() {
        true => "-".to_owned(),
        false => mute.held.iter().map(part).collect::<Vec<_>>().join(", "),
    }
}

/// A mute for people.
fn told(mute: &Mute) -> String {
    let asked = &mute.asked;
    let state = match &mute.ended {
        None => format!(
            "is active until {} ({})",
            time(asked.until_unix_ms),
            duration(asked.until_unix_ms - asked.begun_unix_ms)
        ),
        Some(end) => format!("ended at {}", time(end.at_unix_ms)),
    };
    let words = format!("{}{}", asked.words, restriction(asked));
    let words = wrap(&line(&words, 2_000), 90).join("\n              ");
    format!(
        "mute {} {state}\n  holds back  {words}\n  author      {}\n  reason      {}\n  held so far {}: {}\n",
        mute.id,
        line(&asked.author, AUTHOR_CHARS_MAX),
        line(&asked.reason, REASON_CHARS_MAX),
        count(mute.held_total(), "delivery"),
        held(mute),
    )
}

/// A mute for scripts.
pub(crate) fn as_json(mute: &Mute) -> Value {
    let asked = &mute.asked;
    // What cannot be read is shown as the text that it is.
    let matches: Value = serde_json::from_str(&asked.matches)
        .unwrap_or_else(|_| Value::String(asked.matches.clone()));
    let ended = mute
        .ended
        .as_ref()
        .map(|end| json!({"at_unix_ms": end.at_unix_ms, "by": end.by, "reason": end.reason}));
    json!({
        "id": mute.id,
        "author": asked.author,
        "reason": asked.reason,
        "match": matches,
        "channels": asked.channels,
        "routes": asked.routes,
        "begun_unix_ms": asked.begun_unix_ms,
        "until_unix_ms": asked.until_unix_ms,
        "active": mute.is_active(),
        "ended": ended,
        "held": mute.held,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mute() -> Mute {
        Mute {
            id: 7,
            asked: NewMute {
                author: "al\u{1b}[2Jice".into(),
                reason: "deploy\nof payments".into(),
                matches: r#"{"users":["bob"]}"#.into(),
                words: "users: bob\u{202e}".into(),
                channels: vec!["ops".into(), "sec".into()],
                routes: vec!["secrets".into()],
                begun_unix_ms: 0,
                until_unix_ms: 7_200_000,
            },
            ended: None,
            held: [("ops".to_owned(), 1_233), ("sec".to_owned(), 1)].into(),
        }
    }

    #[test]
    fn what_is_shown_is_all_of_it_and_does_nothing_to_a_terminal() {
        let text = told(&mute());
        for part in [
            "mute 7 is active until 1970-01-01 02:00:00 UTC (2 h)",
            "(only channels ops, sec, route secrets)",
            "deploy␊of payments",
            "1,234 deliveries: ops 1233, sec 1",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        let cells = row(&mute(), 3_600_000).join("|");
        assert!(
            cells.starts_with("7|1970-01-01 02:00:00 UTC|1 h|"),
            "{cells}"
        );
        assert!(row(&mute(), 7_200_000)[2] == "over");
        for text in [text, cells] {
            let harmful = |sign: char| (sign.is_control() && sign != '\n') || sign == '\u{202e}';
            assert!(!text.contains(harmful), "{text:?}");
        }
        let value = as_json(&mute());
        assert_eq!(value["match"]["users"], json!(["bob"]));
        assert_eq!(value["held"]["ops"], 1_233);
    }
}
