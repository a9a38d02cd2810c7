//! Lanes that take the place of others: nothing goes too early, and nothing is left behind.

use std::{path::Path, time::Duration};

use auditrelay_loadtest::slack::{Attempt, Effect, Fault, LocalSlack};
use hyper::StatusCode;
use tokio::time::timeout;

use crate::{
    channel, config, lines, load, start,
    support::{PATIENCE, Running, ids, list, run, slack, told},
    value,
};

pub(crate) async fn post(relay: &Running, ids: impl IntoIterator<Item = String>) {
    let body = list("alice", "delete", ids);
    assert_eq!(relay.post("/webhook", body).await.0, StatusCode::OK);
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub(crate) fn posts_to(slack: &LocalSlack, channel: &str) -> Vec<Attempt> {
    let attempts = slack.attempts().into_iter();
    let to = attempts.filter(|one| one.channel.as_deref() == Some(channel));
    to.filter(|one| one.method == "chat.postMessage").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_slack_told_to_wait_waits_whatever_is_exchanged() {
    const SECONDS: u32 = 4;
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |more: &str| {
        let channels = [channel("a", ""), channel("b", more)].join(", ");
        config(&slack, &channels, "routes: [{name: all, channel: b}]")
    };
    let without = config(
        &slack,
        &channel("a", ""),
        "routes: [{name: all, channel: a}]",
    );
    let relay = start(folder, &of(""));
    slack.inject(Fault::new(Effect::RetryAfter { seconds: SECONDS }).on("CB"));
    post(&relay, ids("held", 1)).await;
    until("it is told to wait", async || {
        !posts_to(&slack, "CB").is_empty()
    })
    .await;
    let holding = "auditrelay_lane_state{channel=\"b\",state=\"holding\"}";
    until("it holds", async || value(&relay, holding).await == 1.0).await;
    // Another setting, another token, gone, and back again.
    load(folder, &of(", sentences_max: 3"));
    load(folder, &of(", token: xoxb-other"));
    load(folder, &without);
    load(folder, &of(", message_burst: 5"));
    // On a busy machine some of them come when it has waited; it is to have waited all the same.
    relay.drained().await;
    let attempts = posts_to(&slack, "CB");
    let waited = attempts[1].elapsed_ms - attempts[0].elapsed_ms;
    assert!(waited >= u64::from(SECONDS) * 1_000, "only {waited} ms");
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(told(&slack).0.get("held-0"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_taken_out_keeps_its_backlog_and_delivers_it_when_it_is_back() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let both = config(
        &slack,
        &[channel("a", ""), channel("b", ", park_retry_seconds: 1")].join(", "),
        "routes: [{name: all, channel: b}]",
    );
    let without = config(&slack, &channel("a", ""), "");
    let mut relay = start(folder, &both);
    let code = "is_archived".to_owned();
    slack.inject(Fault::new(Effect::Error { code }).on("CB").times(1_000));
    post(&relay, ids("left", 5)).await;
    let state = |state: &str| format!("auditrelay_lane_state{{channel=\"b\",state=\"{state}\"}}");
    until("it is parked", async || {
        value(&relay, &state("parked")).await == 1.0
    })
    .await;
    let shown = load(folder, &without);
    assert!(
        shown.contains("channels.b") && shown.contains("removed"),
        "{shown}"
    );
    post(&relay, ids("other", 5)).await;
    until("others go on", async || told(&slack).0.len() == 5).await;
    let waiting = relay.ledger().await["channels"]["b"]["waiting"].clone();
    assert_eq!(waiting, 5);
    assert_eq!(lines(&mut relay, "not configured any more").await.len(), 1);
    until("its lane is gone", async || {
        let metrics = relay.get("/metrics").await.1;
        !metrics.contains(&state("parked"))
    })
    .await;
    slack.reset();
    load(folder, &both);
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let told = told(&slack).0;
    assert!(
        told.len() == 5
            && told
                .iter()
                .all(|(id, times)| id.starts_with("left") && *times == 1),
        "{told:?}"
    );
    assert_eq!(value(&relay, &state("open")).await, 1.0);
}

/// Slack has the message, and its answer comes while the lane is to be exchanged.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_way_is_finished_and_not_repeated() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |more: &str| config(&slack, &channel("a", more), "");
    let relay = start(folder, &of(""));
    for round in 0..3 {
        let milliseconds = 700;
        slack.inject(Fault::new(Effect::Delay { milliseconds }));
        let before = slack.posts().len();
        post(&relay, ids(&format!("slow-{round}"), 1)).await;
        until("Slack has it", async || slack.posts().len() > before).await;
        exchange_twice(folder, &of, round);
        post(&relay, ids(&format!("next-{round}"), 1)).await;
        relay.drained().await;
    }
    let (plain, marked) = told(&slack);
    assert_eq!((plain.len(), marked.len()), (6, 0), "{plain:?}");
    assert!(plain.values().all(|times| *times == 1), "{plain:?}");
    assert_eq!(slack.duplicates().len(), 0);
}

fn exchange_twice(folder: &Path, of: &dyn Fn(&str) -> String, round: usize) {
    load(folder, &of(&format!(", sentences_max: {}", 2 + round)));
    load(folder, &of(&format!(", sentences_max: {}", 12 + round)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tried_before_a_channel_was_taken_out_does_not_count_when_it_is_back() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let both = config(
        &slack,
        &[channel("a", ""), channel("b", ", park_retry_seconds: 1")].join(", "),
        "routes: [{name: all, channel: b}]",
    );
    let relay = start(folder, &both);
    let always = |code: &str| {
        let code = code.to_owned();
        Fault::new(Effect::Error { code }).on("CB").times(1_000)
    };
    slack.inject(always("is_archived"));
    post(&relay, ids("left", 1)).await;
    until("it was tried", async || posts_to(&slack, "CB").len() >= 2).await;
    load(folder, &config(&slack, &channel("a", ""), ""));
    until("its lane is gone", async || {
        let metrics = relay.get("/metrics").await.1;
        !metrics.contains("auditrelay_lane_state{channel=\"b\"")
    })
    .await;
    slack.reset();
    slack.inject(always("invalid_blocks"));
    load(folder, &both);
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["b"]["dead"], 1, "{ledger}");
    let (code, letters, stderr) = run(
        folder,
        &[],
        &["dead", "list", "--json", "--config", "c.yaml"],
    );
    assert_eq!(code, 0, "{stderr}");
    let letters: serde_json::Value = serde_json::from_str(&letters).expect("JSON");
    // Slack counts from its reset on.
    let since = posts_to(&slack, "CB").len();
    assert_eq!(letters[0]["attempts"], since, "{letters:#}");
}
