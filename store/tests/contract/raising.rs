//! Dead letters: looked at, raised, given up.

use crate::Sound;
use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, DeadFilter, DeadLetter, LeaseLimit};
use auditrelay_store::{Engine, Queue as _};

use crate::{
    Backend,
    support::{ALL, append_and_route, burial, told},
};

/// Leases up to so many and buries them; the letter's ID.
async fn bury(queue: &Engine, channel: &str, events_max: usize, reason: &str) -> u64 {
    let limit = LeaseLimit { events_max, ..ALL };
    let lease = queue.lease(channel, limit, 5).await.expect("read");
    let id = lease.expect("members").id;
    queue.bury(&id, burial(reason)).await.expect("held");
    id.id
}

async fn all(queue: &Engine) -> Vec<DeadLetter> {
    queue
        .dead(DeadFilter::default(), 0, 100)
        .await
        .expect("read")
}

pub async fn a_dead_letter_keeps_what_it_was_and_why<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["3"]).await;
    let reason = format!("invalid_blocks {}", "ä".repeat(400));
    let id = bury(&queue, "ops", 10, &reason).await;
    drop(queue);
    let queue = B::at(dir.path());
    let letters = all(&queue).await;
    let [letter] = letters.as_slice() else {
        panic!("{letters:?}")
    };
    assert_eq!(
        (
            letter.id,
            letter.channel.as_str(),
            letter.severity,
            letter.events
        ),
        (id, "ops", Severity::Critical, 3)
    );
    let burial = &letter.burial;
    assert!(
        reason.starts_with(&burial.reason) && burial.reason.len() > 490,
        "cut at 500 bytes"
    );
    assert_eq!(
        (burial.attempts, burial.first_unix_ms, burial.last_unix_ms),
        (2, 8, 9)
    );
    let members = queue.dead_members(id).await.expect("read").expect("there");
    assert_eq!(told(&members), ["3", "1", "2"]);
    assert!(queue.dead_members(id + 1).await.expect("read").is_none());
    assert!(queue.space().dead_bytes > 0);
    queue.sound().await;
}

pub async fn dead_letters_are_found_by_what_they_are<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let mut ids = Vec::new();
    for (channel, reason) in [("ops", "too_long"), ("dev", "too_long"), ("ops", "invalid")] {
        append_and_route(&queue, channel, Severity::Info, &["1"]).await;
        ids.push(bury(&queue, channel, 10, reason).await);
    }
    let find = async |filter: DeadFilter, after: u64, max: usize| -> Vec<u64> {
        let letters = queue.dead(filter, after, max).await.expect("read");
        letters.into_iter().map(|letter| letter.id).collect()
    };
    let any = DeadFilter::default();
    assert_eq!(find(any.clone(), 0, 100).await, ids);
    assert_eq!(find(any.clone(), 0, 2).await, ids[..2]);
    assert_eq!(find(any.clone(), ids[0], 100).await, ids[1..]);
    let ops = DeadFilter {
        channel: Some("ops".into()),
        ..any.clone()
    };
    assert_eq!(find(ops, 0, 100).await, [ids[0], ids[2]]);
    let long = DeadFilter {
        reason: Some("long".into()),
        ..any.clone()
    };
    assert_eq!(find(long, 0, 100).await, ids[..2]);
    for (since, until, found) in [(9, 10, 3), (10, 20, 0), (0, 9, 0)] {
        let within = DeadFilter {
            since_unix_ms: Some(since),
            until_unix_ms: Some(until),
            ..any.clone()
        };
        assert_eq!(
            find(within, 0, 100).await.len(),
            found,
            "{since} to {until}"
        );
    }
}

pub async fn a_redrive_happens_once<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Warning, &["1", "2"]).await;
    let id = bury(&queue, "ops", 10, "invalid_blocks").await;
    // Two at once share a commit, and the same ID twice in one call is one.
    let (one, two) = tokio::join!(queue.redrive(vec![id, id]), queue.redrive(vec![id, 999]));
    let mut raised = one.expect("done");
    raised.extend(two.expect("done"));
    assert_eq!(raised, [id]);
    assert!(queue.redrive(vec![id]).await.expect("done").is_empty());
    assert!(all(&queue).await.is_empty());
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.routed, counts.dead, counts.waiting), (2, 0, 2));
    queue.sound().await;
    drop(queue);
    let queue = B::at(dir.path());
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["1", "2"]);
    assert_eq!(lease.members[0].0, Severity::Warning);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    assert!(queue.lease("ops", ALL, 5).await.expect("read").is_none());
    queue.sound().await;
}

pub async fn redriven_members_can_be_delivered_or_die_again<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2", "3"]).await;
    let first = bury(&queue, "ops", 10, "invalid_blocks").await;
    assert_eq!(queue.redrive(vec![first]).await.expect("done"), [first]);
    let second = bury(&queue, "ops", 1, "too_long").await;
    assert!(second > first);
    assert_eq!(
        told(
            &queue
                .dead_members(second)
                .await
                .expect("read")
                .expect("there")
        ),
        ["1"]
    );
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["2", "3"]);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    let counts = queue.ledger().channels["ops"];
    assert_eq!((counts.delivered, counts.dead, counts.waiting), (2, 1, 0));
    queue.sound().await;
}

pub async fn a_dropped_letter_is_given_up_and_counted<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let id = bury(&queue, "ops", 10, "invalid_blocks").await;
    assert_eq!(queue.drop_dead(vec![id]).await.expect("done"), [id]);
    assert!(queue.drop_dead(vec![id]).await.expect("done").is_empty());
    assert!(queue.redrive(vec![id]).await.expect("done").is_empty());
    let counts = queue.ledger().channels["ops"];
    assert_eq!(
        (counts.dead, counts.dropped.command, counts.dropped.quota),
        (0, 2, 0)
    );
    assert_eq!(queue.space().dead_bytes, 0);
    queue.sound().await;
}

pub async fn part_of_a_record_may_be_dead_and_the_rest_wait<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2", "3", "4", "5"]).await;
    let id = bury(&queue, "ops", 2, "invalid_blocks").await;
    let limit = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let lease = queue
        .lease("ops", limit, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["3"]);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    assert_eq!(queue.redrive(vec![id]).await.expect("done"), [id]);
    let lease = queue
        .lease("ops", ALL, 5)
        .await
        .expect("read")
        .expect("members");
    assert_eq!(told(&lease.members), ["4", "5", "1", "2"]);
    queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    queue.sound().await;
}
