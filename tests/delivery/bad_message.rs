//! A message that Slack refuses for its content: only what makes it impossible is buried.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, Limits, LocalSlack, Options, StatusCode};
use serde_json::json;

use crate::{
    relay, started,
    support::{PATIENCE, ids, list, metric, told},
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 6000 }
channels: { a: { slack_channel: CAAAA, message_interval_milliseconds: 100 } }
";

/// A Slack that takes ten messages a second and channel, and counts nothing else.
async fn quick() -> LocalSlack {
    started(Options {
        message_interval: Duration::from_millis(100),
        limits: Limits::none(),
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_halved_until_the_one_event_that_slack_refuses_is_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let code = "invalid_blocks".to_owned();
    let poison = Fault::new(Effect::Error { code })
        .containing("poison")
        .times(1_000);
    slack.inject(poison);
    let mut relay = relay(folder.path(), &slack, CONFIG);
    for n in 0..20 {
        let user = if n == 13 {
            "poison".to_owned()
        } else {
            format!("user{n}")
        };
        let events = if n == 13 { 1 } else { 5 };
        relay
            .post(
                "/webhook",
                list(&user, "delete", ids(&format!("u{n}"), events)),
            )
            .await;
    }
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["a"];
    assert_eq!(
        (&counts["dead"], &counts["delivered"]),
        (&json!(1), &json!(95)),
        "{ledger}"
    );
    assert_eq!(ledger["balanced"], true);
    assert!(slack.duplicates().is_empty());
    let logs = relay.logs();
    assert!(logs.contains("half of its events are tried next"), "{logs}");
    // The channel is as it was.
    relay
        .post("/webhook", list("next", "delete", ids("next", 30)))
        .await;
    relay.drained().await;
    let last = slack.posts().pop().expect("a post");
    assert!(last.text.contains("30 audit events"), "{}", last.text);
    let (_, marked) = told(&slack);
    assert!(marked.is_empty(), "{marked:?}");
}

/// A proxy, or Slack, that always answers 502 to one event: nobody knows whether it was posted, and the others must not
/// wait for it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_whose_fate_stays_open_for_ever_leaves_the_others_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let status = StatusCode::BAD_GATEWAY;
    let poison = Fault::new(Effect::HttpStatus { status }).containing("poison");
    slack.inject(poison.times(1_000));
    let config = "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 6000, lookups_per_minute: 600 }
channels:
  a: { slack_channel: CAAAA, message_interval_milliseconds: 100, retry_max_seconds: 1, park_retry_seconds: 1, fallback: b }
  b: { slack_channel: CBBBB, message_interval_milliseconds: 100 }
default_channel: a
routes:
  - { name: gets, channel: b, verbs: [get] }
  - { name: rest, channel: a }
";
    let relay = relay(folder.path(), &slack, config);
    relay
        .post("/webhook", list("poison", "delete", ids("bad", 1)))
        .await;
    relay
        .post("/webhook", list("alice", "delete", ids("good", 1)))
        .await;
    // Slack takes messages meanwhile, so it is not Slack.
    for n in 0..200 {
        relay
            .post("/webhook", list("bob", "get", ids(&format!("b-{n}"), 1)))
            .await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        if relay.ledger().await["channels"]["a"]["waiting"] == 0 {
            break;
        }
    }
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["a"];
    assert_eq!(
        (&counts["dead"], &counts["delivered"]),
        (&json!(1), &json!(1)),
        "{ledger}"
    );
    let (plain, marked) = told(&slack);
    assert!(!plain.contains_key("bad-0") && !marked.contains_key("bad-0"));
}

/// Everything is answered 502, and nothing else tells whether it is the message or Slack.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_takes_no_message_apart_and_buries_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let status = StatusCode::BAD_GATEWAY;
    slack.inject(Fault::new(Effect::HttpStatus { status }).times(10));
    let config = CONFIG.replace(
        "message_interval_milliseconds: 100",
        "message_interval_milliseconds: 100, retry_max_seconds: 1, park_retry_seconds: 1",
    );
    let relay = relay(folder.path(), &slack, &config);
    relay
        .post("/webhook", list("alice", "delete", ids("e", 3)))
        .await;
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["a"];
    assert_eq!(
        (&counts["dead"], &counts["delivered"]),
        (&json!(0), &json!(3)),
        "{ledger}"
    );
    let posts = slack.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert!(posts[0].body["blocks"].is_array(), "{posts:?}");
    let (plain, marked) = told(&slack);
    assert_eq!((plain.len(), marked.len()), (3, 0));
    let metrics = relay.get("/metrics").await.1;
    assert_eq!(
        metric(&metrics, "auditrelay_parked_total{channel=\"a\"}"),
        1.0
    );
}

/// A proxy that spoils every request: it is not the messages, and they must not all become dead letters.
#[tokio::test(flavor = "multi_thread")]
async fn where_every_message_is_refused_the_channel_is_parked_after_five_dead_letters() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let code = "invalid_form_data".to_owned();
    slack.inject(Fault::new(Effect::Error { code }).times(100_000));
    let config = CONFIG.replace(
        "message_interval_milliseconds: 100",
        "message_interval_milliseconds: 100, park_retry_seconds: 1",
    );
    let relay = relay(folder.path(), &slack, &config);
    relay
        .post("/webhook", list("alice", "delete", ids("e", 10)))
        .await;
    let parked = "auditrelay_parked_total{channel=\"a\"}";
    let is_parked = async {
        while metric(&relay.get("/metrics").await.1, parked) < 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, is_parked).await;
    assert!(in_time.is_ok(), "not parked: {}", relay.ledger().await);
    // It tries again and again meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let counts = relay.ledger().await["channels"]["a"].clone();
    assert_eq!(
        (&counts["dead"], &counts["waiting"]),
        (&json!(5), &json!(5))
    );
    slack.reset();
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["a"];
    assert_eq!(
        (&counts["dead"], &counts["delivered"]),
        (&json!(5), &json!(5)),
        "{ledger}"
    );
}
