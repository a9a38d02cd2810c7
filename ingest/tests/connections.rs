//! Slow, silent, greedy and impatient clients; memory, time and shutdown.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::time::Duration;

use auditrelay_config::IngestConfig;
use auditrelay_store::Queue;
use common::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::{Instant, sleep},
};

/// Longer than the shortest timeout that can be configured, a second.
const PAST_A_SECOND: Duration = Duration::from_millis(1_600);

fn body() -> Vec<u8> {
    list(&[event("a", "")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_too_long_is_refused_before_it_is_sent() {
    let config = IngestConfig {
        body_bytes_max: bounded(2_000),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let mut stream = server.connect().await;
    write(&mut stream, head("/webhook", 2_001)).await;
    read_answer(&mut stream)
        .await
        .expect(413, "RequestEntityTooLarge");
    // What was announced may still come; the connection lives on.
    write(&mut stream, [b' '; 2_001]).await;
    write(&mut stream, head("/webhook", body().len())).await;
    write(&mut stream, body()).await;
    assert_eq!(read_answer(&mut stream).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_writes_before_it_reads_still_gets_its_refusal() {
    let config = IngestConfig {
        body_bytes_max: bounded(2_000),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let mut stream = server.connect().await;
    write(&mut stream, head("/webhook", 30_000_000)).await;
    for _ in 0..300 {
        write(&mut stream, [b' '; 100_000]).await;
    }
    read_answer(&mut stream)
        .await
        .expect(413, "RequestEntityTooLarge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_a_length_is_counted_as_it_comes() {
    let config = IngestConfig {
        body_bytes_max: bounded(2_000),
        bytes_in_flight_max: bounded(2_000),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let chunked = "POST /webhook HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut stream = server.connect().await;
    write(&mut stream, chunked).await;
    let body = body();
    let in_flight = || server.metric("auditrelay_ingest_bytes_in_flight", "");
    for (index, part) in body.chunks(100).enumerate() {
        write(&mut stream, format!("{:x}\r\n", part.len())).await;
        write(&mut stream, part).await;
        write(&mut stream, "\r\n").await;
        let so_far = (index * 100 + part.len()) as f64;
        eventually("the chunk is counted", || in_flight() == so_far).await;
    }
    write(&mut stream, "0\r\n\r\n").await;
    assert_eq!(read_answer(&mut stream).await.code, 200);
    eventually("the memory is free", || in_flight() == 0.0).await;

    // On the same connection: one that grows past what is allowed.
    write(&mut stream, chunked).await;
    write(
        &mut stream,
        format!("{:x}\r\n{}\r\n", 1_500, " ".repeat(1_500)),
    )
    .await;
    write(&mut stream, format!("{:x}\r\n{}\r\n", 600, " ".repeat(600))).await;
    read_answer(&mut stream)
        .await
        .expect(413, "RequestEntityTooLarge");
    eventually("the memory is free", || in_flight() == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_memory_is_told_to_come_again_at_once() {
    let config = IngestConfig {
        body_bytes_max: bounded(2_000),
        bytes_in_flight_max: bounded(2_000),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let mut slow = server.connect().await;
    let mut padded = body();
    padded.resize(1_990, b' ');
    write(&mut slow, head("/webhook/slow", padded.len())).await;
    write(&mut slow, &padded[..10]).await;
    let in_flight = || server.metric("auditrelay_ingest_bytes_in_flight", "");
    eventually("the slow body holds memory", || in_flight() == 1_990.0).await;

    let mut waits = Vec::new();
    for _ in 0..10 {
        let answer = server.post("/webhook", body()).await;
        answer.expect(429, "TooManyRequests");
        waits.push(answer.retry_after().expect("a Retry-After"));
    }
    waits.sort_unstable();
    assert_eq!(waits, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);

    let mut chunked = server.connect().await;
    let head = "POST /webhook HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\n";
    write(&mut chunked, format!("{head}64\r\n{}\r\n", " ".repeat(100))).await;
    read_answer(&mut chunked)
        .await
        .expect(429, "TooManyRequests");

    write(&mut slow, &padded[10..]).await;
    assert_eq!(read_answer(&mut slow).await.code, 200);
    eventually("the memory is free", || in_flight() == 0.0).await;
    assert_eq!(server.post("/webhook", body()).await.code, 200);
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "bytes_in_flight"),
        11.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_refused_and_frees_its_memory() {
    let config = IngestConfig {
        body_timeout_seconds: bounded(1),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let mut stream = server.connect().await;
    write(&mut stream, head("/webhook", 5_000)).await;
    write(&mut stream, "{").await;
    read_answer(&mut stream).await.expect(408, "Timeout");
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
    // The rest is awaited for a while, and then the connection ends.
    expect_closed(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_ends_the_connection_and_idling_does_not() {
    let config = IngestConfig {
        header_timeout_seconds: bounded(1),
        ..config()
    };
    let (server, _dir) = start(&config).await;
    let mut silent = server.connect().await;
    let mut idle = server.connect().await;
    let mut slow = server.connect().await;
    for _ in 0..2 {
        write(&mut idle, head("/webhook", body().len())).await;
        write(&mut idle, body()).await;
        assert_eq!(read_answer(&mut idle).await.code, 200);
    }
    write(&mut slow, "POST /webhook HTTP/1.1\r\n").await;
    expect_closed(&mut slow).await;
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "header_timeout"),
        1.0
    );

    sleep(PAST_A_SECOND).await;
    for stream in [&mut silent, &mut idle] {
        write(stream, head("/webhook", body().len())).await;
        // A slow body is not a slow head.
        sleep(PAST_A_SECOND).await;
        write(stream, body()).await;
        assert_eq!(read_answer(stream).await.code, 200);
    }
    assert_eq!(server.metric("auditrelay_ingest_connections", ""), 2.0);
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "header_timeout"),
        1.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_turn() {
    let (server, _dir) = start(&config()).await;
    let mut stream = server.connect().await;
    let one = [head("/webhook", body().len()).into_bytes(), body()].concat();
    write(&mut stream, one.repeat(2)).await;
    for _ in 0..2 {
        assert_eq!(read_answer(&mut stream).await.code, 200);
    }
    assert_eq!(server.queue.ledger().received, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_that_it_has_sent_all_is_answered() {
    let server = start_with(GatedQueue::new(false), &config(), false).await;
    let mut stream = server.connect().await;
    write(&mut stream, head("/webhook", body().len())).await;
    write(&mut stream, body()).await;
    within(AsyncWriteExt::shutdown(&mut stream)).await.unwrap();
    within(server.queue.entered.acquire())
        .await
        .unwrap()
        .forget();
    server.queue.gate.add_permits(1);
    assert_eq!(read_answer(&mut stream).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_no_answers_is_closed_though_it_asks_on() {
    let (server, _dir) = start(&config()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let asked = b"GET /webhook HTTP/1.1\r\nhost: relay\r\n\r\n".repeat(1_000);
    within(async { while stream.write_all(&asked).await.is_ok() {} }).await;
    let refused = || server.metric("auditrelay_ingest_refused_total", "answer_unread");
    eventually("it is counted", || refused() == 1.0).await;
    assert_eq!(server.post("/webhook", body()).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_counted_and_closed() {
    let (server, _dir) = start(&config()).await;
    let tls = b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03 hello\r\n\r\n";
    for (sent, reason) in [
        // How a TLS client begins: the kubeconfig says https where http is served.
        (&tls[..], "unexpected_tls"),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "malformed_head"),
    ] {
        let mut stream = server.connect().await;
        write(&mut stream, sent).await;
        let mut said = Vec::new();
        within(stream.read_to_end(&mut said)).await.unwrap();
        assert!(said.starts_with(b"HTTP/1.1 400"), "{said:?}");
        let refused = || server.metric("auditrelay_ingest_refused_total", reason);
        eventually("it is counted", || refused() == 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_fails_is_a_503() {
    let server = start_with(GatedQueue::new(true), &config(), false).await;
    let answer = server.post("/webhook", body()).await;
    answer.expect(503, "ServiceUnavailable");
    assert_eq!(answer.retry_after(), Some(1));
    assert_eq!(
        server.metric("auditrelay_ingest_events_total", "stored"),
        0.0
    );
    assert_eq!(server.metric("auditrelay_ingest_bytes_in_flight", ""), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_hangs_is_a_503_in_time_and_keeps_its_memory_until_it_ends() {
    let config = IngestConfig {
        ack_timeout_milliseconds: bounded(100),
        ..config()
    };
    let server = start_with(GatedQueue::new(false), &config, false).await;
    let begun = Instant::now();
    let answer = server.post("/webhook", body()).await;
    answer.expect(503, "ServiceUnavailable");
    assert_eq!(answer.retry_after(), Some(1));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let in_flight = || server.metric("auditrelay_ingest_bytes_in_flight", "");
    assert_eq!(in_flight(), body().len() as f64);
    assert_eq!(
        server.metric("auditrelay_ingest_refused_total", "ack_timeout"),
        1.0
    );

    server.queue.gate.add_permits(1);
    eventually("the memory is free", || in_flight() == 0.0).await;
    let stored = || server.metric("auditrelay_ingest_events_total", "stored");
    eventually("it is counted", || stored() == 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_does_not_take_its_batch_with_it() {
    let config = IngestConfig {
        ack_timeout_milliseconds: bounded(100),
        ..config()
    };
    let server = start_with(GatedQueue::new(false), &config, false).await;
    let mut stream = server.connect().await;
    write(&mut stream, head("/webhook", body().len())).await;
    write(&mut stream, body()).await;
    within(server.queue.entered.acquire())
        .await
        .unwrap()
        .forget();
    drop(stream);
    // That it is gone shows when it is answered.
    let connections = || server.metric("auditrelay_ingest_connections", "");
    eventually("the connection is gone", || connections() == 0.0).await;
    server.queue.gate.add_permits(1);
    within(server.queue.appended.acquire())
        .await
        .unwrap()
        .forget();
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_what_is_under_way_and_takes_nothing_new() {
    let mut server = start_with(GatedQueue::new(false), &config(), false).await;
    let mut idle = server.connect().await;
    let mut sending = server.connect().await;
    let mut appending = server.connect().await;
    let connections = || metric(&server.registry, "auditrelay_ingest_connections", "");
    eventually("all are in", || connections() == 3.0).await;
    write(&mut appending, head("/webhook", body().len())).await;
    write(&mut appending, body()).await;
    within(server.queue.entered.acquire())
        .await
        .unwrap()
        .forget();
    write(&mut sending, head("/webhook", body().len())).await;
    let in_flight = || metric(&server.registry, "auditrelay_ingest_bytes_in_flight", "");
    eventually("the body is awaited", || {
        in_flight() == 2.0 * body().len() as f64
    })
    .await;

    server.stop();
    expect_closed(&mut idle).await;
    assert!(
        tokio::net::TcpStream::connect(server.address)
            .await
            .is_err()
    );
    assert!(!server.serving.is_finished());

    server.queue.gate.add_permits(2);
    assert_eq!(read_answer(&mut appending).await.code, 200);
    write(&mut sending, body()).await;
    assert_eq!(read_answer(&mut sending).await.code, 200);
    within(&mut server.serving).await.unwrap();
}
