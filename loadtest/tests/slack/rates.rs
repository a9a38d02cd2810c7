//! Calls per minute, what a 429 blocks, and time that passes faster.

use std::time::Duration;

use auditrelay_loadtest::slack::{BlockScope, Effect, Fault, Limits, Options, StatusCode};
use serde_json::json;
use tokio::time::advance;

use crate::support::{HOUR, call, hold_clock, hook, post, start, texts, unpaced};

fn limited(limits: Limits) -> Options {
    Options {
        limits,
        ..unpaced()
    }
}

#[tokio::test]
async fn a_workspace_has_so_many_messages_a_minute() {
    let limits = Limits {
        messages: 2,
        ..Limits::none()
    };
    let slack = start(limited(limits)).await;
    for channel in ["a", "b"] {
        let answer = post(&slack, json!({"channel": channel, "text": "1"})).await;
        assert_eq!(answer.error(), "");
    }
    let wait = post(&slack, json!({"channel": "c", "text": "2"}))
        .await
        .retry_after();
    assert!((50..=60).contains(&wait), "{wait}");
    // A webhook is no call of the method.
    assert_eq!(hook(&slack, "c", json!({"text": "3"})).await.text, "ok");
    assert_eq!(texts(&slack), ["1", "1", "3"]);
}

#[tokio::test]
async fn the_default_limits_are_slack_s() {
    let slack = start(unpaced()).await;
    for (method, limit) in [("conversations.list", 20), ("conversations.history", 50)] {
        for number in 0..limit {
            let answer = call(&slack, method, json!({"channel": "a"})).await;
            assert_eq!(answer.error(), "", "{method} {number}");
        }
        let wait = call(&slack, method, json!({"channel": "a"}))
            .await
            .retry_after();
        assert!((1..=60).contains(&wait), "{method} {wait}");
    }
    assert_eq!(call(&slack, "auth.test", json!({})).await.error(), "");
    assert_eq!(Options::default().limits.messages, 300);
}

#[tokio::test]
async fn a_method_can_have_a_limit_of_its_own() {
    let mut limits = Limits::default();
    limits.methods.insert("conversations.history".to_owned(), 1);
    let slack = start(limited(limits)).await;
    let ask = async || call(&slack, "conversations.history", json!({"channel": "a"})).await;
    assert_eq!(ask().await.error(), "");
    assert!(ask().await.retry_after() > 0);
}

#[tokio::test]
async fn scaled_minutes_and_intervals_pass_faster() {
    let _clock = hold_clock();
    let mut options = Options {
        time_scale: 20,
        message_interval: Duration::from_secs(10),
        ..Options::default()
    };
    options.limits.methods.insert("auth.test".to_owned(), 1);
    let slack = start(options).await;
    let message = json!({"channel": "a", "text": "1"});
    assert_eq!(post(&slack, message.clone()).await.error(), "");
    // 10 s are 500 ms here, less the tolerance of 2 %.
    advance(Duration::from_millis(489)).await;
    assert_eq!(post(&slack, message.clone()).await.retry_after(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(post(&slack, message).await.error(), "");
    assert_eq!(call(&slack, "auth.test", json!({})).await.error(), "");
    let wait = call(&slack, "auth.test", json!({})).await.retry_after();
    assert_eq!(wait, 3, "of a minute of 3 s");
    advance(Duration::from_secs(3)).await;
    assert_eq!(call(&slack, "auth.test", json!({})).await.error(), "");
}

#[tokio::test]
async fn a_fault_s_block_is_as_long_as_it_says_whatever_the_scale() {
    let _clock = hold_clock();
    let slack = start(Options {
        time_scale: 1_000,
        ..unpaced()
    })
    .await;
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 2 }));
    let message = json!({"channel": "a", "text": "1"});
    assert_eq!(post(&slack, message.clone()).await.retry_after(), 2);
    advance(Duration::from_millis(1_500)).await;
    assert_eq!(post(&slack, message.clone()).await.retry_after(), 1);
    advance(Duration::from_millis(500)).await;
    assert_eq!(post(&slack, message).await.error(), "");
}

#[tokio::test]
async fn a_429_blocks_the_channel_or_the_method() {
    for (block_scope, other_channel) in [(BlockScope::Channel, 200), (BlockScope::Method, 429)] {
        let slack = start(Options {
            block_scope,
            message_interval: HOUR,
            ..Options::default()
        })
        .await;
        let message = |channel: &str| json!({"channel": channel, "text": "1"});
        assert_eq!(post(&slack, message("a")).await.error(), "");
        assert!(post(&slack, message("a")).await.retry_after() > 3_000);
        let status = post(&slack, message("b")).await.status.as_u16();
        assert_eq!(status, other_channel, "{block_scope:?}");
        // Another method, and another door to another channel, are free.
        assert_eq!(call(&slack, "auth.test", json!({})).await.error(), "");
        assert_eq!(hook(&slack, "c", json!({"text": "1"})).await.text, "ok");
    }
}

#[tokio::test]
async fn a_fault_can_block_the_method_or_say_nothing() {
    let slack = start(unpaced()).await;
    let message = |channel: &str| json!({"channel": channel, "text": "1"});
    slack.inject(Fault::new(Effect::RetryAfterMissing));
    let answer = post(&slack, message("a")).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.retry_after, None);
    assert_eq!(post(&slack, message("a")).await.error(), "");
    slack.inject(Fault::new(Effect::RetryAfterMethod { seconds: 60 }).on("a"));
    for channel in ["a", "b", "a"] {
        assert!(post(&slack, message(channel)).await.retry_after() > 50);
    }
}

#[tokio::test]
async fn strict_blocks_last_as_long_as_the_header_says() {
    let _clock = hold_clock();
    for (strict_blocks, expected) in [(false, 200), (true, 429)] {
        let slack = start(Options {
            strict_blocks,
            message_interval: Duration::from_millis(1_500),
            ..Options::default()
        })
        .await;
        let message = json!({"channel": "a", "text": "1"});
        post(&slack, message.clone()).await;
        // A second and a half is two in the header.
        assert_eq!(post(&slack, message.clone()).await.retry_after(), 2);
        advance(Duration::from_millis(1_600)).await;
        let status = post(&slack, message).await.status.as_u16();
        assert_eq!(status, expected, "strict: {strict_blocks}");
    }
}
