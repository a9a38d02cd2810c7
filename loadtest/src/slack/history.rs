//! Reading messages back: `conversations.history` and `conversations.replies`.
//!
//! Contract: history is newest first and without replies (but broadcasts); replies
//! are oldest first, after their parent. Metadata is whole only when asked for by
//! `include_all_metadata`, else its type alone. The app must be a member. Only posts
//! still kept are there.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::duplicates;
use super::message::{self, Refusal};
use super::methods::{Call, page_size, readable};
use super::record::{Post, Via};
use super::state::Inner;

/// What Slack's own cursors of this method begin with.
const CURSOR: &str = "bmV4dF90czo";

/// `conversations.history`.
pub(super) fn history(inner: &Inner, call: &Call) -> Result<Value, Refusal> {
    let channel = readable(inner, call, "history")?;
    if !channel.member {
        return Err("not_in_channel".into());
    }
    let limit = page_size(call, 100, 999)?;
    let range = Range::read(&call.fields)?;
    let from = cursor(&call.fields, CURSOR)?.unwrap_or(u64::MAX);
    let whole = message::flag(&call.fields, "include_all_metadata");
    let threads = Threads::of(inner, &channel.id);
    let wanted = |post: &&Post| {
        let ts = micros(&post.ts).unwrap_or_default();
        post.channel == channel.id && shown_in_channel(post) && range.holds(ts) && ts <= from
    };
    let mut found = inner.log.posts.iter().rev().filter(wanted);
    let page: Vec<Value> = found
        .by_ref()
        .take(limit)
        .map(|post| message(post, whole, &threads))
        .collect();
    let next = found.next().and_then(|post| micros(&post.ts));
    let mut answer = json!({
        "ok": true, "messages": page, "has_more": next.is_some(), "pin_count": 0,
        "channel_actions_ts": null, "channel_actions_count": 0,
    });
    for name in ["oldest", "latest"] {
        if let Some(value) = call.fields.get(name) {
            answer[name] = value.clone();
        }
    }
    page_on(&mut answer, next);
    Ok(answer)
}

/// `conversations.replies`.
pub(super) fn replies(inner: &Inner, call: &Call) -> Result<Value, Refusal> {
    let channel = readable(inner, call, "history")?;
    if !channel.member {
        return Err("not_in_channel".into());
    }
    let limit = page_size(call, 999, 999)?;
    let range = Range::read(&call.fields)?;
    let from = cursor(&call.fields, CURSOR)?.unwrap_or_default();
    let whole = message::flag(&call.fields, "include_all_metadata");
    let ts = message::string(&call.fields, "ts")?;
    let here = |post: &&Post| post.channel == channel.id;
    let asked = inner.log.posts.iter().filter(here).find(|p| p.ts == ts);
    let asked = asked.ok_or("thread_not_found")?;
    let parent = asked.thread_ts.as_deref().unwrap_or(ts);
    let threads = Threads::of(inner, &channel.id);
    // Slack repeats the parent on every page, whatever the range is.
    let wanted = |post: &&Post| {
        let ts = micros(&post.ts).unwrap_or_default();
        post.thread_ts.as_deref() == Some(parent) && range.holds(ts) && ts >= from
    };
    let mut found = inner.log.posts.iter().filter(here).filter(wanted);
    let first = inner.log.posts.iter().filter(here).find(|p| p.ts == parent);
    let page: Vec<Value> = first
        .into_iter()
        .chain(found.by_ref().take(limit))
        .map(|post| message(post, whole, &threads))
        .collect();
    let next = found.next().and_then(|post| micros(&post.ts));
    let mut answer = json!({"ok": true, "messages": page, "has_more": next.is_some()});
    page_on(&mut answer, next);
    Ok(answer)
}

fn page_on(answer: &mut Value, next: Option<u64>) {
    if let Some(next) = next {
        answer["response_metadata"] = json!({"next_cursor": cursor_text(CURSOR, next)});
    }
}

fn shown_in_channel(post: &Post) -> bool {
    let broadcast = post.body.as_object();
    post.thread_ts.is_none() || broadcast.is_some_and(|body| message::flag(body, "reply_broadcast"))
}

/// Which messages are asked for, in microseconds.
struct Range {
    oldest: u64,
    latest: u64,
    inclusive: bool,
}

