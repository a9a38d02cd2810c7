//! An inbox without room.

use auditrelay_store::{Intake, QueueError};

use crate::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_says_so_and_takes_batches_again_once_it_is_drained() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = JetStreamOptions {
        inbox_bytes_max: 1 << 20,
        ..options(&server)
    };
    let servers = connect(&options).await;
    let inbox = servers.inbox();
    let mut acknowledged = Vec::new();
    let full = loop {
        let json = format!("\"{}\"", noise(200_000, acknowledged.len() as u64));
        match inbox.append(batch(&json)).await {
            Ok(()) => acknowledged.push(json),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100, "1 MiB is full");
    };
    assert!(acknowledged.len() > 3);
    let QueueError::Full(why) = full else {
        panic!("{full:?}")
    };
    assert!(why.0.contains("queue.jetstream.inbox_bytes_max"), "{why}");
    // It is known from the servers before a body is read, also where nothing was appended.
    let other = connect(&options).await.inbox();
    until("another replica knows it", async || {
        other.admit(500_000).is_err()
    })
    .await;
    let why = other.admit(500_000).expect_err("full");
    assert!(why.0.contains("queue.jetstream.inbox_bytes_max"), "{why}");

    let engine = engine(folder.path());
    let pumping = pump(&inbox, &engine);
    until("both have room", async || {
        inbox.admit(500_000).is_ok() && other.admit(500_000).is_ok()
    })
    .await;
    let json = format!("\"{}\"", noise(200_000, 999));
    other.append(batch(&json)).await.expect("durable");
    acknowledged.push(json);
    until("all is taken", async || {
        taken(&engine).await.len() >= acknowledged.len()
    })
    .await;
    pumping.end().await;
    assert_eq!(taken(&engine).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_room_makes_the_pump_rest_and_nothing_is_lost() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = connect(&options(&server)).await.inbox();
    let mut limits = auditrelay_store::Limits {
        bytes_max: 3 << 20,
        ..auditrelay_store::Limits::default()
    };
    let mut at = SledOptions::new(folder.path(), 7);
    at.limits = limits.clone();
    let engine = Engine::open(&at).expect("it opens").queue;
    let mut acknowledged = Vec::new();
    for n in 0..20 {
        let json = format!("\"{}\"", noise(400_000, n));
        inbox.append(batch(&json)).await.expect("durable");
        acknowledged.push(json);
    }
    let pumping = pump(&inbox, &engine);
    until("it rests", async || engine.space().refusing.is_some()).await;
    let before = engine.ledger().received;
    assert!(before < 20, "{before}");
    limits.bytes_max = 1 << 30;
    engine.set_limits(limits).await.expect("exchanged");
    until("it goes on", async || engine.ledger().received == 20).await;
    pumping.end().await;
    assert_eq!(taken(&engine).await, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_it_is_known_to_a_replica_that_takes_no_batch() {
    let Some(mut server) = server() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(&server);
    let inbox = connect(&options).await.inbox();
    let other = connect(&options).await.inbox();
    assert_eq!(other.holds(), None, "nobody asked");
    let looking = tokio::spawn({
        let other = other.clone();
        async move { other.look_on().await }
    });
    let holds = async |messages: u64| {
        until("it is asked", async || {
            other
                .holds()
                .is_some_and(|holds| holds.messages == messages)
        })
        .await;
        other.holds().expect("known")
    };
    let empty = holds(0).await;
    assert_eq!((empty.bytes, empty.oldest_age), (0, Duration::ZERO));
    assert_eq!(empty.bytes_max, options.inbox_bytes_max);
    for n in 0..2 {
        let json = format!("\"{}\"", noise(10_000, n));
        inbox.append(batch(&json)).await.expect("durable");
    }
    let two = holds(2).await;
    assert!(two.bytes > 10_000, "{two:?}");
    until("it grows old", async || {
        let now = other.holds().expect("known");
        now.oldest_age > two.oldest_age && now.oldest_age > Duration::from_millis(100)
    })
    .await;
    let engine = engine(folder.path());
    let pumping = pump(&inbox, &engine);
    let taken = holds(0).await;
    assert_eq!((taken.bytes, taken.oldest_age), (0, Duration::ZERO));
    pumping.end().await;
    assert_eq!(engine.ledger().received, 2);
    // Who looks on lives through a server that is away.
    server.kill();
    server.restart().expect("started again");
    inbox_takes(&inbox).await;
    holds(1).await;
    looking.abort();
}

/// Appends a batch once the connection is there again.
async fn inbox_takes(inbox: &auditrelay_store::jetstream::Inbox) {
    until("it is connected", async || {
        inbox.append(batch("{}")).await.is_ok()
    })
    .await;
}
