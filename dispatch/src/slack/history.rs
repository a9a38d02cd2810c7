//! Whether a message is in a channel, by the ID in its metadata.
//!
//! Slack has no key that makes a repetition harmless, so whoever does not know whether a message was
//! posted has to look. The look begins at the message that this process posted before it, by Slack's own
//! clock; where there is none, a while before it can have been posted, as the two clocks need not agree.

use serde_json::Value;

use super::{
    METADATA_TYPE,
    channel::{Channel, next_cursor},
    web_api::{CallError, WebApi},
};
use crate::{
    destination::{Found, Receipt, SendError},
    escape::clean,
    message::Message,
    workspace::Workspace,
};

/// How far this machine's clock may be ahead of Slack's.
const CLOCK_AHEAD_MS: i64 = 15 * 60 * 1_000;
/// Slack recommends no more than 200 a page; a page of full digests has to fit an answer.
const PAGE_MESSAGES: &str = "100";
/// A channel takes a message a second, so this is more than an hour of the relay's own.
const PAGES_MAX: usize = 50;

/// A message that may be there, and since when (Unix time in milliseconds).
#[derive(Clone, Copy)]
pub(super) struct Sought<'a> {
    pub(super) message: &'a Message,
    pub(super) since_unix_ms: i64,
    /// Slack's time of a message that was posted before it.
    pub(super) after_ts: Option<&'a str>,
}

pub(super) async fn find(
    api: &WebApi,
    channel: &Channel,
    workspace: &Workspace,
    sought: Sought<'_>,
) -> Result<Found, SendError> {
    if sought.message.id.is_empty() || sought.since_unix_ms <= 0 {
        let reason = "it is not known since when it may have been posted".to_owned();
        return Ok(Found::Unknowable { reason });
    }
    let searched = search(api, channel, workspace, sought).await;
    searched.or_else(|error| match error {
        // Whoever may not read does not become allowed to by waiting.
        CallError::Refused { ref code, .. } if !passes_by_itself(code) => {
            let reason = format!("Slack answered {} to the look-up", clean(code, 80));
            Ok(Found::Unknowable { reason })
        }
        CallError::Status { status, .. } if !matches!(status, 408 | 425 | 500..=599) => {
            let reason = format!("the look-up was answered with HTTP status {status}");
            Ok(Found::Unknowable { reason })
        }
        other => Err(to_try_again(other)),
    })
}

async fn search(
    api: &WebApi,
    channel: &Channel,
    workspace: &Workspace,
    sought: Sought<'_>,
) -> Result<Found, CallError> {
    let Sought {
        message,
        since_unix_ms,
        after_ts,
    } = sought;
    let Some(id) = channel.id(api, workspace).await? else {
        let reason = "the token sees no channel of that name".to_owned();
        return Ok(Found::Unknowable { reason });
    };
    let oldest_ms = since_unix_ms.saturating_sub(CLOCK_AHEAD_MS).max(0);
    let by_this_clock = || format!("{}.{:03}000", oldest_ms / 1_000, oldest_ms % 1_000);
    let oldest = after_ts.map_or_else(by_this_clock, str::to_owned);
    let method = match &message.thread {
        Some(_) => "conversations.replies",
        None => "conversations.history",
    };
    let mut cursor = String::new();
    for _ in 0..PAGES_MAX {
        let mut arguments = vec![
            ("channel", id.as_str()),
            ("oldest", oldest.as_str()),
            ("inclusive", "true"),
            ("include_all_metadata", "true"),
            ("limit", PAGE_MESSAGES),
        ];
        if let Some(thread) = &message.thread {
            arguments.push(("ts", thread));
        }
        if !cursor.is_empty() {
            arguments.push(("cursor", &cursor));
        }
        workspace.turn_to_look(method).await;
        let page = api.read(method, &arguments).await?.value;
        let Some(messages) = page["messages"].as_array() else {
            return Err(CallError::Unreadable);
        };
        if let Some(found) = messages.iter().find(|one| is(one, &message.id)) {
            let ts = found["ts"].as_str().unwrap_or_default().to_owned();
            return Ok(Found::Posted(Receipt { ts }));
        }
        cursor = next_cursor(&page).to_owned();
        match (cursor.is_empty(), page["has_more"] == true) {
            (false, _) => {}
            (true, false) => return Ok(Found::Absent),
            (true, true) => {
                let reason = "Slack has more messages and does not say where".to_owned();
                return Ok(Found::Unknowable { reason });
            }
        }
    }
    let reason = "there is more in the channel since then than is looked through".to_owned();
    Ok(Found::Unknowable { reason })
}

fn is(message: &Value, id: &str) -> bool {
    let metadata = &message["metadata"];
    metadata["event_type"] == METADATA_TYPE && metadata["event_payload"]["id"] == id
}

/// Whether a look-up that was refused so may be answered another time.
fn passes_by_itself(code: &str) -> bool {
    matches!(
        code,
        "ratelimited"
            | "rate_limited"
            | "service_unavailable"
            | "team_added_to_org"
            | "org_login_required"
            | "request_timeout"
            | "internal_error"
            | "fatal_error"
    )
}

/// A look-up changes nothing: whatever became of it, it can be done again.
fn to_try_again(error: CallError) -> SendError {
    let (after, reason) = match error.into_send_error() {
        // Slack limits each method by itself: a limit on reading says nothing about posting.
        SendError::Later { after, reason, .. } | SendError::Unknown { after, reason } => {
            (after, reason)
        }
        SendError::Park { reason } | SendError::Never { reason } => (None, reason),
        // Reading is not withheld.
        other @ SendError::Withheld => (None, other.to_string()),
    };
    SendError::Later {
        after,
        limited: false,
        reason: format!("the look-up failed: {reason}"),
    }
}
