//! Moving a queue, and salvaging a store that was moved aside.

use std::{fs, time::Duration};

use auditrelay_loadtest::slack::LocalSlack;
use serde_json::{Value, json};

use crate::{
    CONFIG, archive, bury, ends, folder, json_of, start, stop,
    support::{Running, ids, list, slack},
    told,
};

/// Leaves events waiting for the channel.
async fn hold(relay: &Running, slack: &LocalSlack, events: usize) {
    archive(slack);
    relay
        .post("/webhook", list("alice", "get", ids("held", events)))
        .await;
    while relay.ledger().await["channels"]["ops"]["waiting"] != events {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_moves_as_a_file_and_everything_in_it_is_delivered_once() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 20, park_retry_seconds: 60", "");
    let folder = folder.path();
    let mut relay = start(folder);
    bury(&relay, &slack, "dead", 2).await;
    hold(&relay, &slack, 5).await;
    let running = ends(folder, 70, &["export", "q.jsonl.zst"]);
    assert!(running.contains("stop it first"), "{running}");
    assert!(!folder.join("q.jsonl.zst").exists());
    stop(&mut relay).await;
    let ledger = json_of(folder, &["ledger"]);
    let exported = ends(folder, 0, &["export", "q.jsonl.zst"]);
    assert!(
        exported.contains("5 events waiting for channels"),
        "{exported}"
    );
    let before = fs::read(folder.join("q.jsonl.zst")).expect("there");
    assert_eq!(before[..4], [0x28, 0xb5, 0x2f, 0xfd], "no zstd");
    let there = ends(folder, 2, &["export", "q.jsonl.zst"]);
    assert!(there.contains("--force"), "{there}");
    ends(folder, 0, &["export", "q.jsonl.zst", "--force"]);
    let stdout = ends(folder, 0, &["export", "-"]);
    let lines = stdout.lines().map(serde_json::from_str::<Value>);
    assert!(lines.filter(|line| line.is_err()).count() == 0, "{stdout}");

    let new = ["--data-dir", "new-data"];
    let imported = ends(folder, 0, &["import", "q.jsonl.zst", new[0], new[1]]);
    assert!(imported.contains("dedup.key"), "{imported}");
    assert_eq!(json_of(folder, &["ledger", new[0], new[1]]), ledger);
    ends(folder, 70, &["import", "q.jsonl.zst", new[0], new[1]]);
    fs::copy(
        folder.join("auditrelay-data/dedup.key"),
        folder.join("new-data/dedup.key"),
    )
    .expect("copied");
    slack.reset();
    let relay = Running::start(folder, &[], &[CONFIG[0], CONFIG[1], new[0], new[1]]);
    ends(
        folder,
        0,
        &["dead", "redrive", "--all", "--yes", new[0], new[1]],
    );
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["ops"]["delivered"], 7, "{ledger}");
    for id in ["held-0", "held-4", "dead-0", "dead-1"] {
        assert_eq!(told(&slack, id), 1, "{id}");
    }
    // What the old one had seen is known.
    relay
        .post("/webhook", list("alice", "get", ids("held", 5)))
        .await;
    assert_eq!(relay.drained().await["duplicates"], 5);
}

/// Breaks every index of a store, as a torn page of it would be.
fn damage(store: &std::path::Path) {
    let mut broken = 0;
    for entry in fs::read_dir(store).expect("a store") {
        let file = entry.expect("an entry").path().join("db");
        if let Ok(bytes) = fs::read(&file) {
            let mut bytes = bytes;
            bytes.truncate(bytes.len() / 2);
            bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0xff);
            fs::write(&file, bytes).expect("written");
            broken += 1;
        }
    }
    assert!(broken > 0, "no index in {store:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_whole_in_a_damaged_store_comes_back_once_and_says_so() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "sentences_max: 20, park_retry_seconds: 60", "");
    let folder = folder.path();
    let relay = start(folder);
    bury(&relay, &slack, "dead", 2).await;
    hold(&relay, &slack, 5).await;
    relay.kill();
    let none = ends(folder, 1, &["salvage"]);
    assert!(none.contains("moved aside"), "{none}");
    damage(&folder.join("auditrelay-data/queue"));
    // Who only looks leaves it where it is.
    ends(folder, 74, &["dead", "list"]);
    slack.reset();
    let mut relay = start(folder);
    let lost = relay.ledger().await;
    assert_eq!(lost["channels"], json!({}), "{lost}");
    let salvaged = json_of(folder, &["salvage"]);
    assert_eq!(
        (&salvaged["waiting_events"], &salvaged["dead_events"]),
        (&json!(5), &json!(2)),
        "{salvaged}"
    );
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["ops"];
    assert_eq!(
        (&counts["delivered"], &counts["dead"], &ledger["balanced"]),
        (&json!(5), &json!(2), &json!(true)),
        "{ledger}"
    );
    let posts = slack.posts();
    let marks = posts
        .iter()
        .map(|post| post.text.matches("[possibly repeated]").count());
    assert_eq!(marks.sum::<usize>(), 5, "{posts:?}");
    stop(&mut relay).await;
    let again = ends(folder, 1, &["salvage"]);
    assert!(again.contains("no store was moved aside"), "{again}");
    for name in ["queue.corrupt-one", "queue.corrupt-other"] {
        fs::create_dir(folder.join("auditrelay-data").join(name)).expect("made");
    }
    let which = ends(folder, 2, &["salvage"]);
    assert!(which.contains("queue.corrupt-other"), "{which}");
    ends(folder, 2, &["salvage", "auditrelay-data/queue"]);
}
