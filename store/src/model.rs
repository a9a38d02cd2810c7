//! What goes into the queue and what comes out of it.

use std::borrow::Cow;

use auditrelay_audit::{EventKey, Severity};
use serde::{Deserialize, Serialize};

use crate::{Full, codec::StoredKind};

/// One `EventList`, redacted, as it goes into the queue.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// The cluster it came from.
    pub cluster: Cow<'a, str>,
    /// When it came, Unix time in milliseconds.
    pub received_unix_ms: i64,
    /// Its events, in the order of the list.
    pub entries: Vec<Entry<'a>>,
}

/// One item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// What tells it from others.
    pub key: EventKey,
    /// The event, or why there is none.
    pub content: Content<'a>,
}

/// What an item holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content<'a> {
    /// An event whose envelope was read.
    Event {
        /// Redacted JSON.
        json: Cow<'a, str>,
        /// Whether its body was dropped because it could not be read.
        body_unreadable: bool,
    },
    /// Something that is no event.
    Unreadable(Unreadable),
}

/// What is kept of an item without a readable envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Why it could not be read; never holds text of the item (it may be secret).
    pub reason: String,
    /// Where it began in the request's body, in bytes.
    pub offset_bytes: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// Its first bytes, sealed; only where the configuration names a key to seal them to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// Which line of which file it was; nothing of what came through the webhook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

impl Unreadable {
    const REASON_BYTES_MAX: usize = 200;

    /// As it is stored: within what a record of the quarantine may take.
    pub(crate) fn bounded(self) -> Self {
        Self {
            reason: cut(self.reason, Self::REASON_BYTES_MAX),
            sealed: self
                .sealed
                .filter(|sealed| sealed.bytes.len() <= Sealed::BYTES_MAX),
            source: self.source.map(|source| Source {
                file: cut(source.file, Source::FILE_BYTES_MAX),
                ..source
            }),
            ..self
        }
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// Bytes that were sealed to a public key (a sealed box of libsodium: X25519, XSalsa20-Poly1305). The relay
/// cannot open them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The first bytes of that public key, so that its owner is found.
    pub to: [u8; 8],
    /// The sealed box.
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// A longer box is not stored: 4 KiB, and what sealing adds.
    pub const BYTES_MAX: usize = 4 * 1024 + 48;
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name; stored up to [`Source::FILE_BYTES_MAX`].
    pub file: String,
    /// The line, from 1.
    pub line: u64,
}

impl Source {
    /// A longer name is cut.
    pub const FILE_BYTES_MAX: usize = 512;
}

/// What the routing table said of an event when it was received, so that the router need not read
/// the event again. Only who knows the table may use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint(pub u16);

/// A stored part of a batch: the unit of routing.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its place in the order of appending.
    pub seq: u64,
    /// The cluster it came from.
    pub cluster: String,
    /// When it came, Unix time in milliseconds.
    pub received_unix_ms: i64,
    /// Names the routing table that its hints are of.
    pub hints_of: u64,
    /// Its items.
    pub items: Vec<BlockItem>,
    pub(crate) packed_texts: PackedTexts,
}

/// One item of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockItem {
    /// What tells it from others.
    pub key: EventKey,
    /// What it is.
    pub kind: ItemKind,
}

/// What an item of a block is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "StoredKind", from = "StoredKind")]
pub enum ItemKind {
    /// An event; its JSON is in [`Block::texts`].
    Event {
        /// Length of its JSON.
        json_bytes: u32,
        /// Whether its body was dropped because it could not be read.
        body_unreadable: bool,
        /// What the routing table said of it.
        hint: Hint,
    },
    /// An event that no route wanted when it was received: it is told from duplicates and counted, and
    /// its text was never stored.
    Unwanted {
        /// What the routing table said of it, if a route took it.
        hint: Option<Hint>,
    },
    /// Something that is no event.
    Unreadable(Box<Unreadable>),
}

/// The JSON of a block's events, as stored.
#[derive(Debug, Clone)]
pub(crate) struct PackedTexts {
    pub(crate) plain_bytes: u32,
    pub(crate) record: Vec<u8>,
    /// Where in the record they begin.
    pub(crate) start: usize,
}

impl PackedTexts {
    pub(crate) fn compressed(&self) -> &[u8] {
        self.record.get(self.start..).unwrap_or_default()
    }
}

