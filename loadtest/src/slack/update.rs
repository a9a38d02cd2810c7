//! `chat.update`.
//!
//! Contract: only the app's own messages, told by ID of channel and time stamp; blocks
//! go when text comes without them; attachments stay unless they are `[]`, metadata
//! unless it is `{}`. The message as it was first stays in the record.

use serde_json::{Map, Value, json};

use super::audit;
use super::history::{self, Threads};
use super::message::{self, Refusal};
use super::methods::{Call, channel_by_id};
use super::record::{Update, Via};
use super::state::{Inner, Moment, Shared};

/// So many updates of one message are kept, the latest.
const UPDATES_MAX: usize = 1_000;

pub(super) fn update(
    shared: &Shared,
    inner: &mut Inner,
    moment: Moment,
    call: &Call,
) -> Result<Value, Refusal> {
    let channel = channel_by_id(inner, call)?;
    let ts = message::string(&call.fields, "ts")?;
    let known = |post: &&mut super::record::Post| post.channel == channel.id && post.ts == ts;
    let post = inner.log.posts.iter_mut().rev().find(known);
    let post = post.ok_or("message_not_found")?;
    if post.via != Via::PostMessage || post.team != call.token.team {
        return Err("cant_update_message".into());
    }
    if channel.archived {
        return Err("is_inactive".into());
    }
    let text = message::string(&call.fields, "text")?;
    if text.len() > shared.options.content.update_text_bytes {
        return Err("msg_too_long".into());
    }
    let (_, before) = post.current();
    let mut body = merged(before, &call.fields)?;
    let text = message::check(&mut body, &shared.options.content)?;
    post.updates.push(Update {
        text: text.clone(),
        audit: audit::findings(&body),
        body: Value::Object(body),
        received_unix_ms: moment.unix_us / 1000,
    });
    if post.updates.len() > UPDATES_MAX {
        post.updates.remove(0);
    }
    let shown = history::message(post, true, &Threads::default());
    Ok(json!({"ok": true, "channel": channel.id, "ts": ts, "text": text, "message": shown}))
}

/// The content once the arguments are laid over what was there.
fn merged(before: &Value, arguments: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut given = arguments.clone();
    message::decode_embedded(&mut given)?;
    given.retain(|_, value| !value.is_null());
    let content = ["text", "blocks", "attachments", "markdown_text"];
    if !content.iter().any(|name| given.contains_key(*name)) {
        return Err("no_text".into());
    }
    let mut body = before.as_object().cloned().unwrap_or_default();
    let had_rich_text = has_rich_text(&body);
    if given.contains_key("text") && !given.contains_key("blocks") {
        body.remove("blocks");
    }
    // Both go back to their defaults when they are left out.
    body.remove("link_names");
    body.remove("parse");
    for name in ["metadata", "link_names", "parse"].iter().chain(&content) {
        if let Some(value) = given.get(*name) {
            body.insert((*name).to_owned(), value.clone());
        }
    }
    if body
        .get("metadata")
        .is_some_and(|value| *value == json!({}))
    {
        body.remove("metadata");
    }
    let blocks = message::list(&body, "blocks").map_err(|()| "invalid_blocks_format")?;
    if had_rich_text && !blocks.is_empty() && !has_rich_text(&body) {
        return Err("block_mismatch".into());
    }
    Ok(body)
}

fn has_rich_text(body: &Map<String, Value>) -> bool {
    let blocks = body.get("blocks").and_then(Value::as_array);
    blocks.is_some_and(|blocks| blocks.iter().any(|block| block["type"] == "rich_text"))
}
