//! What Slack asked to wait for, and what may have been posted: known to whichever lane comes next, whatever its channel
//! or token is called then.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack, Outcome};

use crate::{
    channel, config,
    lanes::{post, posts_to, until},
    lines, load, start,
    support::{ids, list, slack, told},
    value,
};

const SECONDS: u32 = 6;

fn told_to_wait() -> Fault {
    Fault::new(Effect::RetryAfter { seconds: SECONDS })
}

/// Between the last refusal in one channel and the first try in another.
fn waited(slack: &LocalSlack, refused: &str, next: &str) -> u64 {
    let refused = posts_to(slack, refused).into_iter();
    let mut refused = refused.filter(|one| matches!(one.outcome, Outcome::RateLimited { .. }));
    let next = &posts_to(slack, next)[0];
    next.elapsed_ms - refused.next_back().expect("told to wait").elapsed_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_by_another_name_or_another_spelling_waits_as_long_as_slack_said() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |named: &str| {
        let all = "slack_channel: CB, message_interval_milliseconds: 100";
        let channels = [channel("a", ""), named.replace("CB", all)].join(", ");
        let name = named.split(':').next().expect("a name");
        let routes = format!("routes: [{{name: all, channel: {name}}}]");
        config(&slack, &channels, &routes)
    };
    let relay = start(folder, &of("ops: {CB}"));
    slack.inject(told_to_wait().on("CB"));
    post(&relay, ids("held", 1)).await;
    let holding =
        |name: &str| format!("auditrelay_lane_state{{channel=\"{name}\",state=\"holding\"}}");
    until("it holds", async || {
        value(&relay, &holding("ops")).await == 1.0
    })
    .await;
    load(folder, &of("secops: {CB}"));
    post(&relay, ids("next", 1)).await;
    let tries = || posts_to(&slack, "CB");
    until("it is told", async || tries().len() == 2).await;
    let gap = tries()[1].elapsed_ms - tries()[0].elapsed_ms;
    assert!(gap >= u64::from(SECONDS) * 1_000, "only {gap} ms");
    // Back again, told to wait, and by another name at Slack.
    slack.inject(told_to_wait().on("CB"));
    load(folder, &of("ops: {CB}"));
    until("it holds again", async || tries().len() == 3).await;
    let other = of("ops: {CB}").replace("slack_channel: CB", "slack_channel: '#sec'");
    load(folder, &other);
    relay.drained().await;
    let gap = waited(&slack, "CB", "sec");
    assert!(gap >= u64::from(SECONDS) * 1_000, "only {gap} ms");
    let (plain, marked) = told(&slack);
    assert_eq!((plain.len(), marked.len()), (2, 0), "{plain:?} {marked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_channels_of_a_token_stay_held_when_the_token_is_rotated() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let channels = ["a", "b", "c"].map(|name| channel(name, "")).join(", ");
    let routes = "routes: [{name: b, channel: b, verbs: [patch]}, {name: c, channel: c, verbs: [create]}, {name: rest, channel: a}]";
    let before = config(&slack, &channels, routes);
    let mut relay = start(folder, &before);
    slack.inject(told_to_wait().on("CB"));
    slack.inject(told_to_wait().on("CC"));
    for verb in ["patch", "create"] {
        relay
            .post("/webhook", list("alice", verb, ids(verb, 1)))
            .await;
    }
    lines(&mut relay, "several channels met a rate limit").await;
    load(folder, &before.replace("xoxb-test", "xoxb-rotated"));
    post(&relay, ids("next", 1)).await;
    relay.drained().await;
    let gap = waited(&slack, "CB", "CA").min(waited(&slack, "CC", "CA"));
    assert!(gap >= u64::from(SECONDS) * 1_000, "only {gap} ms");
}

/// It is in the channel that it was posted to, and nobody looks there any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_posted_somewhere_else_is_marked() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |to: &str| config(&slack, &channel("a", "").replace("CA", to), "");
    let relay = start(folder, &of("CA"));
    slack.inject(Fault::new(Effect::CloseAfterStoring).on("CA"));
    let status = hyper::StatusCode::SERVICE_UNAVAILABLE;
    let looks = Fault::new(Effect::HttpStatus { status });
    let looks = looks.of("conversations.history").on("CA");
    slack.inject(looks.times(1_000));
    post(&relay, ids("open", 1)).await;
    until("Slack has it", async || !slack.posts().is_empty()).await;
    let failed = "auditrelay_lookups_total{channel=\"a\",outcome=\"failed\"}";
    until("it is looked for", async || {
        value(&relay, failed).await >= 1.0
    })
    .await;
    load(folder, &of("CB"));
    post(&relay, ids("next", 1)).await;
    relay.drained().await;
    let (plain, marked) = told(&slack);
    assert_eq!(plain.keys().collect::<Vec<_>>(), ["next-0", "open-0"]);
    assert_eq!(marked.keys().collect::<Vec<_>>(), ["open-0"], "{plain:?}");
    assert_eq!(posts_to(&slack, "CB").len(), 2, "only that is marked");
}

#[tokio::test(flavor = "multi_thread")]
async fn details_of_a_digest_wait_as_long_as_slack_said() {
    let slack = slack(Duration::ZERO).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let of = |groups: u32| {
        let more = format!(", sentences_max: 1, digest_details: file, digest_groups_max: {groups}");
        config(&slack, &channel("a", &more), "")
    };
    let relay = start(folder, &of(5));
    const METHOD: &str = "files.getUploadURLExternal";
    slack.inject(told_to_wait().of(METHOD));
    post(&relay, ids("many", 3)).await;
    let tries = || {
        let attempts = slack.attempts().into_iter();
        attempts
            .filter(|one| one.method == METHOD)
            .collect::<Vec<_>>()
    };
    until("it is told to wait", async || !tries().is_empty()).await;
    load(folder, &of(6));
    until("they are there", async || !slack.files().is_empty()).await;
    let gap = tries()[1].elapsed_ms - tries()[0].elapsed_ms;
    assert!(gap >= u64::from(SECONDS) * 1_000, "only {gap} ms");
}
