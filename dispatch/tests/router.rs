//! The router on a real queue: what it remembers, and for how long.

use std::{
    borrow::Cow,
    io::Write,
    path::Path,
    time::{Duration, SystemTime},
};

use auditrelay_audit::{Envelope, Event, EventKey, HashKey};
use auditrelay_config::{Overrides, load};
use auditrelay_dispatch::{Metrics, Router, Routes};
use auditrelay_store::{
    Batch, BatchEncoder, Content, Delivery, EncodedBatch, Engine, Entry, Hint, LeaseLimit, Queue,
    QueueError, SledOptions, Unreadable,
};
use prometheus::Registry;
use tokio::{sync::watch, task::JoinHandle};

fn queue(dir: &Path) -> Engine {
    let options = SledOptions::new(dir, 0);
    Engine::open(&options).expect("opens").queue
}

fn routes() -> Routes {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"channels: {ops: {preview: true}}")
        .expect("written");
    Routes::new(
        &load(Some(file.path()), [], Overrides::default())
            .expect("valid")
            .config,
    )
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), QueueError>>,
}

fn metrics() -> Metrics {
    Metrics::new(&Registry::new()).expect("registered")
}

async fn start(queue: &Engine, window: Duration) -> Running {
    start_with(queue, window, 1_000, metrics()).await
}

async fn start_with(
    queue: &Engine,
    window: Duration,
    entries_max: usize,
    metrics: Metrics,
) -> Running {
    let router = Router::load(queue.clone(), routes(), window, entries_max, metrics)
        .await
        .expect("loads");
    let (stop, stopped) = watch::channel(false);
    Running {
        stop,
        task: tokio::spawn(router.run(stopped)),
    }
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).expect("it runs");
        self.task.await.expect("no panic").expect("no error");
    }
}

async fn append(queue: &Engine, id: &str) {
    append_received(queue, id, SystemTime::now()).await;
}

