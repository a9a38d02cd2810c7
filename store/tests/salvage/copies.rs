//! Copies for a fallback: moved between files, cut, and carved out of a damaged store, they know for whom they were
//! meant.

use std::{path::Path, time::Duration};

use auditrelay_audit::Severity;
use auditrelay_store::{Delivery, Engine, Queue};

use crate::{
    ack, bury, drain, is_repeated, open,
    support::{self, append_and_route, balanced, meant_for, noise, told},
    without_index,
};

/// Copies of which one is delivered and one dead, in the first file; the others are moved out of it.
async fn moved_in_part(dir: &Path) -> Engine {
    let queue = open(dir);
    let events: Vec<String> = (0..6).map(|n| noise(16, 1 + n)).collect();
    let some: Vec<&str> = events.iter().map(String::as_str).collect();
    append_and_route(&queue, "ops", Severity::Critical, &some).await;
    let copied = queue.fall_back("ops", "sec").await.expect("copied");
    assert_eq!(copied.events, 6);
    ack(&queue, "ops", 6).await;
    ack(&queue, "sec", 1).await;
    bury(&queue, "sec", 1, "refused").await;
    let first = dir.join("queue/deliveries-0000000000000001.log");
    for n in 0..60 {
        if !first.exists() {
            break;
        }
        append_and_route(&queue, "dev", Severity::Info, &[&noise(900, 100 + n)]).await;
        ack(&queue, "dev", 1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!first.exists(), "it is moved");
    balanced(&queue).await;
    queue
}

fn expected() -> Vec<String> {
    (2..6).map(|n| noise(16, 1 + n)).collect()
}

#[tokio::test]
async fn what_is_moved_still_knows_for_whom_it_was_meant() {
    let dir = support::quick_dir();
    let queue = moved_in_part(dir.path()).await;
    drop(queue);
    let queue = open(dir.path());
    let none = queue.fall_back("sec", "ops").await.expect("asked");
    assert_eq!(none.events, 0, "it is a copy still");
    let copies = drain(&queue, "sec").await;
    assert_eq!(told(&copies), expected());
    assert_eq!(meant_for(&copies), [Some("ops"); 4]);
    balanced(&queue).await;
}

#[tokio::test]
async fn what_is_salvaged_still_knows_for_whom_it_was_meant() {
    let dir = support::quick_dir();
    drop(moved_in_part(dir.path()).await);
    let (queue, moved) = without_index(dir.path());
    queue
        .salvage(&moved.path, |_, _| {})
        .await
        .expect("salvaged");
    let letters = queue.dead(Default::default(), 0, 10).await.expect("read");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let dead = queue.dead_members(letters[0].id).await.expect("read");
    assert_eq!(meant_for(&dead.expect("there")), [Some("ops")]);
    assert_eq!(queue.ledger().copies["sec"].waiting, 4);
    let none = queue.fall_back("sec", "ops").await.expect("asked");
    assert_eq!(none.events, 0, "it is a copy still");
    let copies = drain(&queue, "sec").await;
    let mut texts = told(&copies);
    texts.sort();
    let mut expected = expected();
    expected.sort();
    assert_eq!(texts, expected);
    assert_eq!(meant_for(&copies), [Some("ops"); 4]);
    assert!(is_repeated(&copies));
    let is_event = |(_, delivery): &(Severity, Delivery)| matches!(delivery, Delivery::Event(_));
    assert!(copies.iter().all(is_event));
    balanced(&queue).await;
}
