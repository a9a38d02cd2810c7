//! Mutes and their counts through kills and moves.

use std::time::Duration;

use serde_json::json;

use crate::{
    command, folder, hears, json_of, mute, send, start,
    support::{ids, slack},
};

const ADD: [&str; 7] = [
    "add", "--for", "1h", "--reason", "deploy", "--author", "alice",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_neither_ends_a_mute_nor_changes_its_count() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack);
    let folder = folder.path();
    let mut relay = start(folder);
    mute(folder, 0, &[&ADD[..], &["--user", "bob"]].concat());
    // Both match; the first counts.
    mute(folder, 0, &[&ADD[..], &["--verb", "delete"]].concat());
    for round in 0..4 {
        let prefix = format!("held-{round}");
        send(&relay, "bob", "delete", ids(&prefix, 25)).await;
        // At any moment of its routing; each is acknowledged.
        relay.kill();
        relay = start(folder);
    }
    let ledger = relay.drained().await;
    assert_eq!(
        (&ledger["muted"], &ledger["balanced"]),
        (&json!(100), &json!(true)),
        "{ledger}"
    );
    assert_eq!(ledger["muted_deliveries"], json!({"ops": 100, "sec": 100}));
    let mutes = json_of(folder, &["mute", "list"]);
    assert_eq!(mutes[0]["held"], json!({"ops": 100, "sec": 100}), "{mutes}");
    assert_eq!(
        (&mutes[1]["held"], &mutes[1]["active"]),
        (&json!({}), &json!(true))
    );
    mute(folder, 0, &["expire", "1", "--author", "bob"]);
    // The end is durable too: nothing says it twice.
    relay.kill();
    let relay = start(folder);
    hears(
        &slack,
        "COPS",
        "100 events were held back from this channel",
    )
    .await;
    hears(
        &slack,
        "CSEC",
        "100 events were held back from this channel",
    )
    .await;
    send(&relay, "eve", "delete", ids("eve", 1)).await;
    relay.drained().await;
    let mutes = json_of(folder, &["mute", "list"]);
    assert_eq!(
        (&mutes[0]["id"], &mutes[0]["held"]),
        (&json!(2), &json!({"ops": 1, "sec": 1}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_moves_takes_its_mutes_along() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack);
    let folder = folder.path();
    let mut relay = start(folder);
    mute(
        folder,
        0,
        &[&ADD[..], &["--user", "bob", "--channel", "sec"]].concat(),
    );
    send(&relay, "bob", "delete", ids("held", 5)).await;
    relay.drained().await;
    relay.signal("-TERM");
    relay.wait().await;
    let before = json_of(folder, &["mute", "list"]);
    assert_eq!(before[0]["held"], json!({"sec": 5}));
    let ledger = json_of(folder, &["ledger"]);
    command(folder, 0, &["export", "queue.jsonl"]);
    std::fs::rename(folder.join("auditrelay-data"), folder.join("old")).expect("moved");
    command(folder, 0, &["import", "queue.jsonl"]);
    assert_eq!(json_of(folder, &["mute", "list"]), before);
    assert_eq!(json_of(folder, &["ledger"]), ledger);
    let relay = start(folder);
    send(&relay, "bob", "delete", ids("more", 2)).await;
    relay.drained().await;
    let after = json_of(folder, &["mute", "list"]);
    assert_eq!(after[0]["held"], json!({"sec": 7}));
}
