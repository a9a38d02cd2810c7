//! A file as a reply: Slack's three steps (`files.getUploadURLExternal`, the bytes, `files.completeUploadExternal`).
//!
//! Only the last step shows anything in the channel, so one that failed before it can be begun again. It had its turn before
//! the first one, and does not wait for another: who shares a file counts it when it is there.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    channel::Channel,
    web_api::{CallError, WebApi},
};
use crate::{
    destination::{Attachment, SendError},
    workspace::Workspace,
};

pub(super) async fn attach(
    api: &WebApi,
    channel: &Channel,
    workspace: &Workspace,
    file: &Attachment,
) -> Result<(), SendError> {
    let api = &api.clone().paced(None);
    let before = prepare(api, channel, workspace, file).await;
    let (channel, id) = before.map_err(|error| match error.into_send_error() {
        // Nothing is in the channel yet.
        SendError::Unknown { after, reason } => SendError::Later {
            after,
            limited: false,
            reason,
        },
        other => of_these_methods(other),
    })?;
    let arguments = json!({
        "files": [{"id": id, "title": file.name}],
        "channel_id": channel,
        "thread_ts": file.thread,
    });
    let done = api.call("files.completeUploadExternal", &arguments).await;
    done.map(drop)
        .map_err(|error| of_these_methods(error.into_send_error()))
}

/// Slack limits each method by itself: a limit on files says nothing about messages.
fn of_these_methods(error: SendError) -> SendError {
    match error {
        SendError::Later { after, reason, .. } => SendError::Later {
            after,
            limited: false,
            reason,
        },
        other => other,
    }
}

/// Brings the file to Slack; the channel's and the file's ID.
async fn prepare(
    api: &WebApi,
    channel: &Channel,
    workspace: &Workspace,
    file: &Attachment,
) -> Result<(String, String), CallError> {
    let Some(channel) = channel.id(api, workspace).await? else {
        let code = "channel_not_found".to_owned();
        return Err(CallError::Refused {
            code,
            needed: None,
            retry_after: None,
        });
    };
    let length = file.text.len().to_string();
    let arguments = [("filename", file.name.as_str()), ("length", &length)];
    let reply = api.read("files.getUploadURLExternal", &arguments).await?;
    let text = |name: &str| reply.value.get(name).and_then(Value::as_str);
    let (Some(address), Some(id)) = (text("upload_url"), text("file_id")) else {
        return Err(CallError::Unreadable);
    };
    let bytes = Bytes::copy_from_slice(file.text.as_bytes());
    api.upload(address, bytes).await?;
    Ok((channel, id.to_owned()))
}
