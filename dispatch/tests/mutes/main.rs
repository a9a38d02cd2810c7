//! Mutes in the router, on a real queue: from when to when, what is counted, and what is said.

mod at_once;
mod ends;
mod several;

use std::{borrow::Cow, collections::BTreeMap, io::Write, path::Path, time::Duration};

use auditrelay_audit::{EventKey, HashKey};
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{Metrics, Router, Routes};
use auditrelay_store::{
    Batch, Content, Delivery, EncodedBatch, Engine, Entry, LeaseLimit, MUTES_ENDED_MAX, Mute,
    MuteEnd, NewMute, Queue, QueueError, SledOptions,
};
use prometheus::Registry;
use tokio::{sync::watch, task::JoinHandle};

const ROUTES: &str = "channels: {ops: {preview: true}, sec: {preview: true}}
default_channel: ops
routes:
- {name: deletes, channel: [ops, sec], verbs: [delete]}
- {name: reads, channel: ops, verbs: [get]}
";

fn open(dir: &Path) -> Engine {
    Engine::open(&SledOptions::new(dir, 0))
        .expect("opens")
        .queue
}

fn routes(table: &str) -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(table.as_bytes()).expect("written");
    let loaded = load(Some(file.path()), [], Overrides::default());
    Routes::new(&loaded.expect("valid").config)
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), QueueError>>,
}

async fn start(queue: &Engine) -> Running {
    start_with(queue, ROUTES).await
}

async fn start_with(queue: &Engine, table: &str) -> Running {
    let metrics = Metrics::new(&Registry::new()).expect("registered");
    let window = Duration::from_secs(900);
    let router = Router::load(queue.clone(), routes(table), window, 100_000, metrics);
    let (stop, stopped) = watch::channel(false);
    Running {
        stop,
        task: tokio::spawn(router.await.expect("loads").run(stopped)),
    }
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).expect("it runs");
        self.task.await.expect("no panic").expect("no error");
    }
}

fn event(user: &str, verb: &str, id: &str) -> String {
    format!(
        r#"{{"level":"Metadata","stage":"ResponseComplete","auditID":"{id}","verb":"{verb}","user":{{"username":"{user}"}}}}"#
    )
}

fn batch(texts: impl IntoIterator<Item = String>) -> EncodedBatch {
    let entry = |json: String| {
        let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
        Entry {
            key: EventKey { identity: 0, ..key },
            content: Content::Event {
                json: Cow::Owned(json),
                body_unreadable: false,
            },
        }
    };
    EncodedBatch::new(&Batch {
        cluster: Cow::Borrowed("prod"),
        received_unix_ms: 0,
        entries: texts.into_iter().map(entry).collect(),
    })
}

async fn send(queue: &Engine, texts: impl IntoIterator<Item = String>) {
    queue.append(batch(texts)).await.expect("durable");
    until("it is routed", || queue.ledger().waiting == 0).await;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(in_time.is_ok(), "never: {what}");
}

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn asked(matches: &str) -> NewMute {
    NewMute {
        author: "alice".to_owned(),
        reason: "deploy".to_owned(),
        matches: matches.to_owned(),
        words: matches.to_owned(),
        channels: Vec::new(),
        routes: Vec::new(),
        begun_unix_ms: now(),
        until_unix_ms: now() + 3_600_000,
    }
}

async fn add(queue: &Engine, mute: NewMute) -> u64 {
    let added = queue.add_mute(mute, "said".to_owned(), Vec::new()).await;
    added.expect("durable").expect("one more").id
}

/// After 61 s, whatever it took.
async fn end(queue: &Engine, id: u64) -> Mute {
    let known = queue.mutes().into_iter().find(|mute| mute.id == id);
    let by = MuteEnd {
        at_unix_ms: known.expect("it began").asked.begun_unix_ms + 61_000,
        by: Some("bob".to_owned()),
        reason: String::new(),
    };
    let ended = queue.end_mute(id, by, vec!["ops".to_owned()]).await;
    ended.expect("durable").expect("it is active")
}

/// What waits for a channel: events by their ID, notices by their text.
async fn told(queue: &Engine, channel: &str) -> Vec<String> {
    let limit = LeaseLimit {
        events_max: 100_000,
        bytes_max: 1 << 30,
    };
    let lease = queue.lease(channel, limit, 0).await.expect("read");
    let Some(lease) = lease else {
        return Vec::new();
    };
    queue.release(&lease.id).await.expect("released");
    let text = |(_, delivery)| match delivery {
        Delivery::Notice(notice) => notice.text,
        Delivery::Event(event) => {
            let id = event.json.split("auditID\":\"").nth(1).expect("an ID");
            id.split('"').next().expect("its end").to_owned()
        }
    };
    lease.members.into_iter().map(text).collect()
}

fn held(queue: &Engine, id: u64) -> Vec<(String, u64)> {
    let mute = queue.mutes().into_iter().find(|mute| mute.id == id);
    mute.expect("known").held.into_iter().collect()
}

