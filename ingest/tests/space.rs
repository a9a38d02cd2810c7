//! A queue without space: refusals at once, reservations for as long as they are needed.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what they call.

mod common;

use std::sync::atomic::Ordering;

use auditrelay_config::IngestConfig;
use auditrelay_store::{Full, QueueError};
use common::*;

fn body() -> Vec<u8> {
    list(&[event("a", "")])
}

impl Server<GatedQueue> {
    fn give_space(&self, bytes: u64) {
        self.queue.space_bytes.store(bytes, Ordering::Relaxed);
    }

    fn reserved(&self) -> u64 {
        self.queue.reserved_bytes.load(Ordering::Relaxed)
    }

    fn refused(&self) -> f64 {
        self.metric("auditrelay_ingest_refused_total", "queue_full")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_before_the_body_comes_and_spreads_who_comes_again() {
    let server = start_with(GatedQueue::new(false), &config(), false).await;
    server.give_space(0);
    let mut stream = server.connect().await;
    let mut waits = Vec::new();
    for _ in 0..5 {
        write(&mut stream, head("/webhook", body().len())).await;
        let answer = read_answer(&mut stream).await;
        answer.expect(429, "TooManyRequests");
        assert_eq!(answer.message, "the queue has no space; it says so itself");
        waits.push(answer.retry_after().unwrap());
        // What was announced may still come; the connection lives on.
        write(&mut stream, body()).await;
    }
    waits.sort_unstable();
    assert_eq!(waits, [1, 2, 3, 4, 5]);
    assert_eq!(server.refused(), 5.0);
    let received = server.metric("auditrelay_ingest_received_bytes_total", "");
    assert_eq!(received, 0.0, "memory was taken for what is refused");

    server.give_space(u64::MAX);
    server.queue.gate.add_permits(1);
    write(&mut stream, head("/webhook", body().len())).await;
    write(&mut stream, body()).await;
    assert_eq!(read_answer(&mut stream).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn space_is_reserved_until_the_batch_is_stored_and_nobody_waits_for_it() {
    let server = start_with(GatedQueue::new(false), &config(), false).await;
    let length = body().len() as u64;
    server.give_space(2 * length - 1);
    let mut first = server.connect().await;
    write(&mut first, head("/webhook", body().len())).await;
    write(&mut first, body()).await;
    within(server.queue.entered.acquire())
        .await
        .unwrap()
        .forget();
    assert_eq!(server.reserved(), length);

    // The gate is closed, so an answer comes only from who waits for nothing.
    let answer = server.post("/webhook", body()).await;
    answer.expect(429, "TooManyRequests");
    assert!((1..=5).contains(&answer.retry_after().unwrap()));
    assert_eq!(server.refused(), 1.0);

    server.queue.gate.add_permits(2);
    assert_eq!(read_answer(&mut first).await.code, 200);
    assert_eq!(server.reserved(), 0);
    assert_eq!(server.post("/webhook", body()).await.code, 200);
    assert_eq!(server.reserved(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_late_keeps_its_space() {
    let config = IngestConfig {
        ack_timeout_milliseconds: bounded(100),
        ..config()
    };
    let server = start_with(GatedQueue::new(false), &config, false).await;
    let answer = server.post("/webhook", body()).await;
    answer.expect(503, "ServiceUnavailable");
    assert_eq!(server.reserved(), body().len() as u64);
    server.queue.gate.add_permits(1);
    eventually("the space is free", || server.reserved() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_gives_its_space_back() {
    let server = start_with(GatedQueue::new(true), &config(), false).await;
    for (sent, code) in [
        (body(), 503),
        (b"{".to_vec(), 400),
        (list(&[] as &[&str]), 200),
    ] {
        assert_eq!(server.post("/webhook", sent).await.code, code);
        assert_eq!(server.reserved(), 0, "after {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_finds_no_room_only_when_it_stores_answers_as_one_that_says_so_before() {
    let server = start_with(GatedQueue::new(false), &config(), false).await;
    server.queue.gate.add_permits(1);
    let full = || QueueError::Full(Full("the inbox of the queue is full".into()));
    server.queue.says.lock().unwrap().extend([full(), full()]);
    for nth in 1..=2_u32 {
        let answer = server.post("/webhook", body()).await;
        answer.expect(429, "TooManyRequests");
        assert_eq!(answer.message, "the inbox of the queue is full");
        assert!((1..=5).contains(&answer.retry_after().unwrap()));
        assert_eq!(server.refused(), f64::from(nth));
        assert_eq!(server.reserved(), 0);
    }
    assert_eq!(server.post("/webhook", body()).await.code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_out_of_reach_is_told_as_such_and_takes_batches_as_soon_as_it_is_back() {
    let server = start_with(GatedQueue::new(false), &config(), false).await;
    server.queue.gate.add_permits(1);
    let away = || QueueError::Unavailable("no server answers".into());
    let says = std::iter::repeat_with(away).take(5);
    server.queue.says.lock().unwrap().extend(says);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let answer = server.post("/webhook", body()).await;
        answer.expect(503, "ServiceUnavailable");
        assert!(
            answer.message.contains("no server answers"),
            "{}",
            answer.message
        );
        waits.push(answer.retry_after().unwrap());
        assert_eq!(server.reserved(), 0);
    }
    waits.sort_unstable();
    assert_eq!(waits, [1, 2, 3, 4, 5]);
    let refused = |reason| server.metric("auditrelay_ingest_refused_total", reason);
    assert_eq!((refused("queue_unavailable"), refused("queue")), (5.0, 0.0));
    assert_eq!(server.post("/webhook", body()).await.code, 200);
}
