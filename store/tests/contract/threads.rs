//! Messages of which details are still to be posted.

use crate::Sound;
use auditrelay_audit::Severity;
use auditrelay_store::{Accepted, LeaseLimit, Limits, Thread};
use auditrelay_store::{Engine, Queue as _};

use crate::{
    Backend,
    support::{ALL, append_and_route, told},
};

/// Delivers what waits; details of it are to follow.
async fn tell(queue: &Engine, channel: &str, thread: &str) -> (u64, Option<u64>) {
    let lease = queue.lease(channel, ALL, 5).await.expect("read");
    let id = lease.expect("members").id;
    let accepted = Accepted {
        now_unix_ms: 8,
        thread: Some(thread.to_owned()),
        posted: None,
    };
    let gave_way = queue.ack(&id, accepted).await.expect("held");
    (id.id, gave_way)
}

fn thread(message: u64, thread: &str, done: u32) -> Thread {
    Thread {
        message,
        thread: thread.to_owned(),
        done,
    }
}

pub async fn a_thread_is_noted_with_the_ack_and_kept_until_it_is_finished<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let limits = Limits {
        detail_ms: 60_000,
        detail_bytes_max: 1 << 20,
        ..Limits::default()
    };
    let queue = B::limited(dir.path(), limits.clone());
    append_and_route(&queue, "ops", Severity::Info, &["1", "2"]).await;
    let (first, _) = tell(&queue, "ops", "1700000000.000100").await;
    append_and_route(&queue, "ops", Severity::Info, &["3"]).await;
    let (second, _) = tell(&queue, "ops", "1700000000.000200").await;
    append_and_route(&queue, "ops", Severity::Info, &["4"]).await;
    let lease = queue.lease("ops", ALL, 5).await.expect("read");
    let without = lease.expect("members").id;
    let gave_way = queue.ack(&without, Accepted::at(8)).await.expect("held");
    assert_eq!(gave_way, None);
    drop(queue);

    let queue = B::limited(dir.path(), limits);
    let mut expected = [
        thread(first, "1700000000.000100", 0),
        thread(second, "1700000000.000200", 0),
    ];
    assert_eq!(queue.threads("ops").await.expect("read"), expected);
    let members = queue.told(first).await.expect("read").expect("kept");
    assert_eq!(told(&members.members), ["1", "2"]);
    assert!(
        queue
            .note_thread("ops", first, Some(3))
            .await
            .expect("noted")
    );
    expected[0].done = 3;
    assert_eq!(queue.threads("ops").await.expect("read"), expected);
    drop(queue);

    let queue = B::at(dir.path());
    assert_eq!(queue.threads("ops").await.expect("read"), expected);
    assert!(queue.note_thread("ops", first, None).await.expect("noted"));
    for done in [None, Some(4)] {
        let noted = queue.note_thread("ops", first, done).await.expect("asked");
        assert!(!noted, "it is forgotten");
    }
    assert_eq!(queue.threads("ops").await.expect("read"), expected[1..]);
    drop(queue);
    let queue = B::at(dir.path());
    assert_eq!(queue.threads("ops").await.expect("read"), expected[1..]);
    queue.sound().await;
}

pub async fn too_many_threads_give_way_oldest_first<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut queue = B::at(dir.path());
    let events: Vec<String> = (0..70).map(|n| format!("e{n}")).collect();
    let some: Vec<&str> = events.iter().map(String::as_str).collect();
    append_and_route(&queue, "ops", Severity::Info, &some).await;
    let one = LeaseLimit {
        events_max: 1,
        ..ALL
    };
    let mut messages = Vec::new();
    for n in 0..70 {
        if n == 66 {
            drop(queue);
            queue = B::at(dir.path());
        }
        let lease = queue.lease("ops", one, 5).await.expect("read");
        let id = lease.expect("members").id;
        let accepted = Accepted {
            now_unix_ms: 8,
            thread: Some(format!("t{n}")),
            posted: None,
        };
        let gave_way = queue.ack(&id, accepted).await.expect("held");
        messages.push(id.id);
        let expected = (n >= 64).then(|| messages[n - 64]);
        assert_eq!(gave_way, expected, "thread {n}");
    }
    let noted = queue.threads("ops").await.expect("read");
    let noted: Vec<u64> = noted.iter().map(|one| one.message).collect();
    assert_eq!(noted, messages[6..]);
    let gone = queue.note_thread("ops", messages[0], Some(1)).await;
    assert!(!gone.expect("asked"));
    assert_eq!(queue.threads("ops").await.expect("read").len(), 64);
    queue.sound().await;
}

pub async fn a_name_that_is_too_long_is_not_noted<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    for (bytes, noted) in [(64, 1), (65, 1)] {
        append_and_route(&queue, "ops", Severity::Info, &["1"]).await;
        tell(&queue, "ops", &"t".repeat(bytes)).await;
        assert_eq!(queue.threads("ops").await.expect("read").len(), noted);
    }
    assert_eq!(queue.ledger().channels["ops"].delivered, 2);
}

pub async fn threads_of_channels_are_apart<B: Backend>() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = B::at(dir.path());
    let mut messages = Vec::new();
    for channel in ["ops", "ops-eu"] {
        append_and_route(&queue, channel, Severity::Info, &["1"]).await;
        messages.push(tell(&queue, channel, channel).await.0);
    }
    for (channel, message) in ["ops", "ops-eu"].into_iter().zip(&messages) {
        let expected = [thread(*message, channel, 0)];
        assert_eq!(queue.threads(channel).await.expect("read"), expected);
    }
    assert!(
        !queue
            .note_thread("ops", messages[1], None)
            .await
            .expect("asked")
    );
    assert_eq!(queue.threads("dev").await.expect("read"), []);
    assert_eq!(queue.threads("ops-eu").await.expect("read").len(), 1);
}
