//! What is answered: always a Kubernetes `Status` object, so that the API server's log shows its
//! message. (Only what never became a request, being no HTTP, is answered by hyper.)
//!
//! Invariants: never a redirect (the API server would ask again without a body and take the batch for
//! stored); `Retry-After` always in seconds from 1 to 5 (within its 30 s per try that buys the most
//! attempts; 0 makes it hammer, a date is ignored).

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use crate::{
    prepare::Stored,
    refusal::{Reason, Refusal},
};

/// Longest `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS_MAX: u64 = 5;

pub(crate) fn success(stored: &Stored) -> Response<Full<Bytes>> {
    let events = match stored.events {
        1 => "1 event is safe on disk".to_owned(),
        events => format!("{events} events are safe on disk"),
    };
    let message = match stored.unreadable {
        0 => events,
        unreadable => format!("{events}; could not be read and quarantined: {unreadable}"),
    };
    respond(
        StatusCode::OK,
        &status("Success", StatusCode::OK, &message, None),
    )
}

/// `turn` is different for each refusal: those that come too fast are spread over the next seconds.
pub(crate) fn refused(refusal: &Refusal, turn: u64) -> Response<Full<Bytes>> {
    let reason = refusal.reason;
    let code = reason.status();
    let mut response = respond(
        code,
        &status("Failure", code, &refusal.message, Some(reason.kubernetes())),
    );
    let headers = response.headers_mut();
    for challenge in &refusal.challenges {
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    match reason {
        Reason::Method => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        Reason::BytesInFlight | Reason::QueueFull | Reason::QueueUnavailable => {
            let seconds = 1 + turn % RETRY_AFTER_SECONDS_MAX;
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Reason::Queue | Reason::AckTimeout => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // Another try may meet the same bug: it need not come at once.
        Reason::Internal => {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS_MAX));
        }
        _ => {}
    }
    response
}

/// What plain HTTP is told on a port that is encrypted.
pub(crate) const SPEAK_HTTPS: &str = "this port speaks https; let the kubeconfig's URL begin with https, and name the relay's CA beside it";

/// The whole answer for a connection that is one too many: there is no request yet.
pub(crate) fn too_many_connections() -> Vec<u8> {
    last_words(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1",
        Reason::Connections,
        "as many connections as ingest.connections_max allows are open; send again",
    )
}

/// The whole answer for one that speaks plain HTTP on a port that is encrypted.
pub(crate) fn speak_https() -> Vec<u8> {
    last_words("HTTP/1.1 400 Bad Request", Reason::PlainHttp, SPEAK_HTTPS)
}

fn last_words(head: &str, reason: Reason, message: &str) -> Vec<u8> {
    let code = reason.status();
    let body = status("Failure", code, message, Some(reason.kubernetes())).to_string();
    format!(
        "{head}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn status(outcome: &str, code: StatusCode, message: &str, reason: Option<&str>) -> Value {
    let mut status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": outcome,
        "message": message,
        "code": code.as_u16(),
    });
    if let Some(reason) = reason {
        status["reason"] = reason.into();
    }
    status
}

fn respond(code: StatusCode, status: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(status.to_string())));
    *response.status_mut() = code;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
