//! Which messages are in Slack more than once.
//!
//! Contract: messages are told apart by `metadata.event_payload.id` where
//! `metadata.event_type` is [`EVENT_TYPE`]; those without are not looked at. Only
//! posts still kept are counted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::Post;

/// The metadata that names a message.
pub const EVENT_TYPE: &str = "auditrelay_message";

/// A message with more than one stored copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// `metadata.event_payload.id`.
    pub id: String,
    /// The channels the copies are in, each once.
    pub channels: Vec<String>,
    /// How many copies there are.
    pub copies: u32,
    /// How many of them were stored late, by [`super::Effect::StoreLate`].
    pub late: u32,
    /// How many of those were stored after a `conversations.history` of the channel
    /// had been answered that came after their request: no look-up could have found
    /// them.
    pub after_look_up: u32,
}

impl Duplicate {
    /// Copies beyond the first that a look-up could have prevented.
    pub fn avoidable(&self) -> u32 {
        (self.copies - self.after_look_up).saturating_sub(1)
    }
}

/// The message's name, if it has one.
fn id(post: &Post) -> Option<&str> {
    let metadata = &post.body["metadata"];
    let named = metadata["event_type"] == EVENT_TYPE;
    let id = metadata["event_payload"]["id"].as_str();
    id.filter(|_| named)
}

/// Every message that is there more than once, by ID.
pub(super) fn duplicates<'a>(posts: impl Iterator<Item = &'a Post>) -> Vec<Duplicate> {
    let mut found: BTreeMap<&str, Vec<&Post>> = BTreeMap::new();
    for post in posts {
        if let Some(id) = id(post) {
            found.entry(id).or_default().push(post);
        }
    }
    found.retain(|_, copies| copies.len() > 1);
    found
        .into_iter()
        .map(|(id, copies)| report(id, &copies))
        .collect()
}

fn report(id: &str, copies: &[&Post]) -> Duplicate {
    let count = |fits: fn(&Post) -> bool| {
        let number = copies.iter().filter(|post| fits(post)).count();
        u32::try_from(number).unwrap_or(u32::MAX)
    };
    let mut channels: Vec<String> = copies.iter().map(|post| post.channel.clone()).collect();
    channels.sort_unstable();
    channels.dedup();
    Duplicate {
        id: id.to_owned(),
        channels,
        copies: count(|_| true),
        late: count(|post| post.late.is_some()),
        after_look_up: count(|post| post.late.is_some_and(|late| late.after_look_up)),
    }
}

/// Metadata as `conversations.history` shows it: whole, or its type alone.
pub(super) fn shown(metadata: &Value, whole: bool) -> Value {
    if whole {
        metadata.clone()
    } else {
        serde_json::json!({"event_type": metadata["event_type"]})
    }
}
