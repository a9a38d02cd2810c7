//! Answers in the shapes Slack gives them.
//!
//! Contract: an application error of the Web API is HTTP 200 with `ok: false`; only
//! webhooks use status codes for errors; 429 always carries an integer `Retry-After`;
//! a server error is an HTML page, so a client that parses every body as JSON fails
//! here as it would there.

use bytes::Bytes;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use super::message::Refusal;

/// What every request is answered with.
pub(super) type Reply = Response<Body>;

const JSON: &str = "application/json; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::whole(body.into()));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// Any JSON.
pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    reply(status, JSON, body.to_string())
}

/// A Web API answer: HTTP 200 whatever it says, and the warning of §1.1 if there is one.
pub(super) fn web_api(mut body: Value, warning: Option<&'static str>) -> Reply {
    if let Some(warning) = warning {
        body["warning"] = json!(warning);
        body["response_metadata"]["warnings"] = json!([warning]);
    }
    json(StatusCode::OK, &body)
}

/// A Web API error; broken block rules are told twice, as Slack does.
pub(super) fn web_api_error(refusal: &Refusal, warning: Option<&'static str>) -> Reply {
    let mut body = json!({"ok": false, "error": refusal.code});
    if !refusal.details.is_empty() {
        let messages: Vec<_> = refusal
            .details
            .iter()
            .map(|detail| format!("[ERROR] {detail}"))
            .collect();
        body["errors"] = json!(refusal.details);
        body["response_metadata"]["messages"] = json!(messages);
    }
    if let Some(scopes) = &refusal.scopes {
        body["needed"] = json!(scopes.needed);
        body["provided"] = json!(scopes.provided);
    }
    web_api(body, warning)
}

/// A 429. Slack documents no body for a webhook's; it gets the Web API's. Without a
/// header only where a fault asks for it.
pub(super) fn rate_limited(retry_after_seconds: Option<u64>) -> Reply {
    let body = json!({"ok": false, "error": "ratelimited"});
    let mut reply = json(StatusCode::TOO_MANY_REQUESTS, &body);
    if let Some(seconds) = retry_after_seconds {
        reply
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    reply
}

/// The beginning of a success, under a length that never comes.
pub(super) fn truncated() -> Reply {
    const SENT: &str = "{\"ok\":true,\"channel\":\"C";
    const ANNOUNCED: u64 = 300;
    let mut reply = reply(StatusCode::OK, JSON, SENT);
    *reply.body_mut() = Body::cut(SENT.into());
    reply
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(ANNOUNCED));
    reply
}

/// The scopes the token has, and those one of which the method asks for.
pub(super) fn with_scopes(mut reply: Reply, has: &[String], accepted: &[&str]) -> Reply {
    for (name, scopes) in [
        ("x-oauth-scopes", has.join(",")),
        ("x-accepted-oauth-scopes", accepted.join(",")),
    ] {
        if let Ok(value) = HeaderValue::from_str(&scopes) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply
}

/// What the upload URL answers.
pub(super) fn uploaded(bytes: usize) -> Reply {
    reply(StatusCode::OK, HTML, format!("OK - {bytes}"))
}

/// A webhook's success: two letters of plain text.
pub(super) fn webhook_ok() -> Reply {
    reply(StatusCode::OK, "text/plain; charset=utf-8", "ok")
}

/// A webhook's error: the bare code, which Slack labels as HTML.
pub(super) fn webhook_error(status: StatusCode, code: &str) -> Reply {
    reply(status, HTML, code.to_owned())
}

/// The page Slack shows instead of an answer.
pub(super) fn page(status: StatusCode) -> Reply {
    let title = if status.is_server_error() {
        "Server Error"
    } else {
        status.canonical_reason().unwrap_or("Error")
    };
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>{title} | Slack</title>\n</head>\n<body>\n<h1>{title}</h1>\n\
         <p>It seems like there's a problem connecting to our servers.</p>\n</body>\n</html>\n"
    );
    reply(status, HTML, body)
}
