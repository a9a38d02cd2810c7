//! Space and memory: what passes through leaves nothing behind, a backlog costs disk and not memory, and its
//! disk comes back when it is gone.
//!
//! The bounds are those of the whole runs; the test command runs them small. `AUDITRELAY_SPACE_EVENTS`
//! and `AUDITRELAY_BACKLOG_EVENTS` set how many events (2,000,000 and 5,000,000 are the whole).

#[path = "../loadtest/events/fill.rs"]
mod fill;
mod support;

use std::{fs, path::Path, time::Duration};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_store::{
    Accepted, Batch, Content, Counts, DeliveriesEncoder, DeliveryBlock, EncodedBatch, Engine,
    Entry, LeaseLimit, Queue, Routed, RoutedBlock, SledOptions,
};
use support::Running;
use tokio::time::Instant;

const MIB: u64 = 1024 * 1024;
const ALL: LeaseLimit = LeaseLimit {
    events_max: 10_000,
    bytes_max: 16 << 20,
};

fn events(variable: &str, few: usize) -> usize {
    let told = std::env::var(variable);
    told.map_or(few, |told| told.parse().expect("a number of events"))
}

/// Bytes of all files of the queue, as the file system counts them.
fn disk(dir: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).expect("listed") {
        let entry = entry.expect("listed");
        // A segment may go while it is looked at.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        bytes += if about.is_dir() {
            disk(&entry.path())
        } else {
            about.len()
        };
    }
    bytes
}

fn blobs(dir: &Path) -> usize {
    let indexes = fs::read_dir(dir.join("queue")).expect("listed");
    let blobs =
        indexes.filter_map(|entry| fs::read_dir(entry.expect("listed").path().join("blobs")).ok());
    blobs.map(Iterator::count).sum()
}

/// A figure of a process, in bytes.
fn memory(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .expect(field);
    let kib = line.trim_start_matches(':').trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") * 1024
}

fn batch(texts: Vec<String>) -> EncodedBatch {
    let entry = |json: String| Entry {
        key: EventKey {
            identity: 0,
            fingerprint: [7; 16],
        },
        content: Content::Event {
            json: json.into(),
            body_unreadable: false,
        },
    };
    EncodedBatch::new(&Batch {
        cluster: "prod".into(),
        received_unix_ms: 7,
        entries: texts.into_iter().map(entry).collect(),
    })
}

/// Batches of 400 as they are sent: 99 % up to 3 KB, the rest 50 KB, and one in a thousand of 1.5 MB.
fn mixed(batches: usize) -> Vec<EncodedBatch> {
    let (mut small, mut large) = (fill::Events::metadata(), fill::Events::request_response());
    let event = |n: usize| match n % 1_000 {
        500 => (0..30).map(|_| large.event()).collect::<String>(),
        n if n % 100 == 0 => large.event(),
        _ => small.event(),
    };
    let texts: Vec<String> = (0..batches * 400).map(event).collect();
    texts.chunks(400).map(|some| batch(some.to_vec())).collect()
}

/// Routes all that was appended to one channel; no dedup.
async fn route(queue: &Engine, channel: &str) {
    while queue.ledger().waiting > 0 {
        let blocks = queue.unrouted(64).await.expect("blocks");
        let mut deliveries = DeliveriesEncoder::default();
        let mut routed = Routed::default();
        for block in &blocks {
            deliveries.push_block(block, "", |_| false);
            routed.blocks.push(RoutedBlock {
                seq: block.seq,
                seen_unix_ms: 8,
                counts: Counts {
                    routed: block.items.len() as u64,
                    ..Counts::default()
                },
                ..RoutedBlock::default()
            });
        }
        routed.deliveries.push(DeliveryBlock {
            channel: channel.to_owned(),
            severity: Severity::Info,
            deliveries: deliveries.finish(),
        });
        queue.route(routed).await.expect("routed");
    }
}

