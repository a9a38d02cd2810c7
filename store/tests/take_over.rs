//! How long a take-over takes where much waits: another relay opens the same queue on JetStream, and knows what was seen.
//!
//! The promise is 15 s from a crash, of which the lease takes 6. Small by default; the real sizes are asked for by
//! `AUDITRELAY_TAKE_OVER_COMMITS` and `AUDITRELAY_TAKE_OVER_KEYS` (CONTRIBUTING.md), and printed with what was found.

mod support;

use std::{env, time::Duration};

use auditrelay_audit::{EventKey, Severity};
use auditrelay_loadtest::nats::{NatsOptions, NatsServer};
use auditrelay_store::{
    BatchEncoder, Counts, Engine, Queue, Routed, RoutedBlock, StreamOptions,
    jetstream::{Credentials, Durability, JetStream, JetStreamOptions, Tls},
};
use tokio::time::Instant;

/// What the lease leaves of 15 s.
const OPENS_WITHIN: Duration = Duration::from_secs(9);
const KEYS_AT_ONCE: u64 = 10_000;
const NOW_UNIX_MS: i64 = 1_700_000_000_000;

fn asked(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

async fn connect(server: &NatsServer) -> JetStream {
    let options = JetStreamOptions {
        servers: vec![server.address()],
        credentials: Credentials::None,
        tls: Tls::default(),
        replicas: 1,
        name: "relay".to_owned(),
        inbox_bytes_max: 64 << 20,
        ledger_bytes_max: 8 << 30,
        lease: Duration::from_secs(6),
        append_timeout: Duration::from_secs(5),
        durability: Durability::Synced(vec![server.monitoring().parse().expect("a URL")]),
    };
    let connected = JetStream::connect_when_there(&options).await;
    connected.expect("connected")
}

/// Events that nobody wants: what stays of them is that they were seen.
async fn see(queue: &Engine, from: u64, count: u64) {
    let mut batch = BatchEncoder::new("prod", NOW_UNIX_MS, 0, 0);
    for number in from..from + count {
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&number.to_be_bytes());
        let key = EventKey {
            identity: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            fingerprint,
        };
        batch.push_unwanted(&key, None);
    }
    queue.append(batch.finish()).await.expect("durable");
    let blocks = queue.unrouted(1_000).await.expect("blocks");
    let blocks = blocks.iter().map(|block| RoutedBlock {
        seq: block.seq,
        seen_unix_ms: NOW_UNIX_MS,
        new_keys: block.items.iter().map(|item| item.key).collect(),
        counts: Counts {
            filtered: block.items.len() as u64,
            ..Counts::default()
        },
        quarantine: Vec::new(),
    });
    let routed = Routed {
        blocks: blocks.collect(),
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_relay_opens_a_large_queue_in_time() {
    let Some(server) = NatsServer::start(&NatsOptions::default()).unwrap() else {
        return;
    };
    let commits = asked("AUDITRELAY_TAKE_OVER_COMMITS", 200);
    let keys = asked("AUDITRELAY_TAKE_OVER_KEYS", 30_000);
    let first = connect(&server).await;
    let queue = first.open(StreamOptions::new(NOW_UNIX_MS)).await;
    let queue = queue.expect("opens");
    for from in (0..keys).step_by(KEYS_AT_ONCE as usize) {
        see(&queue, from, KEYS_AT_ONCE.min(keys - from)).await;
    }
    // One event a commit: as many messages as there can be for what waits.
    let event = format!("{{\"requestURI\":\"{}\"}}", "x".repeat(700));
    for _ in 0..commits {
        support::append_and_route(&queue, "ops", Severity::Info, &[&event]).await;
    }
    let before = queue.ledger();
    let jsz = server.monitor("/jsz").expect("answers");
    let (messages, bytes) = (&jsz["messages"], &jsz["bytes"]);

    // The first one does not know yet that it is over.
    let second = connect(&server).await;
    let begun = Instant::now();
    let taken = second.open(StreamOptions::new(NOW_UNIX_MS)).await;
    let taken = taken.expect("opens");
    let opened = begun.elapsed();
    let seen = taken.seen().await.expect("read");
    let known = begun.elapsed();
    let varz = server.monitor("/varz").expect("answers");
    println!(
        "{commits} commits of one event that waits, {keys} keys: {messages} messages, {bytes} bytes; opened in {opened:.2?}, keys \
         known in {known:.2?}; the server has {} bytes of memory",
        varz["mem"]
    );
    assert_eq!(taken.ledger(), before);
    assert_eq!(before.channels["ops"].waiting, commits);
    let seen: usize = seen.iter().map(|block| block.keys.len()).sum();
    assert_eq!(seen as u64, keys + commits);
    assert!(known < OPENS_WITHIN, "{known:?}");
    // It is: nothing of it counts any more.
    let late = support::batch(["late".to_owned()]);
    queue.append(late).await.expect_err("it was taken over");
    assert_eq!(taken.ledger(), before);
}
