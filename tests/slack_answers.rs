//! What Slack answers, and what the relay does about it: over HTTP, with the real binary.

mod support;

use std::{fs, time::Duration};

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack, Outcome};
use serde_json::json;
use support::{Running, drop_in, ids, list, slack};

const SECOND: Duration = Duration::from_secs(1);

const TWO_CHANNELS: &str = "
slack: { token: xoxb-test, api_url: API_URL }
channels:
  held: { slack_channel: CHELD }
  free: { slack_channel: CFREE }
default_channel: free
routes:
  - { name: deletes, channel: held, severity: critical, verbs: [delete] }
  - { name: rest, channel: free }
";

fn posting(slack: &LocalSlack) -> usize {
    let attempts = slack.attempts().into_iter();
    attempts
        .filter(|attempt| attempt.method == "chat.postMessage")
        .count()
}

/// What cannot be looked up is repeated.
fn without_history(slack: &LocalSlack) {
    slack.change_token("xoxb-test", |token| {
        token.scopes.retain(|scope| !scope.ends_with(":history"));
    });
}

fn attempts_on(slack: &LocalSlack, channel: &str) -> Vec<(u64, Outcome)> {
    let attempts = slack.attempts().into_iter();
    attempts
        .filter(|attempt| attempt.method == "chat.postMessage")
        .filter(|attempt| attempt.channel.as_deref() == Some(channel))
        .map(|attempt| (attempt.elapsed_ms, attempt.outcome))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_holds_that_channel_for_so_long_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(SECOND).await;
    fs::write(
        folder.path().join("c.yaml"),
        TWO_CHANNELS.replace("API_URL", &slack.api_url()),
    )
    .expect("written");
    let relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 7 }).on("CHELD"));
    relay
        .post("/webhook", list("alice", "delete", ids("held", 1)))
        .await;
    for n in 0..4 {
        relay
            .post(
                "/webhook",
                list("alice", "get", ids(&format!("free-{n}"), 1)),
            )
            .await;
        tokio::time::sleep(SECOND).await;
    }
    relay.drained().await;
    let held = attempts_on(&slack, "CHELD");
    assert!(
        matches!(
            held[0].1,
            Outcome::RateLimited {
                retry_after_seconds: 7
            }
        ),
        "{held:?}"
    );
    assert_eq!(held.len(), 2, "tried again too early: {held:?}");
    assert!(matches!(held[1].1, Outcome::Accepted { .. }), "{held:?}");
    let waited_ms = held[1].0 - held[0].0;
    assert!((6_900..20_000).contains(&waited_ms), "{waited_ms} ms");
    let free = attempts_on(&slack, "CFREE");
    let meanwhile = free
        .iter()
        .filter(|(at, _)| *at < held[1].0 - 1_000)
        .count();
    assert!(
        meanwhile >= 3,
        "the other channel waited too: {free:?} {held:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_channel_parks_alone_is_told_once_and_recovers() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::from_millis(100)).await;
    let config = TWO_CHANNELS.replace("API_URL", &slack.api_url()).replace(
        "slack_channel: CHELD",
        "slack_channel: CHELD, park_retry_seconds: 1, message_interval_milliseconds: 100",
    );
    fs::write(folder.path().join("c.yaml"), config).expect("written");
    let mut relay = Running::start(folder.path(), &[], &["--config", "c.yaml"]);
    let archived = Effect::Error {
        code: "is_archived".into(),
    };
    slack.inject(Fault::new(archived).on("CHELD").times(3));
    relay
        .post("/webhook", list("alice", "delete", ids("held", 5)))
        .await;
    relay
        .post("/webhook", list("alice", "get", ids("free", 5)))
        .await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["held"]["delivered"], 5);
    assert_eq!(ledger["channels"]["free"]["delivered"], 5);
    let logs = relay.logs();
    assert_eq!(logs.matches("the channel is parked").count(), 1, "{logs}");
    assert!(
        logs.contains("is_archived") && logs.contains("takes messages again"),
        "{logs}"
    );
    assert!(!logs.contains("xoxb"), "a token in the logs");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_got_lost_repeats_the_same_message_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::from_millis(100)).await;
    without_history(&slack);
    slack.inject(Fault::new(Effect::CloseAfterStoring));
    let relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    relay
        .post("/webhook", list("alice", "delete", ids("a", 2)))
        .await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["default"]["delivered"], 2);
    let posts = slack.posts();
    assert_eq!(posts.len(), 2);
    assert!(
        !posts[0].text.contains("Possibly repeated")
            && posts[1].text.contains("\n⚠ Possibly repeated")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_slack_refuses_goes_as_plain_text_or_is_buried_and_the_next_one_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::from_millis(100)).await;
    let invalid = || {
        Fault::new(Effect::Error {
            code: "invalid_blocks".into(),
        })
    };
    slack.inject(invalid());
    let relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    relay
        .post("/webhook", list("alice", "delete", ids("plain", 2)))
        .await;
    relay.drained().await;
    slack.inject(invalid().times(2));
    relay
        .post("/webhook", list("alice", "delete", ids("never", 1)))
        .await;
    relay.drained().await;
    relay
        .post("/webhook", list("alice", "delete", ids("next", 1)))
        .await;
    let ledger = relay.drained().await;
    let counts = &ledger["channels"]["default"];
    assert_eq!(
        (&counts["dead"], &counts["delivered"]),
        (&json!(1), &json!(3)),
        "{ledger}"
    );
    assert_eq!(ledger["balanced"], true);
    let posts = slack.posts();
    assert!(posts[0].body.get("blocks").is_none() && posts[0].text.lines().count() == 2);
    assert!(posts[1].body["blocks"].is_array(), "{posts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_that_is_put_off_is_still_the_same_message_and_marked() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Duration::from_millis(100)).await;
    without_history(&slack);
    slack.inject(Fault::new(Effect::CloseAfterStoring));
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 2 }));
    let relay = Running::start(folder.path(), &drop_in(&slack.api_url()), &[]);
    relay
        .post("/webhook", list("alice", "delete", ids("a", 2)))
        .await;
    while posting(&slack) < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    relay
        .post("/webhook", list("alice", "delete", ids("later", 1)))
        .await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["default"]["delivered"], 3);
    let texts: Vec<String> = slack.posts().into_iter().map(|post| post.text).collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[1].contains("\n⚠ Possibly repeated"), "{texts:?}");
    assert_eq!(
        texts[1].lines().count(),
        3,
        "other events among the repeated ones: {texts:?}"
    );
    assert!(!texts[2].contains("Possibly repeated"), "{texts:?}");
}
