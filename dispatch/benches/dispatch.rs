//! What the router decides of an event, and how messages are made.

use std::{fmt::Write, io::Write as _, time::Duration};

use auditrelay_audit::{Envelope, Event, EventKey, HashKey, Severity};
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{
    Routes,
    dedup::Seen,
    escape,
    render::{Style, render},
};
use auditrelay_store::{Delivery, EventDelivery, Lease, LeaseId, Marks};
use divan::{
    Bencher, black_box, black_box_drop,
    counter::{BytesCount, ItemsCount},
};

#[path = "../../loadtest/events/fill.rs"]
mod fill;

const BATCH: usize = 400;

fn main() {
    divan::main();
}

/// Routes as a platform team writes them: by namespace, by user, by the name of an object.
fn routes(count: usize) -> Routes {
    let mut yaml = "channels: {ops: {preview: true}}\nroutes:\n".to_owned();
    for route in 0..count {
        let verb = ["create", "update", "patch", "delete"][route % 4];
        let resource = ["pods", "leases", "endpoints", "secrets"][route / 3 % 4];
        let restriction = match route % 3 {
            0 => format!("verbs: [{verb}], namespaces: [team-{route}]"),
            1 => format!("verbs: [{verb}], users: [robot-{route}]"),
            _ => format!(
                "resources: [{{group: '*', resources: [{resource}], resourceNames: [object-{route}]}}]"
            ),
        };
        writeln!(yaml, "- {{name: r{route}, channel: ops, {restriction}}}")
            .expect("a string takes all");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(yaml.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default()).expect("valid");
    Routes::new(&loaded.config)
}

/// Of events that no route wants, so that every route is considered.
#[divan::bench(args = [10, 500])]
fn route_decision(bencher: Bencher<'_, '_>, count: usize) {
    let routes = routes(count);
    let events = fill::Events::metadata().take(BATCH);
    let parse = |json| Envelope::parse(json).expect("an event");
    let envelopes: Vec<_> = events.iter().map(|json| parse(json)).collect();
    bencher.counter(ItemsCount::new(BATCH)).bench(|| {
        for envelope in black_box(&envelopes) {
            let event = Event {
                cluster: "prod",
                envelope,
            };
            black_box(routes.matched(&event));
        }
    });
}

/// The key of an event, as ingest makes it.
fn key(hash_key: &HashKey, number: usize) -> EventKey {
    let key = hash_key.unreadable("prod", &number.to_le_bytes());
    let (identity, _) = key.fingerprint.split_first_chunk().expect("16 bytes");
    EventKey {
        identity: u64::from_le_bytes(*identity),
        ..key
    }
}

/// Notes a batch at a time, in a window of the default configuration that remembers so many events.
/// `place` says which of them the batch after so many begins with.
fn dedup(bencher: Bencher<'_, '_>, remembered: usize, place: impl Fn(usize) -> usize) {
    let hash_key = HashKey::new([7; 32]);
    let mut seen = Seen::new(Duration::from_secs(900), 3_600_000);
    for number in 0..remembered {
        seen.note(&key(&hash_key, number), (number / BATCH) as u64, 0);
    }
    let mut batches = 0;
    let mut seq = remembered as u64;
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| -> Vec<_> {
            let first = place(batches);
            batches += 1;
            let numbers = first..first + BATCH;
            numbers.map(|number| key(&hash_key, number)).collect()
        })
        .bench_local_values(|batch| {
            seq += 1;
            for key in &batch {
                black_box(seen.note(key, seq, 0));
            }
        });
}

/// A batch of new events.
#[divan::bench(args = [10_000, 1_000_000], sample_count = 100, sample_size = 1)]
fn dedup_new(bencher: Bencher<'_, '_>, remembered: usize) {
    dedup(bencher, remembered, |batches| remembered + batches * BATCH);
}

/// A batch that the API server sends again; each time another one, which is not in the processor's cache.
#[divan::bench(args = [10_000, 1_000_000], sample_count = 100, sample_size = 1)]
fn dedup_again(bencher: Bencher<'_, '_>, remembered: usize) {
    dedup(bencher, remembered, |batches| {
        batches * BATCH % (remembered - BATCH)
    });
}

fn lease(events: usize) -> Lease {
    let jsons = fill::Events::metadata().take(events);
    let member = |json| {
        let event = EventDelivery {
            cluster: "prod".to_owned(),
            route: String::new(),
            json,
            marks: Marks::default(),
            meant_for: None,
        };
        (Severity::Info, Delivery::Event(event))
    };
    Lease {
        id: LeaseId {
            channel: "ops".to_owned(),
            id: 1,
        },
        members: jsons.into_iter().map(member).collect(),
        resumed: false,
        sealed_unix_ms: 0,
    }
}

#[divan::bench(args = [1, 8])]
fn sentences(bencher: Bencher<'_, '_>, events: usize) {
    let lease = lease(events);
    bencher
        .counter(ItemsCount::new(events))
        .bench(|| render(black_box(&lease), &Style::default(), 0));
}

/// Up to what one message stands for by default.
#[divan::bench(args = [400, 10_000])]
fn digest(bencher: Bencher<'_, '_>, events: usize) {
    let lease = lease(events);
    bencher
        .counter(ItemsCount::new(events))
        .bench(|| render(black_box(&lease), &Style::default(), 0));
}

const TEXTS: [(&str, &str); 2] = [
    (
        "plain",
        "system:serviceaccount:monitoring:prometheus-operator-kube-state-metrics",
    ),
    (
        "hostile",
        "<!channel> & <@U1|x>\u{202e}\u{200b}\n\u{1b}[2J & so on, with é and 日本語 between",
    ),
];

/// Cleaned for every destination, then escaped for Slack's fallback text.
#[divan::bench(args = TEXTS.map(|(name, _)| name))]
fn clean_and_escape(bencher: Bencher<'_, '_>, name: &str) {
    let (_, text) = TEXTS
        .into_iter()
        .find(|(other, _)| *other == name)
        .expect("one of them");
    bencher
        .counter(BytesCount::of_str(text))
        .bench(|| black_box_drop(escape::escape(&escape::clean(black_box(text), 120))));
}
