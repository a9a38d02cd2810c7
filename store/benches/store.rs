//! The queue on a real disk: what a batch costs to compress, to append, to route, to lease and to read.
//!
//! Appending, routing, leasing and acknowledging end in an `fdatasync` of a folder under `target/`, so
//! they tell of the disk as much as of the relay.

use std::{fs::File, io::Write, path::Path};

use auditrelay_audit::{Envelope, HashKey, Severity, list::Item};
use auditrelay_store::{
    Accepted, Batch, Block, Content, Counts, DeliveriesEncoder, DeliveryBlock, EncodedBatch,
    EncodedDeliveries, Engine, Entry, EventToDeliver, LeaseLimit, Marks, Queue, Routed,
    RoutedBlock, SledOptions,
};
use divan::{
    Bencher, black_box, black_box_drop,
    counter::{BytesCount, ItemsCount},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[path = "../../loadtest/events/fill.rs"]
mod fill;

/// The API server's largest batch.
const BATCH: usize = 400;

fn main() {
    divan::main();
}

fn batch(jsons: Vec<String>) -> Batch<'static> {
    let hash_key = HashKey::new([7; 32]);
    let entry = |json: String| {
        let item = Item {
            wire: json.as_bytes(),
            text: &json,
            offset: 0,
            has_invalid_utf8: false,
        };
        let envelope = Envelope::parse(&json).expect("an event");
        Entry {
            key: hash_key.event("prod", &item, &envelope),
            content: Content::Event {
                json: json.into(),
                body_unreadable: false,
            },
        }
    };
    Batch {
        cluster: "prod".into(),
        received_unix_ms: 7,
        entries: jsons.into_iter().map(entry).collect(),
    }
}

/// A queue in a folder of its own.
struct Place {
    runtime: Runtime,
    queue: Engine,
    _folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        Self {
            runtime: Runtime::new().expect("threads"),
            queue: open(folder.path()),
            _folder: folder,
        }
    }

    /// Appends so many batches at once, which share an `fdatasync` as far as they can.
    fn append(&self, batches: Vec<EncodedBatch>) {
        self.runtime.block_on(async {
            let append = |batch| {
                let queue = self.queue.clone();
                tokio::spawn(async move { queue.append(batch).await })
            };
            let appended: Vec<_> = batches.into_iter().map(append).collect();
            for one in appended {
                one.await.expect("no panic").expect("durable");
            }
        });
    }

    fn unrouted(&self) -> Vec<Block> {
        let unrouted = self.queue.unrouted(1_000);
        self.runtime.block_on(unrouted).expect("blocks")
    }

    fn route(&self, routed: Routed) {
        let committed = self.queue.route(routed);
        self.runtime.block_on(committed).expect("routed");
    }

    /// Batches until so many events wait in the channel.
    fn fill(&self, batch: &EncodedBatch, waiting: usize) {
        for left in (0..waiting.div_ceil(BATCH)).rev().step_by(10) {
            self.append(vec![batch.clone(); 10.min(left + 1)]);
            while self.queue.ledger().waiting > 0 {
                self.route(all_to_one(&self.unrouted()));
            }
        }
        let counts = &self.queue.ledger().channels[CHANNEL];
        assert_eq!(counts.waiting, waiting as u64);
    }
}

fn open(folder: &Path) -> Engine {
    let options = SledOptions {
        cache_bytes_max: 64 << 20,
        ..SledOptions::new(folder, 0)
    };
    Engine::open(&options).expect("opens").queue
}

const CHANNEL: &str = "ops";
const ROUTE: &str = "everything";

/// What the router makes of blocks whose events all go to one channel.
fn all_to_one(blocks: &[Block]) -> Routed {
    let mut deliveries = DeliveriesEncoder::default();
    let routed = |block: &Block| {
        deliveries.push_block(block, ROUTE, |_| false);
        RoutedBlock {
            seq: block.seq,
            seen_unix_ms: block.received_unix_ms,
            new_keys: block.items.iter().map(|item| item.key).collect(),
            counts: Counts {
                routed: block.items.len() as u64,
                ..Counts::default()
            },
            quarantine: Vec::new(),
        }
    };
    Routed {
        blocks: blocks.iter().map(routed).collect(),
        deliveries: vec![DeliveryBlock {
            channel: CHANNEL.to_owned(),
            severity: Severity::Info,
            deliveries: deliveries.finish(),
        }],
        ..Routed::default()
    }
}

