//! Answers that leave a client in doubt, with and without a stored message, and the
//! report of what was stored more than once.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack, Outcome, Post, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast::Receiver;
use tokio::task::yield_now;
use tokio::time::{advance, timeout};

use crate::support::{
    JSON, TOKEN, call, hold_clock, hook, named, ok, outcomes, post, refused, send, start, texts,
    try_send, unpaced,
};

/// How much later than its request a message is stored.
const LATE: Duration = Duration::from_secs(1);

async fn raw(slack: &LocalSlack, channel: &str) -> String {
    let mut stream = TcpStream::connect(slack.addr()).await.unwrap();
    let body = named(channel, "1").to_string();
    let request = format!(
        "POST /api/chat.postMessage HTTP/1.1\r\nhost: a\r\nauthorization: Bearer xoxb-1\r\n\
         content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    read.await.expect("the connection stays open").unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_truncated_answer_announces_more_than_it_brings() {
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(Effect::TruncateBeforeStoring));
    slack.inject(Fault::new(Effect::TruncateAfterStoring));
    for stored in [0, 1] {
        let answer = raw(&slack, "a").await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(head.contains("content-length: 300"), "{answer}");
        assert!(
            body.starts_with("{\"ok\":true") && body.len() < 300,
            "{answer}"
        );
        assert_eq!(slack.posts().len(), stored);
    }
    let ts = slack.posts()[0].ts.clone();
    let answer = "truncated".to_owned();
    let expected = [
        Outcome::TruncatedBeforeStoring,
        Outcome::FailedAfterStoring { ts, answer },
    ];
    assert_eq!(outcomes(&slack), expected);
}

#[tokio::test]
async fn failures_after_storing_look_like_failures_before() {
    let slack = start(unpaced()).await;
    let status = StatusCode::BAD_GATEWAY;
    let code = || "internal_error".to_owned();
    for (effect, expected) in [
        (Effect::HttpStatus { status }, 502),
        (Effect::HttpStatusAfterStoring { status }, 502),
        (Effect::Error { code: code() }, 200),
        (Effect::ErrorAfterStoring { code: code() }, 200),
    ] {
        let before = slack.posts().len();
        let stores = serde_json::to_string(&effect).unwrap().contains("storing");
        slack.inject(Fault::new(effect));
        let answer = post(&slack, named("a", "1")).await;
        assert_eq!(answer.status.as_u16(), expected);
        if expected == 200 {
            assert_eq!(answer.error(), "internal_error");
        } else {
            assert!(answer.content_type.starts_with("text/html"), "{answer:?}");
        }
        assert_eq!(slack.posts().len() - before, usize::from(stores));
    }
    let status = StatusCode::OK;
    slack.inject(Fault::new(Effect::HttpStatusAfterStoring { status }));
    let answer = hook(&slack, "a", json!({"text": "1"})).await;
    assert!(answer.text.starts_with("<!DOCTYPE html>"), "{answer:?}");
    assert_eq!(slack.posts().len(), 3);
}

#[tokio::test]
async fn a_hanging_answer_ends_without_one_and_without_a_message() {
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(Effect::HangBeforeStoring { milliseconds: 300 }));
    let asked = tokio::time::Instant::now();
    assert_eq!(raw(&slack, "a").await, "");
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(slack.posts().len(), 0);
}

/// The next message that is stored, once it is time; the test holds the clock.
async fn arrived(accepted: &mut Receiver<Post>) -> Post {
    // A timer may be a millisecond late.
    advance(LATE + Duration::from_millis(1)).await;
    accepted.recv().await.unwrap()
}

/// Posts a message that is stored a second later.
async fn post_late(slack: &LocalSlack, channel: &str, id: &str) {
    let effect = Effect::StoreLate {
        milliseconds: LATE.as_millis() as u32,
        hang: false,
    };
    slack.inject(Fault::new(effect).on(channel));
    let url = slack.api_url() + "chat.postMessage";
    let body = named(channel, id).to_string();
    let sent = try_send("POST", &url, &[TOKEN, JSON], body).await;
    assert!(sent.is_err(), "{sent:?}");
}

