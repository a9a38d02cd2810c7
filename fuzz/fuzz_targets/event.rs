//! Bytes as an event on its way from the webhook to Slack: split off, read, redacted, told in every form; and
//! the same bytes as they might come out of a damaged store. The judge is that of `tests/judged`.
#![no_main]

use auditrelay_audit::{
    HashKey, Severity,
    list::Readable,
    redact::{Bodies, Redactor},
};
use auditrelay_dispatch::{
    details::{listing, replies},
    render::{Style, render},
};
use auditrelay_store::{Delivery, EventDelivery, Lease, LeaseId, Marks};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/judged/judge.rs"]
mod judge;

use judge::{Told, complete, harmless, listing_is_one, replies_complete};

fuzz_target!(|bytes: &[u8]| {
    tell(String::from_utf8_lossy(bytes).into_owned(), false);
    let body = [b"{\"items\":[", bytes, b"]}"].concat();
    let readable = Readable::new(&body);
    let redactor = Redactor::new(HashKey::new([7; 32]));
    let mut stored = Vec::new();
    // A list that cannot be split is refused at the door.
    let _refused = readable.events(8, |item, envelope| {
        if let Ok(envelope) = envelope {
            let is_readable = !item.has_invalid_utf8;
            let redacted = redactor.redact(item.text, &envelope, is_readable, Bodies::Keep);
            stored.push((redacted.json.into_owned(), redacted.body_unreadable));
        }
    });
    for (json, body_unreadable) in stored {
        tell(json, body_unreadable);
    }
});

fn tell(json: String, body_unreadable: bool) {
    let event = EventDelivery {
        cluster: "prod".into(),
        route: "a-route".into(),
        json,
        marks: Marks {
            body_unreadable,
            ..Marks::default()
        },
        meant_for: None,
    };
    for events in [1, 3] {
        let members = vec![(Severity::Warning, Delivery::Event(event.clone())); events];
        let lease = Lease {
            id: LeaseId {
                channel: "ops".into(),
                id: 1,
            },
            members,
            resumed: false,
            sealed_unix_ms: 0,
        };
        for sentences_max in [0, 8] {
            let style = Style {
                sentences_max,
                ..Style::default()
            };
            let message = render(&lease, &style, 0);
            let told = Told {
                events,
                ids: &[],
                extra: 0,
            };
            expect(harmless(&message));
            expect(complete(&message, &told));
            expect(harmless(&message.plain()));
        }
        let replies = replies(&lease.members, 1, 2, true);
        replies.iter().for_each(|reply| expect(harmless(reply)));
        expect(replies_complete(&replies, events));
        expect(listing_is_one(&listing(&lease.members), events));
    }
}

fn expect(judged: Result<(), String>) {
    if let Err(problem) = judged {
        panic!("{problem}");
    }
}
