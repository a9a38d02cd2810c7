//! One message per interval and channel.

use std::time::Duration;

use auditrelay_loadtest::slack::{Options, Outcome};
use serde_json::json;
use tokio::time::advance;

use crate::support::{HOUR, hold_clock, hook, outcomes, post, start, texts, unpaced};

fn paced(message_interval: Duration) -> Options {
    Options {
        message_interval,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_second_message_is_told_when_to_come_back_and_other_channels_are_free() {
    let slack = start(paced(HOUR)).await;
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "1"}))
            .await
            .error(),
        ""
    );
    let wait = post(&slack, json!({"channel": "#a", "text": "2"}))
        .await
        .retry_after();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(
        post(&slack, json!({"channel": "b", "text": "3"}))
            .await
            .error(),
        ""
    );
    assert_eq!(texts(&slack), ["1", "3"]);
    let attempt = slack.attempts().remove(1);
    assert_eq!(
        attempt.outcome,
        Outcome::RateLimited {
            retry_after_seconds: wait
        }
    );
    assert_eq!(
        (attempt.channel.as_deref(), attempt.text_start.as_str()),
        (Some("a"), "2")
    );
}

#[tokio::test]
async fn both_doors_share_the_channel_s_pace() {
    let slack = start(paced(HOUR)).await;
    assert_eq!(hook(&slack, "a", json!({"text": "1"})).await.text, "ok");
    assert!(
        post(&slack, json!({"channel": "a", "text": "2"}))
            .await
            .retry_after()
            > 0
    );
    assert!(hook(&slack, "a", json!({"text": "3"})).await.retry_after() > 0);
    assert_eq!(texts(&slack), ["1"]);
}

#[tokio::test]
async fn a_refused_message_does_not_extend_the_wait() {
    let _clock = hold_clock();
    let slack = start(paced(Duration::from_millis(1_500))).await;
    post(&slack, json!({"channel": "a", "text": "1"})).await;
    // Were the wait to start anew with a refusal, the last of these would end at 2.7 s.
    for milliseconds in [0, 600, 600] {
        advance(Duration::from_millis(milliseconds)).await;
        post(&slack, json!({"channel": "a", "text": "early"})).await;
    }
    let refused = [2, 1, 1].map(|retry_after_seconds| Outcome::RateLimited {
        retry_after_seconds,
    });
    assert_eq!(outcomes(&slack)[1..], refused);
    advance(Duration::from_millis(300)).await;
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "late"}))
            .await
            .error(),
        ""
    );
}

#[tokio::test]
async fn refused_content_does_not_use_up_the_pace() {
    let slack = start(paced(HOUR)).await;
    assert_eq!(
        post(&slack, json!({"channel": "a"})).await.error(),
        "no_text"
    );
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "1"}))
            .await
            .error(),
        ""
    );
    assert!(post(&slack, json!({"channel": "a"})).await.retry_after() > 0);
}

#[tokio::test]
async fn of_many_messages_at_once_one_is_accepted() {
    let slack = start(paced(HOUR)).await;
    let url = slack.webhook_url("a");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let url = url.clone();
        tasks.spawn(async move {
            let body = r#"{"text":"a"}"#;
            crate::support::send("POST", &url, &[crate::support::JSON], body)
                .await
                .status
                .as_u16()
        });
    }
    let mut statuses = tasks.join_all().await;
    statuses.sort_unstable();
    let mut expected = vec![429; 20];
    expected[0] = 200;
    assert_eq!(statuses, expected);
    assert_eq!((slack.posts().len(), slack.attempts().len()), (1, 20));
}

#[tokio::test]
async fn without_strict_pace_an_early_message_is_accepted_and_marked() {
    let slack = start(Options {
        strict_pace: false,
        ..paced(HOUR)
    })
    .await;
    for text in ["1", "2"] {
        assert_eq!(
            post(&slack, json!({"channel": "a", "text": text}))
                .await
                .error(),
            ""
        );
    }
    let marks: Vec<_> = outcomes(&slack)
        .into_iter()
        .map(|outcome| {
            matches!(
                outcome,
                Outcome::Accepted {
                    over_pace: true,
                    ..
                }
            )
        })
        .collect();
    assert_eq!(marks, [false, true]);
}

#[tokio::test]
async fn without_an_interval_there_is_no_pace() {
    let slack = start(unpaced()).await;
    for text in ["1", "2", "3"] {
        post(&slack, json!({"channel": "a", "text": text})).await;
    }
    assert_eq!(texts(&slack), ["1", "2", "3"]);
}