async fn sound(queue: &Engine) {
    queue.verify().await.expect("counted right");
    let ledger = queue.ledger();
    assert!(ledger.is_balanced(), "{ledger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_holds_back_what_it_matches_from_its_answer_to_the_answer_of_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start(&queue).await;
    send(&queue, [event("bob", "delete", "before")]).await;
    let id = add(&queue, asked(r#"{"users":["bob"]}"#)).await;
    send(
        &queue,
        [
            event("bob", "delete", "bob-1"),
            event("eve", "delete", "eve-1"),
            event("bob", "get", "bob-2"),
            event("bob", "list", "nobody's"),
            event("bob", "delete", "before"),
        ],
    )
    .await;
    assert_eq!(
        held(&queue, id),
        [("ops".to_owned(), 2), ("sec".to_owned(), 1)]
    );
    let ended = end(&queue, id).await;
    assert_eq!(ended.held_total(), 3);
    send(&queue, [event("bob", "get", "after")]).await;
    router.stop().await;
    let who = "mute 1 by “alice” (“deploy”) was ended by “bob”:";
    assert_eq!(
        told(&queue, "ops").await,
        [
            format!("{who} 2 events were held back from this channel in 1 min 1 s; 1 from sec"),
            "before".to_owned(),
            "eve-1".to_owned(),
            "after".to_owned(),
        ]
    );
    assert_eq!(told(&queue, "sec").await[1..], ["before", "eve-1"]);
    let counts = queue.ledger().counts;
    let fates = (
        counts.muted,
        counts.routed,
        counts.filtered,
        counts.duplicates,
    );
    assert_eq!(fates, (2, 3, 1, 1));
    sound(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_which_one_delivery_is_left_is_routed() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start(&queue).await;
    let only = |channels: &[&str], routes: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        NewMute {
            channels: names(channels),
            routes: names(routes),
            ..asked("{}")
        }
    };
    let of_sec = add(&queue, only(&["sec"], &[])).await;
    let of_reads = add(&queue, only(&[], &["reads"])).await;
    send(
        &queue,
        [event("bob", "delete", "a"), event("bob", "get", "b")],
    )
    .await;
    let counts = queue.ledger().counts;
    assert_eq!((counts.routed, counts.muted), (1, 1));
    assert_eq!(told(&queue, "ops").await, ["a"]);
    assert_eq!(held(&queue, of_sec), [("sec".to_owned(), 1)]);
    assert_eq!(held(&queue, of_reads), [("ops".to_owned(), 1)]);
    // Together they leave nothing of it.
    let of_ops = add(&queue, only(&["ops"], &[])).await;
    send(
        &queue,
        [event("bob", "delete", "c"), event("bob", "get", "d")],
    )
    .await;
    let counts = queue.ledger().counts;
    assert_eq!((counts.routed, counts.muted), (1, 3));
    // Of two that match, the one that began first has it.
    assert_eq!(held(&queue, of_reads), [("ops".to_owned(), 2)]);
    assert_eq!(held(&queue, of_ops), [("ops".to_owned(), 1)]);
    assert_eq!(held(&queue, of_sec), [("sec".to_owned(), 2)]);
    router.stop().await;
    sound(&queue).await;
}

/// Mutes come and go while events are routed as fast as they can be: each event has one fate, and what is said of
/// mutes adds up to what they held back.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_every_event_is_accounted_for_and_what_is_said_adds_up() {
    const BATCHES: u64 = 300;
    const EVENTS: u64 = 40;
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start(&queue).await;
    let sender = queue.clone();
    let sending = tokio::spawn(async move {
        for number in 0..BATCHES {
            let text = |n: u64| {
                let user = ["bob", "eve", "mia"][(n % 3) as usize];
                let verb = ["get", "delete"][(n % 2) as usize];
                event(user, verb, &format!("{number}-{n}"))
            };
            let sent = sender.append(batch((0..EVENTS).map(text))).await;
            sent.expect("durable");
        }
    });
    let mut rounds = 0;
    // However long it takes: of more than are kept nobody can add up what they held back.
    while rounds < MUTES_ENDED_MAX / 2 && (!sending.is_finished() || rounds < 3) {
        let first = add(&queue, asked(r#"{"users":["bob"]}"#)).await;
        let second = add(&queue, asked(r#"{"users":["bob","eve"]}"#)).await;
        tokio::time::sleep(Duration::from_millis(7)).await;
        end(&queue, first).await;
        end(&queue, second).await;
        rounds += 1;
    }
    sending.await.expect("sent");
    until("it is routed", || queue.ledger().waiting == 0).await;
    router.stop().await;
    let ledger = queue.ledger();
    assert_eq!(ledger.received, BATCHES * EVENTS);
    assert_eq!(ledger.counts.muted + ledger.counts.routed, BATCHES * EVENTS);
    assert!(
        ledger.counts.muted > 0 && ledger.counts.routed > 0,
        "{ledger:?}"
    );
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for (channel, events) in queue.mutes().iter().flat_map(|mute| &mute.held) {
        *all.entry(channel.clone()).or_default() += events;
    }
    assert_eq!(all, ledger.muted_deliveries);
    for (channel, events) in all {
        let said: u64 = told(&queue, &channel)
            .await
            .iter()
            .map(|text| said(text))
            .sum();
        assert_eq!(said, events, "{channel}");
        let counts = &ledger.channels[&channel];
        // Each event goes to ops, each second one to sec.
        let whole = BATCHES * EVENTS / if channel == "sec" { 2 } else { 1 };
        assert_eq!(counts.routed + events, whole, "{channel}");
    }
    sound(&queue).await;
}

/// How many events a notice says were held back from its own channel.
fn said(text: &str) -> u64 {
    let number = |text: &str| text.replace(',', "").parse().expect("a number");
    let words: Vec<&str> = text.split([' ', ';']).collect();
    let at = |part: &str| words.iter().position(|word| *word == part);
    match (
        at("were").or(at("was").filter(|_| text.contains("1 event was"))),
        at("more"),
    ) {
        (_, Some(more)) => number(words[more - 2]),
        (Some(_), _) if text.contains("held back from this channel") => {
            let (before, _) = text.split_once(" event").expect("events");
            number(before.rsplit(' ').next().expect("a word"))
        }
        _ => 0,
    }
}
