//! The address of a message, as Slack gives it (`chat.getPermalink`).
//!
//! Slack: the method needs no scope, and the message must be one that the token's workspace has.

use serde_json::Value;

use super::web_api::{CallError, WebApi};
use crate::workspace::Workspace;

/// The method.
const METHOD: &str = "chat.getPermalink";

/// Asks for the address of a message, in the workspace's turns for what reads.
///
/// # Errors
/// Why Slack did not say it.
pub async fn permalink(
    api: &WebApi,
    workspace: &Workspace,
    channel: &str,
    ts: &str,
) -> Result<String, CallError> {
    workspace.turn_to_look(METHOD).await;
    let arguments = [("channel", channel), ("message_ts", ts)];
    let reply = api.read(METHOD, &arguments).await?;
    let link = reply.value.get("permalink").and_then(Value::as_str);
    link.map(str::to_owned).ok_or(CallError::Unreadable)
}
