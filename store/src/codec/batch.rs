//! Blocks of appended events.

use std::borrow::Cow;

use auditrelay_audit::EventKey;
use serde::{Deserialize, Serialize};

use super::{
    BLOCK_ITEMS_MAX, BLOCK_PLAIN_BYTES, KEY_BYTES, Packed, Texts, compress, from_plain, names,
    plain, put_key, read_keys,
};
use crate::{
    InputPosition,
    frame::{Damaged, HEADER_BYTES},
    model::{Batch, Block, BlockItem, Content, Hint, ItemKind, PackedTexts},
};

/// A batch, compressed on the caller's side so that the one writer only writes.
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    pub(crate) blocks: Vec<Packed>,
    /// How far some of them bring an input, by the block's number.
    pub(crate) reached: Vec<(usize, InputPosition)>,
}

impl EncodedBatch {
    /// Compresses a batch; takes about half a millisecond per 400 events of 1 KB, so not on an async
    /// worker.
    pub fn new(batch: &Batch<'_>) -> Self {
        let mut encoder = BatchEncoder::new(&batch.cluster, batch.received_unix_ms, 0, 0);
        for entry in &batch.entries {
            encoder.push(&entry.key, &entry.content, Hint::default());
        }
        encoder.finish()
    }

    /// Puts another batch behind this one: they are appended by one call, and each block is still durable with
    /// its own position.
    pub fn join(&mut self, other: Self) {
        let before = self.blocks.len();
        self.blocks.extend(other.blocks);
        let moved = |(block, position)| (before + block, position);
        self.reached.extend(other.reached.into_iter().map(moved));
    }

    /// A batch of blocks that were packed before, with the positions that are in them.
    pub(crate) fn of_blocks(blocks: Vec<Packed>) -> Self {
        let numbered = blocks.iter().enumerate();
        let reached = numbered.flat_map(|(number, block)| {
            let positions = reached(block.items, &block.payload).into_iter();
            positions.map(move |position| (number, position))
        });
        let reached = reached.collect();
        Self { blocks, reached }
    }

    /// How many bytes it takes in the log of appended events.
    pub fn stored_bytes(&self) -> usize {
        let bytes = |block: &Packed| HEADER_BYTES + block.payload.len();
        self.blocks.iter().map(bytes).sum()
    }
}

/// Compresses a batch as it is read, block by block, so that an event is still in the processor's cache.
#[derive(Debug)]
pub struct BatchEncoder {
    cluster: String,
    received_unix_ms: i64,
    hints_of: u64,
    blocks: Vec<Packed>,
    // The block that grows.
    keys: Vec<u8>,
    items: Vec<ItemKind>,
    texts: Vec<u8>,
    bytes: usize,
    reached: Vec<(usize, InputPosition)>,
    one_block: bool,
}

impl BatchEncoder {
    /// A batch of a cluster, received at a Unix time in milliseconds; `hints_of` names the routing table
    /// that its hints are of, `bytes_expected` is how much text there may be.
    pub fn new(cluster: &str, received_unix_ms: i64, hints_of: u64, bytes_expected: usize) -> Self {
        // A block may end a little behind its bound.
        let capacity = bytes_expected.min(BLOCK_PLAIN_BYTES + BLOCK_PLAIN_BYTES / 8);
        Self {
            cluster: cluster.to_owned(),
            received_unix_ms,
            hints_of,
            blocks: Vec::new(),
            keys: Vec::new(),
            items: Vec::new(),
            texts: Vec::with_capacity(capacity),
            bytes: 0,
            reached: Vec::new(),
            one_block: false,
        }
    }

    /// A batch of one block, whatever is put into it, so that all of it is durable at once with
    /// [`BatchEncoder::finish_at`]'s position. Who fills it minds its size: [`BatchEncoder::is_full`].
    pub fn of_one_block(
        cluster: &str,
        received_unix_ms: i64,
        hints_of: u64,
        bytes_expected: usize,
    ) -> Self {
        Self {
            one_block: true,
            ..Self::new(cluster, received_unix_ms, hints_of, bytes_expected)
        }
    }

    /// Whether a block would be closed now.
    pub fn is_full(&self) -> bool {
        self.bytes >= BLOCK_PLAIN_BYTES || self.items.len() >= BLOCK_ITEMS_MAX
    }

    /// Adds an item.
    pub fn push(&mut self, key: &EventKey, content: &Content<'_>, hint: Hint) {
        put_key(key, &mut self.keys);
        match content {
            Content::Event {
                json,
                body_unreadable,
            } => {
                self.texts.extend_from_slice(json.as_bytes());
                self.bytes += json.len();
                self.items.push(ItemKind::Event {
                    json_bytes: json.len() as u32,
                    body_unreadable: *body_unreadable,
                    hint,
                });
            }
            Content::Unreadable(unreadable) => {
                self.bytes += unreadable
                    .sealed
                    .as_ref()
                    .map_or(64, |kept| kept.bytes.len());
                self.items
                    .push(ItemKind::Unreadable(Box::new(unreadable.clone())));
            }
        }
        self.close_if_full();
    }

