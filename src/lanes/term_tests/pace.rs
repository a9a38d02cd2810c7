//! Slack's pace and what it asked for, from one leader to the next.

use std::time::Duration;

use auditrelay_dispatch::Holds;
use auditrelay_loadtest::slack::{Effect, Fault, Limits, LocalSlack, Options, Outcome};
use tokio::time::{Instant, sleep};

use super::{Leader, SECOND, before::SlowProxy, config, lasting, slack, until};

/// As long as a request may take: whoever leads next waits for none of the one before.
const MARGIN: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(500);

/// Takes whatever comes: when it comes is not Slack's to judge on a busy machine.
async fn patient() -> LocalSlack {
    let options = Options {
        message_interval: Duration::ZERO,
        limits: Limits::none(),
        ..Options::default()
    };
    slack(options).await
}

fn refused(slack: &LocalSlack) -> Vec<u64> {
    let limited = |outcome: &Outcome| matches!(outcome, Outcome::RateLimited { .. });
    let attempts = slack.attempts().into_iter();
    let refused = attempts.filter(|one| limited(&one.outcome));
    refused.map(|one| one.elapsed_ms).collect()
}

/// Leaders that follow each other as fast as they can, with always something to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_next_exceeds_no_pace_that_the_one_before_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options {
        limits: Limits::none(),
        ..Options::default()
    })
    .await;
    let config = config(
        &slack,
        "
slack: { token: xoxb-test, api_url: API_URL, timeout_seconds: 20 }
channels: { a: { slack_channel: CAAAA } }
default_channel: a
",
    );
    for n in 0..3 {
        let (holder, term) = lasting(60 * SECOND, MARGIN);
        let leader = Leader::begin(folder.path(), &config, term, Holds::default()).await;
        leader.append(n).await;
        leader.until_delivered(n + 1).await;
        // Not at a moment that the pace would have chosen.
        drop(holder);
        leader.ended().await;
    }
    assert_eq!(slack.posts().len(), 3);
    assert!(refused(&slack).is_empty(), "{:?}", slack.attempts());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_slack_asked_one_leader_to_wait_for_the_next_one_waits_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    let config = config(
        &slack,
        "
slack: { token: xoxb-test, api_url: API_URL, timeout_seconds: 20 }
channels: { a: { slack_channel: CAAAA, message_interval_milliseconds: 100 } }
default_channel: a
",
    );
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 8 }));
    let (holder, term) = lasting(60 * SECOND, MARGIN);
    let leader = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    leader.append(1).await;
    let mut told = leader.book.subscribe();
    until("noted", || !told.borrow_and_update().is_empty()).await;
    let kept = serde_json::to_string(&*told.borrow()).expect("written");
    assert!(!kept.contains("xoxb"), "{kept}");
    drop(holder);
    let lanes = leader.lanes.await.expect("no panic");
    lanes.expect("no error");
    leader.stop.send_replace(true);
    leader.router.await.expect("no panic").expect("no error");
    drop(leader.queue);
    let (_holder, term) = lasting(60 * SECOND, MARGIN);
    let holds = serde_json::from_str(&kept).expect("read");
    let next = Leader::begin(folder.path(), &config, term, holds).await;
    let shown = || {
        let lanes = next.metrics.board.lanes();
        lanes
            .get("a")
            .is_some_and(|lane| lane.next_try_unix_ms.is_some())
    };
    until("its hold is shown", shown).await;
    next.until_delivered(1).await;
    let refused = refused(&slack);
    let accepted = slack.posts()[0].elapsed_ms;
    assert_eq!(refused.len(), 1, "posted while Slack asked to wait");
    assert!(accepted - refused[0] >= 8_000, "{accepted} {refused:?}");
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pace_counts_from_when_a_message_left_however_long_it_took_to_connect() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = patient().await;
    let mut proxy = SlowProxy::start(&slack).await;
    let text = "
slack: { token: xoxb-test, api_url: API_URL, proxy: PROXY, timeout_seconds: 20 }
channels: { a: { slack_channel: CAAAA, message_interval_milliseconds: 500 } }
default_channel: a
";
    let config = config(&slack, &text.replace("PROXY", &proxy.url));
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let leader = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    leader.append(1).await;
    let first = proxy.next().await;
    // Since its turn the next one could go.
    sleep(INTERVAL).await;
    leader.append(2).await;
    let left_after = Instant::now();
    first.go_on.send(()).expect("it waits");
    proxy.open();
    leader.until_delivered(2).await;
    let took = left_after.elapsed();
    assert!(took >= INTERVAL, "two messages within {took:?}");
    assert_eq!(slack.posts().len(), 2);
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_two_lanes_of_a_place_that_left_late_do_not_leave_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = patient().await;
    let mut proxy = SlowProxy::start(&slack).await;
    let text = "
slack: { token: xoxb-test, api_url: API_URL, proxy: PROXY, timeout_seconds: 20 }
channels:
  a: { slack_channel: CAAAA, message_interval_milliseconds: 500 }
  b: { slack_channel: CAAAA, message_interval_milliseconds: 500 }
default_channel: a
routes:
  - { name: ones, channel: b, users: [u1] }
  - { name: rest, channel: a }
";
    let config = config(&slack, &text.replace("PROXY", &proxy.url));
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let leader = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    leader.append(1).await;
    let first = proxy.next().await;
    leader.append(2).await;
    let second = proxy.next().await;
    let left_after = Instant::now();
    for one in [first, second] {
        one.go_on.send(()).expect("it waits");
    }
    proxy.open();
    until("both are posted", || slack.posts().len() == 2).await;
    let took = left_after.elapsed();
    assert!(took >= INTERVAL, "two messages within {took:?}");
    leader.until_delivered(1).await;
    // It was not for anybody's fault that one waited.
    assert_eq!(leader.posts("later") + leader.posts("unknown"), 0);
    assert_eq!(leader.metrics.board.incidents(), []);
    leader.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_wait_for_the_lease_take_their_turns_when_it_lasts_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = patient().await;
    let config = config(
        &slack,
        "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 60 }
channels: { a: { slack_channel: CAAAA }, b: { slack_channel: CBBBB } }
default_channel: a
routes:
  - { name: ones, channel: b, users: [u1] }
  - { name: rest, channel: a }
",
    );
    let (holder, term) = lasting(30 * SECOND, 40 * SECOND);
    let leader = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    leader.append(1).await;
    leader.append(2).await;
    // For as long as both turns take.
    sleep(3 * SECOND / 2).await;
    assert_eq!(slack.posts().len(), 0);
    let renewed = Instant::now();
    holder.extend(Instant::now() + 60 * SECOND);
    until("both are posted", || slack.posts().len() == 2).await;
    let took = renewed.elapsed();
    assert!(took >= SECOND, "two messages of a token within {took:?}");
    leader.until_delivered(1).await;
    leader.stop().await;
}
