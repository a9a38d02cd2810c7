//! Copies for the fallback of a channel that cannot be posted to.

use crate::Sound;
use auditrelay_store::{Engine, Queue as _};
use std::{collections::BTreeMap, path::Path};

use auditrelay_audit::Severity;
use auditrelay_store::{
    Accepted, DeliveriesEncoder, Delivery, DeliveryBlock, FellBack, LeaseLimit, Limits, Notice,
};

use crate::{
    Backend,
    support::{ALL, append_and_route, burial, files_of, noise, one_to, told},
};

/// Asks until there is no more; how many were copied.
pub async fn fall_back(queue: &Engine, from: &str, to: &str) -> u64 {
    let mut events = 0;
    loop {
        let some = queue.fall_back(from, to).await.expect("copied");
        assert_eq!(some.full, None);
        events += some.events;
        if !some.more {
            return events;
        }
    }
}

/// What waits for a channel, each with the channel that it was meant for; delivers it.
pub async fn drain(queue: &Engine, channel: &str) -> Vec<(String, Option<String>)> {
    let mut all = Vec::new();
    while let Some(lease) = queue.lease(channel, ALL, 5).await.expect("read") {
        all.extend(lease.members.iter().map(|(_, delivery)| match delivery {
            Delivery::Event(event) => (event.json.clone(), event.meant_for.clone()),
            Delivery::Notice(notice) => (notice.text.clone(), None),
        }));
        queue.ack(&lease.id, Accepted::at(8)).await.expect("held");
    }
    all
}

fn meant_for_ops(texts: &[&str]) -> Vec<(String, Option<String>)> {
    let one = |text: &&str| ((*text).to_owned(), Some("ops".to_owned()));
    texts.iter().map(one).collect()
}

pub async fn what_is_critical_is_copied_once_and_knows_for_whom_it_was_meant<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Critical, &["c1", "c2"]).await;
    append_and_route(&queue, "ops", Severity::Warning, &["w"]).await;
    append_and_route(&queue, "sec", Severity::Critical, &["own"]).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c3"]).await;
    let fell_back = queue.fall_back("ops", "sec").await.expect("copied");
    let expected = FellBack {
        events: 3,
        ..FellBack::default()
    };
    assert_eq!(fell_back, expected);
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    queue.sound().await;
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    append_and_route(&queue, "ops", Severity::Critical, &["c4"]).await;
    assert_eq!(fall_back(&queue, "ops", "sec").await, 1);
    assert_eq!(fall_back(&queue, "ops", "ops").await, 0);

    let ledger = queue.ledger();
    assert_eq!((ledger.received, ledger.counts.routed), (6, 6));
    assert_eq!(
        ledger.channels["ops"].waiting, 5,
        "they wait where they are"
    );
    assert_eq!(ledger.channels["sec"].routed, 1);
    let copies = ledger.copies["sec"];
    assert_eq!((copies.queued, copies.waiting), (4, 4));
    let mut expected = meant_for_ops(&["c1", "c2", "c3", "c4"]);
    expected.insert(0, ("own".to_owned(), None));
    assert_eq!(drain(&queue, "sec").await, expected);
    let own: Vec<_> = drain(&queue, "ops").await;
    assert!(own.iter().all(|(_, meant_for)| meant_for.is_none()));
    assert_eq!(own.len(), 5);
    assert_eq!(queue.ledger().copies["sec"].delivered, 4);
    queue.sound().await;
}

pub async fn what_is_leased_is_copied_and_what_was_delivered_is_not<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Critical, &["1", "2", "3", "4"]).await;
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let lease = queue.lease("ops", one, 5).await.expect("read");
    let id = lease.expect("members").id;
    queue.ack(&id, Accepted::at(8)).await.expect("held");
    let held = queue.lease("ops", one, 5).await.expect("read");
    let held = held.expect("members");
    assert_eq!(fall_back(&queue, "ops", "sec").await, 3);
    queue.release(&held.id).await.expect("held");
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    // A part of a record that was copied stays copied when another part goes.
    let lease = queue.lease("ops", one, 5).await.expect("read");
    let id = lease.expect("members").id;
    queue.ack(&id, Accepted::at(8)).await.expect("held");
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    assert_eq!(drain(&queue, "sec").await, meant_for_ops(&["2", "3", "4"]));
    queue.sound().await;
}