    /// Adds an event that no route wants: its key is all that is kept of it, and the hint if a route took it.
    pub fn push_unwanted(&mut self, key: &EventKey, hint: Option<Hint>) {
        put_key(key, &mut self.keys);
        self.items.push(ItemKind::Unwanted { hint });
        self.close_if_full();
    }

    fn close_if_full(&mut self) {
        if !self.one_block && self.is_full() {
            self.close(None);
        }
    }

    fn close(&mut self, reached: Option<InputPosition>) {
        let table = BlockTable {
            cluster: Cow::Borrowed(&self.cluster),
            received_unix_ms: self.received_unix_ms,
            hints_of: self.hints_of,
            items: Cow::Borrowed(&self.items),
        };
        let mut payload = plain(&table);
        payload.append(&mut self.keys);
        if let Some(position) = reached {
            put_reached(&position, &mut payload);
            self.reached.push((self.blocks.len(), position));
        }
        names::put(&self.items, &mut payload);
        compress(&self.texts, &mut payload);
        self.blocks.push(Packed {
            items: self.items.len() as u32,
            plain_bytes: self.texts.len() as u32,
            payload,
        });
        self.items.clear();
        self.texts.clear();
        self.bytes = 0;
    }

    /// The whole batch.
    pub fn finish(mut self) -> EncodedBatch {
        if !self.items.is_empty() {
            self.close(None);
        }
        EncodedBatch {
            blocks: self.blocks,
            reached: self.reached,
        }
    }

    /// The whole batch, with which an input is read up to `position`. An empty batch has no block that could
    /// bring it: see [`crate::Queue::note_inputs`].
    pub fn finish_at(mut self, position: InputPosition) -> EncodedBatch {
        if !self.items.is_empty() {
            self.close(Some(position));
        }
        self.finish()
    }
}

/// zstd's mark of a frame that is to be skipped, as its format defines it; any of 16 would do. What is in such a
/// frame before the texts is read here, and by an earlier version it is skipped.
const SKIPPED: [u8; 4] = [0x5a, 0x2a, 0x4d, 0x18];

fn put_reached(position: &InputPosition, payload: &mut Vec<u8>) {
    let position = plain(position);
    payload.extend_from_slice(&SKIPPED);
    payload.extend_from_slice(&(position.len() as u32).to_le_bytes());
    payload.extend_from_slice(&position);
}

/// Takes the positions off the front of a block's texts. Only what came by way of another queue has more than one.
fn take_reached(mut texts: &[u8]) -> (Vec<InputPosition>, &[u8]) {
    let mut positions = Vec::new();
    while let Some((position, rest)) = take_skipped(&SKIPPED, texts)
        && let Ok(position) = from_plain(position)
    {
        positions.push(position);
        texts = rest;
    }
    (positions, texts)
}

/// Takes what a frame that is to be skipped holds off the front of a block's texts, if one with this mark is there.
pub(super) fn take_skipped<'a>(mark: &[u8; 4], texts: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (length, rest) = texts.strip_prefix(mark)?.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Where in a block's payload what follows its keys begins.
fn texts_start(items: u32, payload: &[u8]) -> Option<usize> {
    let (_, rest) = postcard::take_from_bytes::<BlockTable<'_>>(payload).ok()?;
    let texts = rest.get(items as usize * KEY_BYTES..)?;
    Some(payload.len() - texts.len())
}

/// How far a block brings inputs, of those that it brings.
pub(crate) fn reached(items: u32, payload: &[u8]) -> Vec<InputPosition> {
    let start = texts_start(items, payload);
    start.map_or_else(Vec::new, |start| take_reached(&payload[start..]).0)
}

/// A block that brings one more input to a position; `None` if it is no block.
pub(crate) fn with_reached(block: Packed, position: &InputPosition) -> Option<Packed> {
    let start = texts_start(block.items, &block.payload)?;
    let mut payload = Vec::with_capacity(block.payload.len() + 128);
    payload.extend_from_slice(&block.payload[..start]);
    put_reached(position, &mut payload);
    payload.extend_from_slice(&block.payload[start..]);
    Some(Packed { payload, ..block })
}

/// A block's payload without its positions.
pub(crate) fn without_reached(items: u32, payload: &[u8]) -> Vec<u8> {
    let Some(start) = texts_start(items, payload) else {
        return payload.to_vec();
    };
    let (head, texts) = payload.split_at(start);
    [head, take_reached(texts).1].concat()
}

