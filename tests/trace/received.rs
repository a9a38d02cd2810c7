//! How events came in: sent again, with a used audit ID, at several stages, from another cluster, not routed yet, never.

use std::{fs, time::Duration};

use auditrelay_audit::{Envelope, HashKey, list::Item};
use auditrelay_store::{Batch, Content, EncodedBatch, Engine, Entry, Queue, SledOptions};
use serde_json::{Value, json};

use crate::{
    CONFIG, ends, event, folder, has, one, post, send, start, stop,
    support::{list, run, slack},
    text, trace, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_again_is_counted_and_told_once() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let mut relay = start(folder);
    for _ in 0..4 {
        send(&relay, "get", one("again")).await;
    }
    send(&relay, "get", one("once")).await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["duplicates"], 3, "{ledger}");
    let again = event(folder, "again");
    assert_eq!(again["again"]["times"], 3, "{again:#}");
    assert_eq!(
        again["deliveries"].as_array().map(Vec::len),
        Some(1),
        "{again:#}"
    );
    has(
        &text(folder, "again"),
        &[
            "sent again, 3 times in all",
            "a duplicate, which is not told again",
        ],
    );
    assert_eq!(event(folder, "once")["again"]["times"], 0);
    stop(&mut relay).await;
    let relay = start(folder);
    relay.drained().await;
    has(
        &text(folder, "once"),
        &["before the relay's last start is not known"],
    );
    relay.kill();
    // Blocks that are still there say it too; where none does, nothing is claimed.
    assert_eq!(event(folder, "again")["again"]["times"], 3);
    let once = event(folder, "once");
    assert_eq!(once["again"]["times"], json!(null), "{once:#}");
    has(
        &text(folder, "once"),
        &["whether it was sent again is not known: the relay is stopped"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_contents_under_one_audit_id_are_two_events_and_so_is_each_stage() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let relay = start(folder);
    send(&relay, "get", one("reused")).await;
    relay.drained().await;
    send(&relay, "delete", one("reused")).await;
    let mut early: Value =
        serde_json::from_str(&list("alice", "delete", one("reused"))).expect("JSON");
    early["items"][0]["stage"] = json!("RequestReceived");
    post(&relay, "/webhook", early.to_string()).await;
    relay.drained().await;
    let found = trace(folder, "reused");
    let events = found["events"].as_array().expect("an array");
    let seen: Vec<(&str, &str, &Value, &str)> = events
        .iter()
        .map(|one| {
            let channel = one["deliveries"][0]["channel"].as_str().unwrap_or("-");
            let text = |name: &str| one[name].as_str().unwrap_or("-");
            (
                text("stage"),
                text("summary"),
                &one["audit_id_reused"],
                channel,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("RequestReceived", "-", &json!(false), "-"),
            (
                "ResponseComplete",
                "alice get pods/api in shop → 200",
                &json!(true),
                "ops"
            ),
            (
                "ResponseComplete",
                "alice delete pods/api in shop → 200",
                &json!(true),
                "sec"
            ),
        ],
        "{found:#}"
    );
    assert_ne!(events[1]["contents"], events[2]["contents"]);
    let told = text(folder, "reused");
    has(
        &told,
        &[
            "audit ID reused: 3 events",
            "another event of this cluster has the same audit ID and stage",
        ],
    );
    assert_eq!(
        told.matches("ResponseComplete, cluster default").count(),
        2,
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cluster_has_its_own_and_one_that_only_the_store_knows_is_found_too() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let relay = start(folder);
    send(&relay, "get", one("both")).await;
    post(&relay, "/webhook/prod", list("bob", "watch", one("both"))).await;
    relay.drained().await;
    until("both are there", || {
        trace(folder, "both")["events"][1]["received"]["routed_unix_ms"].is_i64()
    })
    .await;
    let found = trace(folder, "both");
    let of = |n: usize| {
        (
            found["events"][n]["cluster"].clone(),
            found["events"][n]["fate"].clone(),
        )
    };
    assert_eq!(of(0), (json!("default"), json!("routed")), "{found:#}");
    assert_eq!(of(1), (json!("prod"), json!("filtered")), "{found:#}");
    let only = ends(folder, 0, &["trace", "both", "--cluster", "prod", "--json"]);
    let only: Value = serde_json::from_str(&only).expect("JSON");
    assert_eq!(only["events"].as_array().map(Vec::len), Some(1), "{only:#}");
    assert_eq!(only["events"][0]["cluster"], "prod");
    let none = ends(folder, 1, &["trace", "both", "--cluster", "dev"]);
    has(&none, &["is not known here, in no cluster of dev"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_said_to_be_so_with_how_far_back_that_reaches() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "metrics: {clusters: [eu]}");
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "get", one("known")).await;
    relay.drained().await;
    let parts = [
        "audit ID nobody is not known here, in no cluster of default, eu",
        "keys of what was received back to ",
        "for 24 hours (queue.digest_detail_hours)",
        "queue.retain_hours is 0",
        "auditrelay quarantine list",
    ];
    has(&ends(folder, 1, &["trace", "nobody"]), &parts);
    stop(&mut relay).await;
    has(&ends(folder, 1, &["trace", "nobody"]), &parts);
    let args = ["trace", "nobody", "--json", CONFIG[0], CONFIG[1]];
    let (code, stdout, _) = run(folder, &[], &args);
    let none: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &none["events"]), (1, &json!([])), "{none:#}");
    ends(folder, 2, &["trace", " "]);
    ends(folder, 2, &["trace"]);
    let key = folder.join("auditrelay-data/dedup.key");
    fs::remove_file(key).expect("there");
    has(
        &ends(folder, 1, &["trace", "nobody"]),
        &["which cannot be read (dedup.key_file)"],
    );
    has(
        &text(folder, "known"),
        &[
            "posted in message",
            "the key of the dedup hashes cannot be read",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_and_not_routed_waits_to_be() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let data_dir = folder.join("auditrelay-data");
    fs::create_dir(&data_dir).expect("made");
    fs::write(data_dir.join("dedup.key"), [7; 32]).expect("written");
    let events: Value = serde_json::from_str(&list("alice", "delete", one("new"))).expect("JSON");
    let json = events["items"][0].to_string();
    let envelope = Envelope::parse(&json).expect("readable");
    let item = Item {
        wire: json.as_bytes(),
        text: &json,
        offset: 0,
        has_invalid_utf8: false,
    };
    let batch = EncodedBatch::new(&Batch {
        cluster: "default".into(),
        received_unix_ms: 1_700_000_000_000,
        entries: vec![Entry {
            key: HashKey::new([7; 32]).event("default", &item, &envelope),
            content: Content::Event {
                json: json.as_str().into(),
                body_unreadable: false,
            },
        }],
    });
    let opened = Engine::open(&SledOptions::new(&data_dir, 1_700_000_000_000));
    let queue = opened.expect("opens").queue;
    queue.append(batch).await.expect("durable");
    queue.finish().await.expect("closed");
    // This process has its files still; the command is another one.
    let waits = copied(folder);
    let waits = waits.path();
    let found = event(waits, "new");
    assert_eq!(
        (&found["fate"], &found["received"]["received_unix_ms"]),
        (&json!("waits_to_be_routed"), &json!(1_700_000_000_000_i64)),
        "{found:#}"
    );
    has(
        &text(waits, "new"),
        &[
            "2023-11-14 22:13:20 UTC",
            "waits to be routed: acknowledged and safe on disk; it is routed when the relay runs again",
            "today's routes: told in sec (critical, by route deletions)",
        ],
    );
    let relay = start(waits);
    relay.drained().await;
    assert_eq!(event(waits, "new")["fate"], "routed");
}

/// A folder and what is in it, without what another process holds of it.
fn copied(folder: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    let copied = std::process::Command::new("cp")
        .args(["-r", "--"])
        .arg(folder.join("c.yaml"))
        .arg(folder.join("auditrelay-data"))
        .arg(copy.path())
        .status();
    assert!(copied.expect("cp").success());
    copy
}
