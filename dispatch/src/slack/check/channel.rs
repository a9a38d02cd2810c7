//! A channel of the Web API: whether it is there, takes messages, and lets itself be looked through.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    calls::{Calls, Trouble},
    findings::{Finding, Level},
    token::Scopes,
};
use crate::{
    escape::clean,
    slack::{
        answers::advice,
        channel::{LIST, PAGES_MAX, is_id, list_arguments, next_cursor},
        web_api::CallError,
    },
};

const INVITE: &str = "invite the bot into the channel";
const REPEATED: &str = "a message whose answer was lost is repeated and marked";

/// What is asked about.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// By its ID or name.
    pub(super) configured: &'a str,
    /// Whether digests come with replies or files.
    pub(super) threads: bool,
    /// Whether digests come with files.
    pub(super) files: bool,
}

/// The channel as Slack has it, and what was found.
pub(super) async fn look(
    calls: &Calls,
    scopes: &Scopes,
    names: &mut Names,
    asked: Asked<'_>,
) -> (String, Vec<Finding>) {
    let configured = asked.configured;
    let place = clean(configured, 80);
    if is_person(configured) {
        let text = "a direct message to a person is not looked at";
        return (
            place,
            vec![Finding::new(Level::Note, "direct_message", text)],
        );
    }
    let id = match names.id(calls, configured).await {
        Ok(Some(id)) => id,
        Ok(None) => {
            return (
                place,
                vec![not_found("the token sees no channel of that name")],
            );
        }
        Err(trouble) => return (place, vec![unknown(trouble, "its name is not found")]),
    };
    match calls.info(&id).await {
        Ok(reply) => {
            let channel = &reply.value["channel"];
            let place = match channel["name"].as_str() {
                Some(name) => format!("#{} ({id})", clean(name, 40)),
                None => id.clone(),
            };
            (place, described(calls, scopes, &id, channel, asked).await)
        }
        Err(trouble) if trouble.code() == Some("channel_not_found") => {
            let text = "there is no such channel, or it is private and the bot is not in it";
            (place, vec![not_found(text)])
        }
        // Its history tells as much as is needed.
        Err(trouble) if trouble.code() == Some("missing_scope") => {
            (place, undescribed(calls, scopes, &id).await)
        }
        Err(trouble) => (place, vec![unknown(trouble, "it cannot be looked at")]),
    }
}

/// Findings about a channel that Slack describes.
async fn described(
    calls: &Calls,
    scopes: &Scopes,
    id: &str,
    channel: &Value,
    asked: Asked<'_>,
) -> Vec<Finding> {
    let is = |name: &str| channel[name].as_bool();
    let closed = [
        (
            "is_archived",
            "archived",
            "the channel is archived",
            "unarchive the channel or name another one",
        ),
        (
            "is_frozen",
            "frozen",
            "the channel is frozen",
            "unfreeze the channel or name another one",
        ),
        (
            "is_read_only",
            "read_only",
            "the channel is read-only for the bot",
            "let the app post in the channel",
        ),
        (
            "is_thread_only",
            "read_only",
            "the channel takes replies only",
            "let the app post in the channel",
        ),
    ];
    for (flag, code, text, what_to_do) in closed {
        if is(flag) == Some(true) {
            return vec![Finding::new(Level::Problem, code, text).todo(what_to_do)];
        }
    }
    let mut findings = Vec::new();
    if asked.threads && is("is_non_threadable") == Some(true) {
        let text = "the channel takes no replies, so digests come without their lists";
        let finding = Finding::new(Level::Warning, "not_threadable", text);
        findings.push(finding.todo("set digest_details: command for the channel"));
    }
    let is_private = is("is_private") == Some(true);
    let kind = if is_private { "private" } else { "public" };
    if is("is_member") == Some(false) {
        findings.push(outside(scopes, Some(is_private), asked.files));
    } else {
        findings.push(history(calls, id, kind).await);
    }
    findings
}

/// Findings about a channel that Slack does not describe to this token.
async fn undescribed(calls: &Calls, scopes: &Scopes, id: &str) -> Vec<Finding> {
    match calls.history(id).await {
        Ok(_) => {
            let text = "the bot is in the channel and can look messages up; whether it may post is not told";
            vec![Finding::new(Level::Ok, "ready", text)]
        }
        Err(trouble) => match trouble.code() {
            Some("not_in_channel") => vec![outside(scopes, None, false)],
            Some("channel_not_found") => {
                let text = "there is no such channel, or it is private and the bot is not in it";
                vec![not_found(text)]
            }
            Some("missing_scope") => {
                let text = format!(
                    "the token may neither look at the channel nor read it: whether it takes messages is not known, and {REPEATED}"
                );
                let finding = Finding::new(Level::Warning, "not_known", text);
                vec![
                    finding
                        .todo("add the scopes named with the token")
                        .following(),
                ]
            }
            _ => vec![unknown(trouble, "it cannot be looked at")],
        },
    }
}

