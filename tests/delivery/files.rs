//! A digest's members as a file in its thread: three steps, each of which may fail.

use std::time::Duration;

use auditrelay_loadtest::slack::{
    Effect, Fault, File, Limits, LocalSlack, Options, Post, StatusCode, Token, Via,
};

use crate::{
    deletions, names, relay, started,
    support::{Running, metric},
    until,
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 6000 }
channels:
  a: { slack_channel: CAAAA, message_interval_milliseconds: 100, retry_max_seconds: 1, digest_details: file }
default_channel: a
";
const STEPS: [&str; 3] = [
    "files.getUploadURLExternal",
    "upload",
    "files.completeUploadExternal",
];
const GIVEN_UP: &str = "the rest of a digest's details is not posted";

fn options() -> Options {
    Options {
        message_interval: Duration::from_millis(50),
        limits: Limits::none(),
        ..Options::default()
    }
}

/// Posts events that become one digest: a rate limit holds the channel until all of them are there.
async fn gather(relay: &Running, slack: &LocalSlack, names: &[String]) {
    let once = Fault::new(Effect::RetryAfter { seconds: 1 });
    slack.inject(once.of("chat.postMessage").on("CAAAA"));
    assert_eq!(relay.post("/webhook", deletions(names)).await.0, 200);
    relay.drained().await;
}

fn shared(slack: &LocalSlack) -> Vec<(Post, File)> {
    let posts = slack.posts().into_iter();
    let files = posts.filter(|post| post.via == Via::File);
    files
        .map(|post| {
            let id = post.body["files"][0]["id"].as_str().expect("an ID");
            let file = slack.files().into_iter().find(|file| file.id == id);
            (post.clone(), file.expect("it was uploaded"))
        })
        .collect()
}

