//! Who took the events of a block of which nothing is kept but their keys: it stands behind the keys, in a frame that
//! zstd's format calls skippable. Earlier versions, whose tables know only that nobody wanted an event, pass over it.
//!
//! Invariant: it only names. What does not fit the table, or cannot be read, names nobody.

use super::{from_plain, plain, take_skipped};
use crate::model::{BlockItem, Hint, ItemKind};

/// zstd's mark of a frame that is to be skipped; another one than that of a position.
const NAMES: [u8; 4] = [0x5b, 0x2a, 0x4d, 0x18];

/// The same for so many unwanted events one after the other.
type Run = (u32, Option<Hint>);

/// Writes who took the unwanted ones of these items, if anybody did. It stands behind a position: an earlier version
/// looks for that where the keys end.
pub(super) fn put(items: &[ItemKind], payload: &mut Vec<u8>) {
    let mut runs: Vec<Run> = Vec::new();
    for item in items {
        let ItemKind::Unwanted { hint } = item else {
            continue;
        };
        match runs.last_mut() {
            Some((events, of)) if of == hint => *events += 1,
            _ => runs.push((1, *hint)),
        }
    }
    if runs.iter().all(|(_, hint)| hint.is_none()) {
        return;
    }
    let runs = plain(&runs);
    payload.extend_from_slice(&NAMES);
    payload.extend_from_slice(&(runs.len() as u32).to_le_bytes());
    payload.extend_from_slice(&runs);
}

/// Takes the names off the front of a block's texts, if they are there.
pub(super) fn take(texts: &[u8]) -> (Vec<Run>, &[u8]) {
    match take_skipped(&NAMES, texts) {
        Some((names, rest)) => (from_plain(names).unwrap_or_default(), rest),
        None => (Vec::new(), texts),
    }
}

/// Tells the unwanted ones of these items who took them.
pub(super) fn tell(runs: &[Run], items: &mut [BlockItem]) {
    let unwanted = items.iter_mut().filter_map(|item| match &mut item.kind {
        ItemKind::Unwanted { hint } => Some(hint),
        ItemKind::Event { .. } | ItemKind::Unreadable(_) => None,
    });
    // As many as there are, however many a run says that there were.
    let named = runs
        .iter()
        .flat_map(|(events, hint)| std::iter::repeat_n(*hint, *events as usize));
    for (hint, named) in unwanted.zip(named) {
        *hint = named;
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use auditrelay_audit::EventKey;
    use serde::Deserialize;

    use super::*;
    use crate::{
        InputPosition,
        codec::{BatchEncoder, KEY_BYTES, decompress, unpack_block},
        model::Content,
    };

    /// The table of a block as versions before this one read it, as far as these blocks go.
    #[derive(Debug, PartialEq, Deserialize)]
    enum OldKind {
        Event {
            json_bytes: u32,
            body_unreadable: bool,
            hint: u16,
        },
        Unwanted,
    }

    #[derive(Deserialize)]
    struct OldTable {
        cluster: String,
        received_unix_ms: i64,
        hints_of: u64,
        items: Vec<OldKind>,
    }

    fn key(number: u8) -> EventKey {
        EventKey {
            identity: number.into(),
            fingerprint: [number; 16],
        }
    }

    const HINTS: [Option<Hint>; 4] = [None, Some(Hint(3)), Some(Hint(3)), Some(Hint(300))];

    /// An event between unwanted ones, with a position or without.
    fn packed(position: Option<InputPosition>) -> crate::codec::Packed {
        let mut batch = BatchEncoder::of_one_block("prod", 3, 9, 0);
        for (number, hint) in (0..).zip(HINTS) {
            batch.push_unwanted(&key(number), hint);
            if number == 1 {
                let content = Content::Event {
                    json: Cow::Borrowed("{}"),
                    body_unreadable: false,
                };
                batch.push(&key(9), &content, Hint(1));
            }
        }
        let mut batch = match position {
            Some(position) => batch.finish_at(position),
            None => batch.finish(),
        };
        batch.blocks.remove(0)
    }

    #[test]
    fn a_block_with_names_is_read_by_the_rules_of_earlier_versions() {
        let bytes = packed(None).payload;
        let (table, rest) = postcard::take_from_bytes::<OldTable>(&bytes).expect("it fits");
        assert_eq!(
            (
                table.cluster.as_str(),
                table.received_unix_ms,
                table.hints_of
            ),
            ("prod", 3, 9)
        );
        let event = OldKind::Event {
            json_bytes: 2,
            body_unreadable: false,
            hint: 1,
        };
        let unwanted = || OldKind::Unwanted;
        let items = [unwanted(), unwanted(), event, unwanted(), unwanted()];
        assert_eq!(table.items, items);
        let texts = &rest[5 * KEY_BYTES..];
        // These very bytes: how many runs, and each of them.
        let names = b"\x5b\x2a\x4d\x18\x0a\0\0\0\x03\x01\0\x02\x01\x03\x01\x01\xac\x02";
        assert_eq!(texts[..names.len()], *names);
        // An earlier version unpacks all that stands behind the keys and the position.
        assert_eq!(decompress(2, texts).expect("whole"), b"{}");
    }

    #[test]
    fn names_and_a_position_come_back_and_an_earlier_version_finds_the_position() {
        let position = InputPosition::new("a".to_owned(), "b".to_owned()).expect("short");
        for position in [None, Some(position)] {
            let packed = packed(position.clone());
            let found = crate::codec::reached(packed.items, &packed.payload);
            assert_eq!(found.into_iter().next(), position);
            let without = crate::codec::without_reached(packed.items, &packed.payload);
            for payload in [packed.payload, without] {
                let block = unpack_block(1, packed.items, packed.plain_bytes, payload, 0);
                let block = block.expect("whole");
                let hints = block.items.iter().filter_map(|item| match item.kind {
                    ItemKind::Unwanted { hint } => Some(hint),
                    _ => None,
                });
                assert_eq!(hints.collect::<Vec<_>>(), HINTS);
                assert_eq!(block.texts().expect("whole").get(2), "{}");
            }
        }
    }

    #[test]
    fn what_nobody_took_is_written_as_it_was_and_names_that_do_not_fit_name_whom_they_can() {
        let mut none = Vec::new();
        put(&[ItemKind::Unwanted { hint: None }], &mut none);
        put(&[], &mut none);
        assert!(none.is_empty());
        let item = |number| BlockItem {
            key: key(number),
            kind: ItemKind::Unwanted { hint: None },
        };
        let mut items = [item(0), item(1)];
        tell(&[(1, Some(Hint(7)))], &mut items);
        let by = |hint| ItemKind::Unwanted { hint };
        assert_eq!(
            [&items[0].kind, &items[1].kind],
            [&by(Some(Hint(7))), &by(None)]
        );
        tell(&[(u32::MAX, Some(Hint(8)))], &mut items);
        assert_eq!(items[1].kind, by(Some(Hint(8))));
    }
}
