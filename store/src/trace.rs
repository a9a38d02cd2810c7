//! What is found when one event is looked for by its audit ID.
//!
//! Nothing in the queue is indexed by audit IDs, so who looks reads: the log of appended events, the log of
//! deliveries, the log of seen keys, each a bounded page at a time. Where a delivery is now the index says.

use auditrelay_audit::{EventKey, Severity};

use crate::{Block, Burial, Cursor, EventDelivery, Posted};

/// A page of appended blocks, whether they are routed or not.
#[derive(Debug, Clone)]
pub struct Appended {
    /// In the order of appending.
    pub blocks: Vec<Block>,
    /// The sequence of the oldest block that waits to be routed, as of now.
    pub first_unrouted: Option<u64>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// How many bytes there are from here to the end, as stored.
    pub bytes_left: u64,
}

/// A delivery as the log has it, whatever became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its record's sequence.
    pub record: u64,
    /// Its number in the record.
    pub number: u32,
    /// The channel whose it is.
    pub channel: String,
    /// How urgent it is there.
    pub severity: Severity,
    /// Routed before, and queued again by a replay or for a channel that could not be served.
    pub is_copy: bool,
    /// The event.
    pub event: EventDelivery,
}

/// What the log says of a delivery's end; the note with the highest stamp counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The record of the delivery.
    pub record: u64,
    /// Its number in it.
    pub number: u32,
    /// Grows with time.
    pub stamp: u64,
    /// The message that it was settled with; 0: none.
    pub message: u64,
    /// What became of it.
    pub noted: Noted,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted {
    /// It does not wait any more.
    Gone,
    /// It was a dead letter.
    Dead(Burial),
    /// It waited again.
    Waits,
}

/// A page of deliveries of an event.
#[derive(Debug, Clone)]
pub struct QueuedPage {
    /// Those found.
    pub found: Vec<Queued>,
    /// What is said of them, and of those found before.
    pub notes: Vec<Note>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// How many bytes there are from here to the end, as stored.
    pub bytes_left: u64,
}

/// Where a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whereabouts {
    /// It waits for its channel.
    Waiting {
        /// So many deliveries of the channel go before it.
        before: u64,
        /// The message that it is being posted in, and since when, Unix time in milliseconds.
        leased: Option<(u64, i64)>,
    },
    /// A message told it.
    Told {
        /// The message.
        message: u64,
        /// When, Unix time in milliseconds.
        told_unix_ms: i64,
        /// Where the destination has the message.
        posted: Option<Posted>,
        /// For how many events the message stands.
        events: u64,
    },
    /// It can never be told.
    Dead {
        /// The dead letter.
        message: u64,
        /// Why.
        burial: Burial,
    },
}

/// What is still kept of what messages told.
///
/// What goes early goes in the order of messages, the lowest first. So as long as one is kept, nothing of a later message
/// went since that one was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToldKept {
    /// The lowest message that is kept, and when it was told, Unix time in milliseconds.
    pub oldest: Option<(u64, i64)>,
    /// For so many events they stand together, without copies and notices.
    pub events: u64,
}

/// A key of the dedup window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenKey {
    /// The block that it came with.
    pub block: u64,
    /// When it was routed, Unix time in milliseconds.
    pub seen_unix_ms: i64,
    /// The key.
    pub key: EventKey,
}

/// A page of the dedup window.
#[derive(Debug, Clone)]
pub struct SeenPage {
    /// Keys of the identities that were asked for.
    pub found: Vec<SeenKey>,
    /// When the oldest key of the page was noted, Unix time in milliseconds.
    pub oldest_unix_ms: Option<i64>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
    /// How many bytes there are from here to the end, as stored.
    pub bytes_left: u64,
}
