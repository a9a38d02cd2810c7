//! `auditrelay dead list|show|redrive|drop`: messages that could never be delivered.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use auditrelay_dispatch::{render::notice_words, sentence::Sentence};
use auditrelay_store::{DeadFilter, DeadLetter, EventDelivery};
use serde_json::json;

use crate::{
    Failure,
    cli::{DeadCommand, DeadFilterArgs, DeadListArgs, DeadShowArgs, SettleArgs},
    output::{count, line, say, say_json, table, time},
    request::{Member, Outcome, Request, Which},
    session::{Session, unexpected},
};

const REASON_CHARS_MAX: usize = 80;

impl DeadFilterArgs {
    fn filter(&self) -> Result<DeadFilter, Failure> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            let text = "--since must be before --until";
            return Err(Failure::Usage(text.to_owned()));
        }
        Ok(DeadFilter {
            channel: self.channel.clone(),
            reason: self.reason.clone(),
            since_unix_ms: self.since,
            until_unix_ms: self.until,
        })
    }
}

pub(crate) async fn run(command: &DeadCommand) -> Result<ExitCode, Failure> {
    match command {
        DeadCommand::List(args) => list(args).await,
        DeadCommand::Show(args) => show(args).await,
        DeadCommand::Redrive(args) => settle(args, Settle::Redrive).await,
        DeadCommand::Drop(args) => settle(args, Settle::Drop).await,
    }
}

async fn list(args: &DeadListArgs) -> Result<ExitCode, Failure> {
    let filter = args.filter.filter()?;
    let session = Session::open(&args.place, false).await?;
    let request = Request::DeadList { filter };
    let letters = session.ask("reading", request).await?.letters;
    if args.json {
        say_json(&letters)?;
    } else if letters.is_empty() {
        say("no dead letters\n")?;
    } else {
        let events = letters.iter().map(|letter| letter.events).sum();
        let rows: Vec<_> = letters.iter().map(row).collect();
        let headers = [
            ">id",
            "channel",
            "severity",
            ">events",
            ">attempts",
            "first",
            "last",
            "reason",
        ];
        say(&table(&headers, &rows))?;
        say(&format!("\n{}\n", amount(letters.len() as u64, events)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let burial = &letter.burial;
    vec![
        letter.id.to_string(),
        line(&letter.channel, 64),
        letter.severity.as_str().to_owned(),
        letter.events.to_string(),
        burial.attempts.to_string(),
        time(burial.first_unix_ms),
        time(burial.last_unix_ms),
        line(&burial.reason, REASON_CHARS_MAX),
    ]
}

fn amount(letters: u64, events: u64) -> String {
    let (letters, events) = (count(letters, "dead letter"), count(events, "event"));
    format!("{letters} with {events}")
}

async fn show(args: &DeadShowArgs) -> Result<ExitCode, Failure> {
    let session = Session::open(&args.place, false).await?;
    let request = Request::DeadShow { id: args.id };
    let answer = session.ask("reading", request).await?;
    let Some(letter) = answer.letters.first() else {
        let id = args.id;
        return Err(Failure::No(format!(
            "there is no dead letter {id}: it was redriven or dropped, or never was one"
        )));
    };
    if args.json {
        let mut value = json!(letter);
        value["members"] = json!(answer.members);
        say_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let burial = &letter.burial;
    let (first, last) = (time(burial.first_unix_ms), time(burial.last_unix_ms));
    let when = if first == last {
        format!("at {first}")
    } else {
        format!("from {first} to {last}")
    };
    say(&format!(
        "dead letter {} for channel {}: {}, {}\n  reason  {}\n  tried   {}, {when}\n\n",
        letter.id,
        line(&letter.channel, 64),
        count(letter.events, "event"),
        letter.severity.as_str(),
        line(&burial.reason, 500),
        count(burial.attempts.into(), "time"),
    ))?;
    let text: String = answer.members.iter().map(sentence).collect();
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A member as one line.
fn sentence(member: &Member) -> String {
    let cluster = line(&member.cluster, 63);
    match (&member.event, &member.notice) {
        (Some(event), _) => {
            let event = EventDelivery {
                cluster: member.cluster.clone(),
                route: member.route.clone().unwrap_or_default(),
                json: event.get().to_owned(),
                marks: member.marks.unwrap_or_default(),
                meant_for: None,
            };
            let sentence = Sentence::new(member.severity, &event);
            format!(
                "[{cluster}] {}\n      {}\n",
                sentence.text(),
                sentence.context
            )
        }
        (None, Some(notice)) if cluster.is_empty() => {
            format!("auditrelay: {}\n", notice_words("", notice, 0))
        }
        (None, notice) => {
            let events = count(member.events.unwrap_or_default(), "event");
            let text = line(notice.as_deref().unwrap_or_default(), 150);
            format!("[{cluster}] auditrelay: {events} {text}\n")
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Settle {
    Redrive,
    Drop,
}

impl Settle {
    fn done(self) -> &'static str {
        match self {
            Self::Redrive => "waiting for their channels again",
            Self::Drop => "dropped for good",
        }
    }
}

async fn settle(args: &SettleArgs, settle: Settle) -> Result<ExitCode, Failure> {
    let filter = args.filter.filter()?;
    let session = Session::open(&args.place, false).await?;
    let which = if args.ids.is_empty() {
        let request = Request::DeadCount {
            filter: filter.clone(),
        };
        let counted = session.ask("counting", request).await?.outcome;
        let Outcome::Counted {
            letters,
            events,
            last_id,
        } = counted
        else {
            return Err(unexpected());
        };
        if letters > 0 && !args.yes {
            agree(settle, &amount(letters, events))?;
        }
        Which::Matching { filter, last_id }
    } else {
        Which::Ids(args.ids.clone())
    };
    let (what, request) = match settle {
        Settle::Redrive => ("redriving", Request::Redrive { which }),
        Settle::Drop => ("dropping", Request::DropDead { which }),
    };
    let Outcome::Settled {
        letters,
        events,
        gone,
    } = session.ask(what, request).await?.outcome
    else {
        return Err(unexpected());
    };
    if args.json {
        let done = json!({"letters": letters, "events": events, "gone": gone});
        say_json(&done)?;
        return Ok(ExitCode::SUCCESS);
    }
    for id in gone {
        say(&format!("{id} is no dead letter any more\n"))?;
    }
    if letters > 0 {
        say(&format!("{}: {}\n", amount(letters, events), settle.done()))?;
    } else if args.ids.is_empty() {
        say("no dead letter matches\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks a person; a script has to say `--yes`.
fn agree(settle: Settle, amount: &str) -> Result<(), Failure> {
    let question = match settle {
        Settle::Redrive => format!("{amount} would wait for their channels again"),
        Settle::Drop => format!("{amount} would be dropped for good"),
    };
    let (input, mut output) = (std::io::stdin(), std::io::stderr());
    let instead = "nothing was done; say --yes, or name the letters by their IDs";
    if input.is_terminal() && output.is_terminal() {
        let mut answer = String::new();
        let asked = write!(output, "{question}. Do it? [y/N] ").and_then(|()| output.flush());
        let read = asked.and_then(|()| input.read_line(&mut answer));
        if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(());
        }
        return Err(Failure::No("nothing was done".to_owned()));
    }
    Err(Failure::Usage(format!("{question}; {instead}")))
}
