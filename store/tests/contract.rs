//! The contract of `Queue`, on the sled backend and real files.

use std::{borrow::Cow, fs, path::Path};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Batch, Block, Content, Counts, Delivery, DeliveryBlock, EncodedBatch, Entry, EventDelivery,
    LeaseLimit, Notice, OpenError, QuarantineRecord, Queue, QueueError, RoutedBlock, SledOptions,
    SledQueue, Unreadable,
};

const ALL: LeaseLimit = LeaseLimit {
    events_max: 1_000_000,
    bytes_max: usize::MAX,
};

fn options(dir: &Path) -> SledOptions {
    SledOptions {
        data_dir: dir.to_owned(),
        cache_bytes_max: 8 << 20,
        quarantine_entries_max: 3,
        now_unix_ms: 1_700_000_000_000,
    }
}

fn open(dir: &Path) -> SledQueue {
    let opened = SledQueue::open(&options(dir)).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

fn batch(events: impl IntoIterator<Item = String>) -> EncodedBatch {
    let entries = events.into_iter().enumerate().map(|(n, json)| Entry {
        key: EventKey {
            identity: n as u64,
            fingerprint: [n as u8; 16],
        },
        content: Content::Event {
            json: json.into(),
            body_unreadable: false,
        },
    });
    let batch = Batch {
        cluster: Cow::Borrowed("prod"),
        received_unix_ms: 7,
        entries: entries.collect(),
    };
    EncodedBatch::new(&batch)
}

fn texts(block: &Block) -> Vec<String> {
    let text = |entry: &Entry<'static>| match &entry.content {
        Content::Event { json, .. } => json.to_string(),
        Content::Unreadable(unreadable) => unreadable.reason.clone(),
    };
    block.entries.iter().map(text).collect()
}

fn event(json: String) -> Delivery {
    Delivery::Event(EventDelivery {
        cluster: "prod".into(),
        route: String::new(),
        json,
        body_unreadable: false,
        audit_id_reused: false,
    })
}

/// Routes a block's events all to one channel.
fn all_to(channel: &str, severity: Severity, block: &Block) -> RoutedBlock {
    let deliveries: Vec<_> = texts(block).into_iter().map(event).collect();
    RoutedBlock {
        seq: block.seq,
        received_unix_ms: block.received_unix_ms,
        new_keys: block.entries.iter().map(|entry| entry.key).collect(),
        counts: Counts {
            routed: deliveries.len() as u64,
            ..Counts::default()
        },
        deliveries: vec![DeliveryBlock {
            channel: channel.into(),
            severity,
            deliveries,
        }],
        quarantine: vec![],
    }
}

async fn append_and_route(queue: &SledQueue, channel: &str, severity: Severity, events: &[&str]) {
    queue
        .append(batch(events.iter().map(|one| (*one).to_owned())))
        .await
        .expect("durable");
    let blocks = queue.unrouted(100).await.expect("blocks");
    let routed = blocks
        .iter()
        .map(|block| all_to(channel, severity, block))
        .collect();
    queue.route(routed).await.expect("routed");
}

fn told(members: &[(Severity, Delivery)]) -> Vec<String> {
    let text = |(_, delivery): &(Severity, Delivery)| match delivery {
        Delivery::Event(event) => event.json.clone(),
        Delivery::Notice(notice) => notice.text.clone(),
    };
    members.iter().map(text).collect()
}

async fn balanced(queue: &SledQueue) {
    assert!(queue.ledger().is_balanced(), "{:?}", queue.ledger());
    queue
        .verify()
        .await
        .expect("counters agree with the records");
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for n in 0..5 {
        queue
            .append(batch([format!("{n}a"), format!("{n}b")]))
            .await
            .expect("durable");
    }
    drop(queue);
    let queue = open(dir.path());
    let blocks = queue.unrouted(3).await.expect("blocks");
    assert_eq!(
        blocks.iter().flat_map(texts).collect::<Vec<_>>(),
        ["0a", "0b", "1a", "1b", "2a", "2b"]
    );
    assert_eq!((queue.ledger().received, queue.ledger().waiting), (10, 10));
    balanced(&queue).await;
}

#[tokio::test]
async fn many_at_once_are_all_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let appends = (0..200).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.append(batch([format!("{n}")])).await })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.expect("no panic").expect("durable");
    }
    let mut found: Vec<String> = queue
        .unrouted(1_000)
        .await
        .expect("blocks")
        .iter()
        .flat_map(texts)
        .collect();
    found.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    assert_eq!(found, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn severe_first_then_old_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["i1", "i2"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1"]).await;
    append_and_route(&queue, "ops", Severity::Warning, &["w1"]).await;
    append_and_route(&queue, "dev", Severity::Critical, &["other"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["c1", "w1", "i1", "i2"]);
    assert!(!lease.resumed);
    queue.ack(&lease.id).await.expect("held");
    assert!(queue.lease("ops", ALL).await.expect("read").is_none());
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.routed, counts.delivered, counts.waiting), (4, 4, 0));
    balanced(&queue).await;
}

#[tokio::test]
async fn a_lease_may_end_inside_a_block_and_the_rest_follows() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2", "3", "4", "5"]).await;
    let limit = LeaseLimit {
        events_max: 2,
        ..ALL
    };
    let mut found = Vec::new();
    while let Some(lease) = queue.lease("ops", limit).await.expect("read") {
        found.push(told(&lease.members).concat());
        queue.ack(&lease.id).await.expect("held");
        balanced(&queue).await;
        drop(queue);
        queue = open(dir.path());
    }
    assert_eq!(found, ["12", "34", "5"]);
}

