//! Messages as they would be posted, for audit events on standard input: one JSON event a line, or an
//! `EventList` as the API server posts it. The events go through redaction first, as at the door.
//!
//! `cargo run -p auditrelay-dispatch --example messages < events.json`; with `digest` as argument all of them
//! become one digest.

use std::io::{Read, Write};

use auditrelay_audit::{Envelope, Severity, redact::redact};
use auditrelay_dispatch::{
    preview,
    render::{Style, render},
};
use auditrelay_store::{Delivery, EventDelivery, Lease, LeaseId, Marks};
use serde_json::Value;

fn main() -> std::io::Result<()> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let mut events: Vec<String> = Vec::new();
    for value in serde_json::Deserializer::from_str(&input).into_iter::<Value>() {
        match value?["items"].take() {
            Value::Array(items) => events.extend(items.iter().map(Value::to_string)),
            _ => events.extend(input.lines().map(str::to_owned)),
        }
        if !input.contains("\"EventList\"") {
            break;
        }
    }
    let members: Vec<_> = events.iter().filter_map(|event| member(event)).collect();
    let one = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "digest");
    let size = if one { members.len().max(1) } else { 1 };
    for members in members.chunks(size) {
        let lease = Lease {
            id: LeaseId {
                channel: "security".to_owned(),
                id: 12,
            },
            members: members.to_vec(),
            resumed: false,
        };
        let message = render(&lease, &Style::default(), 0);
        let shown = preview::show("security", &message.blocks, false);
        write!(std::io::stdout(), "{}\n{shown}", message.text)?;
    }
    Ok(())
}

fn member(event: &str) -> Option<(Severity, Delivery)> {
    let envelope = Envelope::parse(event).ok()?;
    let redacted = redact(event, &envelope, true);
    let delivery = EventDelivery {
        cluster: "prod-eu".to_owned(),
        route: "secrets-and-sessions".to_owned(),
        json: redacted.json.into_owned(),
        marks: Marks {
            body_unreadable: redacted.body_unreadable,
            ..Marks::default()
        },
    };
    Some((Severity::Warning, Delivery::Event(delivery)))
}
