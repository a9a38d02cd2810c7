//! Routes, channels and limits are exchanged while events come in.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{Method, StatusCode};
use serde_json::json;

use crate::{
    channel, config, load, start,
    support::{ids, list, request, slack, told},
};

const POSTERS: usize = 3;
/// At least; they go on until it was exchanged a few times.
const BATCHES: usize = 40;
const RELOADS: usize = 4;
const EVENTS: usize = 3;

/// Tables that tell each event in one channel, whatever it is.
const TABLES: [&str; 4] = [
    "[{name: all, channel: b}]",
    "[{name: some, channel: c, users: [user-1]}, {name: rest, channel: a}]",
    "[{name: rest, channel: [c]}]",
    "[{name: often, channel: b, rate: {moreThan: 5, withinSeconds: 60, by: [user]}}, \
      {name: rest, channel: a, severity: critical}]",
];

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_exchanged_each_event_is_told_once() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let three = |more: &str| ["a", "b", "c"].map(|name| channel(name, more)).join(", ");
    let of = |more: &str, rest: &str| config(&slack, &three(more), rest);
    let relay = start(folder, &of("", ""));
    let webhook = relay.webhook;
    let reloads = Arc::new(AtomicUsize::new(0));
    let posters: Vec<_> = (0..POSTERS)
        .map(|poster| {
            let reloads = Arc::clone(&reloads);
            tokio::spawn(async move {
                let mut batch = 0;
                while batch < BATCHES || reloads.load(Ordering::Relaxed) < RELOADS {
                    let prefix = format!("e{poster}-{batch}");
                    let ids = ids(&prefix, EVENTS);
                    let body = list(&format!("user-{poster}"), "delete", ids);
                    let posted = request(webhook, Method::POST, "/webhook", body.into());
                    let (status, answer) = posted.await.expect("an answer");
                    assert_eq!(status, StatusCode::OK, "{answer:?}");
                    batch += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                batch
            })
        })
        .collect();
    let mut turn = 0;
    while posters.iter().any(|poster| !poster.is_finished()) {
        // Lanes are exchanged too, and limits.
        let more = [", sentences_max: 8", ", sentences_max: 9", ""][turn % 3];
        let table = format!(
            "routes: {}\ningest: {{connections_max: {}}}\nqueue: {{dead_bytes_max: {}}}",
            TABLES[turn % 4],
            100 + turn,
            2_097_152 + turn
        );
        load(folder, &of(more, &table));
        turn += 1;
        reloads.store(turn, Ordering::Relaxed);
    }
    let mut all = 0;
    for poster in posters {
        all += EVENTS * poster.await.expect("all are acknowledged");
    }
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    assert_eq!(
        (&ledger["received"], &ledger["routed"]),
        (&json!(all), &json!(all)),
        "{ledger}"
    );
    let (plain, marked) = told(&slack);
    assert_eq!((plain.len(), marked.len()), (all, 0), "{turn} reloads");
    assert!(plain.values().all(|times| *times == 1), "told twice");
    assert_eq!(slack.duplicates().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_mutes_go_on_where_they_were() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let rated = "{name: often, channel: b, rate: {moreThan: 3, withinSeconds: 3600, by: [user]}}";
    let of = |name: &str| {
        let channels = [channel("a", ""), channel("b", "")].join(", ");
        let other = format!("{{name: {name}, channel: a, users: [nobody]}}");
        config(&slack, &channels, &format!("routes: [{other}, {rated}]"))
    };
    let relay = start(folder, &of("one"));
    let post = async |user: &str, id: &str| {
        let body = list(user, "delete", [id.to_owned()]);
        assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
        relay.drained().await
    };
    for id in ["r-1", "r-2", "r-3"] {
        post("alice", id).await;
    }
    let mute = [
        "mute", "add", "--config", "c.yaml", "--for", "1h", "--reason", "x", "--author", "y",
        "--user", "bob",
    ];
    assert_eq!(crate::run(folder, &[], &mute).0, 0);
    load(folder, &of("two"));
    assert_eq!(told(&slack).0.len(), 0);
    post("alice", "r-4").await;
    for id in ["m-1", "m-2", "m-3", "m-4"] {
        post("bob", id).await;
    }
    let told = told(&slack).0;
    assert_eq!(told.keys().collect::<Vec<_>>(), ["r-4"]);
    let ledger = relay.ledger().await;
    assert_eq!(
        (&ledger["muted"], &ledger["filtered"]),
        (&json!(1), &json!(6)),
        "{ledger}"
    );
}