#[tokio::test]
async fn a_lease_comes_back_after_a_restart_with_the_same_members() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let before = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    append_and_route(&queue, "ops", Severity::Critical, &["later"]).await;
    drop(queue);
    let queue = open(dir.path());
    let after = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert!(after.resumed);
    assert_eq!(
        (after.id.clone(), told(&after.members)),
        (before.id, vec!["1".into(), "2".into()])
    );
    queue.ack(&after.id).await.expect("held");
    let next = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert!(!next.resumed && next.id != after.id);
    assert_eq!(told(&next.members), ["later"]);
}

#[tokio::test]
async fn released_members_wait_again_and_gather_with_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    queue.release(&lease.id).await.expect("held");
    append_and_route(&queue, "ops", Severity::Info, &["2"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(
        (told(&lease.members), lease.resumed),
        (vec!["1".into(), "2".into()], false)
    );
}

#[tokio::test]
async fn a_lease_settles_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    queue.ack(&lease.id).await.expect("held");
    for outcome in [queue.ack(&lease.id).await, queue.release(&lease.id).await] {
        assert!(
            matches!(outcome, Err(QueueError::NotHeld { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(queue.ledger().channels["ops"].delivered, 1);
}

#[tokio::test]
async fn buried_members_are_dead_and_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let lease = queue
        .lease(
            "ops",
            LeaseLimit {
                events_max: 1,
                ..ALL
            },
        )
        .await
        .expect("read");
    queue
        .bury(&lease.expect("members").id, "invalid_blocks", 9)
        .await
        .expect("held");
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.dead, counts.waiting), (1, 1));
    balanced(&queue).await;
}

#[tokio::test]
async fn seen_keys_survive_and_are_forgotten_by_block() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    append_and_route(&queue, "ops", Severity::Info, &["3"]).await;
    drop(queue);
    let queue = open(dir.path());
    let seen = queue.seen().await.expect("read");
    assert_eq!(
        seen.iter()
            .map(|block| block.keys.len())
            .collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(seen[0].received_unix_ms, 7);
    queue.forget_seen(seen[0].seq).await.expect("forgotten");
    assert_eq!(queue.seen().await.expect("read"), seen[1..]);
}

#[tokio::test]
async fn notices_are_delivered_and_are_no_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    queue
        .append(batch(["x".to_owned()]))
        .await
        .expect("durable");
    let block = queue.unrouted(1).await.expect("blocks").remove(0);
    let notice = Notice {
        text: "unreadable".into(),
        events: 1,
        cluster: "prod".into(),
    };
    let unreadable = Unreadable {
        reason: "r".into(),
        offset_bytes: 0,
        length_bytes: 1,
        raw: None,
    };
    let record = QuarantineRecord {
        cluster: "prod".into(),
        received_unix_ms: 7,
        fingerprint: [0; 16],
        unreadable,
    };
    let routed = RoutedBlock {
        seq: block.seq,
        counts: Counts {
            quarantined: 1,
            ..Counts::default()
        },
        deliveries: vec![DeliveryBlock {
            channel: "ops".into(),
            severity: Severity::Warning,
            deliveries: vec![Delivery::Notice(notice)],
        }],
        quarantine: vec![record; 5],
        ..RoutedBlock::default()
    };
    queue.route(vec![routed]).await.expect("routed");
    queue.wait_waiting("ops").await.expect("a notice waits");
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["unreadable"]);
    queue.ack(&lease.id).await.expect("held");
    let ledger = queue.ledger();
    assert_eq!(
        (ledger.counts.quarantined, ledger.channels["ops"].routed),
        (1, 0)
    );
    assert_eq!(
        (
            ledger.notices["ops"].queued,
            ledger.notices["ops"].delivered
        ),
        (1, 1)
    );
    balanced(&queue).await;
}

/// Bytes that do not compress, so that sizes on disk are those asked for.
fn noise(length: usize, mut state: u64) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(33 + (state % 90) as u8));
    }
    text
}

#[tokio::test]
async fn large_values_never_become_blob_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for n in 0..30u64 {
        let events = [
            noise(60_000, n + 1),
            noise(900_000, n + 100),
            noise(3_000, n + 1_000),
        ];
        append_and_route(
            &queue,
            "ops",
            Severity::Info,
            &events.each_ref().map(String::as_str),
        )
        .await;
        if n % 3 == 0 {
            let limit = LeaseLimit {
                events_max: 4,
                ..ALL
            };
            let lease = queue
                .lease("ops", limit)
                .await
                .expect("read")
                .expect("members");
            queue.ack(&lease.id).await.expect("held");
        }
    }
    balanced(&queue).await;
    let blobs = dir.path().join("queue/blobs");
    assert!(
        blobs.is_dir(),
        "sled makes the folder; a test of another path would not fail"
    );
    assert_eq!(fs::read_dir(blobs).expect("readable").count(), 0);
}

#[tokio::test]
async fn a_damaged_store_is_moved_aside_and_the_queue_starts_empty() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    drop(queue);
    let file = dir.path().join("queue/db");
    let mut bytes = fs::read(&file).expect("readable");
    bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(&file, bytes).expect("written");
    let opened = SledQueue::open(&options(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("moved");
    assert!(moved.path.join("db").is_file(), "{moved:?}");
    assert_eq!(opened.queue.ledger().received, 0);
    append_and_route(&opened.queue, "ops", Severity::Info, &["2"]).await;
}

#[tokio::test]
async fn one_process_owns_a_data_directory() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    assert!(matches!(
        SledQueue::open(&options(dir.path())),
        Err(OpenError::InUse(_))
    ));
    drop(queue);
    open(dir.path());
}
