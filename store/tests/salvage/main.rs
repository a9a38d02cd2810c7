//! A salvage brings back what is whole in a store that was moved aside: each delivery once, as it was, and the
//! ledger says what was lost.

#[path = "../support/mod.rs"]
mod support;

mod copies;
mod lost;
mod moved;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use auditrelay_audit::Severity;
use auditrelay_store::{
    Accepted, Counts, DeadFilter, Delivery, Engine, LeaseLimit, Limits, MovedAside, Queue, Routed,
    RoutedBlock, SledOptions,
};
use support::{
    ALL, Dice, append_and_route, balanced, batch, burial, harm, noise, options, texts, told,
};

fn small(dir: &Path) -> SledOptions {
    SledOptions {
        segment_bytes: 4_000,
        ..options(dir)
    }
}

fn open(dir: &Path) -> Engine {
    let opened = Engine::open(&small(dir)).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

/// Overwrites the index, and opens the queue that takes the store's place.
fn without_index(dir: &Path) -> (Engine, MovedAside) {
    let db = dir.join("queue/index-00000001/db");
    let mut bytes = fs::read(&db).expect("readable");
    // The ledger stays where it can be found, and sled cannot read any of it.
    bytes[..20].fill(0xff);
    fs::write(&db, bytes).expect("written");
    fs::remove_dir_all(dir.join("queue/index-00000001/blobs")).expect("removed");
    for snapshot in harm::files(&dir.join("queue/index-00000001")) {
        if snapshot.to_string_lossy().contains("snap.") {
            fs::write(snapshot, b"").expect("written");
        }
    }
    let opened = Engine::open(&small(dir)).expect("opens");
    (opened.queue, opened.moved_aside.expect("moved"))
}

/// What waits for a channel, in order.
async fn drain(queue: &Engine, channel: &str) -> Vec<(Severity, Delivery)> {
    let mut all = Vec::new();
    while let Some(lease) = queue.lease(channel, ALL, 5).await.expect("read") {
        all.extend(lease.members);
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    }
    all
}

async fn ack(queue: &Engine, channel: &str, events_max: usize) -> u64 {
    let limit = LeaseLimit { events_max, ..ALL };
    let lease = queue.lease(channel, limit, 5).await.expect("read");
    let id = lease.expect("something waits").id;
    queue.ack(&id, Accepted::at(8)).await.expect("held");
    id.id
}

async fn bury(queue: &Engine, channel: &str, events_max: usize, reason: &str) -> u64 {
    let limit = LeaseLimit { events_max, ..ALL };
    let lease = queue.lease(channel, limit, 5).await.expect("read");
    let id = lease.expect("something waits").id;
    queue.bury(&id, burial(reason)).await.expect("held");
    id.id
}

fn is_repeated(members: &[(Severity, Delivery)]) -> bool {
    members.iter().all(|(_, delivery)| match delivery {
        Delivery::Event(event) => event.marks.possibly_repeated,
        Delivery::Notice(_) => true,
    })
}

/// Some of everything, for two channels.
async fn some_of_everything(dir: &Path) {
    let queue = open(dir);
    append_and_route(&queue, "ops", Severity::Info, &["d1", "d2", "i3", "i4"]).await;
    ack(&queue, "ops", 2).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1", "c2"]).await;
    append_and_route(&queue, "ops", Severity::Info, &["i5"]).await;
    append_and_route(&queue, "sec", Severity::Warning, &["x1", "x2", "r1", "w1"]).await;
    bury(&queue, "sec", 2, "invalid_blocks").await;
    let redriven = bury(&queue, "sec", 1, "too_long").await;
    assert_eq!(
        queue.redrive(vec![redriven]).await.expect("done"),
        [redriven]
    );
    queue
        .append(batch(["u1".into(), "u2".into()]))
        .await
        .expect("durable");
    queue.append(batch(["u3".into()])).await.expect("durable");
    let sealed = queue
        .lease(
            "ops",
            LeaseLimit {
                events_max: 1,
                ..ALL
            },
            5,
        )
        .await;
    assert_eq!(
        told(&sealed.expect("read").expect("members").members),
        ["c1"]
    );
}

#[tokio::test]
async fn a_store_whose_index_is_gone_comes_back_as_it_was() {
    let dir = support::quick_dir();
    some_of_everything(dir.path()).await;
    let (queue, moved) = without_index(dir.path());
    assert_eq!(moved.kept_events, Some(12));
    assert_eq!((queue.ledger().received, queue.ledger().lost), (0, 12));
    let salvaged = queue
        .salvage(&moved.path, |_, _| {})
        .await
        .expect("salvaged");
    let brought = (
        salvaged.unrouted_events,
        salvaged.waiting_events,
        salvaged.dead_events,
    );
    assert_eq!(
        (brought, salvaged.lost_events),
        ((3, 7, 2), Some(0)),
        "{salvaged:?}"
    );
    assert_eq!(queue.ledger().lost, 0);
    balanced(&queue).await;

    let blocks = queue.unrouted(10).await.expect("blocks");
    assert_eq!(
        blocks.iter().map(texts).collect::<Vec<_>>().concat(),
        ["u1", "u2", "u3"]
    );
    let letters = queue
        .dead(DeadFilter::default(), 0, 10)
        .await
        .expect("readable");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0].channel[..], letters[0].events), ("sec", 2));
    assert_eq!(letters[0].burial, burial("invalid_blocks"));
    assert_eq!(letters[0].severity, Severity::Warning);
    let members = queue.dead_members(letters[0].id).await.expect("readable");
    assert_eq!(told(&members.expect("there")), ["x1", "x2"]);
    let ops = drain(&queue, "ops").await;
    assert_eq!(told(&ops), ["c1", "c2", "i3", "i4", "i5"]);
    let severities: Vec<Severity> = ops.iter().map(|(severity, _)| *severity).collect();
    let (critical, info) = (Severity::Critical, Severity::Info);
    assert_eq!(severities, [critical, critical, info, info, info]);
    let sec = drain(&queue, "sec").await;
    assert_eq!(told(&sec), ["r1", "w1"]);
    assert!(is_repeated(&ops) && is_repeated(&sec));
    balanced(&queue).await;
}
/// Fills a store so that a salvage takes several steps; says what has to come back.
async fn several_steps(dir: &Path) -> Vec<String> {
    let queue = open(dir);
    let mut expected = Vec::new();
    for n in 0..6 {
        let large = noise(700_000, 1 + n);
        append_and_route(&queue, "ops", Severity::Info, &[&large]).await;
        expected.push(large);
    }
    for n in 0..3 {
        let event = format!("u{n}");
        queue.append(batch([event.clone()])).await.expect("durable");
        expected.push(event);
    }
    expected
}