impl Range {
    fn read(fields: &Map<String, Value>) -> Result<Self, Refusal> {
        let bound = |name: &str, error: &'static str| match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            // A number is a float somewhere, and a float is another time stamp.
            Some(Value::String(text)) => micros(text).map(Some).ok_or(error),
            Some(_) => Err(error),
        };
        Ok(Self {
            oldest: bound("oldest", "invalid_ts_oldest")?.unwrap_or_default(),
            latest: bound("latest", "invalid_ts_latest")?.unwrap_or(u64::MAX),
            inclusive: message::flag(fields, "inclusive"),
        })
    }

    fn holds(&self, ts: u64) -> bool {
        let between = self.oldest < ts && ts < self.latest;
        between || (self.inclusive && (ts == self.oldest || ts == self.latest))
    }
}

/// A time stamp in microseconds: seconds, with up to six digits after a point.
fn micros(ts: &str) -> Option<u64> {
    let (seconds, rest) = ts.split_once('.').unwrap_or((ts, ""));
    if rest.len() > 6 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest: u64 = format!("{rest:0<6}").parse().ok()?;
    seconds
        .parse::<u64>()
        .ok()?
        .checked_mul(1_000_000)?
        .checked_add(rest)
}

/// Where to go on. Opaque to clients: it looks like Slack's, `=` and all, so that one
/// which does not escape it is found out.
pub(super) fn cursor_text(kind: &str, position: u64) -> String {
    format!("{kind}{position}=")
}

pub(super) fn cursor(fields: &Map<String, Value>, kind: &str) -> Result<Option<u64>, Refusal> {
    let text = message::string(fields, "cursor")?;
    if text.is_empty() {
        return Ok(None);
    }
    let position = text.strip_prefix(kind).and_then(|c| c.strip_suffix('='));
    let position = position.and_then(|position| position.parse().ok());
    position.map(Some).ok_or_else(|| "invalid_cursor".into())
}

/// Replies per parent: how many, and the latest.
#[derive(Default)]
pub(super) struct Threads<'a> {
    replies: HashMap<&'a str, (u64, &'a str)>,
}

impl<'a> Threads<'a> {
    fn of(inner: &'a Inner, channel: &str) -> Self {
        let mut replies = HashMap::new();
        for post in inner.log.posts.iter() {
            if let Some(parent) = post
                .thread_ts
                .as_deref()
                .filter(|_| post.channel == channel)
            {
                let (count, latest) = replies.entry(parent).or_default();
                *count += 1;
                *latest = post.ts.as_str();
            }
        }
        Self { replies }
    }
}

/// A message in the shape bot tokens get today.
pub(super) fn message(post: &Post, whole_metadata: bool, threads: &Threads<'_>) -> Value {
    let (text, body) = post.current();
    let bot = if post.via == Via::Webhook {
        "B001"
    } else {
        "B000"
    };
    let mut message = json!({
        "type": "message", "subtype": "bot_message", "text": text, "ts": post.ts,
        "user": "U000", "bot_id": bot, "app_id": "A000", "team": post.team,
    });
    for name in ["blocks", "attachments", "files"] {
        if let Some(value) = body.get(name).filter(|value| !value.is_null()) {
            message[name] = value.clone();
        }
    }
    if let Some(metadata) = body.get("metadata").filter(|value| !value.is_null()) {
        message["metadata"] = duplicates::shown(metadata, whole_metadata);
    }
    if let Some(parent) = &post.thread_ts {
        message["thread_ts"] = json!(parent);
        message["parent_user_id"] = json!("U000");
    } else if let Some((count, latest)) = threads.replies.get(post.ts.as_str()) {
        message["thread_ts"] = json!(post.ts);
        message["reply_count"] = json!(count);
        message["latest_reply"] = json!(latest);
    }
    // Slack marks an edit unless the message has blocks.
    if let Some(update) = post.updates.last().filter(|_| body.get("blocks").is_none()) {
        let at = update.received_unix_ms;
        let ts = format!("{}.{:03}000", at / 1000, at % 1000);
        message["edited"] = json!({"user": "U000", "ts": ts});
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_are_read_to_the_microsecond() {
        for (text, expected) in [
            ("1503435956.000247", Some(1_503_435_956_000_247)),
            ("1503435956", Some(1_503_435_956_000_000)),
            ("1503435956.5", Some(1_503_435_956_500_000)),
            ("0", Some(0)),
            ("1503435956.0002470", None),
            ("1.5e9", None),
            ("-1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }
}
