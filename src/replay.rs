//! `auditrelay replay`: what was received in a time goes through today's routes again.

use std::process::ExitCode;

use auditrelay_dispatch::Replayed;

use crate::{
    Failure,
    cli::ReplayArgs,
    output::{count, line, say, say_json, table, time},
    request::{Outcome, Request},
    session::{Session, unexpected},
};

pub(crate) async fn run(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    if args.since >= args.until {
        let text = "--since must be before --until";
        return Err(Failure::Usage(text.to_owned()));
    }
    let session = Session::open(&args.place, true).await?;
    let request = Request::Replay {
        since_unix_ms: args.since,
        until_unix_ms: args.until,
        route: args.route.clone(),
        dry_run: args.dry_run,
    };
    let Outcome::Replayed(replayed) = session.ask("replaying", request).await?.outcome else {
        return Err(unexpected());
    };
    if args.json {
        say_json(&replayed)?;
    } else if replayed.blocks > 0 {
        say(&told(&replayed, args))?;
    }
    match replayed.retained_unix_ms {
        _ if replayed.blocks > 0 => Ok(ExitCode::SUCCESS),
        None => Err(Failure::No(
            "nothing is retained: queue.retain_hours is 0, or nothing was routed since it was set"
                .to_owned(),
        )),
        Some((oldest, newest)) => Err(Failure::No(format!(
            "nothing of that time is retained; the oldest batch was received at {}, the newest at {}",
            time(oldest),
            time(newest)
        ))),
    }
}

fn told(replayed: &Replayed, args: &ReplayArgs) -> String {
    let rows: Vec<_> = replayed
        .sent
        .iter()
        .map(|row| {
            let route = if row.route.is_empty() {
                "(default)".to_owned()
            } else {
                line(&row.route, 64)
            };
            vec![line(&row.channel, 64), route, row.events.to_string()]
        })
        .collect();
    let mut text = if rows.is_empty() {
        String::new()
    } else {
        table(&["channel", "route", ">events"], &rows) + "\n"
    };
    let events = count(replayed.events(), "event");
    text.push_str(&if args.dry_run {
        format!("{events} would be sent again; nothing was done\n")
    } else {
        format!("{events} wait for their channels, marked as replayed\n")
    });
    let filtered = match &args.route {
        None => "that no route wants today",
        Some(_) => "that this route does not ask for today",
    };
    for (number, meaning) in [
        (replayed.filtered, filtered),
        (replayed.duplicates, "that had come twice, told once"),
        (
            replayed.without_text,
            "that no route wanted when they came: their text was never stored",
        ),
        (replayed.unreadable, "that could not be read"),
    ] {
        if number > 0 {
            text.push_str(&format!("not sent: {} {meaning}\n", count(number, "event")));
        }
    }
    if let Some((oldest, _)) = replayed.retained_unix_ms
        && oldest > args.since
    {
        text.push_str(&format!(
            "the oldest batch that is retained was received at {}\n",
            time(oldest)
        ));
    }
    text
}
