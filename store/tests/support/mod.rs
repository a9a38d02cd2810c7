//! Batches, routings and a queue in a folder, for tests of the contract.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::{borrow::Cow, path::Path};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Batch, Block, Content, Counts, Delivery, DeliveryBlock, EncodedBatch, Entry, EventDelivery,
    LeaseLimit, Queue, RoutedBlock, SledOptions, SledQueue,
};

pub const ALL: LeaseLimit = LeaseLimit {
    events_max: 1_000_000,
    bytes_max: usize::MAX,
};

pub fn options(dir: &Path) -> SledOptions {
    SledOptions {
        data_dir: dir.to_owned(),
        cache_bytes_max: 8 << 20,
        quarantine_entries_max: 3,
        now_unix_ms: 1_700_000_000_000,
        move_damaged_aside: true,
    }
}

pub fn open(dir: &Path) -> SledQueue {
    let opened = SledQueue::open(&options(dir)).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

pub fn batch(events: impl IntoIterator<Item = String>) -> EncodedBatch {
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

pub fn texts(block: &Block) -> Vec<String> {
    let text = |entry: &Entry<'static>| match &entry.content {
        Content::Event { json, .. } => json.to_string(),
        Content::Unreadable(unreadable) => unreadable.reason.clone(),
    };
    block.entries.iter().map(text).collect()
}

pub fn event(json: String) -> Delivery {
    Delivery::Event(EventDelivery {
        cluster: "prod".into(),
        route: String::new(),
        json,
        body_unreadable: false,
        audit_id_reused: false,
    })
}

/// Routes a block's events all to one channel.
pub fn all_to(channel: &str, severity: Severity, block: &Block) -> RoutedBlock {
    let deliveries: Vec<_> = texts(block).into_iter().map(event).collect();
    RoutedBlock {
        seq: block.seq,
        seen_unix_ms: block.received_unix_ms,
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

pub async fn append_and_route(
    queue: &SledQueue,
    channel: &str,
    severity: Severity,
    events: &[&str],
) {
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

pub fn told(members: &[(Severity, Delivery)]) -> Vec<String> {
    let text = |(_, delivery): &(Severity, Delivery)| match delivery {
        Delivery::Event(event) => event.json.clone(),
        Delivery::Notice(notice) => notice.text.clone(),
    };
    members.iter().map(text).collect()
}

pub async fn balanced(queue: &SledQueue) {
    assert!(queue.ledger().is_balanced(), "{:?}", queue.ledger());
    queue
        .verify()
        .await
        .expect("counters agree with the records");
}
