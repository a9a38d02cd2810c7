//! Where a lane posts, and what an answer means for the lane: the error is the next action.

use std::{future::Future, time::Duration};

use crate::message::Message;

/// A place that takes messages.
pub trait Destination: Send + Sync + 'static {
    /// Posts one message. Bounded in time by the destination itself.
    fn post(&self, message: &Message) -> impl Future<Output = Result<Receipt, SendError>> + Send;
}

/// What the destination said of an accepted message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Slack's `ts`; empty where there is none (webhooks, preview).
    pub ts: String,
}

/// Why a message was not accepted, as what to do next. Reasons never hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Certainly not posted; try again, not before `after` where the destination named a time.
    #[error("{reason}")]
    Later {
        /// Slack's `Retry-After`.
        after: Option<Duration>,
        /// What happened.
        reason: String,
    },
    /// The channel or its credential is broken: it waits for a person.
    #[error("{reason}")]
    Park {
        /// What happened.
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
        /// What happened.
        reason: String,
    },
}

impl SendError {
    /// The name of the action, as metrics have it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Later { .. } => "later",
            Self::Park { .. } => "park",
            Self::Never { .. } => "never",
            Self::Unknown { .. } => "unknown",
        }
    }
}
