//! The contract of `Queue`, on the sled backend and real files.

mod support;

use std::time::Duration;

use auditrelay_audit::Severity;
use auditrelay_store::{
    Counts, DeliveriesEncoder, DeliveryBlock, LeaseLimit, Notice, QuarantineRecord, Queue,
    QueueError, Routed, RoutedBlock, Unreadable,
};
use support::{ALL, all_to, append_and_route, balanced, batch, burial, open, texts, told};

#[tokio::test]
async fn what_was_appended_is_there_after_a_restart_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for n in 0..5 {
        queue
            .append(batch([format!("{n}a"), format!("{n}b")]))
            .await
            .expect("durable");
    }
    drop(queue);
    let queue = open(dir.path());
    let blocks = queue.unrouted(3).await.expect("blocks");
    assert_eq!(
        blocks.iter().flat_map(texts).collect::<Vec<_>>(),
        ["0a", "0b", "1a", "1b", "2a", "2b"]
    );
    assert_eq!((queue.ledger().received, queue.ledger().waiting), (10, 10));
    balanced(&queue).await;
}

#[tokio::test]
async fn many_at_once_are_all_there() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
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

#[tokio::test]
async fn severe_first_then_old_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["i1", "i2"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1"]).await;
    append_and_route(&queue, "ops", Severity::Warning, &["w1"]).await;
    append_and_route(&queue, "dev", Severity::Critical, &["other"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["c1", "w1", "i1", "i2"]);
    assert!(!lease.resumed);
    queue.ack(&lease.id, 8).await.expect("held");
    assert!(queue.lease("ops", ALL).await.expect("read").is_none());
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.routed, counts.delivered, counts.waiting), (4, 4, 0));
    balanced(&queue).await;
}

#[tokio::test]
async fn a_lease_may_end_inside_a_block_and_the_rest_follows() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2", "3", "4", "5"]).await;
    let limit = LeaseLimit {
        events_max: 2,
        ..ALL
    };
    let mut found = Vec::new();
    while let Some(lease) = queue.lease("ops", limit).await.expect("read") {
        found.push(told(&lease.members).concat());
        queue.ack(&lease.id, 8).await.expect("held");
        balanced(&queue).await;
        drop(queue);
        queue = open(dir.path());
    }
    assert_eq!(found, ["12", "34", "5"]);
}

#[tokio::test]
async fn a_lease_of_many_small_blocks_stays_within_one_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    for chunk in 0..25 {
        let appends = (0..100).map(|n| queue.append(batch([format!("{chunk}-{n}")])));
        for append in appends.collect::<Vec<_>>() {
            append.await.expect("durable");
        }
    }
    let blocks = queue.unrouted(2_500).await.expect("blocks");
    assert_eq!(blocks.len(), 2_500);
    // A record for each block, as if each had been routed by itself.
    let mut routed = Routed::default();
    for block in blocks.chunks(1) {
        let one = all_to("ops", Severity::Info, block);
        routed.blocks.extend(one.blocks);
        routed.deliveries.extend(one.deliveries);
    }
    queue.route(routed).await.expect("routed");
    let mut members = Vec::new();
    while let Some(lease) = queue.lease("ops", ALL).await.expect("read") {
        members.push(lease.members.len());
        queue.ack(&lease.id, 8).await.expect("held");
    }
    assert_eq!(members, [250; 10]);
    balanced(&queue).await;
}

#[tokio::test]
async fn large_blocks_are_routed_a_few_at_a_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
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

#[tokio::test]
async fn a_writer_that_panics_is_a_queue_that_failed() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    queue
        .append(batch(["1".to_owned()]))
        .await
        .expect("durable");
    let blocks = queue.unrouted(1).await.expect("blocks");
    // No configuration has such a name; the writer asserts that.
    let routed = all_to(&"x".repeat(100), Severity::Info, &blocks);
    queue.route(routed).await.expect_err("the writer panicked");
    let told = tokio::time::timeout(Duration::from_secs(10), queue.failed()).await;
    assert!(matches!(told, Ok(QueueError::Storage(_))), "{told:?}");
    assert!(queue.append(batch(["2".to_owned()])).await.is_err());
}

