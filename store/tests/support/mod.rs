//! Batches, routings and a queue in a folder, for tests of the contract.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub mod filled;
pub mod harm;
pub mod on_jetstream;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Batch, Block, BlockItem, Burial, Content, Counts, DeliveriesEncoder, Delivery, DeliveryBlock,
    EncodedBatch, Engine, Entry, EventToDeliver, ItemKind, LeaseLimit, Limits, Marks, Queue,
    Routed, RoutedBlock, SledOptions,
};

pub const ALL: LeaseLimit = LeaseLimit {
    events_max: 1_000_000,
    bytes_max: usize::MAX,
};

pub fn options(dir: &Path) -> SledOptions {
    SledOptions {
        move_damaged_aside: true,
        limits: Limits {
            quarantine_entries_max: 3,
            ..Limits::default()
        },
        ..SledOptions::new(dir, 1_700_000_000_000)
    }
}

pub fn open(dir: &Path) -> Engine {
    let opened = Engine::open(&options(dir)).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

pub fn batch(events: impl IntoIterator<Item = String>) -> EncodedBatch {
    batch_at(7, events)
}

/// A batch that was received at this Unix time in milliseconds.
pub fn batch_at(received_unix_ms: i64, events: impl IntoIterator<Item = String>) -> EncodedBatch {
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
        received_unix_ms,
        entries: entries.collect(),
    };
    EncodedBatch::new(&batch)
}

pub fn texts(block: &Block) -> Vec<String> {
    let texts = block.texts().expect("whole");
    let text = |(number, item): (usize, &BlockItem)| match &item.kind {
        ItemKind::Event { .. } => texts.get(number).to_owned(),
        ItemKind::Unreadable(unreadable) => unreadable.reason.clone(),
        ItemKind::Unwanted { .. } => String::new(),
    };
    block.items.iter().enumerate().map(text).collect()
}

/// Routes blocks, all their events to one channel.
pub fn all_to(channel: &str, severity: Severity, blocks: &[Block]) -> Routed {
    let mut deliveries = DeliveriesEncoder::default();
    let routed = |block: &Block| {
        deliveries.received(block.received_unix_ms);
        for json in texts(block) {
            deliveries.push(&EventToDeliver {
                cluster: "prod",
                route: "",
                json: &json,
                marks: Marks::default(),
            });
        }
        RoutedBlock {
            seq: block.seq,
            seen_unix_ms: block.received_unix_ms,
            new_keys: block.items.iter().map(|item| item.key).collect(),
            counts: Counts {
                routed: block.items.len() as u64,
                ..Counts::default()
            },
            quarantine: vec![],
        }
    };
    Routed {
        blocks: blocks.iter().map(routed).collect(),
        deliveries: vec![DeliveryBlock {
            channel: channel.into(),
            severity,
            deliveries: deliveries.finish(),
        }],
        ..Routed::default()
    }
}

/// One event for a channel.
pub fn one_to(channel: &str, severity: Severity, json: &str) -> DeliveryBlock {
    let mut deliveries = DeliveriesEncoder::default();
    deliveries.push(&EventToDeliver {
        cluster: "prod",
        route: "",
        json,
        marks: Marks::default(),
    });
    DeliveryBlock {
        channel: channel.into(),
        severity,
        deliveries: deliveries.finish(),
    }
}

pub async fn append_and_route(
    queue: &impl Queue,
    channel: &str,
    severity: Severity,
    events: &[&str],
) {
    queue
        .append(batch(events.iter().map(|one| (*one).to_owned())))
        .await
        .expect("durable");
    let blocks = queue.unrouted(100).await.expect("blocks");
    queue
        .route(all_to(channel, severity, &blocks))
        .await
        .expect("routed");
}

pub fn told(members: &[(Severity, Delivery)]) -> Vec<String> {
    let text = |(_, delivery): &(Severity, Delivery)| match delivery {
        Delivery::Event(event) => event.json.clone(),
        Delivery::Notice(notice) => notice.text.clone(),
    };
    members.iter().map(text).collect()
}

/// For whom each member was meant, if it is a copy for a fallback.
pub fn meant_for(members: &[(Severity, Delivery)]) -> Vec<Option<&str>> {
    let members = members.iter();
    let one = members.map(|(_, delivery)| match delivery {
        Delivery::Event(event) => event.meant_for.as_deref(),
        Delivery::Notice(_) => None,
    });
    one.collect()
}

pub async fn balanced(queue: &Engine) {
    assert!(queue.ledger().is_balanced(), "{:?}", queue.ledger());
    queue
        .verify()
        .await
        .expect("counters agree with the records");
}

pub fn burial(reason: &str) -> Burial {
    Burial {
        reason: reason.to_owned(),
        attempts: 2,
        first_unix_ms: 8,
        last_unix_ms: 9,
    }
}

/// Numbers that a seed repeats (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound that is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn pick<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len() as u64) as usize]
    }
}

/// A folder that is gone with the value, in memory where the system has such a place: for tests that
/// are about content and open thousands of stores.
pub fn quick_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(dir) => dir,
        Err(_) => tempfile::tempdir().expect("a folder"),
    }
}

/// Every file below a folder and what is in it.
pub fn files_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let content = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_default();
        (path, bytes)
    };
    harm::files(dir).into_iter().map(content).collect()
}

/// Bytes that do not compress, so that sizes on disk are those asked for.
pub fn noise(length: usize, mut state: u64) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(33 + (state % 90) as u8));
    }
    text
}

/// Waits for what happens after an answer, a minute at most.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}