/// What a block begins with.
#[derive(Serialize, Deserialize)]
struct BlockTable<'a> {
    #[serde(borrow)]
    cluster: Cow<'a, str>,
    received_unix_ms: i64,
    hints_of: u64,
    items: Cow<'a, [ItemKind]>,
}

/// Reads a block's table; its texts stay packed.
pub(crate) fn unpack_block(
    seq: u64,
    items: u32,
    plain_bytes: u32,
    record: Vec<u8>,
    payload_start: usize,
) -> Result<Block, Damaged> {
    let payload = record
        .get(payload_start..)
        .ok_or(Damaged("it is cut short"))?;
    let (table, rest) = postcard::take_from_bytes::<BlockTable<'_>>(payload)
        .map_err(|_| Damaged("its content does not fit its kind"))?;
    let (keys, texts) = rest
        .split_at_checked(items as usize * KEY_BYTES)
        .ok_or(Damaged("its keys are cut short"))?;
    if table.items.len() != items as usize {
        return Err(Damaged("it holds another number of events than it says"));
    }
    let (runs, texts) = names::take(take_reached(texts).1);
    let start = record.len() - texts.len();
    let cluster = table.cluster.into_owned();
    let (received_unix_ms, hints_of) = (table.received_unix_ms, table.hints_of);
    let kinds = table.items.into_owned();
    let mut items: Vec<BlockItem> = read_keys(keys)
        .zip(kinds)
        .map(|(key, kind)| BlockItem { key, kind })
        .collect();
    names::tell(&runs, &mut items);
    Ok(Block {
        seq,
        cluster,
        received_unix_ms,
        hints_of,
        items,
        packed_texts: PackedTexts {
            plain_bytes,
            record,
            start,
        },
    })
}

impl Block {
    /// The JSON of its events, by the number of the item; an item without one has an empty one.
    ///
    /// # Errors
    /// It cannot be decompressed, though its checksum was right: a defect of the relay.
    pub fn texts(&self) -> Result<Texts, DamagedTexts> {
        let packed = &self.packed_texts;
        let lengths = self.items.iter().map(|item| match item.kind {
            ItemKind::Event { json_bytes, .. } => json_bytes,
            ItemKind::Unwanted { .. } | ItemKind::Unreadable(_) => 0,
        });
        Texts::unpack(packed.plain_bytes, packed.compressed(), lengths)
            .map_err(|damaged| DamagedTexts(damaged.to_string()))
    }
}

/// Why a block's texts cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct DamagedTexts(String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::decompress;

    #[test]
    fn a_position_is_found_before_the_texts_and_an_earlier_version_passes_over_it() {
        let position = InputPosition::new("a".to_owned(), "b".repeat(300)).expect("short");
        let mut with = Vec::new();
        put_reached(&position, &mut with);
        let mut without = Vec::new();
        compress(b"texts", &mut without);
        with.extend_from_slice(&without);
        assert_eq!(take_reached(&with), (vec![position.clone()], &without[..]));
        assert_eq!(take_reached(&without), (vec![], &without[..]));
        // It unpacked all that stands behind the keys.
        assert_eq!(decompress(5, &with).expect("whole"), b"texts");
    }

    #[test]
    fn a_block_is_given_one_more_position_and_is_otherwise_as_it_was() {
        let position = |input: &str| InputPosition::new(input.to_owned(), "7".to_owned());
        let key = EventKey {
            identity: 1,
            fingerprint: [1; 16],
        };
        let event = Content::Event {
            json: "{}".into(),
            body_unreadable: false,
        };
        let mut batch = BatchEncoder::of_one_block("prod", 7, 3, 0);
        batch.push_unwanted(&key, Some(Hint(5)));
        batch.push(&key, &event, Hint(6));
        let batch = batch.finish_at(position("a").expect("short"));
        let (block, b) = (batch.blocks[0].clone(), position("b").expect("short"));
        let with = with_reached(block.clone(), &b).expect("a block");
        let both = EncodedBatch::of_blocks(vec![with.clone()]).reached;
        let inputs: Vec<_> = both.iter().map(|(at, one)| (*at, &*one.input)).collect();
        assert_eq!(inputs, [(0, "b"), (0, "a")]);
        let plain = without_reached(block.items, &block.payload);
        assert_eq!(without_reached(with.items, &with.payload), plain);
        let read = |one: Packed| {
            let block = unpack_block(1, one.items, one.plain_bytes, one.payload, 0);
            let block = block.expect("whole");
            let texts = block.texts().expect("whole");
            (format!("{:?}", block.items), texts.get(1).to_owned())
        };
        assert_eq!(read(with), read(block));
        let none = Packed {
            items: 9,
            plain_bytes: 0,
            payload: vec![0; 4],
        };
        assert!(with_reached(none, &b).is_none());
    }
}
