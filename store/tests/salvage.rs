//! A salvage brings back what is whole in a store that was moved aside: each delivery once, as it was, and the
//! ledger says what was lost.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use auditrelay_audit::Severity;
use auditrelay_store::{
    Counts, DeadFilter, Delivery, LeaseLimit, Limits, MovedAside, Queue, Routed, RoutedBlock,
    SledOptions, SledQueue,
};
use support::{
    ALL, Dice, all_to, append_and_route, balanced, batch, burial, harm, noise, options, texts, told,
};

fn small(dir: &Path) -> SledOptions {
    SledOptions {
        segment_bytes: 4_000,
        ..options(dir)
    }
}

fn open(dir: &Path) -> SledQueue {
    let opened = SledQueue::open(&small(dir)).expect("opens");
    assert!(opened.moved_aside.is_none(), "{:?}", opened.moved_aside);
    opened.queue
}

/// Overwrites the index, and opens the queue that takes the store's place.
fn without_index(dir: &Path) -> (SledQueue, MovedAside) {
    let db = dir.join("queue/index-00000001/db");
    let mut bytes = fs::read(&db).expect("readable");
    // The ledger stays where it can be found, and sled cannot read any of it.
    bytes[..20].fill(0xff);
    fs::write(&db, bytes).expect("written");
    fs::remove_dir_all(dir.join("queue/index-00000001/blobs")).expect("removed");
    for snapshot in harm::files(&dir.join("queue/index-00000001")) {
        if snapshot.to_string_lossy().contains("snap.") {
            fs::write(snapshot, b"").expect("written");
        }
    }
    let opened = SledQueue::open(&small(dir)).expect("opens");
    (opened.queue, opened.moved_aside.expect("moved"))
}

/// What waits for a channel, in order.
async fn drain(queue: &SledQueue, channel: &str) -> Vec<(Severity, Delivery)> {
    let mut all = Vec::new();
    while let Some(lease) = queue.lease(channel, ALL).await.expect("read") {
        all.extend(lease.members);
        queue.ack(&lease.id, 8).await.expect("held");
    }
    all
}

async fn ack(queue: &SledQueue, channel: &str, events_max: usize) -> u64 {
    let limit = LeaseLimit { events_max, ..ALL };
    let lease = queue.lease(channel, limit).await.expect("read");
    let id = lease.expect("something waits").id;
    queue.ack(&id, 8).await.expect("held");
    id.id
}

async fn bury(queue: &SledQueue, channel: &str, events_max: usize, reason: &str) -> u64 {
    let limit = LeaseLimit { events_max, ..ALL };
    let lease = queue.lease(channel, limit).await.expect("read");
    let id = lease.expect("something waits").id;
    queue.bury(&id, burial(reason)).await.expect("held");
    id.id
}

fn is_repeated(members: &[(Severity, Delivery)]) -> bool {
    members.iter().all(|(_, delivery)| match delivery {
        Delivery::Event(event) => event.marks.possibly_repeated,
        Delivery::Notice(_) => true,
    })
}

