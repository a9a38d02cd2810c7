//! What the local Slack remembers: accepted messages and every attempt.
//!
//! Invariants: both lists are in the order of the decisions; each holds at most
//! `keep` entries, the latest; the number dropped from each is counted, so a reader
//! can tell a complete record from a tail.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::duplicates::{Duplicate, duplicates};

/// How much of a message's text an attempt repeats: enough to tell messages apart
/// without keeping every refused 40,000-character text 100,000 times.
pub(super) const TEXT_START_CHARS: usize = 200;

/// The door a message came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Via {
    /// The Web API method, with a bot token.
    #[serde(rename = "chat.postMessage")]
    PostMessage,
    /// An incoming webhook, whose URL names the channel.
    #[serde(rename = "webhook")]
    Webhook,
    /// A file that was shared.
    #[serde(rename = "files.completeUploadExternal")]
    File,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Via::PostMessage => "chat.postMessage",
            Via::Webhook => "webhook",
            Via::File => "files.completeUploadExternal",
        })
    }
}

/// One accepted message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Post {
    /// The workspace.
    #[serde(default)]
    pub team: String,
    /// The channel's ID: where every channel exists, the name given without `#`.
    pub channel: String,
    /// `seconds.micros`, unique and strictly increasing over the whole local Slack.
    pub ts: String,
    /// The text as Slack keeps it: cut to 40,000 characters.
    pub text: String,
    /// The whole request body as sent, but for a form's `token`; a form's `blocks`,
    /// `attachments` and `metadata` are decoded.
    pub body: serde_json::Value,
    /// Wall clock at acceptance.
    pub received_unix_ms: u64,
    /// Tokio clock at acceptance, since the local Slack started.
    pub elapsed_ms: u64,
    /// The door it came through.
    pub via: Via,
    /// The parent's time stamp, if it is a reply.
    #[serde(default)]
    pub thread_ts: Option<String>,
    /// Set if it was stored late, by a fault.
    #[serde(default)]
    pub late: Option<Late>,
    /// What in it could notify, link or deceive: unescaped `<…>`, mentions, settings
    /// that let Slack look for them, invisible characters. Each is `POINTER: WHAT`.
    #[serde(default)]
    pub audit: Vec<String>,
    /// What `chat.update` made of it, oldest first.
    #[serde(default)]
    pub updates: Vec<Update>,
}

/// How a message was stored by [`super::Effect::StoreLate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Whether `conversations.history` had been asked and answered for the channel
    /// between the request and the storing.
    pub after_look_up: bool,
}

/// A message as one `chat.update` left it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The text as Slack keeps it.
    pub text: String,
    /// The message's content, with what the update kept of the one before.
    pub body: serde_json::Value,
    /// Wall clock.
    pub received_unix_ms: u64,
    /// See [`Post::audit`].
    pub audit: Vec<String>,
}

impl Post {
    /// The content as it is now.
    pub fn current(&self) -> (&str, &serde_json::Value) {
        match self.updates.last() {
            Some(update) => (&update.text, &update.body),
            None => (&self.text, &self.body),
        }
    }
}

/// One request to `/api/` or `/services/`, whatever became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The Web API method as called (`chat.postMessage`, `auth.test`, …) or `webhook`.
    pub method: String,
    /// The channel, if the request got as far as naming one.
    pub channel: Option<String>,
    /// The first 200 characters of the message's text; empty if there is none.
    pub text_start: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Wall clock at the decision.
    pub received_unix_ms: u64,
    /// Tokio clock at the decision, since the local Slack started.
    pub elapsed_ms: u64,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Answered with success; nothing was posted (`auth.test`, `conversations.history`).
    Answered,
    /// Stored and answered with success.
    Accepted {
        /// The message's time stamp.
        ts: String,
        /// It came too early, and [`super::Options::strict_pace`] was off.
        over_pace: bool,
        /// How long the answer was held back by a fault.
        delay_ms: u64,
    },
    /// Answered 429: too early, inside a block, or by a fault.
    RateLimited {
        /// The `Retry-After` header; zero if a fault left it out.
        retry_after_seconds: u64,
    },
    /// Answered with an application error.
    Refused {
        /// Slack's code, as chat.postMessage names it.
        error: String,
    },
    /// Answered with a bare HTTP status and no Slack answer.
    HttpStatus {
        /// The status.
        status: u16,
    },
    /// Stored, then the connection was closed without an answer.
    ClosedAfterStoring {
        /// The message's time stamp.
        ts: String,
    },
    /// The connection was closed without an answer and nothing was stored.
    ClosedBeforeStoring,
    /// Stored, or done, and answered with a failure.
    FailedAfterStoring {
        /// The message's time stamp; empty if the method stores none.
        ts: String,
        /// The HTTP status, Slack's code, or `truncated`.
        answer: String,
    },
    /// The answer was cut short and nothing was stored.
    TruncatedBeforeStoring,
    /// No answer; stored later, when an entry of [`Recorded::posts`] says so.
    WillBeStoredLate {
        /// How much later.
        delay_ms: u64,
    },
}

/// Posts and attempts as of one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The last accepted messages, oldest first.
    pub posts: Vec<Post>,
    /// The last attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// Accepted messages no longer kept.
    pub posts_dropped: u64,
    /// Attempts no longer kept.
    pub attempts_dropped: u64,
    /// The messages that are there more than once.
    #[serde(default)]
    pub duplicates: Vec<Duplicate>,
}

/// The two lists.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) posts: Tail<Post>,
    pub(super) attempts: Tail<Attempt>,
}

impl Log {
    pub(super) fn new(keep: usize) -> Self {
        Self {
            posts: Tail::new(keep),
            attempts: Tail::new(keep),
        }
    }

    pub(super) fn recorded(&self) -> Recorded {
        Recorded {
            posts: self.posts.to_vec(),
            attempts: self.attempts.to_vec(),
            posts_dropped: self.posts.dropped,
            attempts_dropped: self.attempts.dropped,
            duplicates: duplicates(self.posts.iter()),
        }
    }
}

/// The last `keep` of what was pushed, and how many came before.
#[derive(Debug)]
pub(super) struct Tail<T> {
    items: VecDeque<T>,
    keep: usize,
    dropped: u64,
}

impl<T: Clone> Tail<T> {
    fn new(keep: usize) -> Self {
        Self {
            items: VecDeque::new(),
            keep,
            dropped: 0,
        }
    }

    pub(super) fn push(&mut self, item: T) {
        self.items.push_back(item);
        if self.items.len() > self.keep {
            self.items.pop_front();
            self.dropped += 1;
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.items.iter_mut()
    }

    pub(super) fn to_vec(&self) -> Vec<T> {
        self.items.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_keeps_the_last_and_counts_the_rest() {
        let mut tail = Tail::new(2);
        for number in 1..=5 {
            tail.push(number);
        }
        assert_eq!(tail.to_vec(), [4, 5]);
        assert_eq!(tail.dropped, 3);
    }
}
