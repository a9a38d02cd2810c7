//! What messages stood for goes before its time where there is no room for it: then nothing is made up from that it is
//! gone.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    event, folder, has, one, send, start, stop,
    support::{PATIENCE, Running, ids, slack},
    text, trace,
};

/// Sends what is told until what was told before is away, and `is_gone` says so of the event.
async fn storm(relay: &mut Running, folder: &Path, id: &str, is_gone: impl Fn(&Value) -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut round = 0;
    while !is_gone(&trace(folder, id)["events"][0]) {
        assert!(tokio::time::Instant::now() < deadline, "it never went");
        send(relay, "get", ids(&format!("storm-{round}"), 3_000)).await;
        relay.drained().await;
        round += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_does_not_make_what_was_told_filtered() {
    let slack = slack(Duration::ZERO).await;
    let small = "queue: {digest_detail_bytes_max: 1, bytes_max: 67108864}";
    let folder = folder(&slack, small);
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "watch", one("noise")).await;
    send(&relay, "delete", one("told")).await;
    relay.drained().await;
    storm(&mut relay, folder, "told", |event| {
        event["summary"].is_null()
    })
    .await;
    let told = event(folder, "told");
    assert_eq!(told["fate"], "not_kept", "{told:#}");
    has(
        told["why"].as_str().expect("text"),
        &[
            "filtered, as no channel wanted it or told by a message",
            "queue.digest_detail_hours, queue.digest_detail_bytes_max",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn todays_routes_do_not_say_what_became_of_an_event_whose_text_is_retained() {
    let slack = slack(Duration::ZERO).await;
    let small = "queue: {retain_hours: 1, digest_detail_bytes_max: 1, bytes_max: 67108864}";
    let folder = folder(&slack, small);
    let folder = folder.path();
    let mut relay = start(folder);
    send(&relay, "watch", one("noise")).await;
    send(&relay, "delete", one("told")).await;
    relay.drained().await;
    storm(&mut relay, folder, "told", |event| {
        event["deliveries"] == json!([])
    })
    .await;
    stop(&mut relay).await;
    let file = folder.join("c.yaml");
    let config = fs::read_to_string(&file).expect("there");
    let hushed = "routes:\n- {name: hushed, level: None, verbs: [delete]}";
    fs::write(&file, config.replace("routes:", hushed)).expect("written");
    let told = event(folder, "told");
    assert_eq!(
        (&told["fate"], &told["summary"]),
        (
            &json!("not_kept"),
            &json!("alice delete pods/api in shop → 200")
        ),
        "{told:#}"
    );
    has(
        &text(folder, "told"),
        &[
            "what became of it is not kept: ",
            "filtered, as no channel wanted it or told by a message",
            "today's routes: no channel hears of it: filtered by route hushed",
        ],
    );
}