#[tokio::test]
async fn a_store_whose_index_is_gone_comes_back_as_it_was() {
    let dir = support::quick_dir();
    let queue = open(dir.path());
    append_and_route(&queue, "ops", Severity::Info, &["d1", "d2", "i3", "i4"]).await;
    assert_eq!(ack(&queue, "ops", 2).await > 0, true);
    append_and_route(&queue, "ops", Severity::Critical, &["c1", "c2"]).await;
    append_and_route(&queue, "ops", Severity::Info, &["i5"]).await;
    append_and_route(&queue, "sec", Severity::Warning, &["x1", "x2", "r1", "w1"]).await;
    bury(&queue, "sec", 2, "invalid_blocks").await;
    let redriven = bury(&queue, "sec", 1, "too_long").await;
    assert_eq!(
        queue.redrive(vec![redriven]).await.expect("done"),
        [redriven]
    );
    queue
        .append(batch(["u1".into(), "u2".into()]))
        .await
        .expect("durable");
    queue.append(batch(["u3".into()])).await.expect("durable");
    let sealed = queue
        .lease(
            "ops",
            LeaseLimit {
                events_max: 1,
                ..ALL
            },
        )
        .await;
    assert_eq!(
        told(&sealed.expect("read").expect("members").members),
        ["c1"]
    );
    drop(queue);

    let (queue, moved) = without_index(dir.path());
    assert_eq!(moved.kept_events, Some(12));
    assert_eq!((queue.ledger().received, queue.ledger().lost), (0, 12));
    let salvaged = queue
        .salvage(&moved.path, |_, _| {})
        .await
        .expect("salvaged");
    let brought = (
        salvaged.unrouted_events,
        salvaged.waiting_events,
        salvaged.dead_events,
    );
    assert_eq!(
        (brought, salvaged.lost_events),
        ((3, 7, 2), Some(0)),
        "{salvaged:?}"
    );
    assert_eq!(queue.ledger().lost, 0);
    balanced(&queue).await;

    let blocks = queue.unrouted(10).await.expect("blocks");
    assert_eq!(
        blocks.iter().map(texts).collect::<Vec<_>>().concat(),
        ["u1", "u2", "u3"]
    );
    let letters = queue
        .dead(DeadFilter::default(), 0, 10)
        .await
        .expect("readable");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0].channel[..], letters[0].events), ("sec", 2));
    assert_eq!(letters[0].burial, burial("invalid_blocks"));
    assert_eq!(letters[0].severity, Severity::Warning);
    let members = queue.dead_members(letters[0].id).await.expect("readable");
    assert_eq!(told(&members.expect("there")), ["x1", "x2"]);
    let ops = drain(&queue, "ops").await;
    assert_eq!(told(&ops), ["c1", "c2", "i3", "i4", "i5"]);
    let severities: Vec<Severity> = ops.iter().map(|(severity, _)| *severity).collect();
    let (critical, info) = (Severity::Critical, Severity::Info);
    assert_eq!(severities, [critical, critical, info, info, info]);
    let sec = drain(&queue, "sec").await;
    assert_eq!(told(&sec), ["r1", "w1"]);
    assert!(is_repeated(&ops) && is_repeated(&sec));
    balanced(&queue).await;
}

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

/// Fills a store so that a salvage takes several steps; says what has to come back.
async fn several_steps(dir: &Path) -> Vec<String> {
    let queue = open(dir);
    let mut expected = Vec::new();
    for n in 0..6 {
        let large = noise(700_000, 1 + n);
        append_and_route(&queue, "ops", Severity::Info, &[&large]).await;
        expected.push(large);
    }
    for n in 0..3 {
        let event = format!("u{n}");
        queue.append(batch([event.clone()])).await.expect("durable");
        expected.push(event);
    }
    expected
}

#[tokio::test]
async fn a_salvage_that_was_killed_goes_on_and_brings_each_once() {
    let whole = support::quick_dir();
    let expected = several_steps(whole.path()).await;
    for steps in 1..8 {
        let dir = support::quick_dir();
        harm::copy(whole.path(), dir.path()).expect("copied");
        let (queue, moved) = without_index(dir.path());
        let path = moved.path.clone();
        let step = AtomicU64::new(0);
        let killed = tokio::spawn(async move {
            let progress = move |_, _| {
                assert!(step.fetch_add(1, Ordering::Relaxed) + 1 < steps, "killed");
            };
            queue.salvage(&path, progress).await.map(drop)
        });
        let is_killed = killed.await.is_err();
        let queue = open(dir.path());
        if is_killed {
            queue
                .salvage(&moved.path, |_, _| {})
                .await
                .expect("salvaged");
        }
        assert_eq!(queue.ledger().lost, 0, "after {steps} steps");
        balanced(&queue).await;
        let mut back = told(&drain(&queue, "ops").await);
        back.extend(
            queue
                .unrouted(10)
                .await
                .expect("blocks")
                .iter()
                .flat_map(texts),
        );
        assert!(back == expected, "after {steps} steps: {} came", back.len());
        assert!(!moved.path.exists());
        nothing_more(&queue, &moved.path).await;
    }
}

