//! What is lost, to the event: of a file that is gone, from the first moment on, through the next damage.

use std::fs;

use auditrelay_audit::Severity;
use auditrelay_store::{Engine, Queue};

use crate::{
    drain, open, renamed, small,
    support::{self, all_to, append_and_route, balanced, batch, harm, noise, texts, told},
    without_index,
};

#[tokio::test]
async fn what_a_lost_file_held_is_lost_and_nothing_else() {
    let whole = support::quick_dir();
    let queue = open(whole.path());
    let mut expected = Vec::new();
    for n in 0..20u64 {
        let events: Vec<String> = (0..3).map(|m| noise(300, 1 + n * 3 + m)).collect();
        let some: Vec<&str> = events.iter().map(String::as_str).collect();
        append_and_route(&queue, "ops", Severity::Info, &some).await;
        expected.extend(events);
    }
    for n in 0..10 {
        let event = noise(700, 1_000 + n);
        expected.push(event.clone());
        queue.append(batch([event])).await.expect("durable");
    }
    drop(queue);
    let mut losses = 0;
    for file in harm::files(&whole.path().join("queue")) {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .expect("text");
        if !name.starts_with("deliveries-") && !name.starts_with("events-") {
            continue;
        }
        let dir = support::quick_dir();
        harm::copy(whole.path(), dir.path()).expect("copied");
        fs::remove_file(dir.path().join("queue").join(name)).expect("removed");
        let (queue, moved) = without_index(dir.path());
        let kept = moved.kept_events.expect("its ledger is whole");
        assert_eq!(kept, expected.len() as u64);
        let salvaged = queue
            .salvage(&moved.path, |_, _| {})
            .await
            .expect("salvaged");
        balanced(&queue).await;
        let lost = queue.ledger().lost;
        assert_eq!(salvaged.lost_events, Some(lost));
        let mut back = told(&drain(&queue, "ops").await);
        if queue.ledger().waiting > 0 {
            let blocks = queue.unrouted(100).await.expect("blocks");
            back.extend(blocks.iter().flat_map(texts));
        }
        assert_eq!(back.len() as u64, kept - lost, "{name}: each once");
        let left: Vec<_> = expected
            .iter()
            .filter(|one| back.contains(one))
            .cloned()
            .collect();
        assert_eq!(back, left, "{name}: in their order");
        losses += lost;
    }
    // Each event was in one of the files; where what was routed had been appended is of no use any more.
    assert_eq!(losses, expected.len() as u64);
}

#[tokio::test]
async fn what_is_lost_is_known_at_once_and_through_the_next_damage() {
    let dir = support::quick_dir();
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    queue.append(batch(["3".into()])).await.expect("durable");
    drop(queue);
    let (queue, first) = without_index(dir.path());
    drop(queue);
    let queue = open(dir.path());
    assert_eq!(queue.ledger().lost, 3, "nothing was committed since");
    append_and_route(&queue, "ops", Severity::Info, &["4"]).await;
    drop(queue);
    let (queue, second) = without_index(dir.path());
    assert_ne!(first.path, second.path);
    assert_eq!((second.kept_events, queue.ledger().lost), (Some(1), 4));
    for (moved, left) in [(&first, 1), (&second, 0)] {
        queue
            .salvage(&moved.path, |_, _| {})
            .await
            .expect("salvaged");
        assert_eq!(queue.ledger().lost, left);
    }
    balanced(&queue).await;
    let blocks = queue.unrouted(10).await.expect("blocks");
    let routed = all_to("ops", Severity::Info, &blocks);
    queue.route(routed).await.expect("routed");
    let mut back = told(&drain(&queue, "ops").await);
    back.sort();
    assert_eq!(back, ["1", "2", "3", "4"]);
    drop(queue);
    // A third one of the same second takes no name of a store that was salvaged.
    let (queue, third) = without_index(dir.path());
    assert!(!renamed(&third.path).exists(), "{third:?}");
    balanced(&queue).await;
}

#[tokio::test]
async fn a_start_that_ended_between_moving_aside_and_beginning_anew_is_told_by_the_next() {
    let dir = support::quick_dir();
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    drop(queue);
    fs::write(dir.path().join("queue.damaged"), "it was found").expect("written");
    let aside = dir.path().join("queue.corrupt-20231114T221320Z");
    fs::rename(dir.path().join("queue"), &aside).expect("moved");
    let opened = Engine::open(&small(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("it says so");
    assert_eq!((moved.path, moved.kept_events), (aside, Some(2)));
    assert_eq!(opened.queue.ledger().lost, 2);
    append_and_route(&opened.queue, "ops", Severity::Info, &["3"]).await;
    drop(opened.queue);
    drop(open(dir.path()));
}
