//! A client for the tests, which sees answers as they are on the wire.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use auditrelay_loadtest::slack::{LocalSlack, Options, Outcome};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub const TOKEN: (&str, &str) = ("authorization", "Bearer xoxb-test");

/// No pace: for tests of everything else.
pub fn unpaced() -> Options {
    Options {
        message_interval: Duration::ZERO,
        ..Options::default()
    }
}

/// From now on, and for as long as the value lives, time passes by [`advance`](tokio::time::advance) alone: a machine that
/// is busy is never late. (A paused clock jumps when nothing is to be done, also while bytes are on their way; not beside a
/// task that blocks.)
pub fn hold_clock() -> impl Drop {
    struct Held(Option<std::sync::mpsc::Sender<()>>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0 = None;
        }
    }
    let (held, until) = std::sync::mpsc::channel();
    tokio::task::spawn_blocking(move || until.recv());
    tokio::time::pause();
    Held(Some(held))
}

pub async fn start(options: Options) -> LocalSlack {
    LocalSlack::start(LOOPBACK, options).await.unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub retry_after: Option<String>,
    /// `x-oauth-scopes` and `x-accepted-oauth-scopes`.
    pub scopes: [Option<String>; 2],
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        assert_eq!(
            self.content_type, "application/json; charset=utf-8",
            "{self:?}"
        );
        serde_json::from_str(&self.text).unwrap()
    }

    /// The application error of a 200, or "" for `ok: true`.
    pub fn error(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let body = self.json();
        let error = body["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(body["ok"], error.is_empty(), "{self:?}");
        error
    }

    /// The wait a 429 asks for.
    pub fn retry_after(&self) -> u64 {
        assert_eq!(self.status, StatusCode::TOO_MANY_REQUESTS, "{self:?}");
        assert_eq!(
            self.json(),
            serde_json::json!({"ok": false, "error": "ratelimited"})
        );
        self.retry_after.as_deref().unwrap().parse().unwrap()
    }
}

pub async fn try_send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client
        .request(request.body(Full::new(body.into())).unwrap())
        .await?;
    let header = |name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let (content_type, retry_after) = (header("content-type"), header("retry-after"));
    let scopes = ["x-oauth-scopes", "x-accepted-oauth-scopes"].map(header);
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Ok(Answer {
        status,
        content_type: content_type.unwrap_or_default(),
        retry_after,
        scopes,
        text,
    })
}

pub async fn send(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    try_send(method, url, headers, body).await.unwrap()
}

/// A well-formed call of any method.
pub async fn call(slack: &LocalSlack, method: &str, arguments: Value) -> Answer {
    let url = slack.api_url() + method;
    send("POST", &url, &[TOKEN, JSON], arguments.to_string()).await
}

/// A call that must succeed: its answer.
pub async fn ok(slack: &LocalSlack, method: &str, arguments: Value) -> Value {
    let answer = call(slack, method, arguments).await;
    assert_eq!(answer.error(), "", "{answer:?}");
    answer.json()
}

/// The time stamp of a message posted now.
pub async fn posted(slack: &LocalSlack, message: Value) -> String {
    let answer = ok(slack, "chat.postMessage", message).await;
    answer["ts"].as_str().unwrap().to_owned()
}

/// A message with an ID for the duplicates' report.
pub fn named(channel: &str, id: &str) -> Value {
    serde_json::json!({
        "channel": channel, "text": id, "unfurl_links": false, "unfurl_media": false,
        "metadata": {"event_type": "auditrelay_message", "event_payload": {"id": id}},
    })
}

/// A well-formed chat.postMessage.
pub async fn post(slack: &LocalSlack, message: Value) -> Answer {
    let url = slack.api_url() + "chat.postMessage";
    send("POST", &url, &[TOKEN, JSON], message.to_string()).await
}

/// A well-formed webhook post.
pub async fn hook(slack: &LocalSlack, channel: &str, message: Value) -> Answer {
    send(
        "POST",
        &slack.webhook_url(channel),
        &[JSON],
        message.to_string(),
    )
    .await
}

pub fn texts(slack: &LocalSlack) -> Vec<String> {
    slack.posts().into_iter().map(|post| post.text).collect()
}

pub fn outcomes(slack: &LocalSlack) -> Vec<Outcome> {
    slack
        .attempts()
        .into_iter()
        .map(|attempt| attempt.outcome)
        .collect()
}

pub fn refused(error: &str) -> Outcome {
    Outcome::Refused {
        error: error.to_owned(),
    }
}
