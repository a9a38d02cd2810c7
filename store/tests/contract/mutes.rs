//! Mutes: durable, ended once, and counted exactly whatever happens meanwhile.

use crate::Sound;
use auditrelay_audit::Severity;
use auditrelay_store::{
    Counts, Delivery, LeaseLimit, MUTE_REASON_BYTES_MAX, MUTES_ENDED_MAX, MUTES_MAX, Mute, MuteEnd,
    MutedCount, NewMute, QueueError,
};
use auditrelay_store::{Engine, Queue as _};

use crate::{
    Backend,
    support::{all_to, batch},
};

pub fn asked(author: &str) -> NewMute {
    NewMute {
        author: author.to_owned(),
        reason: "deploy".to_owned(),
        matches: "{}".to_owned(),
        words: "every event".to_owned(),
        channels: vec!["ops".to_owned()],
        routes: Vec::new(),
        begun_unix_ms: 1_000,
        until_unix_ms: 3_601_000,
    }
}

fn by(name: &str) -> MuteEnd {
    MuteEnd {
        at_unix_ms: 61_000,
        by: Some(name.to_owned()),
        reason: String::new(),
    }
}

async fn add(queue: &Engine, author: &str) -> Mute {
    let told = vec!["default".to_owned()];
    let added = queue.add_mute(asked(author), format!("{author} says so"), told);
    added.await.expect("durable").expect("one more")
}

/// Routes one block of so many events, all of them muted by these.
async fn hold(queue: &Engine, events: u64, muted: &[(u64, &str, u64)]) {
    let texts = (0..events).map(|n| n.to_string());
    queue.append(batch(texts)).await.expect("durable");
    let blocks = queue.unrouted(1).await.expect("blocks");
    let mut routed = all_to("ops", Severity::Info, &blocks);
    routed.deliveries.clear();
    routed.blocks[0].counts = Counts {
        muted: events,
        ..Counts::default()
    };
    let count = |(mute, channel, events): &(u64, &str, u64)| MutedCount {
        mute: *mute,
        channel: (*channel).to_owned(),
        events: *events,
    };
    routed.muted = muted.iter().map(count).collect();
    queue.route(routed).await.expect("routed");
}

/// What waits for a channel, as text.
async fn told(queue: &Engine, channel: &str) -> Vec<String> {
    let limit = LeaseLimit {
        events_max: 100,
        bytes_max: 1 << 20,
    };
    let lease = queue.lease(channel, limit, 0).await.expect("read");
    let members = lease.map(|lease| lease.members).unwrap_or_default();
    let text = |(_, delivery)| match delivery {
        Delivery::Notice(notice) => notice.text,
        Delivery::Event(event) => event.json,
    };
    members.into_iter().map(text).collect()
}

pub async fn a_mute_is_known_at_once_and_after_a_restart_with_its_counts<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let mut changes = queue.mutes_changes();
    let first = add(&queue, "alice").await;
    assert_eq!((first.id, queue.mutes()), (1, vec![first.clone()]));
    assert!(changes.has_changed().expect("open"));
    changes.mark_unchanged();
    let second = add(&queue, "bob").await;
    hold(&queue, 3, &[(1, "ops", 2), (2, "sec", 1)]).await;
    hold(&queue, 2, &[(1, "ops", 1), (1, "sec", 1)]).await;
    let held = |mute: &Mute| mute.held.clone().into_iter().collect::<Vec<_>>();
    let expected = [("ops".to_owned(), 3), ("sec".to_owned(), 1)];
    let known = queue.mutes();
    assert_eq!(held(&known[0]), expected);
    assert_eq!(known[0].held_total(), 4);
    assert_eq!(held(&known[1]), [("sec".to_owned(), 1)]);
    // Counting wakes nobody who only wants to know which there are.
    changes.mark_unchanged();
    hold(&queue, 1, &[(1, "ops", 1)]).await;
    assert!(!changes.has_changed().expect("open"));
    drop(queue);
    let queue = B::at(dir.path());
    let again = queue.mutes();
    assert_eq!(again[0].held["ops"], 4);
    assert_eq!(
        (&again[0].asked, &again[1].asked),
        (&first.asked, &second.asked)
    );
    let ledger = queue.ledger();
    assert_eq!(ledger.counts.muted, 6);
    assert_eq!(ledger.muted_deliveries["ops"], 4);
    assert_eq!(ledger.muted_deliveries["sec"], 2);
    queue.sound().await;
}