async fn history(slack: &LocalSlack, channel: &str) -> Vec<Value> {
    let arguments = json!({"channel": channel, "include_all_metadata": true});
    let answer = ok(slack, "conversations.history", arguments).await;
    answer["messages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_message_stored_late_is_not_found_before_and_is_afterwards() {
    let _clock = hold_clock();
    let slack = start(unpaced()).await;
    let mut accepted = slack.subscribe();
    post_late(&slack, "a", "1").await;
    assert_eq!(history(&slack, "a").await, [json!(null); 0]);
    assert_eq!(
        outcomes(&slack)[0],
        Outcome::WillBeStoredLate { delay_ms: 1_000 }
    );
    arrived(&mut accepted).await;
    assert_eq!(history(&slack, "a").await.len(), 1);
    assert!(slack.posts()[0].late.unwrap().after_look_up);
}

#[tokio::test]
async fn a_client_that_hangs_too_gets_no_answer_but_the_message_is_stored() {
    let slack = start(unpaced()).await;
    let effect = json!({"kind": "store_late", "milliseconds": 200, "hang": true});
    let inject = format!("http://{}/inject", slack.addr());
    let fault = json!({"effect": effect}).to_string();
    assert_eq!(send("POST", &inject, &[], fault).await.error(), "");
    let _clock = hold_clock();
    let mut accepted = slack.subscribe();
    let url = slack.webhook_url("a");
    let sent = tokio::spawn(async move {
        let sent = try_send("POST", &url, &[JSON], r#"{"text":"late"}"#).await;
        sent.is_ok()
    });
    while outcomes(&slack).is_empty() {
        yield_now().await;
    }
    assert_eq!(arrived(&mut accepted).await.text, "late");
    assert!(!sent.is_finished());
}

#[tokio::test]
async fn copies_are_counted_and_those_no_look_up_could_find_apart() {
    let _clock = hold_clock();
    let slack = start(unpaced()).await;
    post(&slack, named("a", "once")).await;
    // No metadata, another type: not told apart.
    for _ in 0..2 {
        hook(&slack, "a", json!({"text": "x"})).await;
        let mut other = named("a", "other");
        other["metadata"]["event_type"] = json!("something_else");
        post(&slack, other).await;
        hook(&slack, "b", named("b", "twice")).await;
    }
    let mut accepted = slack.subscribe();
    // Look-ups of another channel, or before the request, are none of this message.
    history(&slack, "a").await;
    post_late(&slack, "a", "blind").await;
    history(&slack, "b").await;
    arrived(&mut accepted).await;
    post(&slack, named("a", "blind")).await;
    post_late(&slack, "a", "looked").await;
    history(&slack, "a").await;
    post(&slack, named("a", "looked")).await;
    while slack
        .posts()
        .iter()
        .filter(|post| post.text == "looked")
        .count()
        < 2
    {
        arrived(&mut accepted).await;
    }
    let report: Vec<_> = slack
        .duplicates()
        .into_iter()
        .map(|one| {
            (
                one.id.clone(),
                one.copies,
                one.late,
                one.after_look_up,
                one.avoidable(),
            )
        })
        .collect();
    let row = |id: &str, late, after, avoidable| (id.to_owned(), 2, late, after, avoidable);
    assert_eq!(
        report,
        [
            row("blind", 1, 0, 1),
            row("looked", 1, 1, 0),
            row("twice", 0, 0, 1)
        ]
    );
    let recorded = format!("http://{}/recorded", slack.addr());
    let recorded = send("GET", &recorded, &[], "").await.json();
    assert_eq!(recorded["duplicates"][1]["id"], "looked");
    assert_eq!(recorded["duplicates"][1]["after_look_up"], 1);
    assert_eq!(recorded["duplicates"][2]["channels"], json!(["b"]));
}

#[tokio::test]
async fn a_look_up_that_was_not_answered_is_none() {
    let _clock = hold_clock();
    let slack = start(unpaced()).await;
    let mut accepted = slack.subscribe();
    post_late(&slack, "a", "1").await;
    let status = StatusCode::SERVICE_UNAVAILABLE;
    for effect in [
        Effect::HttpStatus { status },
        Effect::HttpStatusAfterStoring { status },
    ] {
        slack.inject(Fault::new(effect).of("conversations.history"));
        let answer = call(&slack, "conversations.history", json!({"channel": "a"})).await;
        assert_eq!(answer.status, status);
    }
    arrived(&mut accepted).await;
    assert!(!slack.posts()[0].late.unwrap().after_look_up);
}

#[tokio::test]
async fn faults_strike_the_method_they_name() {
    let slack = start(unpaced()).await;
    let error = |code: &str| Effect::Error {
        code: code.to_owned(),
    };
    let method = "conversations.history";
    slack.inject(Fault::new(error("missing_scope")).of(method).on("a"));
    slack.inject(
        Fault::new(Effect::RetryAfter { seconds: 60 })
            .of(method)
            .on("a"),
    );
    assert_eq!(post(&slack, named("a", "1")).await.error(), "");
    assert_eq!(
        call(&slack, method, json!({"channel": "b"})).await.error(),
        ""
    );
    let answer = call(&slack, method, json!({"channel": "a"})).await;
    assert_eq!(answer.error(), "missing_scope");
    let needed = answer.json()["needed"].as_str().unwrap().to_owned();
    assert!(needed.contains("channels:history"), "{needed}");
    assert_eq!(outcomes(&slack)[2], refused("missing_scope"));
    // The block is the method's, for every channel; other methods are free.
    for channel in ["a", "b"] {
        let answer = call(&slack, method, json!({"channel": channel})).await;
        assert!(answer.retry_after() > 50);
    }
    assert_eq!(post(&slack, named("a", "2")).await.error(), "");
    assert_eq!(texts(&slack), ["1", "2"]);
}
