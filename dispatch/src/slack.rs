//! Slack over HTTP: `chat.postMessage` with a bot token, and incoming webhooks.
//!
//! Contract: one request per call, bounded by a timeout; redirects are not followed; TLS is verified;
//! no token and no webhook URL ever stands in an error, a log line or a metric. What an answer means
//! is in [`crate::slack_answers`].

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::{
    destination::{Destination, Receipt, SendError},
    message::Message,
    slack_answers,
};

/// Slack's answers are small; more than this is not one.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Shorter than any peer's: a connection that dies under a request leaves a message's fate unknown.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// An HTTPS client; clones share its connections.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: String,
}

impl Http {
    /// A client that gives a request so long.
    pub fn new(timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        // Before the whole request's: while there is no connection, nothing can have been posted.
        connector.set_connect_timeout(Some(timeout / 2));
        // The configuration allows plain HTTP for loopback addresses only.
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self {
            client: Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_timer(TokioTimer::new())
                .build(connector),
            timeout,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, SendError> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| {
                // Before a connection stands nothing can have been posted.
                if error.is_connect() {
                    let reason = format!("cannot connect to Slack: {}", root_cause(&error));
                    SendError::Later {
                        after: None,
                        reason,
                    }
                } else {
                    SendError::Unknown {
                        reason: format!("the connection broke: {}", root_cause(&error)),
                    }
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| SendError::Unknown {
                    reason: format!("the answer was cut short: {error}"),
                })?;
            Ok(Answer {
                status: head.status,
                retry_after: head
                    .headers
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
                body: String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            })
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| {
                let reason = format!("no answer from Slack within {} s", self.timeout.as_secs());
                Err(SendError::Unknown { reason })
            })
    }
}

/// What both ways of posting send.
pub fn content(message: &Message) -> Value {
    let mut body = json!({
        "text": message.text,
        // Slack would fetch every URL that an event mentions.
        "unfurl_links": false,
        "unfurl_media": false,
    });
    if !message.blocks.is_empty() {
        body["blocks"] = message.blocks.clone().into();
    }
    body
}

/// What `chat.postMessage` is sent for a channel.
pub fn api_content(channel: &str, message: &Message) -> Value {
    let mut body = content(message);
    body["channel"] = channel.into();
    body["mrkdwn"] = false.into();
    body
}

/// The innermost error: the outer ones only say "error" around it.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// `chat.postMessage`.
pub struct SlackApi {
    http: Http,
    url: Url,
    authorization: HeaderValue,
    channel: String,
}

impl SlackApi {
    /// Posts to one channel.
    ///
    /// # Errors
    /// The API's address has no methods below it, or the token does not fit a header.
    pub fn new(
        http: Http,
        api_url: &Url,
        token: &SecretString,
        channel: &str,
    ) -> Result<Self, String> {
        let url = api_url
            .join("chat.postMessage")
            .map_err(|error| format!("{api_url} is no API address: {error}"))?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| "the token does not fit an HTTP header".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Self {
            http,
            url,
            authorization,
            channel: channel.to_owned(),
        })
    }
}

#[derive(Deserialize)]
struct ApiAnswer {
    ok: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    ts: String,
}

impl Destination for SlackApi {
    async fn post(&self, message: &Message) -> Result<Receipt, SendError> {
        let body = api_content(&self.channel, message);
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.as_str())
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Full::from(body.to_string()))
            .map_err(|error| SendError::Park {
                reason: format!("no request: {error}"),
            })?;
        let answer = self.http.send(request).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(slack_answers::of_rate_limit(answer.retry_after.as_deref()));
            }
            other => return Err(slack_answers::of_api_status(other.as_u16())),
        }
        let parsed: ApiAnswer =
            serde_json::from_str(&answer.body).map_err(|_| SendError::Unknown {
                reason: "Slack's answer is not the JSON that it should be".into(),
            })?;
        if parsed.ok {
            Ok(Receipt { ts: parsed.ts })
        } else {
            Err(slack_answers::of_error(&parsed.error))
        }
    }
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
            .body(Full::from(body.to_string()))
            .map_err(|_| SendError::Park {
                reason: "the webhook's URL cannot be used".into(),
            })?;
        let answer = self.http.send(request).await?;
        match answer.status {
            StatusCode::OK => Ok(Receipt::default()),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(slack_answers::of_rate_limit(answer.retry_after.as_deref()))
            }
            other => Err(slack_answers::of_webhook(other.as_u16(), &answer.body)),
        }
    }
}