/// The bot is not a member.
fn outside(scopes: &Scopes, is_private: Option<bool>, files: bool) -> Finding {
    let unread = if files {
        format!("its history cannot be read ({REPEATED}) and no file can be shared")
    } else {
        format!("its history cannot be read: {REPEATED}")
    };
    match (is_private, scopes.has("chat:write.public")) {
        (Some(true), _) => {
            let text = "the bot is not in the channel, which is private";
            Finding::new(Level::Problem, "not_member", text).todo(INVITE)
        }
        (_, Some(true)) => {
            let text = format!(
                "the bot is not in the channel; it can post (chat:write.public), but {unread}"
            );
            Finding::new(Level::Warning, "not_member", text).todo(INVITE)
        }
        (_, Some(false)) => {
            let text = "the bot is not in the channel and may not post there";
            let finding = Finding::new(Level::Problem, "not_member", text);
            finding.todo(format!("{INVITE}, or add chat:write.public to the app"))
        }
        (_, None) => {
            let text = format!(
                "the bot is not in the channel: without chat:write.public it cannot post; {unread}"
            );
            Finding::new(Level::Warning, "not_member", text).todo(INVITE)
        }
    }
}

/// The bot is a member; whether it can look messages up.
async fn history(calls: &Calls, id: &str, kind: &str) -> Finding {
    let trouble = match calls.history(id).await {
        Ok(_) => {
            let text = format!("the bot is in the channel ({kind}) and can look messages up");
            return Finding::new(Level::Ok, "ready", text);
        }
        Err(Trouble::Call(CallError::Refused { code, needed, .. })) => {
            let needed = match needed.as_deref().map(|scope| scope.split(',').next()) {
                Some(Some(_)) => format!(", needs {}", history_scope(kind)),
                _ => String::new(),
            };
            let text = format!(
                "the bot is in the channel ({kind}), but its history cannot be read ({}{needed}): {REPEATED}",
                clean(&code, 80)
            );
            let finding = Finding::new(Level::Warning, "history_unreadable", text);
            return match code.as_str() {
                "missing_scope" => finding.todo(format!(
                    "add {} to the app and install it again",
                    history_scope(kind)
                )),
                code => finding.todo(advice(code).unwrap_or("check again")),
            };
        }
        Err(trouble) => trouble,
    };
    unknown(
        trouble,
        "the bot is in the channel; its history was not read",
    )
}

fn history_scope(kind: &str) -> &'static str {
    match kind {
        "private" => "groups:history",
        _ => "channels:history",
    }
}

fn not_found(text: &str) -> Finding {
    let what_to_do = advice("channel_not_found").unwrap_or_default();
    Finding::new(Level::Problem, "not_found", text).todo(what_to_do)
}

/// It is not known.
fn unknown(trouble: Trouble, what: &str) -> Finding {
    let is_time = matches!(trouble, Trouble::TimeUp | Trouble::Limited);
    let is_scope = trouble.code() == Some("missing_scope");
    let (why, what_to_do) = trouble.told();
    if is_time {
        let finding = Finding::new(Level::Warning, "not_checked", format!("not checked: {why}"));
        return finding
            .todo(what_to_do.unwrap_or("check again"))
            .following();
    }
    let finding = Finding::new(Level::Warning, "not_known", format!("{what}: {why}"));
    if is_scope {
        return finding
            .todo("name the channel by its ID, or add the scopes named with the token")
            .following();
    }
    finding.todo(what_to_do.unwrap_or("check again"))
}

/// Slack: a user's ID, or a name with an `@`, opens a direct message.
fn is_person(configured: &str) -> bool {
    let is_user_id =
        |text: &str| text.starts_with(['U', 'W']) && is_id(&text.replacen(['U', 'W'], "C", 1));
    configured.starts_with('@') || is_user_id(configured)
}

/// The IDs of a token's channels by name, listed when the first is asked for.
#[derive(Default)]
pub(super) struct Names {
    listed: Option<Result<HashMap<String, String>, Trouble>>,
}

impl Names {
    async fn id(&mut self, calls: &Calls, configured: &str) -> Result<Option<String>, Trouble> {
        if is_id(configured) {
            return Ok(Some(configured.to_owned()));
        }
        if self.listed.is_none() {
            self.listed = Some(list(calls).await);
        }
        let name = configured.trim_start_matches('#');
        match &self.listed {
            Some(Ok(ids)) => Ok(ids.get(name).cloned()),
            Some(Err(trouble)) => Err(trouble.clone()),
            None => Ok(None),
        }
    }
}

async fn list(calls: &Calls) -> Result<HashMap<String, String>, Trouble> {
    let mut ids = HashMap::new();
    let mut cursor = String::new();
    for _ in 0..PAGES_MAX {
        let page = calls.read(LIST, &list_arguments(&cursor)).await?.value;
        for channel in page["channels"].as_array().into_iter().flatten() {
            if let (Some(name), Some(id)) = (channel["name"].as_str(), channel["id"].as_str()) {
                ids.insert(name.to_owned(), id.to_owned());
            }
        }
        cursor = next_cursor(&page).to_owned();
        if cursor.is_empty() {
            return Ok(ids);
        }
    }
    Ok(ids)
}
