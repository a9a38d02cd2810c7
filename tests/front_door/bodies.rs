//! Bodies that are too large, too deep, too many, or not what they seem.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use hyper::body::Bytes;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    door::{Door, post, small, within},
    support::list,
};

const GROWTH_KIB_MAX: u64 = 128 * 1024;
const MIB: usize = 1 << 20;

/// A list of one event whose body is so deep.
fn deep(levels: usize) -> Bytes {
    let one = list("alice", "patch", ["deep".to_owned()]);
    let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let event = one.replacen(
        "\"stage\"",
        &format!("\"requestObject\":{nested},\"stage\""),
        1,
    );
    assert!(event.len() > 2 * levels);
    event.into()
}

fn tiny(events: usize) -> Bytes {
    let items: Vec<_> = (0..events)
        .map(|number| json!({"level": "Metadata", "auditID": number.to_string(), "stage": "ResponseComplete"}))
        .collect();
    json!({"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": items})
        .to_string()
        .into()
}

fn bomb(bytes: usize) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let piece = vec![b' '; MIB];
    for _ in 0..bytes / MIB {
        encoder.write_all(&piece).expect("memory");
    }
    encoder.finish().expect("memory").into()
}

/// Posts a body that does not say how long it is, and gives the status line.
async fn post_chunked(door: &Door, bytes: usize) -> String {
    let mut stream = door.caller("http/1.1").connect().await.expect("connected");
    let head = "POST /webhook HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let piece = [
        format!("{MIB:x}\r\n").into_bytes(),
        vec![b' '; MIB],
        b"\r\n".into(),
    ]
    .concat();
    for _ in 0..bytes / MIB {
        stream.write_all(&piece).await.expect("written");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("written");
    let mut answer = [0; 12];
    within(stream.read_exact(&mut answer))
        .await
        .expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_all_measure_cost_little_memory() {
    // How long 100,000 events take on a busy machine is not what this is about.
    let mut door = Door::open("ingest: {ack_timeout_milliseconds: 20000}").await;
    let warm = small("warm");
    for is_http2 in [false, true] {
        assert_eq!(send(&door, is_http2, None, warm.clone()).await, 200);
    }
    for (name, is_http2, encoding, body, statuses) in [
        (
            "80 MiB",
            false,
            None,
            Bytes::from(vec![b' '; 80 * MIB]),
            &[413][..],
        ),
        (
            "80 MiB over HTTP/2",
            true,
            None,
            Bytes::from(vec![b' '; 80 * MIB]),
            &[413],
        ),
        ("10,000 levels", true, None, deep(10_000), &[200]),
        ("a bomb", true, Some("gzip"), bomb(1_024 * MIB), &[413]),
        ("tiny events", false, None, tiny(100_000), &[200]),
        ("too many events", true, None, tiny(100_001), &[413]),
    ] {
        let before = door.resident_kib();
        let status = send(&door, is_http2, encoding, body).await;
        let growth = door.peak_kib().saturating_sub(before);
        println!("{name}: {status}, {growth} KiB more");
        assert!(statuses.contains(&status), "{name}: {status}");
        assert!(growth < GROWTH_KIB_MAX, "{name}: {growth} KiB");
    }
    let before = door.resident_kib();
    let status = post_chunked(&door, 80 * MIB).await;
    let growth = door.peak_kib().saturating_sub(before);
    println!("80 MiB that were not announced: {status}, {growth} KiB more");
    assert_eq!(status, "HTTP/1.1 413");
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");

    // None of it was lost on the way to the queue, and the relay is well.
    let ledger = door.relay.ledger().await;
    assert_eq!(ledger["received"], 2 * 10 + 1 + 100_000, "{ledger}");
    let logs = door.relay.logs();
    assert!(!logs.contains("panicked"), "{logs}");
}

async fn send(door: &Door, is_http2: bool, encoding: Option<&str>, body: Bytes) -> u16 {
    let status = if is_http2 {
        let mut client = door.caller("h2").http2().await.expect("connected");
        client.send(post(true, encoding, body)).await
    } else {
        let mut client = door.caller("http/1.1").http1().await.expect("connected");
        client.send(post(false, encoding, body)).await
    };
    status.expect("an answer").as_u16()
}