/// The same as it is done for a block whose events part: unpacked, and packed again.
fn one_by_one(blocks: &[Block]) -> EncodedDeliveries {
    let mut deliveries = DeliveriesEncoder::default();
    for block in blocks {
        let texts = block.texts().expect("whole");
        for number in 0..block.items.len() {
            deliveries.push(&EventToDeliver {
                cluster: &block.cluster,
                route: ROUTE,
                json: texts.get(number),
                marks: Marks::default(),
            });
        }
    }
    deliveries.finish()
}

fn metadata() -> EncodedBatch {
    EncodedBatch::new(&batch(fill::Events::metadata().take(BATCH)))
}

#[divan::bench(args = ["Metadata", "RequestResponse"])]
fn compress(bencher: Bencher<'_, '_>, shape: &str) {
    let jsons = match shape {
        "Metadata" => fill::Events::metadata().take(BATCH),
        _ => fill::Events::request_response().take(BATCH / 10),
    };
    let bytes: usize = jsons.iter().map(String::len).sum();
    let batch = batch(jsons);
    bencher
        .counter(ItemsCount::new(batch.entries.len()))
        .counter(BytesCount::new(bytes))
        .bench(|| EncodedBatch::new(black_box(&batch)));
}

/// Batches of 400 events that come at the same time.
#[divan::bench(args = [1, 16], sample_count = 50, sample_size = 1)]
fn append(bencher: Bencher<'_, '_>, batches: usize) {
    let place = Place::new();
    let batch = metadata();
    bencher
        .counter(ItemsCount::new(batches * BATCH))
        .with_inputs(|| vec![batch.clone(); batches])
        .bench_local_values(|batches| place.append(batches));
}

/// The same bytes, appended to a plain file with one write and one `fdatasync`: what the disk allows.
#[divan::bench(args = [1, 16], sample_count = 50, sample_size = 1)]
fn append_to_plain_file(bencher: Bencher<'_, '_>, batches: usize) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut file = File::create(folder.path().join("plain")).expect("a file");
    let bytes = vec![7; metadata().stored_bytes() * batches];
    bencher
        .counter(ItemsCount::new(batches * BATCH))
        .bench_local(|| {
            file.write_all(black_box(&bytes)).expect("written");
            file.sync_data().expect("synced");
        });
}

/// Reads 400 events back: what the router needs of each, or also their JSON.
#[divan::bench(args = ["keys", "texts"])]
fn unpack(bencher: Bencher<'_, '_>, what: &str) {
    let place = Place::new();
    place.append(vec![metadata()]);
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        let blocks = place.unrouted();
        if what == "texts" {
            for block in &blocks {
                black_box_drop(block.texts());
            }
        }
        blocks
    });
}

/// Makes the deliveries of 400 events, as they are packed already or one by one.
#[divan::bench(args = ["whole_blocks", "one_by_one"])]
fn deliveries(bencher: Bencher<'_, '_>, how: &str) {
    let place = Place::new();
    place.append(vec![metadata()]);
    let blocks = place.unrouted();
    let bencher = bencher.counter(ItemsCount::new(BATCH));
    match how {
        "whole_blocks" => bencher.bench_local(|| all_to_one(black_box(&blocks))),
        _ => bencher.bench_local(|| one_by_one(black_box(&blocks))),
    }
}

/// Commits 400 routed events together with what was seen.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn route(bencher: Bencher<'_, '_>) {
    let place = Place::new();
    let batch = metadata();
    bencher
        .counter(ItemsCount::new(BATCH))
        .with_inputs(|| {
            place.append(vec![batch.clone()]);
            all_to_one(&place.unrouted())
        })
        .bench_local_values(|routed| place.route(routed));
}

/// A message of 100 events, by how many wait: the two figures must be alike.
#[divan::bench(args = [10_000, 1_000_000], sample_count = 50, sample_size = 1)]
fn lease_and_ack(bencher: Bencher<'_, '_>, waiting: usize) {
    let place = Place::new();
    place.fill(&metadata(), waiting);
    let limit = LeaseLimit {
        events_max: 100,
        bytes_max: 16 << 20,
    };
    bencher
        .counter(ItemsCount::new(limit.events_max))
        .bench_local(|| {
            place.runtime.block_on(async {
                let lease = place
                    .queue
                    .lease(CHANNEL, limit, 5)
                    .await
                    .expect("readable");
                let lease = lease.expect("something waits");
                place
                    .queue
                    .ack(&lease.id, Accepted::at(8))
                    .await
                    .expect("acknowledged");
                lease
            })
        });
}
