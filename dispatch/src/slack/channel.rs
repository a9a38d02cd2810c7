//! A channel's name and its ID.
//!
//! Posting takes either; whatever reads takes the ID alone. It is known from the configuration, from
//! Slack's answer to a message, or from the list of channels.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::web_api::{CallError, WebApi};
use crate::workspace::Workspace;

/// More pages of channels are not looked through: at Slack's pace for this method they take a minute.
pub(super) const PAGES_MAX: usize = 20;

/// The method that lists channels.
pub(super) const LIST: &str = "conversations.list";

/// A channel as it is configured, and what has been learned of it.
#[derive(Debug)]
pub struct Channel {
    configured: String,
    learned: Mutex<Option<String>>,
}

impl Channel {
    /// By its ID or name.
    pub fn new(configured: &str) -> Self {
        Self {
            configured: configured.to_owned(),
            learned: Mutex::default(),
        }
    }

    /// What `chat.postMessage` is told.
    pub fn to_post(&self) -> String {
        self.known().unwrap_or_else(|| self.configured.clone())
    }

    /// Notes the ID that Slack gave.
    pub fn learn(&self, id: &str) {
        if is_id(id) {
            *self.lock() = Some(id.to_owned());
        }
    }

    /// Another channel may have the name by now.
    pub fn forget(&self) {
        *self.lock() = None;
    }

    /// The ID, looked up if need be; `None` if there is no such channel, or none that the token sees.
    ///
    /// # Errors
    /// The list of channels is not to be had.
    pub async fn id(
        &self,
        api: &WebApi,
        workspace: &Workspace,
    ) -> Result<Option<String>, CallError> {
        if let Some(id) = self.known() {
            return Ok(Some(id));
        }
        let wanted = self.configured.trim_start_matches('#');
        let mut cursor = String::new();
        for _ in 0..PAGES_MAX {
            workspace.turn_to_look(LIST).await;
            // Another lane may have read the list while this one waited for its turn.
            if let Some(id) = workspace.channel_id(wanted) {
                self.learn(&id);
                return Ok(Some(id));
            }
            let reply = api.read(LIST, &list_arguments(&cursor)).await?;
            let channels = reply.value["channels"].as_array();
            workspace.learn_channels(channels.into_iter().flatten().filter_map(|one| {
                let (name, id) = (one["name"].as_str()?, one["id"].as_str()?);
                Some((name.to_owned(), id.to_owned()))
            }));
            if let Some(id) = workspace.channel_id(wanted) {
                self.learn(&id);
                return Ok(Some(id));
            }
            cursor = next_cursor(&reply.value).to_owned();
            if cursor.is_empty() {
                break;
            }
        }
        Ok(None)
    }

    /// The ID, where it is known already.
    pub(super) fn known(&self) -> Option<String> {
        if is_id(&self.configured) {
            return Some(self.configured.clone());
        }
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`LIST`] is asked for the page at this cursor.
pub(super) fn list_arguments(cursor: &str) -> Vec<(&str, &str)> {
    let mut arguments = vec![
        ("limit", "999"),
        ("exclude_archived", "false"),
        ("types", "public_channel,private_channel"),
    ];
    // Slack takes an empty cursor for a wrong one.
    if !cursor.is_empty() {
        arguments.push(("cursor", cursor));
    }
    arguments
}

/// Where the next page begins; empty after the last.
pub(super) fn next_cursor(page: &Value) -> &str {
    page["response_metadata"]["next_cursor"]
        .as_str()
        .unwrap_or_default()
}

/// Slack: IDs of channels are a letter (C, G, or D) and capitals and digits; names have no capitals.
pub(super) fn is_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    matches!(bytes.next(), Some(b'C' | b'G' | b'D'))
        && text.len() >= 2
        && bytes.all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_from_a_name() {
        for id in ["C0123456789", "G012345678", "D0123ABC", "CHELD"] {
            assert!(is_id(id), "{id}");
        }
        for name in ["#audit", "audit", "C", "Calm", "general", ""] {
            assert!(!is_id(name), "{name}");
        }
        let named = Channel::new("#audit");
        assert_eq!(named.to_post(), "#audit");
        named.learn("#audit");
        named.learn("C0123456789");
        assert_eq!(named.to_post(), "C0123456789");
        named.forget();
        assert_eq!(named.to_post(), "#audit");
    }
}
