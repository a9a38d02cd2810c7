//! Incoming webhooks, `POST /services/T…/B…/<channel>`.
//!
//! Contract: the URL names workspace and channel, and a `channel`, `username` or icon in
//! the body does not change them; success is the plain text `ok`, without a time stamp;
//! errors are real HTTP statuses with the bare code as the body. Pace and faults are the
//! channel's, shared with `chat.postMessage`: Slack counts a message "posted any way".
//! A webhook needs no membership, but the channel's state reaches it.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::directory::Channel;
use super::message::{self, Refusal};
use super::record::{Outcome, Via};
use super::reply::{self, Reply};
use super::request::webhook_payload;
use super::server::{Closed, fail, hold_back};
use super::state::{Shared, text_start};
use super::submit::{Submission, Verdict};

/// How attempts name this door.
pub(super) const METHOD: &str = "webhook";

/// Answers a post to `/services/` + `path`.
pub(super) async fn post(
    shared: &Arc<Shared>,
    path: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Reply, Closed> {
    let (channel, mut fields) = match open(shared, path, parts, body) {
        Ok(opened) => opened,
        Err(refusal) => {
            let channel = place_of(path).map(|(_, channel)| channel);
            let outcome = Outcome::Refused {
                error: refusal.code.to_string(),
            };
            shared.note(METHOD, channel.as_deref(), "", outcome);
            return Ok(error(&refusal.code));
        }
    };
    let text_start = text_start(message::raw_text(&fields));
    let content = message::check(&mut fields, &shared.options.content);
    let thread_ts = fields.get("thread_ts").and_then(Value::as_str);
    let submission = Submission {
        via: Via::Webhook,
        team: path.split('/').next().unwrap_or_default().to_owned(),
        channel: channel.id,
        name: channel.name,
        thread_ts: thread_ts.filter(|ts| !ts.is_empty()).map(str::to_owned),
        body: fields,
        text_start,
        content,
    };
    match shared.submit(submission) {
        Verdict::Accepted { delay, .. } => {
            hold_back(delay).await;
            Ok(reply::webhook_ok())
        }
        Verdict::RateLimited {
            retry_after_seconds,
        } => Ok(reply::rate_limited(retry_after_seconds)),
        Verdict::Refused(refusal) => Ok(error(&refusal.code)),
        Verdict::Failed(failure) => fail(failure).await,
    }
}

/// The channel the URL names, and the payload.
fn open(
    shared: &Shared,
    path: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<(Channel, Map<String, Value>), Refusal> {
    let (_, name) = place_of(path).ok_or("no_service")?;
    let gone = shared.with(|inner, _moment| inner.directory.hook(&name).map(str::to_owned));
    if let Some(code) = gone {
        return Err(Refusal::with(code));
    }
    let fields = webhook_payload(parts, body)?;
    let channel = shared.with(|inner, _moment| inner.directory.hooked(&name));
    let channel = channel.ok_or("channel_not_found")?;
    let reply = fields.get("thread_ts").is_some_and(|ts| !ts.is_null());
    match channel.takes(reply) {
        Err(refusal) if refusal.code == "is_archived" => Err(refusal),
        Err(_restricted) => Err("action_prohibited".into()),
        Ok(()) => Ok((channel, fields)),
    }
}

/// Workspace and channel of `T…/B…/<channel>`.
fn place_of(path: &str) -> Option<(&str, String)> {
    let mut segments = path.split('/');
    let (team, service, channel) = (segments.next()?, segments.next()?, segments.next()?);
    let well_formed = team.starts_with('T')
        && service.starts_with('B')
        && !channel.is_empty()
        && segments.next().is_none();
    let channel = percent_decode_str(channel).decode_utf8().ok()?;
    well_formed.then(|| (team, message::channel_name(&channel).to_owned()))
}

/// An error under the status Slack gives it on a webhook; those it documents no
/// status for are the caller's fault, so 400. An archived channel has another name
/// here than in the Web API.
fn error(code: &str) -> Reply {
    let (status, code) = match code {
        "is_archived" | "channel_is_archived" => (StatusCode::GONE, "channel_is_archived"),
        "action_prohibited" | "invalid_token" => (StatusCode::FORBIDDEN, code),
        "channel_not_found" | "no_active_hooks" | "no_service" | "no_service_id" | "no_team"
        | "team_disabled" => (StatusCode::NOT_FOUND, code),
        "rollup_error" => (StatusCode::INTERNAL_SERVER_ERROR, code),
        _ => (StatusCode::BAD_REQUEST, code),
    };
    reply::webhook_error(status, code)
}
