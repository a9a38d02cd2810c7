//! What operators ask of a queue: dead letters, what a message stood for, what was routed before.

use auditrelay_audit::Severity;
use serde::{Deserialize, Serialize};

use crate::{Block, Delivery, Posted, QuarantineRecord};

/// Deliveries with their severity, most severe first.
pub type Members = Vec<(Severity, Delivery)>;

/// Why and when something became a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burial {
    /// Why it can never be delivered, in the destination's words; cut at 500 bytes.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The first try, Unix time in milliseconds.
    pub first_unix_ms: i64,
    /// The last try, Unix time in milliseconds.
    pub last_unix_ms: i64,
}

/// A message that could never be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its ID: that of the lease that was buried.
    pub id: u64,
    /// The channel it was meant for.
    pub channel: String,
    /// The most severe of its events.
    pub severity: Severity,
    /// How many events it stands for, copies and notices included.
    pub events: u64,
    /// Why and when it died.
    #[serde(flatten)]
    pub burial: Burial,
}

/// Which dead letters; what is not set matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeadFilter {
    /// Of this channel.
    pub channel: Option<String>,
    /// Whose reason holds this text.
    pub reason: Option<String>,
    /// Last tried at or after this Unix time in milliseconds.
    pub since_unix_ms: Option<i64>,
    /// Last tried before this Unix time in milliseconds.
    pub until_unix_ms: Option<i64>,
}

impl DeadFilter {
    /// Whether it is one of them.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let burial = &letter.burial;
        self.channel
            .as_ref()
            .is_none_or(|one| *one == letter.channel)
            && self
                .reason
                .as_ref()
                .is_none_or(|part| burial.reason.contains(part))
            && self
                .since_unix_ms
                .is_none_or(|since| burial.last_unix_ms >= since)
            && self
                .until_unix_ms
                .is_none_or(|until| burial.last_unix_ms < until)
    }
}

/// A message that was delivered, and what it stood for.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its ID: that of the lease.
    pub id: u64,
    /// The channel it went to.
    pub channel: String,
    /// When, Unix time in milliseconds.
    pub told_unix_ms: i64,
    /// Where the destination has it; `None` if it did not say so, or an earlier version posted it.
    pub posted: Option<Posted>,
    /// Its members.
    pub members: Members,
}

/// A quarantined item and its ID in this queue; an import gives it another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Its ID, growing in the order of routing.
    pub id: u64,
    /// The item.
    #[serde(flatten)]
    pub record: QuarantineRecord,
}

/// A place among what is retained; the default is the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// A piece of what is retained.
#[derive(Debug, Clone)]
pub struct Retained {
    /// Routed blocks.
    pub blocks: Vec<Block>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// How many bytes there are from here to the end, as stored.
    pub bytes_left: u64,
}