fn check(slack: &LocalSlack, members: &[String]) {
    let files = shared(slack);
    let posts = slack.posts();
    let digest = posts.iter().find(|post| post.text.contains("audit events"));
    let digest = digest.expect("a digest");
    assert_eq!(files.len(), 1, "{files:?}");
    let (post, file) = &files[0];
    assert_eq!(post.thread_ts.as_ref(), Some(&digest.ts));
    let content = file.content.clone().expect("its content");
    let text = String::from_utf8(content).expect("text");
    assert_eq!(text.lines().count(), members.len());
    for (line, name) in text.lines().zip(members) {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!(fields.len(), 5, "{line}");
        assert!(fields[2].contains(name.as_str()), "{line}");
        assert_eq!((fields[3], fields[4]), ("10.0.0.9", name.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_before_the_file_is_shared_begins_it_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(options()).await;
    for step in STEPS {
        slack.inject(Fault::new(Effect::RetryAfter { seconds: 1 }).of(step));
        if step != STEPS[2] {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            slack.inject(Fault::new(Effect::HttpStatus { status }).of(step));
        }
    }
    let mut relay = relay(folder.path(), &slack, CONFIG);
    let members = names("member", 300);
    gather(&relay, &slack, &members).await;
    until("a file", || !shared(&slack).is_empty()).await;
    check(&slack, &members);
    // When the next event is delivered, all that the lane did before is counted.
    let next = deletions(&names("last", 1));
    assert_eq!(relay.post("/webhook", next).await.0, 200);
    relay.drained().await;
    let logs = relay.logs();
    assert!(!logs.contains(GIVEN_UP), "{logs}");
    let metrics = relay.get("/metrics").await.1;
    let details = "auditrelay_messages_total{channel=\"a\",form=\"details\"}";
    assert_eq!(metric(&metrics, details), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_was_killed_begins_a_file_again_that_was_not_shared() {
    for step in [STEPS[0], STEPS[2]] {
        let folder = tempfile::tempdir().expect("a folder");
        let slack = started(options()).await;
        slack.inject(Fault::new(Effect::RetryAfter { seconds: 8 }).of(step));
        let first = relay(folder.path(), &slack, CONFIG);
        let members = names("member", 300);
        gather(&first, &slack, &members).await;
        let is_tried = || slack.attempts().iter().any(|one| one.method == step);
        until("an attempt", is_tried).await;
        // When the next event is delivered, the lane has noted the answer.
        let next = deletions(&names("next", 1));
        assert_eq!(first.post("/webhook", next).await.0, 200);
        first.drained().await;
        assert!(shared(&slack).is_empty());
        first.kill();
        let mut second = relay(folder.path(), &slack, CONFIG);
        until("a file", || !shared(&slack).is_empty()).await;
        check(&slack, &members);
        let logs = second.logs();
        assert!(!logs.contains(GIVEN_UP), "{logs}");
    }
}

/// Waits for the line that says so, lets the lane do something else, and counts such lines.
async fn given_up(relay: &mut Running) -> String {
    let deadline = tokio::time::Instant::now() + crate::support::PATIENCE;
    while !relay.logs().contains(GIVEN_UP) {
        assert!(tokio::time::Instant::now() < deadline, "{}", relay.logs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let new = names("next", 1);
    assert_eq!(relay.post("/webhook", deletions(&new)).await.0, 200);
    let ledger = relay.drained().await;
    assert_eq!(ledger["channels"]["a"]["delivered"], 301, "{ledger}");
    let logs = relay.logs();
    let lines: Vec<&str> = logs
        .lines()
        .filter(|line| line.contains(GIVEN_UP))
        .collect();
    assert_eq!(lines.len(), 1, "{logs}");
    let line: serde_json::Value = serde_json::from_str(lines[0]).expect("JSON");
    let said = line["message"].as_str().expect("text");
    assert!(said.contains("auditrelay events --message"), "{line}");
    lines[0].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_whose_answer_is_lost_is_not_repeated() {
    for is_there in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let slack = started(options()).await;
        let status = StatusCode::BAD_GATEWAY;
        let effect = if is_there {
            Effect::HttpStatusAfterStoring { status }
        } else {
            Effect::HttpStatus { status }
        };
        slack.inject(Fault::new(effect).of(STEPS[2]));
        let mut relay = relay(folder.path(), &slack, CONFIG);
        let members = names("member", 300);
        gather(&relay, &slack, &members).await;
        let line = given_up(&mut relay).await;
        assert!(line.contains("502"), "{line}");
        assert_eq!(shared(&slack).len(), usize::from(is_there));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_does_not_wait_for_a_file_that_slack_does_not_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(options()).await;
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 50 }).of(STEPS[0]));
    let relay = relay(folder.path(), &slack, CONFIG);
    gather(&relay, &slack, &names("member", 300)).await;
    let limited = || {
        let attempts = slack.attempts().into_iter();
        attempts.filter(|one| one.method == STEPS[0]).collect()
    };
    until("an attempt", || !Vec::is_empty(&limited())).await;
    let new = names("new", 1);
    assert_eq!(relay.post("/webhook", deletions(&new)).await.0, 200);
    relay.drained().await;
    let posts = slack.posts();
    let last = posts.last().expect("a post");
    assert!(last.text.contains("new-00000"), "{}", last.text);
    let limited = limited();
    assert_eq!(limited.len(), 1);
    let after_ms = last.elapsed_ms - limited[0].elapsed_ms;
    assert!(after_ms < 25_000, "it waited for {after_ms} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_scope_the_digest_is_told_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options {
        tokens: vec![Token::from("xoxb-test").with_scopes(&["chat:write", "channels:history"])],
        ..options()
    })
    .await;
    let mut relay = relay(folder.path(), &slack, CONFIG);
    gather(&relay, &slack, &names("member", 300)).await;
    let line = given_up(&mut relay).await;
    for words in ["missing_scope", "files:write", "add the scope"] {
        assert!(line.contains(words), "{line}");
    }
    assert!(shared(&slack).is_empty());
    let metrics = relay.get("/metrics").await.1;
    let parked = metric(&metrics, "auditrelay_parked_total{channel=\"a\"}");
    assert_eq!(parked, 0.0, "the channel works");
}
