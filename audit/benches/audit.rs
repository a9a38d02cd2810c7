//! What ingest does with each event before it is stored: split, read, key, redact.

use auditrelay_audit::{
    Envelope, HashKey,
    list::{ITEMS_MAX, Item, Readable},
    policy::{self, Request},
    redact::{Bodies, Redactor},
};
use divan::{
    Bencher, black_box, black_box_drop,
    counter::{BytesCount, ItemsCount},
};

#[path = "../../loadtest/events/fill.rs"]
mod fill;

fn main() {
    divan::main();
}

/// A body as the API server sends it.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// 400 events, its largest batch.
    Metadata,
    /// 40 events with both their bodies, 2 MB.
    RequestResponse,
}

const SHAPES: [Shape; 2] = [Shape::Metadata, Shape::RequestResponse];

impl Shape {
    fn list(self) -> String {
        match self {
            Self::Metadata => fill::Events::metadata().list(400),
            Self::RequestResponse => fill::Events::request_response().list(40),
        }
    }
}

fn items<'a>(readable: &'a Readable<'a>) -> Vec<(Item<'a>, Envelope<'a>)> {
    let items = readable.split(ITEMS_MAX).expect("a list");
    let read = |item: Item<'a>| (item, Envelope::parse(item.text).expect("an event"));
    items.into_iter().map(read).collect()
}

/// Measures something that is done with every event of a list.
fn each_event(
    bencher: Bencher<'_, '_>,
    shape: Shape,
    work: impl Fn(&Item<'_>, &Envelope<'_>) + Sync,
) {
    let body = shape.list();
    let readable = Readable::new(body.as_bytes());
    let items = items(&readable);
    bencher
        .counter(ItemsCount::new(items.len()))
        .counter(BytesCount::of_str(&body))
        .bench(|| {
            for (item, envelope) in black_box(&items) {
                work(item, envelope);
            }
        });
}

/// From a body to items and their envelopes, in one pass.
#[divan::bench(args = SHAPES)]
fn split(bencher: Bencher<'_, '_>, shape: Shape) {
    let body = shape.list();
    let events = items(&Readable::new(body.as_bytes())).len();
    bencher
        .counter(ItemsCount::new(events))
        .counter(BytesCount::of_str(&body))
        .bench(|| {
            let readable = Readable::new(black_box(body.as_bytes()));
            readable.events(ITEMS_MAX, |item, envelope| {
                black_box_drop((item, envelope));
            })
        });
}

/// The envelope of an event on its own, as router and renderer read it.
#[divan::bench(args = SHAPES)]
fn envelope(bencher: Bencher<'_, '_>, shape: Shape) {
    each_event(bencher, shape, |item, _| {
        black_box_drop(Envelope::parse(item.text));
    });
}

#[divan::bench(args = SHAPES)]
fn fingerprint(bencher: Bencher<'_, '_>, shape: Shape) {
    let key = HashKey::new([7; 32]);
    each_event(bencher, shape, |item, envelope| {
        black_box(key.event("prod", item, envelope));
    });
}

#[divan::bench(args = SHAPES)]
fn redaction(bencher: Bencher<'_, '_>, shape: Shape) {
    let redactor = Redactor::new(HashKey::new([7; 32]));
    each_event(bencher, shape, |item, envelope| {
        black_box_drop(redactor.redact(item.text, envelope, true, Bodies::Keep));
    });
}

/// One request decided by a policy of 30 rules, of which the last one matches: it must stay below 1 microsecond.
#[divan::bench]
fn policy(bencher: Bencher<'_, '_>) {
    let rules: String = (0..29)
        .map(|number| {
            format!(
                "- {{level: None, users: [a{number}, 'system:serviceaccount:kube-system:c{number}'], verbs: [get, list, watch]}}\n"
            )
        })
        .collect();
    let rules = rules.replacen("users: [a7,", "userGroups: [a7,", 1).replacen(
        "users: [a9,",
        "resources: [{group: '', resources: [nodes, 'services/*', '*/status']}], users: [alice,",
        1,
    );
    let text =
        format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}- level: Metadata\n");
    let policy = policy::load(&text).expect("valid").policy;
    let event = r#"{"level":"Metadata","stage":"ResponseComplete","verb":"get","requestURI":"/api/v1/namespaces/shop/pods/web","user":{"username":"alice","groups":["dev","system:authenticated"]},"objectRef":{"resource":"pods","namespace":"shop","name":"web","apiVersion":"v1"}}"#;
    let event = Envelope::parse(event).expect("an event");
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench(|| black_box(policy.evaluate(black_box(&Request::at_the_api_server(&event)))));
}
