//! A plain webhook: a dead man's switch, which takes any POST for a sign of life.
//!
//! Contract: the URL stands in no error and no log line; redirects are not followed; a request is bounded in time
//! and so is its answer, of which only the status counts. A sign of life that comes twice says nothing else than one,
//! so whatever may pass by itself is tried again, known to have arrived or not; what will not parks the channel.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request, StatusCode, header::CONTENT_TYPE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::{Host, Url};

use crate::{
    destination::{Destination, Receipt, SendError},
    message::Message,
    slack::Http,
};

/// What errors call it.
const PEER: &str = "watchdog.url";

/// One URL.
pub struct PlainWebhook {
    http: Http,
    url: SecretString,
}

impl PlainWebhook {
    /// Posts to one URL, by the way that messages to Slack take.
    pub fn new(http: &Http, url: &SecretString) -> Self {
        // No proxy leads to this machine.
        let http = match is_of_this_machine(url.expose_secret()) {
            true => http.direct(),
            false => http.clone(),
        };
        Self {
            http: http.to(PEER),
            url: url.clone(),
        }
    }
}

impl Destination for PlainWebhook {
    async fn post(&self, message: &Message) -> Result<Receipt, SendError> {
        let body = json!({
            "text": message.text,
            "message_id": message.id,
            "form": message.form,
            "version": env!("CARGO_PKG_VERSION"),
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(self.url.expose_secret())
            .header(CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|_| SendError::Park {
                reason: format!("{PEER} cannot be used: correct it"),
            })?;
        match self.http.send("plain", request).await {
            Ok(answer) => judged(answer.status, answer.retry_after()),
            Err(broken) if broken.withheld => Err(SendError::Withheld),
            Err(broken) => Err(later(None, broken.reason)),
        }
    }
}

fn is_of_this_machine(url: &str) -> bool {
    let url = Url::parse(url).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn judged(status: StatusCode, retry_after: Option<&str>) -> Result<Receipt, SendError> {
    let reason = format!("{PEER} answered with HTTP status {}", status.as_u16());
    match status.as_u16() {
        200..=299 => Ok(Receipt::default()),
        408 | 425 | 429 | 500..=599 => {
            let seconds = retry_after.and_then(|text| text.trim().parse().ok());
            Err(later(seconds.map(Duration::from_secs), reason))
        }
        300..=399 => Err(SendError::Park {
            reason: format!("{reason}: redirects are not followed; correct it"),
        }),
        _ => Err(SendError::Park {
            reason: format!(
                "{reason}: correct it, or look whether the check is still there that it belongs to"
            ),
        }),
    }
}

fn later(after: Option<Duration>, reason: String) -> SendError {
    SendError::Later {
        after,
        limited: false,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_to_do_next() {
        let next = |status: u16, after| {
            let judged = judged(StatusCode::from_u16(status).expect("a status"), after);
            judged.map_or_else(
                |error| match error {
                    SendError::Later { after, .. } => format!("later {after:?}"),
                    other => other.as_str().to_owned(),
                },
                |receipt| format!("accepted {:?}", receipt.ts),
            )
        };
        for status in [200, 201, 202, 204] {
            assert_eq!(next(status, None), "accepted \"\"", "{status}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert_eq!(next(status, Some("7")), "later Some(7s)", "{status}");
            assert_eq!(next(status, Some("soon")), "later None", "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 405, 410] {
            assert_eq!(next(status, None), "park", "{status}");
        }
    }

    #[test]
    fn no_proxy_is_asked_for_this_machine() {
        for (url, own) in [
            ("http://127.0.0.1:9093/x", true),
            ("http://[::1]:9093/x", true),
            ("http://localhost/x", true),
            ("https://hc-ping.com/x", false),
            ("https://localhost.example.com/x", false),
        ] {
            assert_eq!(is_of_this_machine(url), own, "{url}");
        }
    }
}
