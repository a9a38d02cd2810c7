//! What becomes of a lease.

use crate::Sound;
use crate::{
    Backend,
    support::{ALL, append_and_route, batch, burial, noise, told},
};
use auditrelay_audit::Severity;
use auditrelay_store::{
    Accepted, Counts, DeliveriesEncoder, Delivery, DeliveryBlock, EventToDeliver, LeaseLimit,
    Limits, Marks, Notice, QuarantineRecord, QueueError, Routed, RoutedBlock, Unreadable,
};
use auditrelay_store::{Engine, Queue as _};

pub async fn released_members_wait_again_and_gather_with_others<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    queue.release(&lease.id).await.expect("held");
    append_and_route(&queue, "ops", Severity::Info, &["2"]).await;
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(
        (told(&lease.members), lease.resumed),
        (vec!["1".into(), "2".into()], false)
    );
}

pub async fn a_lease_settles_once<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    for outcome in [
        queue.ack(&lease.id, Accepted::at(8)).await,
        queue.release(&lease.id).await.map(|()| None),
    ] {
        assert!(
            matches!(outcome, Err(QueueError::NotHeld { .. })),
            "{outcome:?}"
        );
    }
    assert_eq!(queue.ledger().channels["ops"].delivered, 1);
}

pub async fn buried_members_are_dead_and_counted<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let lease = queue
        .lease(
            "ops",
            LeaseLimit {
                events_max: 1,
                ..ALL
            },
            5,
        )
        .await
        .expect("read");
    queue
        .bury(&lease.expect("members").id, burial("invalid_blocks"))
        .await
        .expect("held");
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.dead, counts.waiting), (1, 1));
    queue.sound().await;
}

pub async fn notices_are_delivered_and_are_no_events<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
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
        sealed: None,
        source: None,
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
        ..Routed::default()
    };
    queue.route(routed).await.expect("routed");
    queue.wait_waiting("ops").await.expect("a notice waits");
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["unreadable"]);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
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
    queue.sound().await;
}

fn keeping(detail_ms: i64, detail_bytes_max: u64) -> Limits {
    Limits {
        detail_ms,
        detail_bytes_max,
        ..Limits::default()
    }
}

/// Leases everything and acknowledges it; the message's ID.
async fn tell(queue: &Engine, now_unix_ms: i64) -> u64 {
    let lease = queue.lease("ops", ALL, 5).await.expect("read");
    let id = lease.expect("members").id;
    queue
        .ack(&id, Accepted::at(now_unix_ms))
        .await
        .expect("held");
    id.id
}

pub async fn what_a_message_told_stays_readable<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), keeping(60_000, 1 << 20));
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["3"]).await;
    let id = tell(&queue, 1_700_000_000_500).await;
    drop(queue);
    let queue = B::limited(dir.path(), keeping(60_000, 1 << 20));
    let message = queue.told(id).await.expect("read").expect("kept");
    assert_eq!(
        (message.channel.as_str(), message.told_unix_ms),
        ("ops", 1_700_000_000_500)
    );
    assert_eq!(told(&message.members), ["3", "1", "2"]);
    assert_eq!(message.members[0].0, Severity::Critical);
    assert!(queue.told(id + 1).await.expect("read").is_none());
    queue.sound().await;
}

pub async fn what_was_told_is_forgotten_by_time_and_by_size<B: Backend>() {
    let start = 1_700_000_000_000;
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), keeping(1_000, 1 << 20));
    let mut ids = Vec::new();
    for n in 0..3 {
        append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
        ids.push(tell(&queue, start + n * 800).await);
    }
    // Looked at with each commit, at what was committed before.
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    assert!(
        queue.told(ids[0]).await.expect("read").is_none(),
        "1.6 s old"
    );
    assert!(
        queue.told(ids[1]).await.expect("read").is_some(),
        "0.8 s old"
    );
    drop(queue);

    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), keeping(1_000_000, 3_000));
    let mut ids = Vec::new();
    for n in 0..4u64 {
        let large = noise(1_000, n + 1);
        append_and_route(&queue, "ops", Severity::Info, &[large.as_str()]).await;
        ids.push(tell(&queue, start).await);
    }
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    assert!(queue.told(ids[0]).await.expect("read").is_none());
    assert!(queue.told(ids[3]).await.expect("read").is_some());
    assert!(queue.space().detail_bytes <= 3_000, "{:?}", queue.space());
    queue.sound().await;
}

pub async fn copies_are_counted_apart<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
    let mut copies = DeliveriesEncoder::default();
    copies.push(&EventToDeliver {
        cluster: "prod",
        route: "",
        json: "2",
        marks: Marks {
            replayed: true,
            ..Marks::default()
        },
    });
    let block = DeliveryBlock {
        channel: "ops".into(),
        severity: Severity::Info,
        deliveries: copies.finish(),
    };
    queue.deliver_copies(vec![block]).await.expect("queued");
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["1", "2"]);
    let (_, Delivery::Event(copy)) = &lease.members[1] else {
        panic!("{lease:?}")
    };
    assert!(copy.marks.replayed);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    let ledger = queue.ledger();
    assert_eq!((ledger.received, ledger.channels["ops"].delivered), (1, 1));
    assert_eq!(
        (ledger.copies["ops"].queued, ledger.copies["ops"].delivered),
        (1, 1)
    );
    queue.sound().await;
}
