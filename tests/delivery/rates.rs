//! Slack's rate limits: whom a 429 holds and for how long, and how much of a workspace's budget is used.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, Limits, LocalSlack, Options, Outcome};

use crate::{
    relay, started,
    support::{PATIENCE, Running, ids, list, metric},
    until,
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 6000 }
channels:
  a: { slack_channel: CAAAA, message_interval_milliseconds: 100 }
  b: { slack_channel: CBBBB, message_interval_milliseconds: 100 }
  c: { slack_channel: CCCCC, message_interval_milliseconds: 100 }
  other: { slack_channel: COTHER, token: xoxb-other, message_interval_milliseconds: 100 }
default_channel: c
routes:
  - { name: a, channel: a, users: [a] }
  - { name: b, channel: b, users: [b] }
  - { name: c, channel: c, users: [c] }
  - { name: other, channel: other, users: [other] }
";

async fn quick() -> LocalSlack {
    started(Options {
        message_interval: Duration::from_millis(50),
        limits: Limits::none(),
        ..Options::default()
    })
    .await
}

async fn one(relay: &Running, user: &str, id: &str) {
    let body = list(user, "delete", ids(id, 1));
    assert_eq!(relay.post("/webhook", body).await.0, 200);
}

/// When each message for the channel was tried, and what came of it.
fn attempts(slack: &LocalSlack, channel: &str) -> Vec<(u64, Outcome)> {
    let attempts = slack.attempts().into_iter();
    attempts
        .filter(|one| one.method == "chat.postMessage" && one.channel.as_deref() == Some(channel))
        .map(|one| (one.elapsed_ms, one.outcome))
        .collect()
}

fn posted(slack: &LocalSlack, channel: &str) -> Vec<u64> {
    let posts = slack.posts().into_iter();
    let own = posts.filter(|post| post.channel == channel);
    own.map(|post| post.elapsed_ms).collect()
}

async fn logged(relay: &mut Running, words: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !relay.logs().contains(words) {
        assert!(tokio::time::Instant::now() < deadline, "{}", relay.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_holds_its_channel_and_a_second_ones_all_of_the_token() {
    const ALL_HELD: &str = "all channels of this token are held";
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let mut relay = relay(folder.path(), &slack, CONFIG);
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 9 }).on("CAAAA"));
    one(&relay, "a", "a1").await;
    logged(&mut relay, "Slack asks to wait for 9 s").await;
    // One channel's limit is nothing to the others.
    one(&relay, "c", "c1").await;
    until("c", || posted(&slack, "CCCCC").len() == 1).await;
    assert_eq!(attempts(&slack, "CAAAA").len(), 1);
    assert!(!relay.logs().contains(ALL_HELD));
    // A second one's is; the shorter of the two does not end the longer.
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 1 }).on("CBBBB"));
    one(&relay, "b", "b1").await;
    logged(&mut relay, ALL_HELD).await;
    one(&relay, "c", "c2").await;
    one(&relay, "other", "other1").await;
    relay.drained().await;
    let limited = attempts(&slack, "CAAAA")[0].0;
    let end = limited + 9_000;
    for (channel, last) in [("CAAAA", 0), ("CBBBB", 0), ("CCCCC", 1)] {
        let at = posted(&slack, channel)[last];
        assert!(at >= end, "{channel}: {} ms too early", end - at);
    }
    let other = posted(&slack, "COTHER")[0];
    assert!(other < end, "another token's channel was held");
    // Nobody asked again before it was time.
    for channel in ["CAAAA", "CBBBB"] {
        let attempts = attempts(&slack, channel);
        assert_eq!(attempts.len(), 2, "{channel}: {attempts:?}");
    }
    let metrics = relay.get("/metrics").await.1;
    for (channel, seconds) in [("a", 9.0), ("b", 1.0), ("c", 0.0), ("other", 0.0)] {
        let series = format!("auditrelay_retry_after_seconds{{channel=\"{channel}\"}}");
        assert_eq!(metric(&metrics, &series), seconds, "{channel}");
        let series = format!("auditrelay_posts_total{{channel=\"{channel}\",outcome=\"later\"}}");
        let later = f64::from(u8::from(seconds > 0.0));
        assert_eq!(metric(&metrics, &series), later, "{channel}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_retry_after_is_waited_for_and_without_one_the_channel_backs_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    for effect in [
        Effect::RetryAfterMissing,
        Effect::RetryAfterMissing,
        Effect::RetryAfter { seconds: 3 },
        Effect::RetryAfter { seconds: 1 },
    ] {
        slack.inject(Fault::new(effect));
    }
    let relay = relay(folder.path(), &slack, CONFIG);
    one(&relay, "a", "a").await;
    relay.drained().await;
    let attempts = attempts(&slack, "CAAAA");
    let gaps: Vec<u64> = attempts
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    // Without the header: a second, then two, spread by 30 %.
    for (gap, least) in gaps.iter().zip([700, 1_400, 3_000, 1_000]) {
        assert!(*gap >= least, "{gaps:?}");
    }
    assert_eq!(gaps.len(), 4, "{attempts:?}");
}

/// Slack's minute takes a quarter of one here, and so does the relay's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_use_what_their_workspace_may_and_no_more() {
    const PER_SECOND: u64 = 16;
    const BURST: usize = 16;
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options {
        time_scale: 4,
        ..Options::default()
    })
    .await;
    let mut config = format!(
        "slack: {{ token: xoxb-test, api_url: API_URL, messages_per_minute: {} }}\n\
         default_channel: n0\nchannels:\n",
        60 * PER_SECOND
    );
    let mut routes = String::from("routes:\n");
    for n in 0..10 {
        config.push_str(&format!(
            "  n{n}: {{ slack_channel: CN{n}, message_events_max: 1, message_interval_milliseconds: 260 }}\n"
        ));
        routes.push_str(&format!(
            "  - {{ name: n{n}, channel: n{n}, users: [user{n}] }}\n"
        ));
    }
    let relay = relay(folder.path(), &slack, &(config + &routes));
    for n in 0..10 {
        let body = list(&format!("user{n}"), "delete", ids(&format!("n{n}"), 50));
        assert_eq!(relay.post("/webhook", body).await.0, 200);
    }
    let (first, messages) = (2 * BURST, 240);
    until("enough", || slack.posts().len() > first + messages).await;
    let at: Vec<u64> = slack.posts().iter().map(|post| post.elapsed_ms).collect();
    let took_ms = at[first + messages] - at[first];
    let used = messages as f64 * 1_000.0 / (took_ms * PER_SECOND) as f64;
    println!("used {used:.3} of the workspace's rate over {took_ms} ms");
    assert!(used >= 0.98, "used {used:.3} of the workspace's rate");
    // In no quarter of a minute more than is allowed and the burst.
    let most = at
        .iter()
        .map(|start| {
            let within = at
                .iter()
                .filter(|one| (*start..*start + 15_000).contains(one));
            within.count()
        })
        .max();
    let allowed = (15 * PER_SECOND) as usize + BURST;
    assert!(most <= Some(allowed + 1), "{most:?} of {allowed}");
    let limited = slack.attempts().into_iter();
    let limited = limited.filter(|one| matches!(one.outcome, Outcome::RateLimited { .. }));
    assert_eq!(limited.count(), 0);
    // Each had its share.
    for n in 0..10 {
        let own = posted(&slack, &format!("CN{n}")).len();
        assert!(own >= messages / 20, "channel {n}: {own}");
    }
}