pub async fn notices_are_not_copied_and_replayed_events_are<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let mut notices = DeliveriesEncoder::default();
    notices.push_notice(Notice {
        text: "dropped".into(),
        events: 7,
        cluster: "prod".into(),
    });
    let notices = DeliveryBlock {
        channel: "ops".into(),
        severity: Severity::Critical,
        deliveries: notices.finish(),
    };
    let replayed = one_to("ops", Severity::Critical, "replayed");
    queue
        .deliver_copies(vec![notices, replayed])
        .await
        .expect("queued");
    assert_eq!(fall_back(&queue, "ops", "sec").await, 1);
    assert_eq!(drain(&queue, "sec").await, meant_for_ops(&["replayed"]));
    queue.sound().await;
}

pub async fn a_copy_is_never_copied_again<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Critical, &["o"]).await;
    append_and_route(&queue, "sec", Severity::Critical, &["s"]).await;
    for _ in 0..3 {
        let before = queue.ledger();
        let (there, back) = (
            fall_back(&queue, "ops", "sec").await,
            fall_back(&queue, "sec", "ops").await,
        );
        let further = fall_back(&queue, "sec", "dev").await;
        let expected = u64::from(!before.copies.contains_key("sec") || there + back > 0);
        assert_eq!((there, back, further), (expected, expected, 0));
    }
    assert_eq!(queue.ledger().copies["ops"].queued, 1);
    assert_eq!(queue.ledger().copies["sec"].queued, 1);
    let copy = ("s".to_owned(), Some("sec".to_owned()));
    assert_eq!(drain(&queue, "ops").await, [("o".to_owned(), None), copy]);
    queue.sound().await;
}

pub async fn many_are_copied_in_pieces_oldest_first_and_a_restart_repeats_nothing<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = B::at(dir.path());
    let all: Vec<String> = (0..2_700).map(|n| format!("c{n}")).collect();
    for some in all.chunks(300) {
        let some: Vec<&str> = some.iter().map(String::as_str).collect();
        append_and_route(&queue, "ops", Severity::Critical, &some).await;
    }
    let large: Vec<String> = (0..5).map(|n| noise(700_000, 1 + n)).collect();
    for one in &large {
        append_and_route(&queue, "ops", Severity::Critical, &[one.as_str()]).await;
    }
    let mut pieces = Vec::new();
    loop {
        let piece = queue.fall_back("ops", "sec").await.expect("copied");
        pieces.push(piece.events);
        drop(queue);
        queue = B::at(dir.path());
        queue.sound().await;
        if !piece.more {
            break;
        }
    }
    assert_eq!(pieces, [900, 900, 902, 2, 1]);
    let copies = drain(&queue, "sec").await;
    let texts: Vec<String> = copies.into_iter().map(|(text, _)| text).collect();
    assert!(texts == [all, large].concat(), "each once, in order");
    queue.sound().await;
}

pub async fn a_dead_letter_that_is_raised_is_copied_if_it_was_not_before<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let two = LeaseLimit {
        events_max: 2,
        ..ALL
    };
    let bury = async |queue: &Engine| {
        let lease = queue.lease("ops", two, 5).await.expect("read");
        let id = lease.expect("members").id;
        queue.bury(&id, burial("refused")).await.expect("held");
        id.id
    };
    append_and_route(&queue, "ops", Severity::Critical, &["a1", "a2", "b1"]).await;
    let not_copied = bury(&queue).await;
    append_and_route(&queue, "ops", Severity::Critical, &["c1"]).await;
    assert_eq!(fall_back(&queue, "ops", "sec").await, 2);
    let copied = bury(&queue).await;
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(queue.redrive(vec![copied]).await.expect("done"), [copied]);
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    let raised = queue.redrive(vec![not_copied]).await.expect("done");
    assert_eq!(raised, [not_copied]);
    assert_eq!(fall_back(&queue, "ops", "sec").await, 2);
    // All of it once more: now all of it was copied.
    let letters = vec![bury(&queue).await, bury(&queue).await];
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(queue.redrive(letters).await.expect("done").len(), 2);
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    let expected = meant_for_ops(&["b1", "c1", "a1", "a2"]);
    assert_eq!(drain(&queue, "sec").await, expected);
    assert_eq!(drain(&queue, "ops").await.len(), 4);
    queue.sound().await;
}

