//! `auditrelay events --message ID`: what a message stood for.

use std::process::ExitCode;

use auditrelay_audit::Envelope;
use auditrelay_dispatch::sentence;

use crate::{
    Failure,
    cli::EventsArgs,
    output::{count, line, say, say_json, table, time},
    request::{Member, Outcome, Request},
    session::{Session, unexpected},
};

pub(crate) async fn run(args: &EventsArgs) -> Result<ExitCode, Failure> {
    let session = Session::open(&args.place, false).await?;
    let message = args.message;
    let answer = session.ask("reading", Request::Events { message }).await?;
    let (channel, told_unix_ms, posted) = match answer.outcome {
        Outcome::Told {
            channel,
            told_unix_ms,
            posted,
        } => (channel, told_unix_ms, posted),
        Outcome::Unknown => {
            return Err(Failure::No(format!(
                "message {message} is not known here: what a message stood for is kept for \
                 queue.digest_detail_hours after it was delivered; before that it waits, and what was \
                 never delivered is among the dead letters (auditrelay dead show {message})"
            )));
        }
        _ => return Err(unexpected()),
    };
    if args.json {
        say_json(&answer.members)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = answer.members.iter().map(row).collect();
    let headers = [
        "time", "cluster", "user", "verb", "object", ">code", "marks",
    ];
    say(&table(&headers, &rows))?;
    // `trace` asks Slack for its address.
    let posted = posted.map(|one| {
        let (place, ts) = (line(&one.place, 64), line(&one.ts, 64));
        format!(": Slack's channel {place}, ts {ts}")
    });
    say(&format!(
        "\n{} in message {message}, delivered to channel {} at {}{}\n",
        count(rows.len() as u64, "event"),
        line(&channel, 64),
        time(told_unix_ms),
        posted.unwrap_or_default()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn row(member: &Member) -> Vec<String> {
    let cluster = line(&member.cluster, 63);
    let event = member.event.as_ref().map(|event| event.get());
    if let Some(notice) = &member.notice {
        let events = count(member.events.unwrap_or_default(), "event");
        let text = match member.cluster.is_empty() {
            true => line(notice, 200),
            false => format!("{events} {}", line(notice, 120)),
        };
        return said("", cluster, "auditrelay", "", text);
    }
    let Some(event) = event.and_then(|event| Envelope::parse(event).ok()) else {
        let text = "an event that can no longer be read".to_owned();
        return said("", cluster, "", "", text);
    };
    let object = match &event.object_ref {
        Some(object) => sentence::object(object),
        None => line(event.path(), 120),
    };
    let marks = member.marks.unwrap_or_default();
    let marks: Vec<&str> = [
        (marks.body_unreadable, "body unreadable"),
        (marks.audit_id_reused, "audit ID reused"),
        (marks.possibly_repeated, "possibly repeated"),
        (marks.replayed, "replayed"),
    ]
    .into_iter()
    .filter_map(|(holds, mark)| holds.then_some(mark))
    .collect();
    let code = event.code().map(|code| code.to_string());
    vec![
        sentence::time(&event.stage_timestamp),
        cluster,
        sentence::who(&event),
        line(&event.verb, 20),
        object,
        code.unwrap_or_default(),
        marks.join(", "),
    ]
}

/// A row of something that is no readable event.
fn said(time: &str, cluster: String, user: &str, verb: &str, text: String) -> Vec<String> {
    let text_of = str::to_owned;
    let (code, marks) = (String::new(), String::new());
    vec![
        text_of(time),
        cluster,
        text_of(user),
        text_of(verb),
        text,
        code,
        marks,
    ]
}

#[cfg(test)]
mod tests {
    use auditrelay_audit::Severity;
    use auditrelay_store::{Delivery, EventDelivery, Marks, Notice};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_who_did_what_to_which_object() {
        let event = EventDelivery {
            cluster: "prod".into(),
            route: String::new(),
            json: json!({
                "level": "Metadata", "stage": "ResponseComplete", "verb": "delete",
                "user": {"username": "alice"}, "responseStatus": {"code": 403},
                "objectRef": {"resource": "pods", "namespace": "shop", "name": "api"},
                "stageTimestamp": "2026-11-21T03:15:29.1Z",
            })
            .to_string(),
            marks: Marks {
                replayed: true,
                ..Marks::default()
            },
            meant_for: None,
        };
        let notice = Notice {
            text: "could not be read".into(),
            events: 3,
            cluster: "prod".into(),
        };
        let cells = |delivery| row(&Member::new(Severity::Info, delivery)).join("|");
        assert_eq!(
            cells(Delivery::Event(event)),
            "2026-11-21 03:15:29 UTC|prod|alice|delete|pods/api in shop|403|replayed"
        );
        assert_eq!(
            cells(Delivery::Notice(notice)),
            "|prod|auditrelay||3 events could not be read||"
        );
    }
}
