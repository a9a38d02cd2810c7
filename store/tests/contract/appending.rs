//! Appending and routing.

use crate::Sound;
use auditrelay_store::{Engine, Queue as _};
use std::time::Duration;

use crate::{
    Backend,
    support::{all_to, append_and_route, batch, noise, texts},
};
use auditrelay_audit::Severity;
use auditrelay_store::{Cursor, Limits, QueueError};

pub async fn what_was_appended_is_there_after_a_restart_in_order<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    for n in 0..5 {
        queue
            .append(batch([format!("{n}a"), format!("{n}b")]))
            .await
            .expect("durable");
    }
    drop(queue);
    let queue = B::at(dir.path());
    let blocks = queue.unrouted(3).await.expect("blocks");
    assert_eq!(
        blocks.iter().flat_map(texts).collect::<Vec<_>>(),
        ["0a", "0b", "1a", "1b", "2a", "2b"]
    );
    assert_eq!((queue.ledger().received, queue.ledger().waiting), (10, 10));
    queue.sound().await;
}

pub async fn many_at_once_are_all_there<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let appends = (0..200).map(|n| {
        let queue = queue.clone();
        tokio::spawn(async move { queue.append(batch([format!("{n}")])).await })
    });
    for append in appends.collect::<Vec<_>>() {
        append.await.expect("no panic").expect("durable");
    }
    let mut found: Vec<String> = queue
        .unrouted(1_000)
        .await
        .expect("blocks")
        .iter()
        .flat_map(texts)
        .collect();
    found.sort_by_key(|text| text.parse::<u32>().expect("a number"));
    assert_eq!(found, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub async fn large_blocks_are_routed_a_few_at_a_time<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    queue
        .append(batch((0..20).map(|_| "x".repeat(1 << 20))))
        .await
        .expect("durable");
    let mut blocks = Vec::new();
    while queue.ledger().waiting > 0 {
        let some = queue.unrouted(100).await.expect("blocks");
        blocks.push(some.len());
        let routed = all_to("ops", Severity::Info, &some);
        queue.route(routed).await.expect("routed");
    }
    assert_eq!(blocks, [16, 4]);
}

pub async fn a_writer_that_panics_is_a_queue_that_failed<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    queue
        .append(batch(["1".to_owned()]))
        .await
        .expect("durable");
    let blocks = queue.unrouted(1).await.expect("blocks");
    // No configuration has such a name; the writer asserts that.
    let routed = all_to(&"x".repeat(100), Severity::Info, &blocks);
    queue.route(routed).await.expect_err("the writer panicked");
    let told = tokio::time::timeout(Duration::from_secs(60), queue.failed()).await;
    assert!(matches!(told, Ok(QueueError::Storage(_))), "{told:?}");
    assert!(queue.append(batch(["2".to_owned()])).await.is_err());
}

pub async fn seen_keys_survive_and_are_forgotten_by_block<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    append_and_route(&queue, "ops", Severity::Info, &["3"]).await;
    drop(queue);
    let queue = B::at(dir.path());
    let seen = queue.seen().await.expect("read");
    assert_eq!(
        seen.iter()
            .map(|block| block.keys.len())
            .collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(seen[0].seen_unix_ms, 7);
    queue.forget_seen(seen[0].seq).await.expect("forgotten");
    assert_eq!(queue.seen().await.expect("read"), seen[1..]);
}

pub async fn routed_batches_are_kept_for_a_replay_as_long_as_they_may<B: Backend>() {
    let limits = Limits {
        retain_ms: 10_000,
        retain_bytes_max: 6 << 20,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits.clone());
    let append = async |queue: &Engine, n: u64| {
        let events = [format!("{n} {}", noise(1 << 20, n + 1))];
        append_and_route(
            queue,
            "ops",
            Severity::Info,
            &events.each_ref().map(String::as_str),
        )
        .await;
    };
    for n in 0..4 {
        append(&queue, n).await;
    }
    // What is not routed is none of it.
    queue
        .append(batch(["waits".to_owned()]))
        .await
        .expect("durable");
    drop(queue);
    let queue = B::limited(dir.path(), limits);
    assert_eq!(numbers(&queue).await, [0, 1, 2, 3]);
    let blocks = queue.unrouted(1).await.expect("blocks");
    queue
        .route(all_to("ops", Severity::Info, &blocks))
        .await
        .expect("routed");
    for n in 4..12 {
        append(&queue, n).await;
    }
    let kept = numbers(&queue).await;
    assert!(!kept.contains(&0) && kept.contains(&11), "{kept:?}");
    assert!(
        queue.space().retained_bytes <= 8 << 20,
        "{:?}",
        queue.space()
    );
    queue.sound().await;
}

/// The first words of what is retained, a piece at a time.
async fn numbers(queue: &Engine) -> Vec<u64> {
    let (mut found, mut from) = (Vec::new(), Cursor::default());
    loop {
        let piece = queue.retained(from).await.expect("read");
        for text in piece.blocks.iter().flat_map(texts) {
            found.extend(
                text.split(' ')
                    .next()
                    .and_then(|word| word.parse::<u64>().ok()),
            );
        }
        match piece.next {
            Some(next) => from = next,
            None => return found,
        }
    }
}
