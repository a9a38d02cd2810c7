//! The Web API: `chat.postMessage` and `auth.test`.
//!
//! Contract: every answer is HTTP 200 and says `ok`, but for 429 and for what a fault
//! asks. Any other method is `unknown_method`, before anybody asks for a token.

use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use super::message::{self, Refusal};
use super::record::{Outcome, Post, Via};
use super::reply::{self, Reply};
use super::request::Arguments;
use super::server::{Closed, hold_back};
use super::state::{Shared, Submission, Verdict, text_start};

/// Answers a call of `method`.
pub(super) async fn call(
    shared: &Shared,
    method: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Reply, Closed> {
    if !matches!(method, "auth.test" | "chat.postMessage") {
        return Ok(refuse(shared, method, None, &"unknown_method".into()));
    }
    let arguments = match Arguments::read(parts, body) {
        Ok(arguments) => arguments,
        Err(refusal) => return Ok(refuse(shared, method, None, &refusal)),
    };
    if let Err(refusal) = arguments.authorise(parts, &shared.options.tokens) {
        return Ok(refuse(shared, method, Some(&arguments), &refusal));
    }
    if method == "auth.test" {
        shared.note(method, None, "", Outcome::Answered);
        return Ok(reply::web_api(identity(parts), arguments.warning));
    }
    post_message(shared, method, arguments).await
}

async fn post_message(
    shared: &Shared,
    method: &str,
    mut arguments: Arguments,
) -> Result<Reply, Closed> {
    let channel = match channel(shared, &arguments.fields) {
        Ok(channel) => channel,
        Err(refusal) => return Ok(refuse(shared, method, Some(&arguments), &refusal)),
    };
    let text_start = text_start(message::raw_text(&arguments.fields));
    let content = message::check(&mut arguments.fields);
    let warning = arguments.warning;
    let body = arguments.fields;
    let submission = Submission {
        via: Via::PostMessage,
        channel,
        body,
        text_start,
        content,
    };
    match shared.submit(submission) {
        Verdict::Accepted { post, delay } => {
            hold_back(delay).await;
            Ok(reply::web_api(posted(&post), warning))
        }
        Verdict::RateLimited {
            retry_after_seconds,
        } => Ok(reply::rate_limited(retry_after_seconds)),
        Verdict::Refused(refusal) => Ok(reply::web_api_error(&refusal, warning)),
        Verdict::HttpStatus(status) => Ok(reply::page(status)),
        Verdict::Close => Err(Closed),
    }
}

/// The channel's name; one that is missing is as little found as one that is wrong.
fn channel(shared: &Shared, fields: &Map<String, Value>) -> Result<String, Refusal> {
    let channel = message::channel_name(message::string(fields, "channel")?);
    if !shared.channel_exists(channel) {
        return Err("channel_not_found".into());
    }
    Ok(channel.to_owned())
}

fn refuse(
    shared: &Shared,
    method: &str,
    arguments: Option<&Arguments>,
    refusal: &Refusal,
) -> Reply {
    let fields = arguments.map(|arguments| &arguments.fields);
    let channel = fields
        .and_then(|fields| fields.get("channel"))
        .and_then(Value::as_str)
        .map(message::channel_name);
    let text = fields.map(message::raw_text).unwrap_or_default();
    shared.note(
        method,
        channel,
        text,
        Outcome::Refused {
            error: refusal.code.to_string(),
        },
    );
    reply::web_api_error(refusal, arguments.and_then(|arguments| arguments.warning))
}

/// The answer to a posted message, in the shape bot tokens get today.
fn posted(post: &Post) -> Value {
    let mut message = json!({
        "type": "message", "subtype": "bot_message", "text": post.text, "ts": post.ts,
        "user": "U000", "bot_id": "B000", "app_id": "A000", "team": "T000",
    });
    for name in ["blocks", "attachments", "metadata", "thread_ts"] {
        if let Some(value) = post.body.get(name).filter(|value| !value.is_null()) {
            message[name] = value.clone();
        }
    }
    json!({"ok": true, "channel": post.channel, "ts": post.ts, "message": message})
}

fn identity(parts: &Parts) -> Value {
    let host = parts
        .headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or("localhost");
    json!({
        "ok": true, "url": format!("http://{host}/"), "team": "Local Slack", "team_id": "T000",
        "user": "auditrelay", "user_id": "U000", "bot_id": "B000", "is_enterprise_install": false,
    })
}
