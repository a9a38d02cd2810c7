//! What a trace tells: the words that the command and a running relay exchange. Times are Unix time in milliseconds.
//!
//! Text of events is made harmless before it is put in here.

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lane::LaneNow;

/// One event: one content of one stage of a cluster's request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Traced {
    pub(crate) cluster: String,
    pub(crate) stage: String,
    /// Who did what to which object; only where its text is known.
    pub(crate) summary: Option<String>,
    pub(crate) level: Option<String>,
    /// The event's own stage time.
    pub(crate) happened_unix_ms: Option<i64>,
    /// Keyed hashes of what was received. Several: contents that differ only in what was redacted.
    pub(crate) contents: Vec<String>,
    pub(crate) received: Option<Received>,
    pub(crate) again: Again,
    pub(crate) fate: Fate,
    /// Why, where no delivery says it.
    pub(crate) why: String,
    /// Its audit ID and stage are another event's too.
    pub(crate) audit_id_reused: bool,
    pub(crate) deliveries: Vec<Delivered>,
    pub(crate) held_back: Vec<HeldBack>,
    /// What today's routes make of it; only where its text is known.
    pub(crate) today: Option<Today>,
}

/// How it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    /// The stored block that it came with.
    pub(crate) block: u64,
    /// Not known once its block is gone.
    pub(crate) received_unix_ms: Option<i64>,
    /// Not yet, or not known once the dedup window has passed.
    pub(crate) routed_unix_ms: Option<i64>,
}

/// Whether it was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Again {
    /// So often, as far as it is known; none: that is not known.
    pub(crate) times: Option<u64>,
    pub(crate) first_unix_ms: Option<i64>,
    pub(crate) last_unix_ms: Option<i64>,
}

/// What became of it as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fate {
    /// Acknowledged, and waits to be routed.
    WaitsToBeRouted,
    /// At least one channel was to hear of it.
    Routed,
    /// No channel wanted it.
    Filtered,
    /// A mute held all of it back.
    Muted,
    /// It was received, and what became of it was counted and not kept.
    NotKept,
}

/// A delivery that a mute held back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldBack {
    pub(crate) channel: String,
    pub(crate) mute: u64,
    pub(crate) author: String,
    pub(crate) reason: String,
}

/// What today's routes say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Today {
    /// `told in ops (critical, by route deletions)`.
    pub(crate) end: String,
    /// All of `routes explain`.
    pub(crate) explained: Value,
}

/// One delivery to one channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Delivered {
    pub(crate) channel: String,
    pub(crate) severity: Severity,
    /// The route that counted when it was routed; empty for the default.
    pub(crate) route: String,
    /// It was told again as a command asked for it.
    pub(crate) replayed: bool,
    /// It is a copy of what was meant for this channel, which could not be served.
    pub(crate) meant_for: Option<String>,
    #[serde(flatten)]
    pub(crate) state: State,
}

/// Where a delivery is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum State {
    Waiting {
        /// So many of its channel go first.
        before: u64,
        #[serde(flatten)]
        lane: LaneNow,
    },
    BeingPosted {
        message: u64,
        /// 0 where it is not known.
        since_unix_ms: i64,
        #[serde(flatten)]
        lane: LaneNow,
    },
    Posted {
        message: u64,
        at_unix_ms: i64,
        /// The message stands for so many events.
        events: u64,
        slack_channel: Option<String>,
        ts: Option<String>,
        permalink: Option<String>,
        /// Why there is none.
        no_permalink: Option<String>,
    },
    Dead {
        message: u64,
        reason: String,
        attempts: u32,
        at_unix_ms: i64,
    },
    /// It was a dead letter that was given up.
    GivenUp { message: u64, reason: String },
    /// It gave way for want of room.
    Dropped,
    /// A message told it, and what that stood for is not kept any more.
    PostedBefore { message: u64 },
    /// It was queued, and what became of it is not kept any more.
    NotKept,
}

/// How far back what was looked through reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Searched {
    /// A relay runs on the queue.
    pub(crate) running: bool,
    /// Whether the key of the dedup hashes could be read: without it only events whose text is kept are found.
    pub(crate) keys_known: bool,
    pub(crate) clusters: Vec<String>,
    /// The oldest key of the dedup window.
    pub(crate) window_from_unix_ms: Option<i64>,
    pub(crate) window_seconds: u64,
    pub(crate) detail_hours: u64,
    pub(crate) retain_hours: u64,
    /// So much of this audit ID was found beyond what is shown.
    pub(crate) not_shown: u64,
}
