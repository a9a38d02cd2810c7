//! A term that ends when a message has left: it is not acked, and whoever leads next finds out.

use auditrelay_dispatch::Holds;
use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack, Options, Via};
use auditrelay_store::Queue;

use super::{Leader, PATIENCE, SECOND, attempts, config, lasting, slack, until};
use std::time::Duration;
use tokio::time::timeout;

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, timeout_seconds: 20 }
channels: { a: { slack_channel: CAAAA, message_interval_milliseconds: 100 } }
default_channel: a
";

/// An answer that comes when nobody waits for it any more.
const NEVER: Effect = Effect::Delay {
    milliseconds: 60_000,
};

/// Posts one message, whose answer is late, and loses its lease meanwhile.
async fn loses_its_lease(folder: &std::path::Path, slack: &LocalSlack, text: &str, effect: Effect) {
    slack.inject(Fault::new(effect));
    let (holder, term) = lasting(60 * SECOND, SECOND);
    let leader = Leader::begin(folder, &config(slack, text), term, Holds::default()).await;
    leader.append(1).await;
    until("posted", || attempts(slack) == 1).await;
    drop(holder);
    let metrics = leader.metrics.clone();
    let (ledger, resumed) = leader.ended().await;
    assert_eq!(ledger.channels["a"].delivered, 0, "acked without a lease");
    assert!(resumed, "given back without a lease");
    let posts = |outcome| metrics.posts.with_label_values(&["a", outcome]).get();
    assert_eq!((posts("unknown"), posts("accepted")), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_posted_when_the_lease_ended_is_not_acked_and_found_by_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    loses_its_lease(folder.path(), &slack, CONFIG, NEVER).await;
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let next = Leader::begin(
        folder.path(),
        &config(&slack, CONFIG),
        term,
        Holds::default(),
    )
    .await;
    next.until_delivered(1).await;
    assert_eq!((next.looks("found"), next.posts("accepted")), (1, 0));
    assert_eq!(attempts(&slack), 1, "repeated");
    next.stop().await;
}

/// Slack has the request, and stores the message after whoever leads next has looked for the first time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_to_the_channel_late_is_looked_for_until_it_can_not_come_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    // It comes five seconds after it was sent, and cannot come any more nine seconds after the next one began.
    let late = Effect::StoreLate {
        milliseconds: 5_000,
        hang: true,
    };
    let text = CONFIG.replace("timeout_seconds: 20", "timeout_seconds: 10");
    loses_its_lease(folder.path(), &slack, &text, late).await;
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let next = Leader::begin(
        folder.path(),
        &config(&slack, &text),
        term,
        Holds::default(),
    )
    .await;
    until("looked for", || next.looks("absent") == 1).await;
    assert_eq!(slack.posts().len(), 0, "repeated at once, or not late");
    next.until_delivered(1).await;
    assert_eq!((next.looks("found"), next.looks("absent")), (1, 1));
    assert_eq!(slack.posts().len(), 1, "repeated");
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_history_cannot_be_read_it_is_repeated_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    let text = format!(
        "slack: {{ timeout_seconds: 20 }}\n\
         channels: {{ a: {{ webhook_url: '{}', message_interval_milliseconds: 100 }} }}\n\
         default_channel: a\n",
        slack.webhook_url("audit")
    );
    loses_its_lease(folder.path(), &slack, &text, NEVER).await;
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let next = Leader::begin(
        folder.path(),
        &config(&slack, &text),
        term,
        Holds::default(),
    )
    .await;
    next.until_delivered(1).await;
    let texts: Vec<_> = slack
        .posts()
        .iter()
        .map(|post| post.body.to_string())
        .collect();
    assert_eq!(texts.len(), 2);
    let marked: Vec<_> = texts
        .iter()
        .map(|text| text.contains("Possibly repeated"))
        .collect();
    assert_eq!(marked, [false, true], "{texts:?}");
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_being_shared_is_not_shared_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = slack(Options::default()).await;
    let text = CONFIG.replace("CAAAA,", "CAAAA, digest_details: file, sentences_max: 1,");
    let config = config(&slack, &text);
    slack.inject(Fault::new(NEVER).of("files.completeUploadExternal"));
    let (holder, term) = lasting(60 * SECOND, SECOND);
    let leader = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    // Two events become a digest.
    leader.append_all(&[1, 2]).await;
    let shared = || {
        let posts = slack.posts().into_iter();
        posts.filter(|post| post.via == Via::File).count()
    };
    until("shared", || shared() == 1).await;
    drop(holder);
    leader.lanes.await.expect("no panic").expect("no error");
    leader.stop.send_replace(true);
    leader.router.await.expect("no panic").expect("no error");
    drop(leader.queue);
    let (_holder, term) = lasting(60 * SECOND, SECOND);
    let next = Leader::begin(folder.path(), &config, term, Holds::default()).await;
    let given_up = || {
        next.metrics
            .details_given_up
            .with_label_values(&["a"])
            .get()
    };
    until("given up", || given_up() == 1).await;
    let forgotten = async {
        while !next.queue.threads("a").await.expect("read").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, forgotten).await.expect("it is forgotten");
    assert_eq!(shared(), 1, "shared again");
    next.stop().await;
}