#[tokio::test]
async fn a_salvage_that_was_killed_goes_on_and_brings_each_once() {
    let whole = support::quick_dir();
    let expected = several_steps(whole.path()).await;
    for steps in 1..8 {
        let dir = support::quick_dir();
        harm::copy(whole.path(), dir.path()).expect("copied");
        let (queue, moved) = without_index(dir.path());
        let path = moved.path.clone();
        let step = AtomicU64::new(0);
        let killed = tokio::spawn(async move {
            let progress = move |_, _| {
                assert!(step.fetch_add(1, Ordering::Relaxed) + 1 < steps, "killed");
            };
            queue.salvage(&path, progress).await.map(drop)
        });
        let is_killed = killed.await.is_err();
        let queue = open(dir.path());
        if is_killed {
            queue
                .salvage(&moved.path, |_, _| {})
                .await
                .expect("salvaged");
        }
        assert_eq!(queue.ledger().lost, 0, "after {steps} steps");
        balanced(&queue).await;
        let mut back = told(&drain(&queue, "ops").await);
        back.extend(
            queue
                .unrouted(10)
                .await
                .expect("blocks")
                .iter()
                .flat_map(texts),
        );
        assert!(back == expected, "after {steps} steps: {} came", back.len());
        assert!(!moved.path.exists());
        nothing_more(&queue, &moved.path).await;
    }
}

/// Another salvage of a folder that was renamed brings nothing.
async fn nothing_more(queue: &Engine, path: &Path) {
    let before = queue.ledger();
    queue
        .salvage(path, |_, _| {})
        .await
        .expect_err("it has another name");
    let done = renamed(path);
    let again = queue.salvage(&done, |_, _| {}).await.expect("readable");
    assert_eq!(
        (
            again.unrouted_events,
            again.waiting_events,
            again.dead_events
        ),
        (0, 0, 0)
    );
    assert_eq!(queue.ledger(), before);
}

fn renamed(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    path.with_file_name(name.replace("corrupt", "salvaged"))
}
#[tokio::test]
async fn what_was_routed_long_ago_or_was_all_known_is_not_brought_again() {
    let dir = support::quick_dir();
    let retains = SledOptions {
        limits: Limits {
            retain_ms: 1 << 40,
            retain_bytes_max: 1 << 30,
            ..Limits::default()
        },
        ..small(dir.path())
    };
    let queue = Engine::open(&retains).expect("opens").queue;
    let mut dice = Dice(1);
    for n in 0..60 {
        let events: Vec<String> = (0..4).map(|m| format!("{n} {m} {}", dice.next())).collect();
        let some: Vec<&str> = events.iter().map(String::as_str).collect();
        append_and_route(&queue, "ops", Severity::Info, &some).await;
        ack(&queue, "ops", 4).await;
    }
    // Nothing of this one is new.
    queue
        .append(batch(["known".into()]))
        .await
        .expect("durable");
    let block = queue.unrouted(1).await.expect("blocks").remove(0);
    let counts = Counts {
        duplicates: 1,
        ..Counts::default()
    };
    let blocks = vec![RoutedBlock {
        seq: block.seq,
        counts,
        ..RoutedBlock::default()
    }];
    let routed = Routed {
        blocks,
        deliveries: vec![],
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
    queue.forget_seen(block.seq).await.expect("forgotten");
    append_and_route(&queue, "ops", Severity::Info, &["last"]).await;
    drop(queue);
    let (queue, moved) = without_index(dir.path());
    let salvaged = queue
        .salvage(&moved.path, |_, _| {})
        .await
        .expect("salvaged");
    assert_eq!(
        (salvaged.unrouted_events, salvaged.waiting_events),
        (0, 1),
        "{salvaged:?}"
    );
    assert_eq!(told(&drain(&queue, "ops").await), ["last"]);
}
