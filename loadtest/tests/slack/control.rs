//! What other processes can read and ask for, and what is kept.

use auditrelay_loadtest::slack::{Options, Recorded, StatusCode};
use serde_json::json;

use crate::support::{HOUR, hook, post, send, start, texts, unpaced};

#[tokio::test]
async fn the_record_can_be_read_over_http() {
    let slack = start(unpaced()).await;
    post(&slack, json!({"channel": "a", "text": "1"})).await;
    hook(&slack, "b", json!({})).await;
    let url = format!("http://{}/recorded", slack.addr());
    let answer = send("GET", &url, &[], "").await;
    let read: Recorded = serde_json::from_value(answer.json()).unwrap();
    assert_eq!(read, slack.recorded());
    assert_eq!((read.posts.len(), read.attempts.len()), (1, 2));
    assert_eq!(answer.json()["posts"][0]["via"], "chat.postMessage");
    assert_eq!(answer.json()["attempts"][0]["outcome"]["kind"], "accepted");
    let attempt = &answer.json()["attempts"][1];
    assert_eq!(
        attempt["outcome"],
        json!({"kind": "refused", "error": "no_text"})
    );
}

#[tokio::test]
async fn faults_can_be_injected_over_http() {
    let slack = start(unpaced()).await;
    let url = format!("http://{}/inject", slack.addr());
    let fault = json!({"channel": "a", "effect": {"kind": "error", "code": "is_archived"}});
    assert_eq!(send("POST", &url, &[], fault.to_string()).await.error(), "");
    let answer = post(&slack, json!({"channel": "a", "text": "1"})).await;
    assert_eq!(answer.error(), "is_archived");
    let answer = send("POST", &url, &[], r#"{"effect":{"kind":"flood"}}"#).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.json()["error"].as_str().unwrap().contains("flood"));
}

#[tokio::test]
async fn a_reset_forgets_everything_but_the_time_stamps_given() {
    let slack = start(Options {
        message_interval: HOUR,
        ..Options::default()
    })
    .await;
    let message = json!({"channel": "a", "text": "1"});
    post(&slack, message.clone()).await;
    let before = slack.posts()[0].ts.clone();
    let base = format!("http://{}", slack.addr());
    let fault = r#"{"effect":{"kind":"close_before_storing"}}"#;
    send("POST", &format!("{base}/inject"), &[], fault).await;
    assert_eq!(
        send("POST", &format!("{base}/reset"), &[], "")
            .await
            .error(),
        ""
    );
    assert!(slack.posts().is_empty() && slack.attempts().is_empty());
    assert_eq!(post(&slack, message).await.error(), "");
    assert!(slack.posts()[0].ts > before);
}

#[tokio::test]
async fn other_paths_and_methods_are_not_found_and_leave_no_trace() {
    let slack = start(unpaced()).await;
    for (method, path, status) in [
        ("GET", "/", 404),
        ("POST", "/recorded", 405),
        ("GET", "/inject", 405),
        ("GET", "/reset", 405),
    ] {
        let url = format!("http://{}{path}", slack.addr());
        assert_eq!(
            send(method, &url, &[], "").await.status.as_u16(),
            status,
            "{method} {path}"
        );
    }
    assert!(slack.attempts().is_empty());
}

#[tokio::test]
async fn only_the_last_are_kept_and_the_rest_is_counted() {
    let slack = start(Options {
        keep: 2,
        ..unpaced()
    })
    .await;
    for text in ["1", "2", "", "3"] {
        post(&slack, json!({"channel": "a", "text": text})).await;
    }
    let recorded = slack.recorded();
    assert_eq!(texts(&slack), ["2", "3"]);
    assert_eq!((recorded.posts_dropped, recorded.attempts_dropped), (1, 2));
    assert_eq!(slack.attempts().len(), 2);
}

#[tokio::test]
async fn subscribers_see_messages_in_the_order_of_the_record() {
    let slack = start(unpaced()).await;
    let mut accepted = slack.subscribe();
    for text in ["1", "", "2", "3"] {
        post(&slack, json!({"channel": "a", "text": text})).await;
    }
    for expected in slack.posts() {
        assert_eq!(accepted.recv().await.unwrap(), expected);
    }
    assert!(accepted.try_recv().is_err());
}
