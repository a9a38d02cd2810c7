//! The replies that list a digest's members: all of them, after everything else, none twice.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use auditrelay_loadtest::slack::{Effect, Fault, Limits, LocalSlack, Options, Post, StatusCode};

use crate::{
    SECOND, deletions, from_env, names, relay, started,
    support::{Running, metric, run},
    until,
    wire::holding,
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 6000, lookups_per_minute: 600, timeout_seconds: 2 }
channels:
  a: { slack_channel: CAAAA, message_interval_milliseconds: 100, retry_max_seconds: 1, digest_details: thread, thread_replies_max: 100 }
default_channel: a
";

async fn quick() -> LocalSlack {
    started(Options {
        message_interval: Duration::from_millis(50),
        limits: Limits::none(),
        ..Options::default()
    })
    .await
}

/// Posts events that become one digest: a rate limit holds the channel until all of them are there.
async fn gather(relay: &Running, slack: &LocalSlack, names: &[String]) {
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 1 }).on("CAAAA"));
    assert_eq!(relay.post("/webhook", deletions(names)).await.0, 200);
    relay.drained().await;
}

/// When the next event is delivered, all that the lane did before is counted.
async fn count_all(relay: &Running) {
    let next = deletions(&names("last", 1));
    assert_eq!(relay.post("/webhook", next).await.0, 200);
    relay.drained().await;
}

fn replies(slack: &LocalSlack) -> Vec<Post> {
    let posts = slack.posts().into_iter();
    posts.filter(|post| post.thread_ts.is_some()).collect()
}

/// Where a reply says that it stands: the first and last member, and how many there are.
fn place(reply: &Post) -> (usize, usize, usize) {
    let title = reply.text.lines().next().unwrap_or_default();
    let numbers: Vec<usize> = title
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [first, last, of] => (first, last, of),
        _ => panic!("no title: {title}"),
    }
}

/// Whether the last reply of each digest is there.
fn complete(slack: &LocalSlack) -> bool {
    let replies = replies(slack);
    let mut of_digests = slack
        .posts()
        .into_iter()
        .filter(|post| post.thread_ts.is_none() && post.text.contains("audit events"));
    of_digests.all(|digest| {
        let own = |reply: &&Post| reply.thread_ts.as_ref() == Some(&digest.ts);
        let last = replies.iter().rfind(own);
        last.is_some_and(|reply| {
            let (_, last, of) = place(reply);
            last == of
        })
    })
}

