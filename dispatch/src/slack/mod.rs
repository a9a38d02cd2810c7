//! Slack over HTTP: `chat.postMessage` with a bot token, and incoming webhooks.
//!
//! Contract: no token and no webhook URL ever stands in an error, a log line or a metric. What an
//! answer means is in [`table`]. A message that was posted with a token carries its ID in its metadata,
//! by which [`Destination::find`] finds it again where the token may read the channel's history.

pub mod answers;
pub mod channel;
pub mod check;
mod history;
pub mod http;
pub mod permalink;
pub mod table;
mod upload;
pub mod web_api;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use hyper::{Method, Request, StatusCode, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{
    destination::{Attachment, Destination, Found, Receipt, SendError},
    message::Message,
    workspace::Workspace,
};

pub use channel::Channel;
pub use http::Http;
pub use web_api::{CallError, WebApi};

/// Names the relay's messages among others with metadata.
pub const METADATA_TYPE: &str = "auditrelay_message";

/// What both ways of posting send.
pub fn content(message: &Message) -> Value {
    let mut body = json!({
        "text": message.text,
        // Slack would fetch every URL that an event mentions.
        "unfurl_links": false,
        "unfurl_media": false,
        // Nothing in the text is markup, and no address in it becomes a link.
        "mrkdwn": false,
        "parse": "none",
    });
    if !message.blocks.is_empty() {
        body["blocks"] = message.blocks.clone().into();
    }
    if let Some(thread) = &message.thread {
        body["thread_ts"] = thread.as_str().into();
    }
    if !message.id.is_empty() {
        body["metadata"] = json!({
            "event_type": METADATA_TYPE,
            "event_payload": {"id": message.id},
        });
    }
    body
}

/// What `chat.postMessage` is sent for a channel.
pub fn api_content(channel: &str, message: &Message) -> Value {
    let mut body = content(message);
    body["channel"] = channel.into();
    body
}

/// One channel, through `chat.postMessage`.
pub struct SlackApi {
    api: WebApi,
    channel: Channel,
    workspace: Workspace,
    /// When the last message was posted, by Slack's clock: its `ts`.
    last_ts: Mutex<Option<String>>,
}

impl SlackApi {
    /// Posts to a channel, by its ID or name, and looks things up in the turns of `workspace`.
    pub fn new(api: WebApi, channel: &str, workspace: Workspace) -> Self {
        Self {
            channel: Channel::new(channel),
            api,
            workspace,
            last_ts: Mutex::default(),
        }
    }
}

impl SlackApi {
    fn note_last(&self, ts: &str) {
        let mut last = self.last_ts.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (!ts.is_empty()).then(|| ts.to_owned());
    }
}

impl Destination for SlackApi {
    async fn post(&self, message: &Message) -> Result<Receipt, SendError> {
        let body = api_content(&self.channel.to_post(), message);
        let reply = self.api.call("chat.postMessage", &body).await;
        let reply = reply.map_err(|error| {
            if matches!(&error, CallError::Refused { code, .. } if names_no_channel(code)) {
                self.channel.forget();
                self.workspace.forget_channels();
            }
            error.into_send_error()
        })?;
        let text = |name: &str| reply.value.get(name).and_then(Value::as_str);
        self.channel.learn(text("channel").unwrap_or_default());
        let ts = text("ts").unwrap_or_default().to_owned();
        self.note_last(&ts);
        Ok(Receipt { ts })
    }

    async fn find(&self, message: &Message, since_unix_ms: i64) -> Result<Found, SendError> {
        let last_ts = self
            .last_ts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // What is new overtakes replies: of these only the message that they answer is certainly older.
        let after_ts = message.thread.as_deref().or(last_ts.as_deref());
        let sought = history::Sought {
            message,
            since_unix_ms,
            after_ts,
        };
        let found = history::find(&self.api, &self.channel, &self.workspace, sought).await;
        if let (Ok(Found::Posted(receipt)), None) = (&found, &message.thread) {
            self.note_last(&receipt.ts);
        }
        found
    }

    fn request_max(&self) -> Duration {
        self.api.timeout()
    }

    fn place(&self) -> Option<String> {
        self.channel.known()
    }

    async fn attach(&self, file: &Attachment) -> Result<(), SendError> {
        upload::attach(&self.api, &self.channel, &self.workspace, file).await
    }
}

/// Whether the channel that an ID stood for is not there any more: another one may have its name.
fn names_no_channel(code: &str) -> bool {
    matches!(code, "channel_not_found" | "is_archived")
}

/// An incoming webhook.
pub struct SlackWebhook {
    http: Http,
    url: SecretString,
}

impl SlackWebhook {
    /// Posts to one webhook.
    pub fn new(http: Http, url: &SecretString) -> Self {
        Self {
            http,
            url: url.clone(),
        }
    }
}

impl Destination for SlackWebhook {
    async fn post(&self, message: &Message) -> Result<Receipt, SendError> {
        let body = content(message);
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.expose_secret())
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(Bytes::from(body.to_string()))
            .map_err(|_| SendError::Park {
                reason: "the webhook's URL cannot be used: correct webhook_url".into(),
            })?;
        let answer = self.http.send("webhook", request).await;
        let answer = answer.map_err(answers::of_broken)?;
        match answer.status {
            StatusCode::OK if answer.body.trim() == "ok" => Ok(Receipt::default()),
            StatusCode::TOO_MANY_REQUESTS => Err(answers::of_rate_limit(answer.retry_after())),
            other => Err(answers::of_webhook(
                other.as_u16(),
                &answer.body,
                answer.retry_after(),
            )),
        }
    }
}