pub async fn asking_for_nothing_new_writes_nothing<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Critical, &["c1"]).await;
    append_and_route(&queue, "sec", Severity::Critical, &["own"]).await;
    assert_eq!(fall_back(&queue, "ops", "sec").await, 1);
    // It passes the copy, and does not look at it again.
    assert_eq!(fall_back(&queue, "sec", "ops").await, 1);
    assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
    let sizes = |dir: &Path| -> BTreeMap<_, _> { files_of(dir) };
    // What it still tidies up ends soon; a machine that is busy may hold it up for a while.
    let (mut before, mut calm) = (sizes(dir.path()), 0);
    while calm < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let now = sizes(dir.path());
        calm = if now == before { calm + 1 } else { 0 };
        before = now;
    }
    for _ in 0..50 {
        assert_eq!(fall_back(&queue, "ops", "sec").await, 0);
        assert_eq!(fall_back(&queue, "sec", "ops").await, 0);
        assert_eq!(fall_back(&queue, "unknown", "sec").await, 0);
    }
    assert!(sizes(dir.path()) == before, "something was written");
    assert!(!queue.ledger().copies.contains_key("unknown"));
}

pub async fn copies_wait_until_there_is_room_for_them<B: Backend>() {
    let limits = Limits {
        channel_bytes_max: 100_000,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    append_and_route(&queue, "sec", Severity::Info, &[&noise(70_000, 1)]).await;
    append_and_route(&queue, "ops", Severity::Critical, &[&noise(60_000, 2)]).await;
    let full = queue.fall_back("ops", "sec").await.expect("asked");
    assert_eq!((full.events, full.more), (0, true));
    let why = full.full.expect("there is no room").0;
    assert!(why.contains("queue.channel_bytes_max"), "{why}");
    assert_eq!(queue.ledger().channels["sec"].dropped.quota, 0);
    assert_eq!(drain(&queue, "sec").await.len(), 1);
    assert_eq!(fall_back(&queue, "ops", "sec").await, 1);
    assert_eq!(drain(&queue, "sec").await.len(), 1);
    queue.sound().await;
}

pub async fn copies_wait_until_the_disk_has_room<B: Backend>() {
    let limits = Limits {
        disk_free_bytes_min: 1 << 60,
        ..Limits::default()
    };
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::limited(dir.path(), limits);
    append_and_route(&queue, "ops", Severity::Critical, &["c"]).await;
    let full = queue.fall_back("ops", "sec").await.expect("asked");
    let why = full.full.expect("no disk is so large").0;
    assert!(why.contains("disk_free_bytes_min"), "{why}");
    drop(queue);
    assert_eq!(fall_back(&B::at(dir.path()), "ops", "sec").await, 1);
}

pub async fn a_copy_that_dies_and_is_raised_still_knows_for_whom_it_was_meant<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    append_and_route(&queue, "ops", Severity::Critical, &["c1", "c2"]).await;
    assert_eq!(fall_back(&queue, "ops", "sec").await, 2);
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let lease = queue.lease("sec", one, 5).await.expect("read");
    let lease = lease.expect("members");
    assert_eq!(told(&lease.members), ["c1"]);
    queue
        .bury(&lease.id, burial("refused"))
        .await
        .expect("held");
    queue.sound().await;
    let raised = queue.redrive(vec![lease.id.id]).await.expect("done");
    assert_eq!(raised, [lease.id.id]);
    assert_eq!(fall_back(&queue, "sec", "dev").await, 0);
    assert_eq!(drain(&queue, "sec").await, meant_for_ops(&["c2", "c1"]));
    queue.sound().await;
}
