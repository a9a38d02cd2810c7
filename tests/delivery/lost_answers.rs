//! Promise P2: a message whose answer got lost is told once where the history can be read, and marked
//! where it cannot.

use std::{collections::BTreeMap, time::Duration};

use auditrelay_loadtest::slack::{
    Channel, Effect, Fault, Limits, LocalSlack, Options, StatusCode, Token,
};

use crate::{
    SECOND, from_env, measured, relay, started,
    support::{Running, ids, ids_in, list, told},
};

const CONFIG: &str = "
slack: { token: xoxb-test, api_url: API_URL, messages_per_minute: 6000, lookups_per_minute: 600, timeout_seconds: 1 }
channels:
  a: { slack_channel: CAAAA, message_interval_milliseconds: 100, message_events_max: 3, retry_max_seconds: 1, park_retry_seconds: 1 }
  b: { slack_channel: '#bbbb', message_interval_milliseconds: 100, message_events_max: 2, retry_max_seconds: 1, park_retry_seconds: 1 }
  c: { slack_channel: CCCCC, message_interval_milliseconds: 100, message_events_max: 1, retry_max_seconds: 1, park_retry_seconds: 1 }
default_channel: a
routes:
  - { name: deletes, channel: a, verbs: [delete] }
  - { name: gets, channel: b, verbs: [get] }
  - { name: rest, channel: c }
";

/// A Slack that is ten times as fast, and counts nothing else.
fn quick() -> Options {
    Options {
        message_interval: SECOND,
        time_scale: 10,
        limits: Limits::none(),
        channels: Some(vec![
            Channel::new("CAAAA", "aaaa"),
            Channel::new("CBBBB", "bbbb"),
            Channel::new("CCCCC", "cccc"),
            Channel::new("CHOOK", "hook"),
        ]),
        ..Options::default()
    }
}

/// Faults of every kind, whatever they mean for the message.
fn fault(n: usize) -> Effect {
    let status = |code| StatusCode::from_u16(code).expect("a status");
    let code = str::to_owned;
    match n % 16 {
        0 => Effect::CloseAfterStoring,
        1 => Effect::CloseBeforeStoring,
        2 => Effect::ErrorAfterStoring {
            code: code("internal_error"),
        },
        3 => Effect::Error {
            code: code("fatal_error"),
        },
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
        9 => Effect::HttpStatus {
            status: status(200),
        },
        10 => Effect::Error {
            code: code("service_unavailable"),
        },
        11 => Effect::Error {
            code: code("is_archived"),
        },
        12 => Effect::RetryAfter { seconds: 1 },
        13 => Effect::Delay {
            milliseconds: 1_300,
        },
        14 => Effect::HangBeforeStoring {
            milliseconds: 1_300,
        },
        _ => Effect::StoreLate {
            milliseconds: 3_000,
            hang: false,
        },
    }
}

/// Every event is in Slack, and once, but for copies that Slack stored after they had been looked for.
fn check(slack: &LocalSlack, events: usize, logs: &str) {
    let (plain, marked) = told(slack);
    assert!(
        marked.is_empty(),
        "marked although the history can be read: {marked:?}\n{logs}"
    );
    assert_eq!(plain.len(), events, "lost: not in Slack\n{logs}");
    let mut copies: BTreeMap<String, u32> = plain.keys().map(|id| (id.clone(), 0)).collect();
    let mut unavoidable = 0;
    for post in slack.posts() {
        if post.late.as_ref().is_some_and(|late| late.after_look_up) {
            unavoidable += 1;
            continue;
        }
        for id in ids_in(&post.body) {
            *copies.entry(id).or_default() += 1;
        }
    }
    let wrong: Vec<_> = copies.iter().filter(|(_, copies)| **copies > 1).collect();
    assert!(wrong.is_empty(), "told twice: {wrong:?}\n{logs}");
    let avoidable: u32 = slack.duplicates().iter().map(|one| one.avoidable()).sum();
    assert_eq!(avoidable, 0, "{:?}", slack.duplicates());
    let messages = slack.posts().len();
    measured(&format!(
        "{events} events in {messages} messages, {unavoidable} stored after the look-up"
    ));
    assert!(
        unavoidable * 4 <= slack.posts().len(),
        "{unavoidable} messages were stored after they had been looked for"
    );
}

async fn feed(relay: &Running, prefix: &str, events: usize) {
    for (verb, n) in [("delete", 0), ("get", 1), ("create", 2)] {
        let prefix = format!("{prefix}-{verb}");
        let own = ids(&prefix, events / 3 + usize::from(n < events % 3));
        let (status, _) = relay.post("/webhook", list("alice", verb, own)).await;
        assert_eq!(status, 200);
    }
}