/// Each member of every digest stands once in its thread, in order.
fn check(slack: &LocalSlack, names: &[String], logs: &str) {
    assert!(slack.duplicates().is_empty(), "{:?}", slack.duplicates());
    let replies = replies(slack);
    let text: String = replies
        .iter()
        .map(|post| post.body["blocks"].to_string())
        .collect();
    for name in names {
        assert_eq!(text.matches(name.as_str()).count(), 1, "{name}\n{logs}");
    }
    let mut told: Vec<(&str, usize)> = Vec::new();
    for reply in &replies {
        let thread = reply.thread_ts.as_deref().expect("a reply");
        let digest = slack.posts().into_iter().find(|post| post.ts == thread);
        let digest = digest.expect("it answers a message");
        assert!(digest.text.contains("audit events"), "{}", digest.text);
        let (first, last, of) = place(reply);
        assert!(digest.text.contains(&of.to_string()), "{}", digest.text);
        let before = match told.last_mut() {
            Some((of, before)) if *of == thread => before,
            _ => {
                told.push((thread, 0));
                &mut told.last_mut().expect("pushed").1
            }
        };
        assert_eq!(first, *before + 1, "not in order\n{logs}");
        *before = last;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_are_listed_in_the_thread_and_new_events_overtake_the_replies() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    // The first one's answer is under way while something new comes.
    let is_first = AtomicBool::new(true);
    let (address, answers) = holding(slack.addr(), move |request| {
        let whole = String::from_utf8_lossy(&request.whole);
        whole.contains("\"thread_ts\"") && is_first.swap(false, Ordering::Relaxed)
    })
    .await;
    let config = CONFIG
        .replace("API_URL", &format!("http://{address}/api/"))
        .replace("timeout_seconds: 2", "timeout_seconds: 60");
    let relay = relay(folder.path(), &slack, &config);
    let first = names("first", 400);
    gather(&relay, &slack, &first).await;
    until("a reply", || replies(&slack).len() == 1).await;
    let new = names("new", 1);
    assert_eq!(relay.post("/webhook", deletions(&new)).await.0, 200);
    while relay.ledger().await["waiting"] != 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answers.add_permits(1);
    until("all replies", || complete(&slack)).await;
    check(&slack, &first, "");
    let posts = slack.posts();
    let order: Vec<bool> = posts.iter().map(|post| post.thread_ts.is_some()).collect();
    assert_eq!(
        order[..4],
        [false, true, false, true],
        "the new event waited for replies"
    );
    assert!(posts[2].text.contains("new-00000"), "{}", posts[2].text);
    count_all(&relay).await;
    let posts = slack.posts();
    let metrics = relay.get("/metrics").await.1;
    let messages = |form: &str| {
        let series = format!("auditrelay_messages_total{{channel=\"a\",form=\"{form}\"}}");
        metric(&metrics, &series) as usize
    };
    assert_eq!(messages("digest"), 1);
    assert_eq!(messages("sentences"), 2);
    assert_eq!(messages("details"), posts.len() - 3);
    let outcome = |outcome: &str| {
        let series = format!("auditrelay_posts_total{{channel=\"a\",outcome=\"{outcome}\"}}");
        metric(&metrics, &series) as usize
    };
    assert_eq!(outcome("accepted"), posts.len());
    assert_eq!(outcome("later"), 1);
    let retry_after = metric(&metrics, "auditrelay_retry_after_seconds{channel=\"a\"}");
    assert_eq!(retry_after, 1.0);
    // The process that told a digest knows that none of its replies is there yet.
    let looks = slack.attempts();
    let looks = looks
        .iter()
        .filter(|one| one.method == "conversations.replies");
    assert_eq!(looks.count(), 0);
}

fn lost(n: usize) -> Effect {
    let status = |code| StatusCode::from_u16(code).expect("a status");
    let code = "internal_error".to_owned();
    match n % 11 {
        0 => Effect::CloseAfterStoring,
        1 => Effect::CloseBeforeStoring,
        2 => Effect::ErrorAfterStoring { code },
        3 => Effect::Error { code },
        4 => Effect::HttpStatusAfterStoring {
            status: status(502),
        },
        5 => Effect::HttpStatus {
            status: status(503),
        },
        6 => Effect::TruncateAfterStoring,
        7 => Effect::TruncateBeforeStoring,
        8 => Effect::HttpStatusAfterStoring {
            status: status(200),
        },
        9 => Effect::RetryAfter { seconds: 1 },
        _ => Effect::Delay {
            milliseconds: 5_300,
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_whose_answer_is_lost_is_looked_for_and_not_repeated() {
    let faults = from_env("AUDITRELAY_REPLY_FAULTS", 11);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    for n in 0..faults {
        slack.inject(Fault::new(lost(n)).containing("\"thread_ts\""));
    }
    for effect in [
        Effect::HttpStatus {
            status: StatusCode::BAD_GATEWAY,
        },
        Effect::RetryAfter { seconds: 1 },
        Effect::TruncateAfterStoring,
    ] {
        slack.inject(Fault::new(effect).of("conversations.replies"));
    }
    // Looks fail as they are told to, and not because the machine is busy.
    let config = CONFIG.replace("timeout_seconds: 2", "timeout_seconds: 5");
    let mut relay = relay(folder.path(), &slack, &config);
    let members = names("member", 100 * faults);
    gather(&relay, &slack, &members).await;
    // What is told before the look-up must not hide what was told before it.
    let mut overtaking = 0;
    while !complete(&slack) {
        overtaking += 1;
        let new = names(&format!("new{overtaking}"), 1);
        relay.post("/webhook", deletions(&new)).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(overtaking < 150, "{}", relay.logs());
    }
    count_all(&relay).await;
    let logs = relay.logs();
    check(&slack, &members, &logs);
    let metrics = relay.get("/metrics").await.1;
    let looks = |outcome: &str| {
        let series = format!("auditrelay_lookups_total{{channel=\"a\",outcome=\"{outcome}\"}}");
        metric(&metrics, &series) as usize
    };
    let answered = |attempt: &&auditrelay_loadtest::slack::Attempt| {
        attempt.method == "conversations.replies"
            && attempt.outcome == auditrelay_loadtest::slack::Outcome::Answered
    };
    let attempts = slack.attempts();
    assert_eq!(
        looks("found") + looks("absent"),
        attempts.iter().filter(answered).count(),
        "{logs}"
    );
    assert_eq!((looks("failed"), looks("unknowable")), (3, 0), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_killed_between_replies_goes_on_where_it_was() {
    let rounds = from_env("AUDITRELAY_REPLY_KILLS", 4);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    // Two or three replies a round, and some that are left.
    let members = names("member", 400 * rounds);
    // So long each relay waits for what the one before may have posted.
    let config = CONFIG.replace("timeout_seconds: 2", "timeout_seconds: 1");
    let mut relay = relay(folder.path(), &slack, &config);
    gather(&relay, &slack, &members).await;
    for round in 0..rounds {
        let before = replies(&slack).len();
        // Killed while the answer is under way, or just after it.
        let milliseconds = if round % 2 == 0 { 900 } else { 0 };
        let slow = Fault::new(Effect::Delay { milliseconds });
        slack.inject(slow.containing("\"thread_ts\""));
        until("more replies", || replies(&slack).len() > before + 1).await;
        relay.kill();
        assert!(!complete(&slack), "nothing was left to do");
        relay = crate::relay(folder.path(), &slack, &config);
    }
    until("all replies", || complete(&slack)).await;
    relay.drained().await;
    let logs = relay.logs();
    check(&slack, &members, &logs);
    // What is finished is not taken up again.
    relay.kill();
    let posts = slack.posts().len();
    let relay = crate::relay(folder.path(), &slack, &config);
    let new = names("new", 1);
    assert_eq!(relay.post("/webhook", deletions(&new)).await.0, 200);
    relay.drained().await;
    tokio::time::sleep(SECOND / 2).await;
    assert_eq!(slack.posts().len(), posts + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_reply_that_is_allowed_says_how_many_are_left_and_names_the_command() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = quick().await;
    let config = CONFIG.replace("thread_replies_max: 100", "thread_replies_max: 2");
    let relay = relay(folder.path(), &slack, &config);
    let members = names("member", 500);
    gather(&relay, &slack, &members).await;
    until("two replies", || replies(&slack).len() == 2).await;
    // Whatever came after them would have come by now.
    let new = names("new", 1);
    assert_eq!(relay.post("/webhook", deletions(&new)).await.0, 200);
    relay.drained().await;
    tokio::time::sleep(SECOND / 2).await;
    let replies = replies(&slack);
    assert_eq!(replies.len(), 2);
    let (_, last, of) = place(&replies[1]);
    assert_eq!(of, 500);
    let left = format!("and {} more", of - last);
    for shown in [
        replies[1].text.clone(),
        replies[1].body["blocks"].to_string(),
    ] {
        assert!(shown.contains(&left), "{shown}");
        assert!(shown.contains("auditrelay events --message"), "{shown}");
    }
    let room = "for which there is no room";
    assert!(!replies[0].text.contains(room), "{}", replies[0].text);
}

#[test]
fn a_webhook_cannot_have_replies_and_says_so_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    for details in ["thread", "file"] {
        let config = format!(
            "channels: {{ a: {{ webhook_url: 'https://hooks.slack.com/services/T0/B0/never-shown', digest_details: {details} }} }}\n"
        );
        std::fs::write(folder.path().join("c.yaml"), config).expect("written");
        for command in ["serve", "check"] {
            let (code, stdout, stderr) = run(folder.path(), &[], &[command, "--config", "c.yaml"]);
            let said = stdout + &stderr;
            assert_eq!(code, 78, "{said}");
            let line = said.lines().find(|line| line.contains("digest_details"));
            let line = line.unwrap_or_else(|| panic!("{said}"));
            assert!(
                line.contains("channels.a") && line.contains("need slack_channel"),
                "{line}"
            );
            assert!(!said.contains("never-shown"), "{said}");
        }
    }
}
