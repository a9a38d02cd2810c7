//! Where a lane posts, and what an answer means for the lane: the error is the next action.

use std::{future::Future, time::Duration};

use crate::message::Message;

/// A place that takes messages.
pub trait Destination: Send + Sync + 'static {
    /// Posts one message. Bounded in time by the destination itself.
    fn post(&self, message: &Message) -> impl Future<Output = Result<Receipt, SendError>> + Send;

    /// Looks for a message that may have been posted at `since` (Unix time in milliseconds, by this
    /// machine's clock) or later. An error means that the look-up is to be tried again, never that the
    /// message is not there.
    fn find(
        &self,
        _message: &Message,
        _since_unix_ms: i64,
    ) -> impl Future<Output = Result<Found, SendError>> + Send {
        async {
            Ok(Found::Unknowable {
                reason: "this kind of destination cannot be searched".to_owned(),
            })
        }
    }

    /// How long a request to post may be under way at the most; where messages cannot be looked for it does not matter.
    fn request_max(&self) -> Duration {
        Duration::ZERO
    }

    /// The destination's own name of where it posts, by which a message is found again; `None` where it has none,
    /// or has not said it yet.
    fn place(&self) -> Option<String> {
        None
    }

    /// Shares a file as a reply to a message.
    fn attach(&self, _file: &Attachment) -> impl Future<Output = Result<(), SendError>> + Send {
        async {
            Err(SendError::Never {
                reason: "this kind of destination takes no files".to_owned(),
            })
        }
    }
}

/// What the destination said of an accepted message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Slack's `ts`, under which replies go; empty where there is none (webhooks, preview).
    pub ts: String,
}

/// Whether a message is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is.
    Posted(Receipt),
    /// It is not, as of now.
    Absent,
    /// It cannot be found out.
    Unknowable {
        /// Why.
        reason: String,
    },
}

/// A file to share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The message that it replies to, as the destination names it.
    pub thread: String,
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Why a message was not accepted, as what to do next. Reasons never hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Certainly not posted; try again, not before `after` where the destination named a time.
    #[error("{reason}")]
    Later {
        /// Slack's `Retry-After`.
        after: Option<Duration>,
        /// Whether it was because of too many messages.
        limited: bool,
        /// What happened.
        reason: String,
    },
    /// The channel or its credential is broken: it waits for a person.
    #[error("{reason}")]
    Park {
        /// What happened, and what can be done about it.
        reason: String,
    },
    /// This message can never be posted.
    #[error("{reason}")]
    Never {
        /// What happened.
        reason: String,
    },
    /// It may have been posted.
    #[error("{reason}")]
    Unknown {
        /// Slack's `Retry-After`.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// Certainly not posted, as this relay may not post (any more), or nothing may go there yet: no fault of the message or
    /// the channel.
    #[error(
        "not sent: this relay's lease ends or has ended, or another message has just left for the channel"
    )]
    Withheld,
}

impl SendError {
    /// The name of the action, as metrics have it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Later { .. } => "later",
            Self::Park { .. } => "park",
            Self::Never { .. } => "never",
            Self::Unknown { .. } => "unknown",
            Self::Withheld => "withheld",
        }
    }
}
