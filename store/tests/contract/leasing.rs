//! What a lease holds.

use crate::{
    Backend,
    support::{ALL, all_to, append_and_route, batch, told},
};
use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, LeaseLimit, Routed};

pub async fn severe_first_then_old_first<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["i1", "i2"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1"]).await;
    append_and_route(&queue, "ops", Severity::Warning, &["w1"]).await;
    append_and_route(&queue, "dev", Severity::Critical, &["other"]).await;
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["c1", "w1", "i1", "i2"]);
    assert!(!lease.resumed);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    assert!(queue.lease("ops", ALL, 5).await.expect("read").is_none());
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.routed, counts.delivered, counts.waiting), (4, 4, 0));
    queue.sound().await;
}

pub async fn a_lease_may_end_inside_a_block_and_the_rest_follows<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2", "3", "4", "5"]).await;
    let limit = LeaseLimit {
        events_max: 2,
        ..ALL
    };
    let mut found = Vec::new();
    while let Some(lease) = queue.lease("ops", limit, 5).await.expect("read") {
        found.push(told(&lease.members).concat());
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
        queue.sound().await;
        drop(queue);
        queue = B::at(dir.path());
    }
    assert_eq!(found, ["12", "34", "5"]);
}

pub async fn a_lease_of_many_small_blocks_stays_within_one_record<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
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
    while let Some(lease) = queue.lease("ops", ALL, 5).await.expect("read") {
        members.push(lease.members.len());
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    }
    assert_eq!(members, [250; 10]);
    queue.sound().await;
}

pub async fn a_lease_comes_back_after_a_restart_with_the_same_members<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let before = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    append_and_route(&queue, "ops", Severity::Critical, &["later"]).await;
    drop(queue);
    let queue = B::at(dir.path());
    let after = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert!(after.resumed);
    assert_eq!(
        (after.id.clone(), told(&after.members)),
        (before.id, vec!["1".into(), "2".into()])
    );
    queue.ack(&after.id, Accepted::at(8)).await.expect("held");
    let next = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert!(!next.resumed && next.id != after.id);
    assert_eq!(told(&next.members), ["later"]);
}
