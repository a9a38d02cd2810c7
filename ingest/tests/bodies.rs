//! Bodies: what they may cost before they are here, how slowly they may come, and compressed ones.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::io::Write;

use auditrelay_config::IngestConfig;
use auditrelay_store::Queue;
use common::*;
use flate2::{Compression, write::GzEncoder};

fn body() -> Vec<u8> {
    list(&[event("a", "")])
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const GZIP: [(&str, &str); 1] = [("content-encoding", "gzip")];

#[tokio::test(flavor = "multi_thread")]
async fn who_announces_much_and_sends_little_shuts_nobody_out() {
    const SLOW: usize = 100;
    const LARGEST: usize = 64 << 20;
    let config = IngestConfig {
        // As much as one of them announces.
        bytes_in_flight_max: bounded(LARGEST as u64),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let in_flight = || server.metric("auditrelay_ingest_bytes_in_flight", "");
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = server.connect().await;
        write(&mut stream, head("/webhook", LARGEST)).await;
        write(&mut stream, "{").await;
        slow.push(stream);
    }
    eventually("all are awaited", || {
        in_flight() == (SLOW * 64 * 1024) as f64
    })
    .await;
    let mut padded = body();
    padded.resize(LARGEST / 2, b' ');
    assert_eq!(server.post("/webhook", padded).await.code, 200);
    drop(slow);
    eventually("the memory is free", || in_flight() == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_too_slowly_is_refused_and_one_on_pace_is_not() {
    let config = IngestConfig {
        body_bytes_per_second_min: bounded(50),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let mut padded = body();
    padded.resize(1_000, b' ');
    let mut slow = server.connect().await;
    let mut steady = server.connect().await;
    for stream in [&mut slow, &mut steady] {
        write(stream, head("/webhook", padded.len())).await;
    }
    write(&mut slow, &padded[..100]).await;
    // Paid for twenty seconds.
    write(&mut steady, &padded[..999]).await;
    read_answer(&mut slow).await.expect(408, "Timeout");
    let refused = |reason| server.metric("auditrelay_ingest_refused_total", reason);
    assert_eq!(refused("body_too_slow"), 1.0);
    assert_eq!(refused("body_timeout"), 0.0);
    write(&mut steady, &padded[999..]).await;
    assert_eq!(read_answer(&mut steady).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_stored_as_what_it_is() {
    let (server, _dir) = start(&config()).await;
    let items: Vec<_> = (0..200).map(|n| event(&format!("id-{n}"), "")).collect();
    let plain = list(&items);
    for (path, encoding) in [("/webhook/a", "gzip"), ("/webhook/b", "x-gzip")] {
        let headers = [("content-encoding", encoding)];
        let request = server.request("POST", path, &headers, gzip(&plain));
        assert_eq!(server.send(request).await.code, 200);
    }
    assert_eq!(server.queue.ledger().received, 400);
    let blocks = all_unrouted(&server.queue).await;
    let texts = blocks[0].texts().unwrap();
    assert!(texts.get(199).contains("id-199"));
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_has_limits_of_its_own() {
    let config = IngestConfig {
        body_bytes_max: bounded(100_000),
        decoded_bytes_max: bounded(1_000_000),
        bytes_in_flight_max: bounded(700_000),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let post = async |bytes: Vec<u8>| {
        server
            .send(server.request("POST", "/webhook", &GZIP, bytes))
            .await
    };
    let padded = |length| {
        let mut body = body();
        body.resize(length, b' ');
        gzip(&body)
    };
    assert_eq!(post(padded(600_000)).await.code, 200);
    // The memory for it is short, which may be otherwise next time.
    let answer = post(padded(800_000)).await;
    answer.expect(429, "TooManyRequests");
    assert!(
        answer
            .retry_after()
            .is_some_and(|seconds| (1..=5).contains(&seconds))
    );
    assert_eq!(post(padded(600_000)).await.code, 200);
    for (bytes, code, reason) in [
        (body(), 400, "malformed_gzip"),
        (padded(600_000)[..500].to_vec(), 400, "malformed_gzip"),
        (vec![b' '; 100_001], 413, "body_too_large"),
    ] {
        assert_eq!(post(bytes).await.code, code);
        assert!(server.metric("auditrelay_ingest_refused_total", reason) >= 1.0);
    }
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_refused_for_what_it_becomes() {
    let config = IngestConfig {
        decoded_bytes_max: bounded(1_000_000),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let bomb = gzip(&vec![b' '; 50_000_000]);
    server
        .send(server.request("POST", "/webhook", &GZIP, bomb))
        .await
        .expect(413, "RequestEntityTooLarge");
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "decoded_too_large"),
        1.0
    );
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_has_space_in_the_queue_for_what_it_becomes() {
    let queue = GatedQueue::new(false);
    let space = std::sync::Arc::clone(&queue.space_bytes);
    space.store(5_000, std::sync::atomic::Ordering::Relaxed);
    let server = start_with(queue, &config(), false).await;
    let mut padded = body();
    padded.resize(5_001, b' ');
    let request = server.request("POST", "/webhook", &GZIP, gzip(&padded));
    let answer = server.send(request).await;
    answer.expect(429, "TooManyRequests");
    assert!(answer.retry_after().is_some());
    server.queue.gate.add_permits(1);
    let request = server.request("POST", "/webhook", &GZIP, gzip(&padded[..5_000]));
    assert_eq!(server.send(request).await.code, 200);
}
