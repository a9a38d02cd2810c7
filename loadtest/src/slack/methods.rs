//! The Web API's methods besides `chat.postMessage`: which there are, and what they do.
//!
//! Contract: each works under the lock, at one moment, and answers with Slack's shape
//! or one error; what it refuses it leaves as it was. Only the caller's scopes for the
//! kind of channel are looked at here; the token and the method's own scope were
//! before.

use serde_json::{Map, Value, json};

use super::directory::{Channel, ChannelKind, Posting, Token};
use super::message::{self, Refusal};
use super::options::Limits;
use super::record::Post;
use super::state::{Inner, Moment, Shared};
use super::{files, history, update};

/// A method of the Web API.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) name: &'static str,
    tier: Tier,
    /// One of these is needed.
    pub(super) scopes: &'static [&'static str],
    /// Whether arguments are taken from JSON.
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug)]
enum Tier {
    Messages,
    Two,
    Three,
    Four,
    Special,
}

const READ: &[&str] = &["channels:read", "groups:read", "im:read"];
const HISTORY: &[&str] = &["channels:history", "groups:history", "im:history"];
const WRITE: &[&str] = &["chat:write"];
const FILES: &[&str] = &["files:write"];

const METHODS: [Method; 11] = [
    method("auth.test", Tier::Special, &[]),
    method("chat.postMessage", Tier::Messages, WRITE),
    method("chat.update", Tier::Three, WRITE),
    // The two whose documentation lists no JSON.
    Method {
        json: false,
        ..method("chat.getPermalink", Tier::Special, &[])
    },
    Method {
        json: false,
        ..method("conversations.info", Tier::Three, READ)
    },
    method("conversations.list", Tier::Two, READ),
    method("conversations.join", Tier::Three, &["channels:join"]),
    method("conversations.history", Tier::Three, HISTORY),
    method("conversations.replies", Tier::Three, HISTORY),
    method("files.getUploadURLExternal", Tier::Four, FILES),
    method("files.completeUploadExternal", Tier::Four, FILES),
];