pub async fn the_end_is_one_commit_with_its_counts_and_notices<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    add(&queue, "alice").await;
    assert_eq!(
        told(&queue, "default").await,
        ["mute 1 begins: alice says so"]
    );
    hold(&queue, 5, &[(1, "ops", 5), (1, "sec", 2)]).await;
    let tell = vec!["other".to_owned(), "sec".to_owned()];
    let ended = queue.end_mute(1, by("bob"), tell.clone()).await;
    let ended = ended.expect("durable").expect("it was active");
    assert_eq!(ended.ended, Some(by("bob")));
    for again in [1, 2] {
        let again = queue.end_mute(again, by("eve"), tell.clone()).await;
        assert_eq!(again.expect("durable"), None);
    }
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(queue.mutes(), [ended]);
    let who = "mute 1 by “alice” (“deploy”) was ended by “bob”:";
    for (channel, rest) in [
        ("ops", "5 events were held back from this channel in 1 min"),
        (
            "sec",
            "2 events were held back from this channel in 1 min; 5 from ops",
        ),
        (
            "other",
            "0 events were held back from this channel in 1 min; 5 from ops, 2 from sec",
        ),
    ] {
        assert_eq!(told(&queue, channel).await, [format!("{who} {rest}")]);
    }
    queue.sound().await;
}

pub async fn what_was_routed_while_a_mute_ended_is_counted_and_told_too<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    add(&queue, "alice").await;
    let end = MuteEnd { by: None, ..by("") };
    let ended = queue.end_mute(1, end, Vec::new()).await;
    assert_eq!(ended.expect("durable").expect("active").held_total(), 0);
    // The router had decided before, and commits after.
    hold(&queue, 2, &[(1, "ops", 2)]).await;
    // And one of which nobody knows any more.
    hold(&queue, 1, &[(77, "ops", 1)]).await;
    assert_eq!(
        told(&queue, "ops").await,
        [
            "mute 1 by “alice” (“deploy”) held back 2 events more while it ended",
            "1 event was held back by mute 77, which is over"
        ]
    );
    assert_eq!(queue.mutes()[0].held["ops"], 2);
    let ledger = queue.ledger();
    assert_eq!(
        (ledger.counts.muted, ledger.muted_deliveries["ops"]),
        (3, 3)
    );
    queue.sound().await;
}

pub async fn only_so_many_are_active_and_only_so_many_that_ended_are_kept<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    for n in 0..MUTES_MAX as u64 {
        assert_eq!(add(&queue, "alice").await.id, n + 1);
    }
    let more = queue.add_mute(asked("eve"), String::new(), Vec::new());
    assert_eq!(more.await.expect("no failure"), None);
    hold(&queue, 1, &[(1, "ops", 1)]).await;
    // Ended in the order of their IDs, and the last one stays active.
    for id in 1..MUTES_MAX as u64 {
        queue
            .end_mute(id, by("bob"), Vec::new())
            .await
            .expect("durable");
    }
    for _ in 0..5 {
        let id = add(&queue, "alice").await.id;
        queue
            .end_mute(id, by("bob"), Vec::new())
            .await
            .expect("durable");
    }
    let known = queue.mutes();
    let ended = known.iter().filter(|mute| !mute.is_active()).count();
    assert_eq!(ended, MUTES_ENDED_MAX);
    assert_eq!(known[0].id, 5, "the oldest gave way");
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(queue.mutes(), known);
    assert_eq!(add(&queue, "alice").await.id, 106, "no ID is used twice");
    queue.sound().await;
}

pub async fn what_is_too_long_is_refused_and_harms_nothing<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let long = NewMute {
        reason: "x".repeat(MUTE_REASON_BYTES_MAX + 1),
        ..asked("alice")
    };
    let refused = queue.add_mute(long, String::new(), Vec::new()).await;
    assert!(
        matches!(&refused, Err(QueueError::Unreadable(why)) if why.contains("the reason")),
        "{refused:?}"
    );
    assert_eq!(queue.mutes(), []);
    assert_eq!(add(&queue, "alice").await.id, 1);
    queue.sound().await;
}
