//! How much of Slack's pace is used, and how soon the critical comes through.

use std::time::Duration;

use auditrelay_loadtest::slack::{LocalSlack, Options, Outcome};

use crate::{
    from_env, measured, relay, started,
    support::{PATIENCE, Running, ids, list},
};

/// Posts so many events in lists of 2,000.
async fn feed(relay: &Running, verb: &str, events: usize) {
    let mut left = events;
    while left > 0 {
        let now = left.min(2_000);
        let body = list("alice", verb, ids(&format!("{verb}-{left}"), now));
        assert_eq!(relay.post("/webhook", body).await.0, 200);
        left -= now;
    }
}

/// Waits until so many events are routed.
async fn routed(relay: &Running, events: usize) {
    loop {
        let ledger = relay.ledger().await;
        if ledger["waiting"] == 0 && ledger["channels"]["a"]["routed"] == events {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn refused(slack: &LocalSlack) -> usize {
    let limited = |outcome: &Outcome| matches!(outcome, Outcome::RateLimited { .. });
    let attempts = slack.attempts().into_iter();
    attempts.filter(|attempt| limited(&attempt.outcome)).count()
}

/// Over 60 s with `AUDITRELAY_PACE_MESSAGES=60`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_uses_the_pace_and_provokes_no_refusal() {
    let messages = from_env("AUDITRELAY_PACE_MESSAGES", 12);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options::default()).await;
    let relay = relay(
        folder.path(),
        &slack,
        "
slack: { token: xoxb-test, api_url: API_URL }
channels: { a: { slack_channel: CAAAA, message_events_max: 1000 } }
",
    );
    feed(&relay, "get", 1_000 * (messages + 10)).await;
    let first = slack.posts().len();
    while slack.posts().len() < first + messages + 4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first few tell the lane how long a message takes to prepare.
    let posts = &slack.posts()[first + 3..];
    let took_ms = posts[messages].elapsed_ms - posts[0].elapsed_ms;
    let used = messages as f64 * 1_000.0 / took_ms as f64;
    measured(&format!(
        "used {used:.3} of the allowed rate over {messages} messages of 1,000 events"
    ));
    assert!(used >= 0.98, "used {used:.3} of the allowed rate");
    assert_eq!(refused(&slack), 0);
}

/// The whole size is 100,000 (`AUDITRELAY_PRIORITY_EVENTS=100000`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_critical_event_overtakes_everything_that_waits() {
    let events = from_env("AUDITRELAY_PRIORITY_EVENTS", 20_000);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options::default()).await;
    let relay = relay(
        folder.path(),
        &slack,
        "
slack: { token: xoxb-test, api_url: API_URL }
channels: { a: { slack_channel: CAAAA, message_events_max: 500 } }
routes:
  - { name: deletes, channel: a, severity: critical, verbs: [delete] }
  - { name: rest, channel: a }
",
    );
    feed(&relay, "get", events).await;
    routed(&relay, events).await;
    // Whatever moment of the pace they meet.
    for n in 0..3 {
        let before = slack.posts().len();
        let body = list("mallory", "delete", ids(&format!("critical-{n}"), 1));
        relay.post("/webhook", body).await;
        let sent = tokio::time::Instant::now();
        routed(&relay, events + n + 1).await;
        // What was leased before goes before it: one message.
        let last = slack.posts().len() + 1;
        let told = || {
            let posts = slack.posts();
            let mut since = posts.iter().skip(before);
            let at = since.position(|post| post.body.to_string().contains("mallory"));
            (at.map(|at| before + at), posts.len())
        };
        let at = loop {
            match told() {
                (Some(at), _) => break at,
                (None, posts) => assert!(posts <= last, "it waits behind {posts} messages"),
            }
            assert!(sent.elapsed() < PATIENCE, "nothing is posted any more");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert!(at <= last, "it waited behind {at} messages, not {last}");
        measured(&format!(
            "a critical event was posted {:?} after it was sent",
            sent.elapsed()
        ));
        tokio::time::sleep(Duration::from_millis(300 * n as u64)).await;
    }
    assert!(
        relay.ledger().await["channels"]["a"]["waiting"].as_u64() > Some(0),
        "nothing waited"
    );
}