const fn method(name: &'static str, tier: Tier, scopes: &'static [&'static str]) -> Method {
    Method {
        name,
        tier,
        scopes,
        json: true,
    }
}

impl Method {
    pub(super) fn named(name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// Calls per minute and workspace.
    pub(super) fn limit(&self, limits: &Limits) -> u32 {
        let of_tier = match self.tier {
            Tier::Messages => limits.messages,
            Tier::Two => limits.tier_2,
            Tier::Three => limits.tier_3,
            Tier::Four => limits.tier_4,
            Tier::Special => limits.special,
        };
        limits.methods.get(self.name).copied().unwrap_or(of_tier)
    }
}

/// A call by somebody who may call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: &'static Method,
    pub(super) fields: Map<String, Value>,
    pub(super) token: Token,
    /// The address the caller knows this by.
    pub(super) host: String,
}

impl Call {
    /// The channel the call names, as the caller writes it.
    pub(super) fn channel_name(&self) -> Option<&str> {
        let name = |field| self.fields.get(field).and_then(Value::as_str);
        name("channel")
            .or_else(|| name("channel_id"))
            .map(message::channel_name)
    }
}

/// Does what is asked.
pub(super) fn perform(
    shared: &Shared,
    inner: &mut Inner,
    moment: Moment,
    call: &Call,
) -> Result<Value, Refusal> {
    match call.method.name {
        "auth.test" => Ok(identity(call)),
        "chat.update" => update::update(shared, inner, moment, call),
        "chat.getPermalink" => permalink(inner, call),
        "conversations.info" => info(inner, call),
        "conversations.list" => list(inner, call),
        "conversations.join" => join(inner, call),
        "conversations.history" => history::history(inner, call),
        "conversations.replies" => history::replies(inner, call),
        "files.getUploadURLExternal" => files::begin(inner, call),
        "files.completeUploadExternal" => files::complete(shared, inner, moment, call),
        _ => Err("unknown_method".into()),
    }
}

/// The channel a message or file may be posted to.
pub(super) fn destination(
    inner: &Inner,
    token: &Token,
    given: &str,
    reply: bool,
) -> Result<Channel, Refusal> {
    let channel = inner.directory.destination(given);
    let channel = channel.ok_or("channel_not_found")?;
    if !channel.member && !token.has("chat:write.public") {
        return Err("not_in_channel".into());
    }
    channel.takes(reply)?;
    Ok(channel)
}

/// The channel named by its ID, which the token may read in this way.
pub(super) fn readable(inner: &Inner, call: &Call, what: &str) -> Result<Channel, Refusal> {
    let channel = channel_by_id(inner, call)?;
    call.token.needs(&[&channel.kind.scope(what)])?;
    Ok(channel)
}

pub(super) fn channel_by_id(inner: &Inner, call: &Call) -> Result<Channel, Refusal> {
    if !call.fields.contains_key("channel") {
        return Err(Refusal {
            details: vec!["missing required field: channel".to_owned()],
            ..Refusal::from("invalid_arguments")
        });
    }
    let id = message::string(&call.fields, "channel")?;
    inner
        .directory
        .by_id(id)
        .ok_or_else(|| "channel_not_found".into())
}

fn identity(call: &Call) -> Value {
    json!({
        "ok": true, "url": format!("http://{}/", call.host), "team": "Local Slack",
        "team_id": call.token.team, "user": "auditrelay", "user_id": "U000", "bot_id": "B000",
        "is_enterprise_install": false,
    })
}

/// Needs no scope, and no membership; only a message that there is has an address.
fn permalink(inner: &Inner, call: &Call) -> Result<Value, Refusal> {
    let channel = channel_by_id(inner, call)?;
    let ts = message::string(&call.fields, "message_ts")?;
    let is_it = |post: &&Post| post.channel == channel.id && post.ts == ts;
    let post = inner.log.posts.iter().rev().find(is_it);
    let post = post.ok_or("message_not_found")?;
    let digits: String = ts.chars().filter(char::is_ascii_digit).collect();
    let thread = match &post.thread_ts {
        Some(parent) => format!("?thread_ts={parent}&cid={}", channel.id),
        None => String::new(),
    };
    let link = format!(
        "http://{}/archives/{}/p{digits}{thread}",
        call.host, channel.id
    );
    Ok(json!({"ok": true, "channel": channel.id, "permalink": link}))
}

fn info(inner: &Inner, call: &Call) -> Result<Value, Refusal> {
    let channel = readable(inner, call, "read")?;
    Ok(json!({"ok": true, "channel": described(&channel)}))
}

fn described(channel: &Channel) -> Value {
    let mut described = json!({
        "id": channel.id,
        "is_channel": channel.kind == ChannelKind::Public,
        "is_group": channel.kind == ChannelKind::Private,
        "is_im": channel.kind == ChannelKind::Direct,
        "is_private": channel.kind != ChannelKind::Public,
        "is_archived": channel.archived,
        "is_member": channel.member,
        "is_general": false, "is_frozen": false, "is_ext_shared": false, "is_mpim": false,
        "is_read_only": channel.posting == Posting::ReadOnly,
        "is_thread_only": channel.posting == Posting::ThreadOnly,
        "is_non_threadable": channel.posting == Posting::NonThreadable,
    });
    match &channel.user {
        Some(user) => described["user"] = json!(user),
        None => described["name"] = json!(channel.name),
    }
    described
}

fn list(inner: &Inner, call: &Call) -> Result<Value, Refusal> {
    let types = message::string(&call.fields, "types")?;
    let types = if types.is_empty() {
        "public_channel"
    } else {
        types
    };
    let mut kinds = Vec::new();
    for name in types.split(',').map(str::trim) {
        let kind = match name {
            "public_channel" => ChannelKind::Public,
            "private_channel" => ChannelKind::Private,
            "im" => ChannelKind::Direct,
            "mpim" => continue,
            _ => return Err("invalid_types".into()),
        };
        call.token.needs(&[&kind.scope("read")])?;
        kinds.push(kind);
    }
    let limit = page_size(call, 100, 999)?;
    let after = history::cursor(&call.fields, LIST_CURSOR)?.unwrap_or_default();
    let skip_archived = message::flag(&call.fields, "exclude_archived");
    let wanted =
        |channel: &&Channel| kinds.contains(&channel.kind) && !(skip_archived && channel.archived);
    let start = usize::try_from(after).unwrap_or(usize::MAX);
    let mut rest = inner.directory.channels().filter(wanted).skip(start);
    let page: Vec<Value> = rest.by_ref().take(limit).map(described).collect();
    let next = if rest.next().is_some() {
        history::cursor_text(LIST_CURSOR, after + page.len() as u64)
    } else {
        String::new()
    };
    Ok(json!({
        "ok": true, "channels": page, "response_metadata": {"next_cursor": next},
    }))
}

const LIST_CURSOR: &str = "bGlzdDo";

/// `limit`, between 1 and what the method gives at most.
pub(super) fn page_size(call: &Call, default: usize, max: usize) -> Result<usize, Refusal> {
    let asked = message::number(&call.fields, "limit").map_err(|()| "invalid_limit")?;
    let Some(asked) = asked else {
        return Ok(default);
    };
    match usize::try_from(asked) {
        Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => Err("invalid_limit".into()),
    }
}

fn join(inner: &mut Inner, call: &Call) -> Result<Value, Refusal> {
    let channel = channel_by_id(inner, call)?;
    if channel.kind != ChannelKind::Public {
        return Err("method_not_supported_for_channel_type".into());
    }
    if channel.archived {
        return Err("is_archived".into());
    }
    let mut answer = json!({"ok": true});
    if channel.member {
        answer["warning"] = json!("already_in_channel");
        answer["response_metadata"] = json!({"warnings": ["already_in_channel"]});
    } else {
        inner.directory.channel_mut(&channel.id).member = true;
    }
    answer["channel"] = described(&Channel {
        member: true,
        ..channel
    });
    Ok(answer)
}