#[tokio::test]
async fn a_lease_comes_back_after_a_restart_with_the_same_members() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let before = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    append_and_route(&queue, "ops", Severity::Critical, &["later"]).await;
    drop(queue);
    let queue = open(dir.path());
    let after = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert!(after.resumed);
    assert_eq!(
        (after.id.clone(), told(&after.members)),
        (before.id, vec!["1".into(), "2".into()])
    );
    queue.ack(&after.id, 8).await.expect("held");
    let next = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert!(!next.resumed && next.id != after.id);
    assert_eq!(told(&next.members), ["later"]);
}

#[tokio::test]
async fn released_members_wait_again_and_gather_with_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    queue.release(&lease.id).await.expect("held");
    append_and_route(&queue, "ops", Severity::Info, &["2"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(
        (told(&lease.members), lease.resumed),
        (vec!["1".into(), "2".into()], false)
    );
}

#[tokio::test]
async fn a_lease_settles_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    queue.ack(&lease.id, 8).await.expect("held");
    for outcome in [
        queue.ack(&lease.id, 8).await,
        queue.release(&lease.id).await,
    ] {
        assert!(
            matches!(outcome, Err(QueueError::NotHeld { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(queue.ledger().channels["ops"].delivered, 1);
}

#[tokio::test]
async fn buried_members_are_dead_and_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let lease = queue
        .lease(
            "ops",
            LeaseLimit {
                events_max: 1,
                ..ALL
            },
        )
        .await
        .expect("read");
    queue
        .bury(&lease.expect("members").id, burial("invalid_blocks"))
        .await
        .expect("held");
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.dead, counts.waiting), (1, 1));
    balanced(&queue).await;
}

#[tokio::test]
async fn seen_keys_survive_and_are_forgotten_by_block() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    append_and_route(&queue, "ops", Severity::Info, &["3"]).await;
    drop(queue);
    let queue = open(dir.path());
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

#[tokio::test]
async fn notices_are_delivered_and_are_no_events() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    queue
        .append(batch(["x".to_owned()]))
        .await
        .expect("durable");
    let block = queue.unrouted(1).await.expect("blocks").remove(0);
    let notice = Notice {
        text: "unreadable".into(),
        events: 1,
        cluster: "prod".into(),
    };
    let unreadable = Unreadable {
        reason: "r".into(),
        offset_bytes: 0,
        length_bytes: 1,
        raw: None,
    };
    let record = QuarantineRecord {
        cluster: "prod".into(),
        received_unix_ms: 7,
        fingerprint: [0; 16],
        unreadable,
    };
    let mut deliveries = DeliveriesEncoder::default();
    deliveries.push_notice(notice);
    let routed = RoutedBlock {
        seq: block.seq,
        counts: Counts {
            quarantined: 1,
            ..Counts::default()
        },
        quarantine: vec![record; 5],
        ..RoutedBlock::default()
    };
    let deliveries = DeliveryBlock {
        channel: "ops".into(),
        severity: Severity::Warning,
        deliveries: deliveries.finish(),
    };
    let routed = Routed {
        blocks: vec![routed],
        deliveries: vec![deliveries],
    };
    queue.route(routed).await.expect("routed");
    queue.wait_waiting("ops").await.expect("a notice waits");
    let lease = queue
        .lease("ops", ALL)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["unreadable"]);
    queue.ack(&lease.id, 8).await.expect("held");
    let ledger = queue.ledger();
    assert_eq!(
        (ledger.counts.quarantined, ledger.channels["ops"].routed),
        (1, 0)
    );
    assert_eq!(
        (
            ledger.notices["ops"].queued,
            ledger.notices["ops"].delivered
        ),
        (1, 1)
    );
    balanced(&queue).await;
}
