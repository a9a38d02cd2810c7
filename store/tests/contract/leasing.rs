//! What a lease holds.

use crate::Sound;
use crate::{
    Backend,
    support::{ALL, all_to, append_and_route, batch, told},
};
use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, LeaseLimit, Routed};
use auditrelay_store::{Engine, Queue as _};

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

pub async fn a_lease_says_since_when_it_may_have_been_posted<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let sealed = async |queue: &Engine, now_unix_ms| {
        let lease = queue.lease("ops", ALL, now_unix_ms).await.expect("read");
        let lease = lease.expect("members");
        (lease.id, lease.resumed, lease.sealed_unix_ms)
    };
    let (id, resumed, at) = sealed(&queue, 1_000).await;
    assert_eq!((resumed, at), (false, 1_000));
    assert_eq!(sealed(&queue, 2_000).await, (id.clone(), true, 1_000));
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(sealed(&queue, 3_000).await, (id.clone(), true, 1_000));
    // What was certainly not posted begins anew, under another ID.
    queue.release(&id).await.expect("held");
    let (again, resumed, at) = sealed(&queue, 4_000).await;
    assert_eq!((again == id, resumed, at), (false, false, 4_000));
    drop(queue);
    assert_eq!(
        sealed(&B::at(dir.path()), 5_000).await,
        (again, true, 4_000)
    );
}

pub async fn a_record_can_be_leased_in_ever_smaller_parts<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let all: Vec<String> = (0..1_000).map(|n| format!("i{n}")).collect();
    let some: Vec<&str> = all.iter().map(String::as_str).collect();
    append_and_route(&queue, "ops", Severity::Info, &some).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1", "c2"]).await;
    let expected = [vec!["c1".to_owned(), "c2".to_owned()], all].concat();
    let lease = async |events_max| {
        let limit = LeaseLimit { events_max, ..ALL };
        let lease = queue.lease("ops", limit, 5).await.expect("read");
        lease.expect("members")
    };
    for max in [500, 250, 125, 62, 31, 15, 7, 3, 2, 1] {
        let lease = lease(max).await;
        assert_eq!(told(&lease.members), expected[..max]);
        queue.release(&lease.id).await.expect("held");
        assert_eq!(queue.ledger().channels["ops"].waiting, 1_002);
    }
    // As a lane would that finds the one that is refused, and goes on with the others.
    let mut found = Vec::new();
    for max in [1, 1, 1, 2, 500, 1, 400, 1_000] {
        let lease = lease(max).await;
        let members = told(&lease.members);
        assert!(members.len() == max || found.len() + members.len() == 1_002);
        found.extend(members);
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    }
    assert_eq!(found, expected);
    assert!(queue.lease("ops", ALL, 5).await.expect("read").is_none());
    queue.sound().await;
}
