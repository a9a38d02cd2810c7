//! What no channel heard of: filtered with and without its text, muted.

use std::time::Duration;

use serde_json::json;

use crate::{
    ends, event, folder, has, one, send, start, stop,
    support::{Running, ids, slack},
    text, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_wanted_at_the_door_says_so_and_what_would_keep_it() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "");
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "watch", one("noise")).await;
    send(&relay, "update", one("unrouted")).await;
    let filtered = |id: &str| {
        let event = event(folder, id);
        assert_eq!(
            (&event["fate"], &event["summary"], &event["deliveries"]),
            (&json!("filtered"), &json!(null), &json!([])),
            "{event:#}"
        );
        text(folder, id)
    };
    let is_routed = |id: &str| event(folder, id)["received"]["routed_unix_ms"].is_i64();
    until("they are routed", || {
        is_routed("noise") && is_routed("unrouted")
    })
    .await;
    for _ in 0..2 {
        has(
            &filtered("noise"),
            &[
                "its text is not kept",
                "route noise keeps it from everybody",
                "queue.retain_hours",
            ],
        );
        has(
            &filtered("unrouted"),
            &["no channel wanted it", "no route took it"],
        );
        // The second time the relay is stopped.
        stop(&mut relay).await;
        relay = start(folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_by_its_key_alone_is_told_by_what_the_ledger_leaves_possible() {
    let slack = slack(Duration::ZERO).await;
    // Small files, so that the block of the first event goes.
    let folder = folder(
        &slack,
        "queue: {digest_detail_hours: 0, bytes_max: 67108864}",
    );
    let folder = folder.path();
    let relay = start(folder);
    for _ in 0..3 {
        send(&relay, "watch", one("by-key")).await;
    }
    fill_a_file(&relay, folder).await;
    let known = event(folder, "by-key");
    assert_eq!(
        (&known["fate"], &known["received"]["received_unix_ms"]),
        (&json!("filtered"), &json!(null)),
        "{known:#}"
    );
    // Its blocks are gone: only the relay's own note knows.
    assert_eq!(known["again"]["times"], 2, "{known:#}");
    has(
        &text(folder, "by-key"),
        &["nothing that was received here was ever muted or dropped"],
    );
    // Now it can have been something else, too.
    let add = [
        "mute", "add", "--for", "1h", "--reason", "deploy", "--author", "bob", "--verb", "get",
    ];
    ends(folder, 0, &add);
    send(&relay, "get", one("held")).await;
    relay.drained().await;
    // Of this one a text is there, and the mute is named; the ledger leaves that today's routes are others.
    let named = || event(folder, "held")["held_back"][0]["mute"] == 1;
    until("a mute is named", named).await;
    let held = event(folder, "held");
    assert_eq!(held["fate"], "not_kept", "{held:#}");
    has(
        &text(folder, "held"),
        &["channel ops: by today's routes muted by mute 1 of bob"],
    );
    let known = event(folder, "by-key");
    assert_eq!(known["fate"], "not_kept", "{known:#}");
    has(
        known["why"].as_str().expect("text"),
        &[
            "filtered, as no channel wanted it or muted",
            "queue.retain_hours",
        ],
    );
}

/// Sends what nobody wants until the first file of appended events is gone.
async fn fill_a_file(relay: &Running, folder: &std::path::Path) {
    let first = folder.join("auditrelay-data/queue/events-0000000000000001.log");
    assert!(first.exists());
    let mut round = 0;
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while first.exists() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the file never went"
        );
        send(relay, "watch", ids(&format!("filling-{round}"), 3_000)).await;
        round += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_retained_is_told_with_its_text_and_todays_routes() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "queue: {retain_hours: 1}");
    let folder = folder.path();
    let relay = start(folder);
    send(&relay, "watch", one("noise")).await;
    until("it is routed", || {
        event(folder, "noise")["received"]["routed_unix_ms"].is_i64()
    })
    .await;
    let event = event(folder, "noise");
    assert_eq!(
        (&event["fate"], &event["summary"]),
        (
            &json!("filtered"),
            &json!("alice watch pods/api in shop → 200")
        ),
        "{event:#}"
    );
    let routes = event["today"]["explained"]["routes"]
        .as_array()
        .expect("routes");
    assert_eq!(routes[0]["result"], "matches", "{event:#}");
    has(
        &text(folder, "noise"),
        &["filtered: no channel hears of it: filtered by route noise"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mute_held_back_says_which_and_why() {
    let slack = slack(Duration::ZERO).await;
    let folder = folder(&slack, "queue: {retain_hours: 1}");
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "get", one("before")).await;
    relay.drained().await;
    let add = [
        "mute",
        "add",
        "--for",
        "1h",
        "--reason",
        "deploy of \u{202e}shop",
        "--author",
        "bob",
        "--verb",
        "get",
    ];
    ends(folder, 0, &add);
    send(&relay, "get", one("held")).await;
    until("it is routed", || {
        event(folder, "held")["received"]["routed_unix_ms"].is_i64()
    })
    .await;
    for _ in 0..2 {
        let held = event(folder, "held");
        assert_eq!(
            (&held["fate"], &held["deliveries"]),
            (&json!("muted"), &json!([]))
        );
        assert_eq!(
            (
                &held["held_back"][0]["channel"],
                &held["held_back"][0]["mute"]
            ),
            (&json!("ops"), &json!(1)),
            "{held:#}"
        );
        let told = text(folder, "held");
        has(&told, &["channel ops: muted by mute 1 of bob: deploy of "]);
        assert!(!told.contains('\u{202e}'), "{told}");
        // One that was told before it began was not muted.
        let before = event(folder, "before");
        assert_eq!(
            (&before["fate"], &before["held_back"]),
            (&json!("routed"), &json!([]))
        );
        ends(folder, 0, &["mute", "expire", "1", "--author", "bob"]);
        relay.drained().await;
        stop(&mut relay).await;
        relay = start(folder);
        if event(folder, "held")["fate"] == "muted" {
            break;
        }
    }
}
