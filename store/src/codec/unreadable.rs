//! What is stored of an item that could not be read, in the table of a block and in the quarantine.
//!
//! Earlier versions stored a reason, a place, a length and, where they were asked for it, the first bytes
//! as they came. What they wrote is read, except for those bytes: they may hold secrets, and nothing shows
//! or exports them any more. What is as it was for them is written as they did.

use serde::{Deserialize, Serialize};

use super::{from_plain, plain};
use crate::{
    frame::Damaged,
    model::{Hint, ItemKind, QuarantineRecord, Sealed, Source, Unreadable},
};

/// An item that could not be read, as every version writes it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Told {
    reason: String,
    offset_bytes: u64,
    length_bytes: u64,
    /// Was the item's first bytes, unsealed; not written any more.
    raw: Option<Vec<u8>>,
}

/// What earlier versions did not tell.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct More {
    source: Option<Source>,
    sealed: Option<Sealed>,
}

impl More {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

fn apart(unreadable: Unreadable) -> (Told, More) {
    let Unreadable {
        reason,
        offset_bytes,
        length_bytes,
        sealed,
        source,
    } = unreadable.bounded();
    let told = Told {
        reason,
        offset_bytes,
        length_bytes,
        raw: None,
    };
    (told, More { source, sealed })
}

fn together(told: Told, more: More) -> Unreadable {
    Unreadable {
        reason: told.reason,
        offset_bytes: told.offset_bytes,
        length_bytes: told.length_bytes,
        sealed: more.sealed,
        source: more.source,
    }
}

/// An item in a block's table. The order is part of the format.
#[derive(Serialize, Deserialize)]
pub(crate) enum StoredKind {
    Event {
        json_bytes: u32,
        body_unreadable: bool,
        hint: Hint,
    },
    Unwanted,
    Unreadable(Box<Told>),
    /// The same, of which there is more to say.
    UnreadableMore(Box<(Told, More)>),
}

impl From<ItemKind> for StoredKind {
    fn from(kind: ItemKind) -> Self {
        match kind {
            ItemKind::Event {
                json_bytes,
                body_unreadable,
                hint,
            } => Self::Event {
                json_bytes,
                body_unreadable,
                hint,
            },
            // Who took it stands behind the keys ([`super::names`]): an earlier version takes a table with more in it for damaged.
            ItemKind::Unwanted { .. } => Self::Unwanted,
            ItemKind::Unreadable(unreadable) => match apart(*unreadable) {
                (told, more) if more.is_none() => Self::Unreadable(Box::new(told)),
                both => Self::UnreadableMore(Box::new(both)),
            },
        }
    }
}

impl From<StoredKind> for ItemKind {
    fn from(stored: StoredKind) -> Self {
        match stored {
            StoredKind::Event {
                json_bytes,
                body_unreadable,
                hint,
            } => Self::Event {
                json_bytes,
                body_unreadable,
                hint,
            },
            StoredKind::Unwanted => Self::Unwanted { hint: None },
            StoredKind::Unreadable(told) => {
                Self::Unreadable(Box::new(together(*told, More::default())))
            }
            StoredKind::UnreadableMore(both) => {
                Self::Unreadable(Box::new(together(both.0, both.1)))
            }
        }
    }
}

/// A quarantined item, as every version writes it; what there is more to say stands behind it.
#[derive(Serialize, Deserialize)]
struct StoredRecord {
    cluster: String,
    received_unix_ms: i64,
    fingerprint: [u8; 16],
    unreadable: Told,
}

/// A quarantined item as it is stored.
pub(crate) fn quarantined(record: &QuarantineRecord) -> Vec<u8> {
    let (unreadable, more) = apart(record.unreadable.clone());
    let mut payload = plain(&StoredRecord {
        cluster: record.cluster.clone(),
        received_unix_ms: record.received_unix_ms,
        fingerprint: record.fingerprint,
        unreadable,
    });
    if !more.is_none() {
        payload.extend(plain(&more));
    }
    payload
}

/// Reads a quarantined item of this version or an earlier one.
pub(crate) fn read_quarantined(payload: &[u8]) -> Result<QuarantineRecord, Damaged> {
    let (stored, rest) = postcard::take_from_bytes::<StoredRecord>(payload)
        .map_err(|_| Damaged("its content does not fit its kind"))?;
    let more = match rest {
        [] => More::default(),
        rest => from_plain(rest)?,
    };
    Ok(QuarantineRecord {
        cluster: stored.cluster,
        received_unix_ms: stored.received_unix_ms,
        fingerprint: stored.fingerprint,
        unreadable: together(stored.unreadable, more),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SLED_PAYLOAD_BYTES_MAX;

    fn record(unreadable: Unreadable) -> QuarantineRecord {
        QuarantineRecord {
            cluster: "c".into(),
            received_unix_ms: 3,
            fingerprint: [9; 16],
            unreadable,
        }
    }

    fn unreadable() -> Unreadable {
        Unreadable {
            reason: "r".into(),
            offset_bytes: 1,
            length_bytes: 300,
            sealed: None,
            source: None,
        }
    }

    /// The bytes of [`unreadable`] as an earlier version wrote them, `raw` last.
    fn earlier(raw: &[u8]) -> Vec<u8> {
        [b"\x01r\x01\xac\x02", raw].concat()
    }

    fn with_more() -> Unreadable {
        Unreadable {
            sealed: Some(Sealed {
                to: [7; 8],
                bytes: vec![1, 2],
            }),
            source: Some(Source {
                file: "audit.log".into(),
                line: 12,
            }),
            ..unreadable()
        }
    }

    #[test]
    fn an_earlier_versions_record_is_read_without_its_unsealed_bytes() {
        let head = [b"\x01c\x06".as_slice(), &[9; 16]].concat();
        let none = [head.clone(), earlier(b"\0")].concat();
        let raw = [head, earlier(b"\x01\x02ab")].concat();
        for stored in [&none, &raw] {
            assert_eq!(
                read_quarantined(stored).expect("whole"),
                record(unreadable())
            );
        }
        assert_eq!(quarantined(&record(unreadable())), none);
        assert!(read_quarantined(&none[..none.len() - 1]).is_err());
    }

    #[test]
    fn an_earlier_versions_table_is_read_too() {
        let kind = ItemKind::Unreadable(Box::new(unreadable()));
        let stored = [b"\x02".as_slice(), &earlier(b"\0")].concat();
        assert_eq!(plain(&kind), stored);
        let both = [
            stored,
            b"\x02".to_vec(),
            earlier(b"\x01\x02ab"),
            b"\x01".to_vec(),
        ]
        .concat();
        // In an array, what is not read of one item would be taken for the next.
        let read: [ItemKind; 3] = from_plain(&both).expect("whole");
        assert_eq!(
            read,
            [kind.clone(), kind, ItemKind::Unwanted { hint: None }]
        );
    }

    #[test]
    fn who_took_an_event_is_not_in_the_table_which_earlier_versions_read() {
        for hint in [None, Some(Hint(0)), Some(Hint(u16::MAX))] {
            let kind = ItemKind::Unwanted { hint };
            assert_eq!(plain(&kind), [1], "as every version writes it");
        }
    }

    #[test]
    fn a_source_and_sealed_bytes_come_back() {
        let all = record(with_more());
        assert_eq!(read_quarantined(&quarantined(&all)).expect("whole"), all);
        let kinds = [
            ItemKind::Unreadable(Box::new(with_more())),
            ItemKind::Unwanted { hint: None },
        ];
        let read: [ItemKind; 2] = from_plain(&plain(&kinds)).expect("whole");
        assert_eq!(read, kinds);
    }

    #[test]
    fn whatever_is_said_of_an_item_fits_its_frame() {
        let large = Unreadable {
            reason: "é".repeat(5_000),
            sealed: Some(Sealed {
                to: [7; 8],
                bytes: vec![0; Sealed::BYTES_MAX],
            }),
            source: Some(Source {
                file: "é".repeat(5_000),
                line: u64::MAX,
            }),
            ..unreadable()
        };
        let stored = quarantined(&record(large.clone()));
        assert!(stored.len() <= SLED_PAYLOAD_BYTES_MAX, "{}", stored.len());
        let read = read_quarantined(&stored).expect("whole").unreadable;
        assert_eq!(read.sealed, large.sealed);
        assert!(read.source.expect("kept").file.len() > 500);
        let longer = Unreadable {
            sealed: Some(Sealed {
                to: [7; 8],
                bytes: vec![0; Sealed::BYTES_MAX + 1],
            }),
            ..unreadable()
        };
        let read = read_quarantined(&quarantined(&record(longer))).expect("whole");
        assert_eq!(read.unreadable.sealed, None, "half a seal opens nothing");
    }
}
