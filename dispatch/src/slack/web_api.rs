//! Slack's Web API: one method, one call, what came of it.
//!
//! Contract: the token stands in the `Authorization` header alone, and nowhere else, ever. Methods that
//! post are called with JSON, those that read with a form, as Slack's pages have it.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use prometheus::HistogramVec;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::{
    answers,
    http::{Answer, Broken, Http},
};
use crate::{Term, destination::SendError, pace::Place};

/// The Web API, as one token may use it.
#[derive(Clone)]
pub struct WebApi {
    http: Http,
    url: Url,
    authorization: HeaderValue,
}

/// An answer with `"ok": true`.
#[derive(Debug)]
pub struct Reply {
    /// The answer.
    pub value: Value,
    /// The token's scopes, where Slack named them.
    pub scopes: Option<Vec<String>>,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// Slack refused.
    Refused {
        /// Slack's word for why.
        code: String,
        /// The scope that a `missing_scope` names.
        needed: Option<String>,
        /// The `Retry-After` header.
        retry_after: Option<String>,
    },
    /// Status 429.
    Limited {
        /// The `Retry-After` header.
        retry_after: Option<String>,
    },
    /// Another status than 200 and 429.
    Status {
        /// The status.
        status: u16,
        /// The `Retry-After` header.
        retry_after: Option<String>,
    },
    /// An answer with status 200 that is not what Slack says it sends.
    Unreadable,
    /// No whole answer.
    Broken(Broken),
}

impl WebApi {
    /// For one token.
    ///
    /// # Errors
    /// The token does not fit a header.
    pub fn new(http: Http, url: &Url, token: &SecretString) -> Result<Self, String> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))
            .map_err(|_| "the token does not fit an HTTP header".to_owned())?;
        authorization.set_sensitive(true);
        Ok(Self {
            http,
            url: url.clone(),
            authorization,
        })
    }

    /// The same, and how long each call took is observed.
    #[must_use]
    pub fn timed(self, durations: HistogramVec) -> Self {
        Self {
            http: self.http.timed(durations),
            ..self
        }
    }

    /// The same, which posts only within a term.
    #[must_use]
    pub fn within(self, term: Term) -> Self {
        Self {
            http: self.http.within(term),
            ..self
        }
    }

    /// The same, whose calls that post count to the pace of a place; to none, if there is none.
    #[must_use]
    pub fn paced(self, place: Option<Place>) -> Self {
        Self {
            http: self.http.paced(place),
            ..self
        }
    }

    /// How long a call may take.
    pub fn timeout(&self) -> Duration {
        self.http.timeout()
    }

    /// Calls a method that posts.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub async fn call(&self, method: &'static str, arguments: &Value) -> Result<Reply, CallError> {
        let body = Bytes::from(arguments.to_string());
        let request = self.request(method, "application/json; charset=utf-8", body)?;
        let answer = self.http.send(method, request).await;
        read(answer.map_err(CallError::Broken)?)
    }

    /// Calls a method that reads.
    ///
    /// # Errors
    /// Why it came to nothing.
    pub async fn read(
        &self,
        method: &'static str,
        arguments: &[(&str, &str)],
    ) -> Result<Reply, CallError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(arguments)
            .finish();
        let body = Bytes::from(form);
        let request = self.request(method, "application/x-www-form-urlencoded", body)?;
        let answer = self.http.ask(method, request).await;
        read(answer.map_err(CallError::Broken)?)
    }

    /// Sends bytes to an address that Slack named, without the token.
    ///
    /// # Errors
    /// The address is not one to send to, or the answer's status is not 200.
    pub async fn upload(&self, address: &str, bytes: Bytes) -> Result<(), CallError> {
        let is_safe = Url::parse(address)
            .is_ok_and(|url| url.scheme() == "https" || url.origin() == self.url.origin());
        if !is_safe {
            return Err(CallError::Unreadable);
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(address)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(bytes)
            .map_err(|_| CallError::Unreadable)?;
        let answer = self.http.send("upload", request).await;
        let answer = answer.map_err(CallError::Broken)?;
        of_status(&answer)
    }

    fn request(
        &self,
        method: &'static str,
        content_type: &'static str,
        body: Bytes,
    ) -> Result<Request<Bytes>, CallError> {
        let not_sent = |reason: String| {
            CallError::Broken(Broken {
                sent: false,
                withheld: false,
                reason,
            })
        };
        let url = self
            .url
            .join(method)
            .map_err(|error| not_sent(error.to_string()))?;
        Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(CONTENT_TYPE, content_type)
            .header(AUTHORIZATION, self.authorization.clone())
            .body(body)
            .map_err(|error| not_sent(error.to_string()))
    }
}

fn of_status(answer: &Answer) -> Result<(), CallError> {
    match answer.status {
        StatusCode::OK => Ok(()),
        StatusCode::TOO_MANY_REQUESTS => Err(CallError::Limited {
            retry_after: answer.retry_after().map(str::to_owned),
        }),
        other => Err(CallError::Status {
            status: other.as_u16(),
            retry_after: answer.retry_after().map(str::to_owned),
        }),
    }
}

fn read(answer: Answer) -> Result<Reply, CallError> {
    of_status(&answer)?;
    let value: Value = serde_json::from_str(&answer.body).map_err(|_| CallError::Unreadable)?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match (value.get("ok").and_then(Value::as_bool), text("error")) {
        (Some(true), _) => {
            let scopes = answer.headers.get("x-oauth-scopes");
            let scopes = scopes.and_then(|value| value.to_str().ok());
            let list = |text: &str| text.split(',').map(|one| one.trim().to_owned()).collect();
            Ok(Reply {
                scopes: scopes.map(list),
                value,
            })
        }
        (Some(false), Some(code)) => Err(CallError::Refused {
            needed: text("needed"),
            retry_after: answer.retry_after().map(str::to_owned),
            code,
        }),
        _ => Err(CallError::Unreadable),
    }
}

impl CallError {
    /// What it means for something that was to be posted.
    pub fn into_send_error(self) -> SendError {
        match self {
            Self::Refused {
                code,
                needed,
                retry_after,
            } => answers::of_code(&code, needed.as_deref(), retry_after.as_deref()),
            Self::Limited { retry_after } => answers::of_rate_limit(retry_after.as_deref()),
            Self::Status {
                status,
                retry_after,
            } => answers::of_status(status, retry_after.as_deref()),
            Self::Broken(broken) => answers::of_broken(broken),
            Self::Unreadable => SendError::Unknown {
                after: None,
                reason: "Slack's answer is not the JSON that it should be".to_owned(),
            },
        }
    }
}
