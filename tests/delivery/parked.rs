//! A channel that Slack refuses: its events wait, its critical ones are told in its fallback as well.

use std::time::Duration;

use auditrelay_loadtest::slack::{LocalSlack, Options};
use serde_json::{Value, json};

use crate::{
    relay, started,
    support::{PATIENCE, Running, ids, list, metric},
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL }
channels:
  security: { slack_channel: CSECURITY, fallback: platform, park_retry_seconds: 3, message_interval_milliseconds: 100 }
  platform: { slack_channel: CPLATFORM, fallback: security, message_interval_milliseconds: 100 }
default_channel: platform
routes:
  - { name: deletes, channel: security, severity: critical, verbs: [delete] }
  - { name: rest, channel: security }
";

async fn posted(slack: &LocalSlack, channel: &str, text: &str) {
    let is = |post: &auditrelay_loadtest::slack::Post| {
        post.channel == channel && post.body.to_string().contains(text)
    };
    let there = async {
        while !slack.posts().iter().any(is) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let there = tokio::time::timeout(PATIENCE, there).await;
    assert!(there.is_ok(), "no {text} in {channel}: {:?}", slack.posts());
}

fn copies(slack: &LocalSlack, channel: &str, id: &str) -> usize {
    let needle = format!("audit ID {id}\"");
    let posts = slack
        .posts()
        .into_iter()
        .filter(|post| post.channel == channel);
    posts
        .map(|post| post.body.to_string().matches(&needle).count())
        .sum()
}

/// Waits until so many copies are told, which `drained` does not look at, and returns the ledger.
async fn copied(relay: &Running, copies: u64) -> Value {
    let told = async {
        loop {
            let ledger = relay.ledger().await;
            if ledger["copies"]["platform"]["delivered"] == copies {
                return ledger;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.expect("the copies are told")
}

async fn delete(relay: &Running, id: &str) {
    relay
        .post("/webhook", list("alice", "delete", ids(id, 1)))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn critical_events_of_a_parked_channel_are_told_in_its_fallback_once_and_marked() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options {
        message_interval: Duration::from_millis(100),
        ..Options::default()
    })
    .await;
    slack.change_channel("CSECURITY", |channel| channel.archived = true);
    let mut relay = relay(folder.path(), &slack, CONFIG);
    delete(&relay, "first").await;
    relay
        .post("/webhook", list("alice", "get", ids("info", 3)))
        .await;
    posted(&slack, "CPLATFORM", "first-0").await;
    // One that comes while the channel rests.
    delete(&relay, "second").await;
    posted(&slack, "CPLATFORM", "second-0").await;
    let metrics = relay.get("/metrics").await.1;
    assert_eq!(
        metric(&metrics, "auditrelay_parked_total{channel=\"security\"}"),
        1.0
    );
    assert_eq!(
        metric(
            &metrics,
            "auditrelay_lane_state{channel=\"security\",state=\"parked\"}"
        ),
        1.0
    );
    let text = slack.posts()[0].body.to_string();
    assert!(
        text.contains("security"),
        "it does not say what it was meant for: {text}"
    );
    assert_eq!(
        copies(&slack, "CPLATFORM", "info-0"),
        0,
        "what is not critical was copied"
    );
    // A restart copies nothing again.
    relay.signal("-TERM");
    relay.wait().await;
    let logs = relay.all_logs();
    assert_eq!(logs.matches("the channel is parked").count(), 1, "{logs}");
    assert!(
        logs.contains("is_archived") && logs.contains("unarchive the channel"),
        "{logs}"
    );
    let relay = crate::relay(folder.path(), &slack, CONFIG);
    delete(&relay, "third").await;
    posted(&slack, "CPLATFORM", "third-0").await;
    slack.change_channel("CSECURITY", |channel| channel.archived = false);
    relay.drained().await;
    let ledger = copied(&relay, 3).await;
    for id in ["first-0", "second-0", "third-0"] {
        let found = (
            copies(&slack, "CSECURITY", id),
            copies(&slack, "CPLATFORM", id),
        );
        assert_eq!(found, (1, 1), "{id}");
    }
    assert_eq!(
        ledger["channels"]["security"]["delivered"],
        json!(6),
        "{ledger}"
    );
    assert_eq!(ledger["balanced"], true);
}
