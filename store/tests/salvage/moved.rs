//! Records that were moved, or whose notes were: what was settled does not come back, what waits comes once.

use std::{path::Path, time::Duration};

use auditrelay_audit::Severity;
use auditrelay_store::{DeadFilter, Engine, Queue};

use crate::{
    ack, bury, drain, open,
    support::{self, append_and_route, balanced, harm, noise, told},
    without_index,
};

/// Two thirds of a file of deliveries, to several channels, whose first third is settled: delivered, dead,
/// and dead but told to wait again. What is said of it goes into later files. Says what waits.
async fn partly_settled(queue: &Engine, filling: usize) -> Vec<String> {
    let parked: Vec<String> = (0..6).map(|n| noise(16, 1 + n)).collect();
    let some: Vec<&str> = parked.iter().map(String::as_str).collect();
    append_and_route(queue, "parked", Severity::Info, &some).await;
    append_and_route(queue, "whole", Severity::Info, &["one", "two"]).await;
    append_and_route(queue, "filling", Severity::Info, &[&noise(filling, 50)]).await;
    append_and_route(queue, "gone", Severity::Info, &["settled"]).await;
    for n in 0..8 {
        append_and_route(queue, "ops", Severity::Info, &[&noise(900, 60 + n)]).await;
    }
    ack(queue, "gone", 1).await;
    ack(queue, "parked", 2).await;
    bury(queue, "parked", 1, "too_long").await;
    let redriven = bury(queue, "parked", 1, "too_long").await;
    queue.redrive(vec![redriven]).await.expect("done");
    parked
}

/// What comes back of it.
async fn comes_back(dir: &Path, parked: &[String]) {
    let (queue, moved) = without_index(dir);
    let salvaged = queue
        .salvage(&moved.path, |_, _| {})
        .await
        .expect("salvaged");
    assert_eq!(salvaged.lost_events, Some(0), "{salvaged:?}");
    assert_eq!(queue.ledger().lost, 0);
    let letters = queue
        .dead(DeadFilter::default(), 0, 10)
        .await
        .expect("readable");
    assert_eq!(letters.len(), 1, "{letters:?}");
    let members = queue.dead_members(letters[0].id).await.expect("readable");
    assert_eq!(told(&members.expect("there")), parked[2..3]);
    let mut back = told(&drain(&queue, "parked").await);
    back.sort();
    let mut expected = parked[3..].to_vec();
    expected.sort();
    assert_eq!(back, expected);
    assert_eq!(told(&drain(&queue, "whole").await), ["one", "two"]);
    assert_eq!(told(&drain(&queue, "gone").await), [""; 0]);
    balanced(&queue).await;
}

#[tokio::test]
async fn records_that_were_moved_come_back_once_while_their_old_file_is_there() {
    let dir = support::quick_dir();
    let queue = open(dir.path());
    let parked = partly_settled(&queue, 10).await;
    let first_of = |dir: &Path| dir.join("queue/deliveries-0000000000000001.log");
    let first = first_of(dir.path());
    let mut before = support::quick_dir();
    for n in 0..60 {
        if !first.exists() {
            break;
        }
        // What a process leaves that is killed now: the last one has them at both places.
        let copy = harm::copy_of(dir.path());
        if first_of(copy.path()).exists() {
            before = copy;
        }
        append_and_route(&queue, "ops", Severity::Info, &[&noise(900, 100 + n)]).await;
        ack(&queue, "ops", 1).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    assert!(!first.exists(), "it is moved");
    balanced(&queue).await;
    while queue.ledger().channels["ops"].waiting > 0 {
        ack(&queue, "ops", 100).await;
    }
    ack(&queue, "filling", 1).await;
    drop(queue);
    comes_back(dir.path(), &parked).await;
    assert!(first_of(before.path()).exists());
    comes_back(before.path(), &parked).await;
}

#[tokio::test]
async fn what_was_delivered_does_not_come_back_though_the_file_that_says_so_is_gone() {
    let dir = support::quick_dir();
    let queue = open(dir.path());
    // A third of the first file waits for good, so nothing is moved out of it.
    let parked = partly_settled(&queue, 1_500).await;
    ack(&queue, "ops", 100).await;
    for n in 0..30 {
        append_and_route(&queue, "ops", Severity::Info, &[&noise(900, 100 + n)]).await;
        ack(&queue, "ops", 100).await;
    }
    let file = |n: u64| dir.path().join(format!("queue/deliveries-{n:016}.log"));
    support::until("the second one is gone", || {
        !file(2).exists() && !file(4).exists()
    })
    .await;
    assert!(file(1).exists());
    balanced(&queue).await;
    drop(queue);
    comes_back(dir.path(), &parked).await;
}
