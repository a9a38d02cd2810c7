//! Injected faults, on both doors.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack, Options, Outcome, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, advance, timeout};

use crate::support::{
    HOUR, JSON, hold_clock, hook, outcomes, post, refused, start, texts, try_send, unpaced,
};

fn error(code: &str) -> Effect {
    Effect::Error {
        code: code.to_owned(),
    }
}

#[tokio::test]
async fn retry_after_blocks_its_channel_for_its_whole_length() {
    let _clock = hold_clock();
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 2 }).on("a"));
    assert_eq!(
        post(&slack, json!({"channel": "b", "text": "b"}))
            .await
            .error(),
        ""
    );
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "1"}))
            .await
            .retry_after(),
        2
    );
    // Asking inside the block does not extend it.
    hook(&slack, "a", json!({"text": "2"})).await;
    advance(Duration::from_secs(1)).await;
    hook(&slack, "a", json!({"text": "3"})).await;
    advance(Duration::from_secs(1)).await;
    assert_eq!(hook(&slack, "a", json!({"text": "4"})).await.text, "ok");
    assert_eq!(texts(&slack), ["b", "4"]);
}

#[tokio::test]
async fn a_long_block_holds_even_without_strict_pace() {
    let slack = start(Options {
        strict_pace: false,
        ..unpaced()
    })
    .await;
    slack.inject(Fault::new(Effect::RetryAfter { seconds: 3_600 }));
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "1"}))
            .await
            .retry_after(),
        3_600
    );
    let wait = post(&slack, json!({"channel": "a", "text": "2"}))
        .await
        .retry_after();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(
        post(&slack, json!({"channel": "b", "text": "3"}))
            .await
            .error(),
        ""
    );
}

#[tokio::test]
async fn a_server_error_is_an_html_page_and_stores_nothing() {
    let slack = start(unpaced()).await;
    let status = StatusCode::SERVICE_UNAVAILABLE;
    slack.inject(Fault::new(Effect::HttpStatus { status }).times(2));
    for answer in [
        post(&slack, json!({"channel": "a", "text": "1"})).await,
        hook(&slack, "a", json!({"text": "2"})).await,
    ] {
        assert_eq!(answer.status, status);
        assert!(answer.content_type.starts_with("text/html"), "{answer:?}");
        assert!(
            answer.text.contains("<title>Server Error | Slack</title>"),
            "{answer:?}"
        );
    }
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "3"}))
            .await
            .error(),
        ""
    );
    assert_eq!(texts(&slack), ["3"]);
    assert_eq!(outcomes(&slack)[0], Outcome::HttpStatus { status: 503 });
}

#[tokio::test]
async fn an_error_strikes_as_often_as_asked_and_only_its_channel() {
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(error("is_archived")).on("#a").times(2));
    for (channel, expected) in [
        ("b", ""),
        ("a", "is_archived"),
        ("a", "is_archived"),
        ("a", ""),
    ] {
        assert_eq!(
            post(&slack, json!({"channel": channel, "text": "1"}))
                .await
                .error(),
            expected
        );
    }
    assert_eq!(outcomes(&slack)[1], refused("is_archived"));
}

#[tokio::test]
async fn a_fault_waits_for_a_message_that_would_be_accepted() {
    let slack = start(Options {
        message_interval: HOUR,
        ..Options::default()
    })
    .await;
    assert_eq!(
        post(&slack, json!({"channel": "a", "text": "1"}))
            .await
            .error(),
        ""
    );
    slack.inject(Fault::new(error("fatal_error")));
    assert!(
        post(&slack, json!({"channel": "a", "text": "2"}))
            .await
            .retry_after()
            > 0
    );
    assert_eq!(
        post(&slack, json!({"channel": "b"})).await.error(),
        "no_text"
    );
    assert_eq!(
        post(&slack, json!({"channel": "b", "text": "3"}))
            .await
            .error(),
        "fatal_error"
    );
    assert_eq!(
        post(&slack, json!({"channel": "b", "text": "4"}))
            .await
            .error(),
        ""
    );
}

/// What the wire carries in answer to one webhook post, up to the end of the connection.
async fn raw_answer(slack: &LocalSlack, text: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(slack.addr()).await.unwrap();
    let body = json!({"text": text}).to_string();
    let length = body.len();
    let head = format!("POST /services/T0/B0/a HTTP/1.1\r\nhost: a\r\ncontent-length: {length}");
    stream
        .write_all(format!("{head}\r\n\r\n{body}").as_bytes())
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    read.await.expect("the connection stays open").unwrap();
    answer
}

#[tokio::test]
async fn a_connection_is_closed_without_a_byte_before_or_after_storing() {
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(Effect::CloseBeforeStoring));
    slack.inject(Fault::new(Effect::CloseAfterStoring));
    assert_eq!(raw_answer(&slack, "lost").await, b"");
    assert!(slack.posts().is_empty());
    assert_eq!(raw_answer(&slack, "kept").await, b"");
    assert_eq!(texts(&slack), ["kept"]);
    let ts = slack.posts()[0].ts.clone();
    let expected = [
        Outcome::ClosedBeforeStoring,
        Outcome::ClosedAfterStoring { ts },
    ];
    assert_eq!(outcomes(&slack), expected);
}

#[tokio::test]
async fn a_closed_connection_is_an_error_for_an_http_client() {
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(Effect::CloseAfterStoring).on("a"));
    let url = slack.webhook_url("a");
    assert!(
        try_send("POST", &url, &[JSON], r#"{"text":"1"}"#)
            .await
            .is_err()
    );
    assert_eq!(texts(&slack), ["1"]);
    assert_eq!(
        try_send("POST", &url, &[JSON], r#"{"text":"2"}"#)
            .await
            .unwrap()
            .text,
        "ok"
    );
}

#[tokio::test]
async fn a_delayed_answer_comes_late_although_the_message_is_there() {
    let slack = start(unpaced()).await;
    let _clock = hold_clock();
    slack.inject(Fault::new(Effect::delay(Duration::from_millis(700))));
    let mut accepted = slack.subscribe();
    let asked = Instant::now();
    let url = slack.webhook_url("a");
    let answer = tokio::spawn(async move {
        let answer = try_send("POST", &url, &[JSON], r#"{"text":"1"}"#)
            .await
            .unwrap();
        (answer.text, Instant::now())
    });
    assert_eq!(accepted.recv().await.unwrap().text, "1");
    advance(Duration::from_millis(699)).await;
    assert!(!answer.is_finished());
    // A timer may be a millisecond late.
    advance(Duration::from_millis(2)).await;
    let (text, answered) = answer.await.unwrap();
    assert_eq!(text, "ok");
    assert!(answered - asked >= Duration::from_millis(700));
    assert!(matches!(
        outcomes(&slack)[0],
        Outcome::Accepted { delay_ms: 700, .. }
    ));
}
