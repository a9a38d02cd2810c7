//! Runs the way from a body to the queue, or one part of it, so often, and prints nothing: a subject for
//! valgrind (`tests/instructions.rs`).
//!
//! usage: ack_path PART ROUNDS. A round is one list of 400 Metadata events. A part is one of
//!   prepare      all of it
//!   unwanted     all of it, for events that no route wants
//!   envelope, fingerprint, compress

use std::hint::black_box;

use auditrelay_audit::{
    Envelope, HashKey,
    list::{ITEMS_MAX, Item, Readable},
    redact::Redactor,
};
use auditrelay_ingest::{Advisor, Preparation, Stages};
use auditrelay_store::{Batch, Content, EncodedBatch, Entry};

#[path = "../../loadtest/events/fill.rs"]
mod fill;

const EVENTS: usize = 400;
const CLUSTER: &str = "prod";
const USAGE: &str = "usage: ack_path prepare|unwanted|envelope|fingerprint|compress ROUNDS";

fn main() -> Result<(), &'static str> {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next().ok_or(USAGE)?;
    let rounds = arguments.next().and_then(|rounds| rounds.parse().ok());
    let rounds: u32 = rounds.ok_or(USAGE)?;

    let body = fill::Events::metadata().list(EVENTS);
    let hash_key = HashKey::new([7; 32]);
    let readable = Readable::new(body.as_bytes());
    let items = items(&readable);
    let repeat = |work: &dyn Fn()| (0..rounds).for_each(|_| work());
    match part.as_str() {
        // What the routing table itself costs depends on the routes: see dispatch/benches.
        "prepare" => prepare(&body, hash_key, Advisor::none(), rounds),
        "unwanted" => prepare(&body, hash_key, Advisor::new(1, |_| None), rounds),
        "envelope" => repeat(&|| {
            for (item, _) in &items {
                let _ = black_box(Envelope::parse(black_box(item.text)));
            }
        }),
        "fingerprint" => repeat(&|| {
            for (item, envelope) in &items {
                black_box(hash_key.event(CLUSTER, black_box(item), envelope));
            }
        }),
        "compress" => {
            let entry = |(item, envelope): &(Item<'_>, Envelope<'_>)| Entry {
                key: hash_key.event(CLUSTER, item, envelope),
                content: Content::Event {
                    json: item.text.to_owned().into(),
                    body_unreadable: false,
                },
            };
            let batch = Batch {
                cluster: CLUSTER.into(),
                received_unix_ms: 7,
                entries: items.iter().map(entry).collect(),
            };
            repeat(&|| drop(black_box(EncodedBatch::new(black_box(&batch)))));
        }
        _ => return Err(USAGE),
    }
    Ok(())
}

fn prepare(body: &str, hash_key: HashKey, advisor: Advisor, rounds: u32) {
    let preparation = Preparation {
        redactor: Redactor::new(hash_key.clone()),
        hash_key,
        quarantine_raw: None,
        events_per_list_max: EVENTS,
        advisor,
    };
    for _ in 0..rounds {
        let prepared = preparation.batch(
            CLUSTER,
            7,
            black_box(body.as_bytes()),
            &mut Stages::default(),
        );
        let (batch, stored) = prepared.expect("a list");
        assert_eq!(stored.events, EVENTS as u64);
        drop(black_box(batch));
    }
}

fn items<'a>(readable: &'a Readable<'a>) -> Vec<(Item<'a>, Envelope<'a>)> {
    let items = readable.split(ITEMS_MAX).expect("a list");
    let read = |item: Item<'a>| (item, Envelope::parse(item.text).expect("an event"));
    items.into_iter().map(read).collect()
}
