//! How mutes end, and what they never hold back.

use std::borrow::Cow;

use auditrelay_audit::HashKey;
use auditrelay_store::{Batch, Content, EncodedBatch, Entry, NewMute, Queue, Unreadable};

use crate::{add, asked, batch, event, now, open, send, sound, start, told, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_ends_by_itself_and_says_what_it_held_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    // They wait already, so that only the mute's beginning has to be soon.
    let early = batch([event("bob", "get", "a"), event("bob", "get", "b")]);
    queue.append(early).await.expect("durable");
    let short = NewMute {
        begun_unix_ms: now() - 3_600_000,
        until_unix_ms: now() + 4_000,
        ..asked("{}")
    };
    let until_unix_ms = short.until_unix_ms;
    add(&queue, short).await;
    let router = start(&queue).await;
    until("the mute ended", || !queue.mutes()[0].is_active()).await;
    send(&queue, [event("bob", "get", "c")]).await;
    router.stop().await;
    let end = queue.mutes()[0].ended.clone().expect("it ended");
    assert_eq!((end.by, end.at_unix_ms), (None, until_unix_ms));
    assert_eq!(
        told(&queue, "ops").await,
        [
            "mute 1 by “alice” (“deploy”) ended: 2 events were held back from this channel in 1 h 4 s",
            "c"
        ]
    );
    sound(&queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_no_relay_ran_is_told_when_one_starts() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let over = NewMute {
        begun_unix_ms: now() - 7_200_000,
        until_unix_ms: now() - 3_600_000,
        ..asked("{}")
    };
    add(&queue, over).await;
    queue
        .append(batch([event("bob", "get", "a")]))
        .await
        .expect("durable");
    drop(queue);
    let queue = open(dir.path());
    let router = start(&queue).await;
    until("it is routed", || queue.ledger().waiting == 0).await;
    router.stop().await;
    assert_eq!(
        told(&queue, "ops").await,
        [
            "mute 1 by “alice” (“deploy”) ended: 0 events were held back from this channel in 1 h",
            "a"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_makes_no_mute_longer() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let year = 365 * 86_400_000;
    let begun_in_the_future = NewMute {
        begun_unix_ms: now() + year,
        until_unix_ms: now() + year + 300,
        ..asked("{}")
    };
    add(&queue, begun_in_the_future).await;
    let router = start(&queue).await;
    // Another one that begins is no reason to count anew.
    add(&queue, asked(r#"{"users":["eve"]}"#)).await;
    until("the mute ended", || !queue.mutes()[0].is_active()).await;
    assert!(queue.mutes()[1].is_active());
    send(&queue, [event("bob", "get", "a")]).await;
    router.stop().await;
    assert_eq!(
        told(&queue, "ops").await.last().map(String::as_str),
        Some("a")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mute_that_cannot_be_read_holds_nothing_back_and_is_ended_aloud() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    add(&queue, asked(r#"{"moods":["sullen"]}"#)).await;
    let router = start(&queue).await;
    send(&queue, [event("bob", "get", "a")]).await;
    router.stop().await;
    let told = told(&queue, "ops").await;
    let said = "was ended by “auditrelay” (“this version cannot read what it matches";
    assert!(
        told[0].contains(said) && told[0].contains("moods"),
        "{told:?}"
    );
    assert_eq!(told[1..], ["a"]);
    assert_eq!(queue.ledger().counts.muted, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_mute_hides_what_the_relay_itself_has_to_say() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = open(dir.path());
    let router = start(&queue).await;
    add(&queue, asked("{}")).await;
    let key = HashKey::new([1; 32]).unreadable("prod", b"x");
    let unreadable = Unreadable {
        reason: "no object".to_owned(),
        offset_bytes: 0,
        length_bytes: 1,
        sealed: None,
        source: None,
    };
    let entry = Entry {
        key,
        content: Content::Unreadable(unreadable),
    };
    let batch = Batch {
        cluster: Cow::Borrowed("prod"),
        received_unix_ms: 0,
        entries: vec![entry],
    };
    let encoded = EncodedBatch::new(&batch);
    queue.append(encoded).await.expect("durable");
    // Nor an event that cannot be read any more: nobody knows what it matches.
    send(&queue, ["{\"auditID\":\"damaged\"".to_owned() + "\""]).await;
    router.stop().await;
    let told = told(&queue, "ops").await;
    assert!(
        told[0].contains("went to quarantine") || told[1].contains("went to quarantine"),
        "{told:?}"
    );
    assert!(told.contains(&"damaged".to_owned()), "{told:?}");
    assert_eq!(queue.ledger().counts.muted, 0);
    sound(&queue).await;
}