async fn append_received(queue: &Engine, id: &str, received: SystemTime) {
    push(queue, id, received).await;
    while queue.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn push(queue: &Engine, id: &str, received: SystemTime) {
    let json = format!(
        r#"{{"level":"Metadata","stage":"ResponseComplete","auditID":"{id}","verb":"get","user":{{"username":"a"}}}}"#
    );
    let key = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
    let key = EventKey { identity: 0, ..key };
    let content = Content::Event {
        json: Cow::Owned(json),
        body_unreadable: false,
    };
    let since_1970 = received.duration_since(SystemTime::UNIX_EPOCH);
    let received_unix_ms = since_1970.expect("after 1970").as_millis();
    let batch = Batch {
        cluster: Cow::Borrowed("prod"),
        received_unix_ms: received_unix_ms as i64,
        entries: vec![Entry { key, content }],
    };
    queue
        .append(EncodedBatch::new(&batch))
        .await
        .expect("durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_starts_again_knows_what_was_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    let window = Duration::from_secs(900);
    let router = start(&queue, window).await;
    append(&queue, "a").await;
    router.stop().await;
    let router = start(&queue, window).await;
    append(&queue, "a").await;
    append(&queue, "b").await;
    router.stop().await;
    let counts = queue.ledger().counts;
    assert_eq!((counts.routed, counts.duplicates), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_window_forgets_leaves_the_disk_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    let router = start(&queue, Duration::from_millis(80)).await;
    for n in 0..10 {
        append(&queue, &format!("{n}")).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    append(&queue, "0").await;
    router.stop().await;
    assert_eq!(
        queue.ledger().counts.duplicates,
        0,
        "it was out of the window"
    );
    let blocks = queue.seen().await.expect("read").len();
    assert!(
        (1..=6).contains(&blocks),
        "{blocks} of 11 blocks are still on disk"
    );
}

/// A queue that nobody routes for a while: no relay runs, or on JetStream none leads.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_came_within_the_window_are_known_however_long_they_wait() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    let began = SystemTime::now();
    let after = |milliseconds| began + Duration::from_millis(milliseconds);
    // Longer than the window passes between one copy and the other, and something else is routed meanwhile.
    let router = start(&queue, Duration::from_millis(80)).await;
    append_received(&queue, "a", after(0)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    append_received(&queue, "b", after(10)).await;
    append_received(&queue, "a", after(20)).await;
    router.stop().await;
    assert_eq!(queue.ledger().counts.duplicates, 1);
    // It passes while no router runs.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let router = start(&queue, Duration::from_millis(80)).await;
    append_received(&queue, "b", after(30)).await;
    // What comes now is out of it.
    append(&queue, "c").await;
    append(&queue, "a").await;
    router.stop().await;
    let counts = queue.ledger().counts;
    assert_eq!((counts.routed, counts.duplicates), (4, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_says_that_too_many_events_shorten_the_window() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    let window = Duration::from_secs(900);
    let first = metrics();
    let router = start_with(&queue, window, 16, first.clone()).await;
    for n in 0..16 {
        append(&queue, &format!("{n}")).await;
    }
    let early = &first.dedup_forgotten_early;
    assert_eq!(early.get(), 0, "all of them fit");
    for n in 16..30 {
        append(&queue, &format!("{n}")).await;
    }
    router.stop().await;
    let entries = first.dedup_entries.get() as u64;
    assert!((10..=16).contains(&entries), "{entries}");
    assert_eq!(early.get(), 30 - entries);
    // Less may be remembered than is stored.
    let second = metrics();
    let router = start_with(&queue, window, 8, second.clone()).await;
    let early = second.dedup_forgotten_early.get();
    assert!(
        (entries - 8..entries).contains(&early),
        "{early} of {entries}"
    );
    router.stop().await;
}

/// Events as ingest would have encoded them.
fn encoded(
    block: &[(u64, &str)],
    hints_of: u64,
    hint: &impl Fn(&str) -> Option<Hint>,
) -> EncodedBatch {
    let mut batch = BatchEncoder::new("prod", 0, hints_of, 0);
    for (identity, verb) in block {
        let stage = if verb.starts_with("nobody") {
            "RequestReceived"
        } else {
            "ResponseComplete"
        };
        let json = format!(
            r#"{{"level":"Metadata","stage":"{stage}","verb":"{verb}","user":{{"username":"a"}}}}"#
        );
        let unreadable = HashKey::new([1; 32]).unreadable("prod", json.as_bytes());
        let key = EventKey {
            identity: *identity,
            ..unreadable
        };
        if *verb == "unreadable" {
            let unreadable = Unreadable {
                reason: "it is none".to_owned(),
                offset_bytes: 1,
                length_bytes: 2,
                sealed: None,
                source: None,
            };
            batch.push(&key, &Content::Unreadable(unreadable), Hint::default());
            continue;
        }
        let content = Content::Event {
            json: json.as_str().into(),
            body_unreadable: *verb == "list",
        };
        match hint(&json) {
            Some(hint) => batch.push(&key, &content, hint),
            None => batch.push_unwanted(&key, None),
        }
    }
    batch.finish()
}

/// What a channel was told, and how the ledger ended, of events that came with hints of a table.
async fn told(hints_of: u64, hint: impl Fn(&str) -> Option<Hint>) -> (Vec<String>, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    // Each block is (identity, content): with one content twice, one identity twice, a block of events
    // that all go one way, and one that has everything.
    let blocks: [&[(u64, &str)]; 3] = [
        &[(1, "get"), (2, "list"), (3, "watch")],
        &[(1, "get"), (4, "create"), (2, "delete")],
        &[
            (5, "nobody"),
            (6, "unreadable"),
            (7, "patch"),
            (3, "update"),
            (5, "nobody too"),
        ],
    ];
    for block in blocks {
        let batch = encoded(block, hints_of, &hint);
        queue.append(batch).await.expect("durable");
    }
    let router = start(&queue, Duration::from_secs(900)).await;
    while queue.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    router.stop().await;
    queue.verify().await.expect("counters agree with records");
    assert!(queue.ledger().is_balanced());
    let limit = LeaseLimit {
        events_max: 100,
        bytes_max: usize::MAX,
    };
    let lease = queue
        .lease("ops", limit, 5)
        .await
        .expect("read")
        .expect("members");
    let member = |(severity, delivery): &(_, Delivery)| format!("{severity:?} {delivery:?}");
    (
        lease.members.iter().map(member).collect(),
        format!("{:?}", queue.ledger()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_the_routes_the_same_is_told() {
    let table = routes();
    let (members, ledger) = told(0, |_| Some(Hint::default())).await;
    // Seven of eleven: without the repeated one, two that nobody wants and the unreadable one; and a
    // notice of that.
    assert_eq!(members.len(), 8, "{members:#?}");
    let reused = members
        .iter()
        .filter(|one| one.contains("audit_id_reused: true"));
    assert_eq!(reused.count(), 2, "{members:#?}");
    let hint_of = |json: &str| {
        let envelope = Envelope::parse(json).expect("readable");
        let event = Event {
            cluster: "test",
            envelope: &envelope,
        };
        table.advice(&event).map(|(hint, _)| hint)
    };
    let hinted = told(table.id(), hint_of);
    assert_eq!(hinted.await, (members.clone(), ledger.clone()));
    // What nobody wants may be stored all the same, for a replay.
    let kept = told(table.id(), |json| {
        Some(hint_of(json).unwrap_or(Routes::NOBODY))
    });
    assert_eq!(kept.await, (members.clone(), ledger.clone()));
    // A hint of another table is worth nothing, whatever it says.
    let other = told(table.id() + 1, |_| Some(Hint(77))).await;
    assert_eq!(other, (members, ledger));
}

#[tokio::test]
async fn what_is_marked_as_for_nobody_is_told_to_nobody_whatever_the_table_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = queue(dir.path());
    // As of another table, whose hints say nothing here, all would be read again and told.
    let batch = encoded(&[(1, "get"), (2, "list")], Routes::FOR_NOBODY, &|_| {
        Some(Hint::default())
    });
    queue.append(batch).await.expect("durable");
    let router = start(&queue, Duration::from_secs(900)).await;
    while queue.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    router.stop().await;
    let ledger = queue.ledger();
    assert!(
        ledger.is_balanced() && ledger.counts.filtered == 2,
        "{ledger:?}"
    );
}