/// Tells all that waits for a channel.
async fn drain(queue: &Engine, channel: &str) {
    while let Some(lease) = queue.lease(channel, ALL, 5).await.expect("read") {
        queue.ack(&lease.id, Accepted::at(9)).await.expect("held");
    }
}

fn open(dir: &Path) -> Engine {
    let options = SledOptions {
        cache_bytes_max: 64 * MIB,
        ..SledOptions::new(dir, 0)
    };
    Engine::open(&options).expect("opens").queue
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_through_leaves_nothing_behind() {
    let total = events("AUDITRELAY_SPACE_EVENTS", 100_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let batches = mixed(10);
    let before = memory("self", "VmRSS");
    let queue = open(dir.path());
    let mut live_max = 0;
    for n in 0..total / 400 {
        queue
            .append(batches[n % batches.len()].clone())
            .await
            .expect("durable");
        route(&queue, "ops").await;
        let live = queue.space().waiting_bytes["ops"];
        live_max = live_max.max(live);
        let used = disk(&dir.path().join("queue"));
        assert!(
            used < 3 * live_max + 64 * MIB,
            "{used} bytes for {live_max} after {n} batches"
        );
        if n % 10 == 9 {
            drain(&queue, "ops").await;
        }
    }
    assert_eq!(blobs(dir.path()), 0);
    let grown = memory("self", "VmHWM").saturating_sub(before);
    assert!(grown < 200 * MIB, "{grown} bytes of memory");
    queue.verify().await.expect("sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_disk_and_not_memory_and_gives_its_disk_back() {
    let total = events("AUDITRELAY_BACKLOG_EVENTS", 200_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let dir = folder.path().join("auditrelay-data");
    let queue = open(&dir);
    let texts: Vec<String> = fill::Events::metadata().take(4_000);
    let batches: Vec<_> = texts.chunks(400).map(|some| batch(some.to_vec())).collect();
    let parked = batch(texts[..100].to_vec());
    let rounds = total / 400;
    for n in 0..rounds {
        if n % rounds.div_ceil(10) == 0 {
            queue.append(parked.clone()).await.expect("durable");
            route(&queue, "parked").await;
        }
        queue
            .append(batches[n % batches.len()].clone())
            .await
            .expect("durable");
        route(&queue, "ops").await;
    }
    let waiting = queue.ledger().channels["ops"].waiting;
    assert_eq!(waiting, (rounds * 400) as u64);
    let full = disk(&dir);
    drop(queue);

    // A relay that starts on it: nothing is posted, both channels are shown where nobody reads.
    let empty = resident_when_ready(tempfile::tempdir().expect("a folder").path());
    let begun = Instant::now();
    let with_backlog = resident_when_ready(folder.path());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        with_backlog < empty + 32 * MIB,
        "{with_backlog} bytes of memory with {waiting} waiting, {empty} without"
    );

    let queue = open(&dir);
    drain(&queue, "ops").await;
    let given_back = async {
        while disk(&dir) > 64 * MIB {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    let outcome = tokio::time::timeout(patience, given_back).await;
    assert!(outcome.is_ok(), "{} of {full} bytes are left", disk(&dir));
    assert_eq!(queue.ledger().channels["parked"].waiting, 1_000);
    queue.verify().await.expect("sound");
    let lease = queue
        .lease("parked", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(lease.members.len(), 1_000);
}

/// The relay's memory when it is ready.
fn resident_when_ready(folder: &Path) -> u64 {
    let config = "channels:\n  ops: {slack_channel: C1, token: xoxb-test}\n  parked: {slack_channel: C2, token: xoxb-test}\nslack: {api_url: 'http://127.0.0.1:1/'}\ndefault_channel: ops\n";
    fs::write(folder.join("c.yaml"), config).expect("written");
    let relay = Running::start(folder, &[], &["--config", "c.yaml"]);
    let resident = memory(&relay.pid().to_string(), "VmRSS");
    relay.kill();
    resident
}
