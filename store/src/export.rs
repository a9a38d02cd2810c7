//! A queue as JSON lines, for moving it between backends and versions: what a line can be.
//!
//! The first line is a `header`, the last an `end` with the number of lines, so that a file that was cut
//! short is not taken for whole. What is kept only to be looked at (told messages, retained batches) is
//! not moved.

use std::{collections::BTreeMap, io};

use auditrelay_audit::{EventKey, Severity};
use serde::{Deserialize, Serialize};

use crate::{
    Burial, ChannelCounts, Counts, Delivery, InputPosition, Ledger, Mute, OpenError, OtherCounts,
    QuarantineRecord, QueueError, RateCount, Unreadable,
};

/// The version of the lines.
pub(crate) const VERSION: u32 = 3;
/// Of an export that holds nothing that came with version 3: [`Line::Rates`], [`Line::Mute`] and what
/// [`LedgerLine::is_plain`] looks for.
pub(crate) const VERSION_WITHOUT_RATES: u32 = 2;
/// Of one that holds nothing that came with version 2 either: [`Line::Input`].
pub(crate) const VERSION_WITHOUT_INPUTS: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line {
    Header {
        version: u32,
        relay_version: String,
    },
    /// What an API server sent and is not routed.
    Batch {
        cluster: String,
        received_unix_ms: i64,
        items: Vec<BatchItem>,
    },
    /// What waits for a channel.
    Waiting {
        channel: String,
        severity: Severity,
        class: LineClass,
        deliveries: Vec<Delivery>,
    },
    /// What can never be delivered to it.
    Dead {
        channel: String,
        severity: Severity,
        class: LineClass,
        burial: Burial,
        deliveries: Vec<Delivery>,
    },
    Quarantine(QuarantineRecord),
    /// How far an input was read.
    Input(InputPosition),
    /// A mute, with what it held back.
    Mute(Mute),
    /// What the dedup window remembers.
    Seen {
        seen_unix_ms: i64,
        keys: Vec<Key>,
    },
    /// What the rates of routes counted.
    Rates {
        counts: Vec<RateCount>,
    },
    Ledger(LedgerLine),
    End {
        lines: u64,
    },
}

/// What deliveries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LineClass {
    Events,
    Copies,
    Notices,
}

/// An item of a batch: an event, or why it is none, or nothing for an event that no route wanted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchItem {
    pub(crate) key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) json: Option<String>,
    #[serde(default)]
    pub(crate) body_unreadable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unreadable: Option<Unreadable>,
}

/// A dedup key, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Key(pub(crate) EventKey);

impl From<Key> for String {
    fn from(key: Key) -> Self {
        let EventKey {
            identity,
            fingerprint,
        } = key.0;
        format!("{identity:016x}{:032x}", u128::from_be_bytes(fingerprint))
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = text
            .split_at_checked(16)
            .and_then(|(identity, fingerprint)| {
                let is_whole = text.len() == 48;
                Some(EventKey {
                    identity: u64::from_str_radix(identity, 16).ok()?,
                    fingerprint: u128::from_str_radix(fingerprint, 16)
                        .ok()
                        .filter(|_| is_whole)?
                        .to_be_bytes(),
                })
            });
        parsed
            .map(Self)
            .ok_or_else(|| "a key is 48 hexadecimal digits".to_owned())
    }
}

/// The ledger; what waits and is dead is there as lines too, and has to agree.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LedgerLine {
    pub(crate) received: u64,
    pub(crate) counts: Counts,
    pub(crate) lost: u64,
    pub(crate) channels: BTreeMap<String, ChannelCounts>,
    pub(crate) notices: BTreeMap<String, OtherCounts>,
    pub(crate) copies: BTreeMap<String, OtherCounts>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) filtered_by: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) muted_deliveries: BTreeMap<String, u64>,
}

impl LedgerLine {
    /// Whether version 2 knew all that is in it.
    pub(crate) fn is_plain(&self) -> bool {
        self.filtered_by.is_empty() && self.muted_deliveries.is_empty()
    }
}

impl From<Ledger> for LedgerLine {
    fn from(ledger: Ledger) -> Self {
        Self {
            received: ledger.received,
            counts: ledger.counts,
            lost: ledger.lost,
            channels: ledger.channels,
            notices: ledger.notices,
            copies: ledger.copies,
            filtered_by: ledger.filtered_by,
            muted_deliveries: ledger.muted_deliveries,
        }
    }
}

/// How much was exported or imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Lines.
    pub lines: u64,
    /// Events not yet routed.
    pub unrouted_events: u64,
    /// Deliveries that wait, copies and notices included.
    pub waiting_events: u64,
    /// Deliveries that are dead letters.
    pub dead_events: u64,
    /// Keys of the dedup window.
    pub keys: u64,
}

/// Why a queue cannot be exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The queue.
    #[error("{0}")]
    Queue(#[from] QueueError),
    /// The queue to import into does not open.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// An import into a queue that holds something.
    #[error("the queue is not empty; import into one that was never used")]
    NotEmpty,
    /// A line of an import: what was imported so far is of no use.
    #[error("line {line}: {reason}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_nothing_else_is_one() {
        let key = Key(EventKey {
            identity: 1 << 60,
            fingerprint: [0xab; 16],
        });
        let text = String::from(key);
        assert_eq!(Key::try_from(text.clone()), Ok(key));
        for wrong in [
            "",
            "0",
            &text[1..],
            &format!("{text}0"),
            &text.replace('a', "g"),
        ] {
            assert!(Key::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
