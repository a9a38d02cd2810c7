//! `POST /import` of the admin port: lines of a log file that another process reads. The body is a line of JSON
//! ([`Ask`]) and behind it the text of the lines, as it is. Who may: as with commands, the token of this run is
//! needed.

use std::time::Duration;

use auditrelay_ingest::log_file::LINE_BYTES_MAX;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use tokio::time::timeout;

use super::chunk::{Ask, Said};
use crate::{
    commands_port::{Answer, Commands, refuse},
    execute::NOBODY_LEADS,
    far::Refused,
    when::now_unix_ms,
};

pub(crate) const PATH: &str = "/import";
pub(super) const CONTENT: &str = "application/x-auditrelay-lines";
/// One line of the greatest length, and what is said of it.
const BODY_BYTES_MAX: usize = LINE_BYTES_MAX + (1 << 20);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

impl Commands {
    /// Answers a request of an import.
    pub(crate) async fn import(&self, request: hyper::Request<Incoming>) -> Answer {
        match self.take_lines(request).await {
            Ok(said) => said,
            Err((status, reason)) => refuse(status, reason),
        }
    }

    async fn take_lines(&self, request: hyper::Request<Incoming>) -> Result<Answer, Refused> {
        let refused = |status, reason: &str| Err((status, reason.to_owned()));
        if request.method() != Method::POST {
            return refused(StatusCode::METHOD_NOT_ALLOWED, "only POST is served here");
        }
        self.needs_token(request.headers().get(AUTHORIZATION))
            .map_err(|(status, reason)| (status, reason.to_owned()))?;
        let content_type = request.headers().get(CONTENT_TYPE);
        if content_type.is_none_or(|one| one.as_bytes() != CONTENT.as_bytes()) {
            let reason = "this is for `auditrelay import`";
            return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
        }
        // One at a time: each may be as large as a line may be.
        let Ok(_turn) = self.importing.acquire().await else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the relay stops");
        };
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
        let body = match timeout(BODY_TIMEOUT, body).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                let reason = "the request is larger than 33 MiB, or broke off";
                return refused(StatusCode::PAYLOAD_TOO_LARGE, reason);
            }
            Err(_) => {
                let reason = "the request did not come within 30 s";
                return refused(StatusCode::REQUEST_TIMEOUT, reason);
            }
        };
        let end = body.iter().position(|byte| *byte == b'\n');
        let (head, text) = body.split_at(end.unwrap_or(body.len()));
        let ask: Ask = serde_json::from_slice(head).map_err(|_| {
            let reason = "this is no import of this version";
            (StatusCode::BAD_REQUEST, reason.to_owned())
        })?;
        let text = text.get(1..).unwrap_or_default().to_vec();
        drop(body);
        let now = now_unix_ms();
        // A task of its own, so that what was begun is durable before anybody asks how far it is, also when its
        // client was killed meanwhile.
        let Some(leading) = self.leading() else {
            let reason = match self.leader() {
                Some(leader) => format!(
                    "this relay does not lead, and an import has to be where the queue is written: run it beside {leader}"
                ),
                None => NOBODY_LEADS.to_owned(),
            };
            return Err((StatusCode::SERVICE_UNAVAILABLE, reason));
        };
        let work = tokio::spawn(async move { leading.importer.answer(ask, text, now).await });
        match work.await {
            Ok(said) => Ok(answer(&said)),
            Err(_panicked) => {
                let reason =
                    "the relay failed on this import; its log says where, please report it";
                refused(StatusCode::INTERNAL_SERVER_ERROR, reason)
            }
        }
    }
}

fn answer(said: &Said) -> Answer {
    let Ok(body) = serde_json::to_vec(said) else {
        return refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "it cannot be told".to_owned(),
        );
    };
    let mut answer = hyper::Response::new(Full::new(Bytes::from(body)).boxed());
    let value = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, value);
    answer
}
