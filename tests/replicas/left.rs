//! What a relay that leads leaves to whoever leads next: what Slack asked it to wait for, and how long its requests may
//! still be under way.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use auditrelay_store::jetstream::{JetStream, Requests};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    Bench, Keys, post, status,
    support::{PATIENCE, ids, list},
    until_leads,
};

const SECOND: Duration = Duration::from_secs(1);

/// Messages that were tried to be posted.
fn attempts(slack: &LocalSlack) -> usize {
    let attempts = slack.attempts().into_iter();
    let posts = attempts.filter(|one| one.method == "chat.postMessage");
    posts.count()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// How many places Slack asked to be left alone, as it is kept for the next one.
async fn held_places(servers: &JetStream) -> usize {
    let kept = servers.kept("holds").await.expect("an answer");
    let holds: Value = kept.map_or(Value::Null, |kept| {
        serde_json::from_slice(&kept).expect("JSON")
    });
    holds["places"].as_object().map_or(0, |places| places.len())
}

fn asks_to_wait(slack: &LocalSlack, channel: &str) {
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 300 }).on(channel));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_the_next_one_waits_for_what_slack_asked_the_one_before() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let servers = JetStream::connect_when_there(&bench.options()).await;
    let servers = servers.expect("connected");
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    asks_to_wait(&bench.slack, "COPS");
    post(&one, &ids("a", 2).collect::<Vec<_>>()).await;
    until("it is kept", async || held_places(&servers).await == 1).await;
    assert_eq!(attempts(&bench.slack), 1);
    one.kill();
    let two = bench.replica("two");
    until_leads(&two, PATIENCE).await;
    until("the hold is shown", async || {
        let lane = &status(&two).await["channels"]["ops"]["lane"];
        lane["next_try_unix_ms"].is_i64()
    })
    .await;
    assert_eq!(attempts(&bench.slack), 1, "posted while it was to wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_asks_for_at_the_end_is_kept_before_another_one_leads() {
    let routes = "default_channel: ops
routes:
- {name: alice, users: [alice], channel: ops}
- {name: bob, users: [bob], channel: sec}";
    let Some(bench) = Bench::start(routes).await else {
        return;
    };
    let bench = bench.with(Keys {
        slack: ", timeout_seconds: 60",
        channels: ", sec: {slack_channel: CSEC, message_interval_milliseconds: 100}",
        ..Keys::default()
    });
    let servers = JetStream::connect_when_there(&bench.options()).await;
    let servers = servers.expect("connected");
    let mut one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    asks_to_wait(&bench.slack, "COPS");
    asks_to_wait(&bench.slack, "CSEC");
    post(&one, &ids("a", 1).collect::<Vec<_>>()).await;
    until("the first hold", async || attempts(&bench.slack) == 1).await;
    // What is kept is kept twice a second at the most: the second one comes too soon for that.
    let bob = list("bob", "get", ids("b", 1));
    assert_eq!(one.post("/webhook", bob).await.0, 200);
    until("the second hold", async || attempts(&bench.slack) == 2).await;
    one.signal("-TERM");
    let led = servers.lead("next").await.expect("the lease");
    assert_eq!(held_places(&servers).await, 2, "it came too late");
    assert!(one.wait().await.success(), "{}", one.all_logs());
    // Its last request may have begun just before: slack.timeout_seconds, and not what is left of them after a lease.
    let requests = led.others_requests();
    assert_eq!(requests, 60 * SECOND);
}

/// Posts one message that never comes to Slack, and is killed meanwhile.
async fn dies_while_it_posts(bench: &Bench) {
    let one = bench.replica("one");
    until_leads(&one, PATIENCE).await;
    let hangs = Effect::HangBeforeStoring {
        milliseconds: 60_000,
    };
    bench.slack.inject(Fault::new(hangs).times(1_000));
    post(&one, &ids("a", 1).collect::<Vec<_>>()).await;
    until("an attempt", async || attempts(&bench.slack) > 0).await;
    one.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_repeats_nothing_while_a_request_of_those_before_may_be_under_way() {
    let Some(bench) = Bench::start("").await else {
        return;
    };
    let bench = bench.with(Keys {
        slack: ", timeout_seconds: 3",
        ..Keys::default()
    });
    let servers = JetStream::connect_when_there(&bench.options()).await;
    let servers = servers.expect("connected");
    dies_while_it_posts(&bench).await;
    // As one whose requests may take longer than those of the relays here.
    let slow = Requests::new(|| 6 * SECOND, Duration::ZERO);
    let led = servers.lead_with("slow", slow).await.expect("the lease");
    // A third of the lease before its end, which is two seconds, the last request was begun.
    let requests = led.others_requests();
    assert!(requests == SECOND, "{requests:?}");
    let two = bench.replica("two");
    let before = attempts(&bench.slack);
    let resigned = Instant::now();
    led.resign().await;
    until("it is repeated", async || attempts(&bench.slack) > before).await;
    let waited = resigned.elapsed();
    assert!(waited >= 6 * SECOND, "repeated after {waited:?}");
    drop(two);
}