/// Another salvage of a folder that was renamed brings nothing.
async fn nothing_more(queue: &SledQueue, path: &Path) {
    let before = queue.ledger();
    queue
        .salvage(path, |_, _| {})
        .await
        .expect_err("it has another name");
    let done = renamed(path);
    let again = queue.salvage(&done, |_, _| {}).await.expect("readable");
    assert_eq!(
        (
            again.unrouted_events,
            again.waiting_events,
            again.dead_events
        ),
        (0, 0, 0)
    );
    assert_eq!(queue.ledger(), before);
}

fn renamed(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    path.with_file_name(name.replace("corrupt", "salvaged"))
}

/// Two thirds of a file of deliveries, to several channels, whose first third is settled: delivered, dead,
/// and dead but told to wait again. What is said of it goes into later files. Says what waits.
async fn partly_settled(queue: &SledQueue, filling: usize) -> Vec<String> {
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
    let first = dir.path().join("queue/deliveries-0000000000000001.log");
    let mut before = support::quick_dir();
    for n in 0..60 {
        if !first.exists() {
            break;
        }
        // What a process leaves that is killed now: the last one has them at both places.
        before = support::quick_dir();
        harm::copy(dir.path(), before.path()).expect("nothing goes while nothing is asked");
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
    let old = before.path().join("queue/deliveries-0000000000000001.log");
    assert!(old.exists());
    // Nothing of what was not delivered then is of interest here.
    let queue = open(before.path());
    while queue.ledger().channels["ops"].waiting > 0 {
        ack(&queue, "ops", 100).await;
    }
    drop(queue);
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

#[tokio::test]
async fn what_was_routed_long_ago_or_was_all_known_is_not_brought_again() {
    let dir = support::quick_dir();
    let retains = SledOptions {
        limits: Limits {
            retain_ms: 1 << 40,
            retain_bytes_max: 1 << 30,
            ..Limits::default()
        },
        ..small(dir.path())
    };
    let queue = SledQueue::open(&retains).expect("opens").queue;
    let mut dice = Dice(1);
    for n in 0..60 {
        let events: Vec<String> = (0..4).map(|m| format!("{n} {m} {}", dice.next())).collect();
        let some: Vec<&str> = events.iter().map(String::as_str).collect();
        append_and_route(&queue, "ops", Severity::Info, &some).await;
        ack(&queue, "ops", 4).await;
    }
    // Nothing of this one is new.
    queue
        .append(batch(["known".into()]))
        .await
        .expect("durable");
    let block = queue.unrouted(1).await.expect("blocks").remove(0);
    let counts = Counts {
        duplicates: 1,
        ..Counts::default()
    };
    let blocks = vec![RoutedBlock {
        seq: block.seq,
        counts,
        ..RoutedBlock::default()
    }];
    let routed = Routed {
        blocks,
        deliveries: vec![],
    };
    queue.route(routed).await.expect("routed");
    queue.forget_seen(block.seq).await.expect("forgotten");
    append_and_route(&queue, "ops", Severity::Info, &["last"]).await;
    drop(queue);
    let (queue, moved) = without_index(dir.path());
    let salvaged = queue
        .salvage(&moved.path, |_, _| {})
        .await
        .expect("salvaged");
    assert_eq!(
        (salvaged.unrouted_events, salvaged.waiting_events),
        (0, 1),
        "{salvaged:?}"
    );
    assert_eq!(told(&drain(&queue, "ops").await), ["last"]);
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
    let opened = SledQueue::open(&small(dir.path())).expect("opens");
    let moved = opened.moved_aside.expect("it says so");
    assert_eq!((moved.path, moved.kept_events), (aside, Some(2)));
    assert_eq!(opened.queue.ledger().lost, 2);
    append_and_route(&opened.queue, "ops", Severity::Info, &["3"]).await;
    drop(opened.queue);
    drop(open(dir.path()));
}
