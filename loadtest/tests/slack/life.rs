//! Connections, and the beginning and end of a local Slack.

use std::time::Duration;

use auditrelay_loadtest::slack::{Effect, Fault, LocalSlack};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::spawn;
use tokio::time::{Instant, advance, sleep, timeout};

use crate::support::{HOUR, JSON, hold_clock, hook, start, try_send, unpaced};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn urls_name_the_port_that_was_taken() {
    let slack = start(unpaced()).await;
    let port = slack.addr().port();
    assert_ne!(port, 0);
    assert_eq!(slack.api_url(), format!("http://127.0.0.1:{port}/api/"));
    let webhook = format!("http://127.0.0.1:{port}/services/T000/B000/audit");
    assert_eq!(slack.webhook_url("audit"), webhook);
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let slack = start(unpaced()).await;
    assert!(LocalSlack::start(slack.addr(), unpaced()).await.is_err());
}

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let slack = start(unpaced()).await;
    let mut stream = TcpStream::connect(slack.addr()).await.unwrap();
    for _ in 0..3 {
        let request = "POST /api/unknown HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
            assert_ne!(read.expect("no answer").unwrap(), 0, "closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    assert_eq!(slack.attempts().len(), 3);
}

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let _clock = hold_clock();
    let slack = start(unpaced()).await;
    let mut stream = TcpStream::connect(slack.addr()).await.unwrap();
    stream
        .write_all(b"POST /api/auth.test HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let begun = Instant::now();
    let read = spawn(async move { stream.read_to_end(&mut Vec::new()).await });
    // The limit is counted from when the connection is accepted, which may take a moment.
    while !read.is_finished() {
        advance(Duration::from_secs(1)).await;
    }
    read.await.unwrap().unwrap();
    assert!(
        begun.elapsed() >= Duration::from_secs(29),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn stopping_frees_the_port_for_the_next_one() {
    let slack = start(unpaced()).await;
    let addr = slack.addr();
    assert_eq!(hook(&slack, "a", json!({"text": "1"})).await.text, "ok");
    slack.stop().await;
    assert!(TcpStream::connect(addr).await.is_err());
    let again = LocalSlack::start(addr, unpaced()).await.unwrap();
    assert_eq!(hook(&again, "a", json!({"text": "2"})).await.text, "ok");
    assert_eq!(again.posts().len(), 1);
}

#[tokio::test]
async fn stopping_lets_a_short_answer_finish_and_cuts_a_long_one() {
    let _clock = hold_clock();
    let slack = start(unpaced()).await;
    slack.inject(Fault::new(Effect::delay(Duration::from_millis(100))).on("short"));
    slack.inject(Fault::new(Effect::delay(HOUR)).on("long"));
    let mut accepted = slack.subscribe();
    let mut answers = Vec::new();
    for channel in ["short", "long"] {
        let url = slack.webhook_url(channel);
        answers.push(spawn(async move {
            try_send("POST", &url, &[JSON], r#"{"text":"1"}"#).await
        }));
    }
    for _ in 0..2 {
        accepted.recv().await.unwrap();
    }
    let stopping = spawn(slack.stop());
    advance(Duration::from_millis(101)).await;
    let long = answers.remove(1);
    let short = answers.remove(0).await.unwrap();
    assert_eq!(short.unwrap().text, "ok");
    assert!(!stopping.is_finished() && !long.is_finished());
    let begun = Instant::now();
    while !stopping.is_finished() {
        advance(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < HOUR / 2, "waits for the long answer");
    assert!(long.await.unwrap().is_err());
}

#[tokio::test]
async fn dropping_ends_it_too() {
    let slack = start(unpaced()).await;
    let addr = slack.addr();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    drop(slack);
    let gone = async {
        while TcpStream::connect(addr).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("still listening");
    let mut byte = [0];
    let read = timeout(PATIENCE, idle.read(&mut byte))
        .await
        .expect("still connected");
    assert!(matches!(read, Ok(0) | Err(_)));
}