/// 500 faults of all kinds with `AUDITRELAY_SLACK_FAULTS=500`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_an_answer_nothing_is_lost_and_nothing_told_twice() {
    let faults = from_env("AUDITRELAY_SLACK_FAULTS", 64);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(quick()).await;
    let mut relay = relay(folder.path(), &slack, CONFIG);
    let events = 3 * faults;
    feed(&relay, "e", events).await;
    for n in 0..faults {
        slack.inject(Fault::new(fault(n)));
        if n % 9 == 0 {
            // The look-up meets faults too.
            let effect = match (n / 9) % 3 {
                0 => Effect::HttpStatus {
                    status: StatusCode::BAD_GATEWAY,
                },
                1 => Effect::RetryAfter { seconds: 1 },
                _ => Effect::TruncateAfterStoring,
            };
            slack.inject(Fault::new(effect).of("conversations.history"));
        }
        // A message that meets nothing but faults is taken for what is wrong; that is another test.
        while slack.posts().len() + 3 < n {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let ledger = relay
        .drained_within(Duration::from_secs(10 + 5 * faults as u64))
        .await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let delivered: u64 = ["a", "b", "c"]
        .iter()
        .map(|one| {
            ledger["channels"][one]["delivered"]
                .as_u64()
                .expect("a number")
        })
        .sum();
    assert_eq!(delivered, events as u64, "{ledger}");
    // What Slack was to store late is there now.
    tokio::time::sleep(SECOND * 4).await;
    check(&slack, events, &relay.logs());
    assert!(!relay.logs().contains("xoxb"), "a token in the logs");
}

/// Killed between Slack's 200 and the ack, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_killed_while_it_posts_tells_nothing_twice() {
    let rounds = from_env("AUDITRELAY_SLACK_KILLS", 6);
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(quick()).await;
    let mut events = 0;
    for round in 0..rounds {
        let relay = relay(folder.path(), &slack, CONFIG);
        feed(&relay, &format!("r{round}"), 90).await;
        events += 90;
        // The answer is under way when it is killed.
        slack.inject(Fault::new(Effect::Delay { milliseconds: 900 }).times(3));
        let before = slack.posts().len();
        while slack.posts().len() < before + 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(60 * round as u64 % 400)).await;
        relay.kill();
    }
    let mut relay = relay(folder.path(), &slack, CONFIG);
    relay.drained().await;
    check(&slack, events, &relay.logs());
    assert!(slack.duplicates().is_empty(), "{:?}", slack.duplicates());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_history_cannot_be_read_it_is_repeated_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(Options {
        tokens: vec![Token::from("xoxb-test").with_scopes(&["chat:write"])],
        ..quick()
    })
    .await;
    let hook = slack.webhook_url("CHOOK");
    // No answer is lost but those that are to be.
    let config = format!("{CONFIG}  - {{ name: unreachable, channel: a }}\n")
        .replace("timeout_seconds: 1", "timeout_seconds: 30")
        .replace(
            "c: { slack_channel: CCCCC,",
            &format!("c: {{ webhook_url: '{hook}',"),
        );
    slack.inject(Fault::new(Effect::CloseAfterStoring).on("CAAAA"));
    slack.inject(Fault::new(Effect::CloseAfterStoring).on("CHOOK"));
    let mut relay = relay(folder.path(), &slack, &config);
    relay
        .post("/webhook", list("alice", "delete", ids("api", 2)))
        .await;
    relay
        .post("/webhook", list("alice", "create", ids("hook", 1)))
        .await;
    let ledger = relay.drained().await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let (plain, marked) = told(&slack);
    for id in ["api-0", "api-1", "hook-0"] {
        assert_eq!(
            (plain.get(id), marked.get(id)),
            (Some(&1), Some(&1)),
            "{id}"
        );
    }
    let logs = relay.logs();
    assert!(logs.contains("missing_scope"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_that_always_fails_does_not_hold_the_channel_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let slack = started(quick()).await;
    let status = StatusCode::BAD_GATEWAY;
    let failing = Fault::new(Effect::HttpStatus { status }).of("conversations.history");
    slack.inject(failing.times(1_000));
    slack.inject(Fault::new(Effect::CloseBeforeStoring));
    let relay = relay(folder.path(), &slack, CONFIG);
    relay
        .post("/webhook", list("alice", "delete", ids("e", 2)))
        .await;
    relay.drained().await;
    let (_, marked) = told(&slack);
    assert_eq!(marked.len(), 2, "{marked:?}");
}