/// The keys that one block added to the dedup window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBlock {
    /// The block's sequence.
    pub seq: u64,
    /// When the keys were noted, Unix time in milliseconds.
    pub seen_unix_ms: i64,
    /// Its new keys.
    pub keys: Vec<EventKey>,
}

/// One thing to tell a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// An audit event.
    Event(EventDelivery),
    /// Something the relay itself has to say.
    Notice(Notice),
}

/// An event on its way to one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventDelivery {
    /// The cluster it happened in.
    pub cluster: String,
    /// The route that sent it here; empty for the default.
    pub route: String,
    /// Redacted JSON.
    pub json: String,
    /// What else has to be said of it.
    pub marks: Marks,
    /// Of a copy that [`crate::Queue::fall_back`] made: the channel that it was meant for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant_for: Option<String>,
}

/// What has to be said of an event besides what is in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Its body was dropped because it could not be read.
    pub body_unreadable: bool,
    /// Another event had the same audit ID and stage.
    pub audit_id_reused: bool,
    /// It was carved out of a damaged store, or moved from another one while it was being posted: it may
    /// have been told before.
    pub possibly_repeated: bool,
    /// It was routed before, and is told again because somebody asked for it.
    pub replayed: bool,
}

/// A message of the relay's own; not part of the ledger's identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What happened, e.g. `could not be read: missing field "stage"`; notices with the same text add up.
    pub text: String,
    /// To how many events.
    pub events: u64,
    /// The cluster they came from.
    pub cluster: String,
}

/// A quarantined item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineRecord {
    /// The cluster it came from.
    pub cluster: String,
    /// When it came, Unix time in milliseconds.
    pub received_unix_ms: i64,
    /// Keyed hash of its bytes.
    pub fingerprint: [u8; 16],
    /// What is kept of it.
    pub unreadable: Unreadable,
}

/// How much one message may stand for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseLimit {
    /// Deliveries.
    pub events_max: usize,
    /// Stored bytes before compression; one block is always taken.
    pub bytes_max: usize,
}

/// Names a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseId {
    /// The channel.
    pub channel: String,
    /// Unique within the queue, for ever.
    pub id: u64,
}

/// Deliveries that one message stands for.
#[derive(Debug, Clone)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// Its members with their severity, most severe first.
    pub members: Vec<(Severity, Delivery)>,
    /// It was held by a process that ended, and may have been posted.
    pub resumed: bool,
    /// When it was sealed, Unix time in milliseconds: before that no message of this ID can have been
    /// posted. One that comes back keeps it. 0 where it is not known, as an earlier version sealed it.
    pub sealed_unix_ms: i64,
}

/// What a destination said of a message that it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// When, Unix time in milliseconds.
    pub now_unix_ms: i64,
    /// The destination's name of the message, at most [`Thread::BYTES_MAX`], if details of it are to be
    /// posted under it. A longer one is not noted.
    pub thread: Option<String>,
    /// Where the destination has it, if it says so; kept with what was told. A longer one is not noted.
    pub posted: Option<Posted>,
}

impl Accepted {
    /// A message without details, taken at a Unix time in milliseconds.
    pub fn at(now_unix_ms: i64) -> Self {
        Self {
            now_unix_ms,
            thread: None,
            posted: None,
        }
    }
}

/// Where a destination has a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The destination's name of the channel: Slack's ID.
    pub place: String,
    /// Its name of the message: Slack's `ts`.
    pub ts: String,
}

impl Posted {
    /// Neither is kept if one is longer.
    pub const BYTES_MAX: usize = 64;

    pub(crate) fn fits(&self) -> bool {
        self.place.len() <= Self::BYTES_MAX && self.ts.len() <= Self::BYTES_MAX
    }
}

/// A message of which details are still to be posted; its members come from [`crate::Queue::told`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    /// The message: the ID of its lease.
    pub message: u64,
    /// The destination's name of it.
    pub thread: String,
    /// How many parts are posted.
    pub done: u32,
}

impl Thread {
    /// A longer name is not noted.
    pub const BYTES_MAX: usize = 64;
    /// So many are noted for a channel, then the oldest gives way.
    pub const PER_CHANNEL_MAX: usize = 64;
}

/// What one call of [`crate::Queue::fall_back`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FellBack {
    /// So many events were copied.
    pub events: u64,
    /// There is more to copy.
    pub more: bool,
    /// Nothing was copied for want of space; it is to be asked again later.
    pub full: Option<Full>,
}
