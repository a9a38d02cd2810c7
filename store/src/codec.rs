//! Records to bytes and back: postcard inside zstd.
//!
//! A batch is cut into blocks of about [`BLOCK_PLAIN_BYTES`], so that routing and leasing handle a
//! bounded piece at a time whatever the request was. Level 1 shrinks audit events about 20-fold.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    frame::Damaged,
    model::{Batch, Block, Delivery, Entry},
};

/// A block is closed when it has grown to this size before compression.
pub(crate) const BLOCK_PLAIN_BYTES: usize = 256 * 1024;
/// Keeps a block's keys (24 bytes each) within one frame.
pub(crate) const BLOCK_ENTRIES_MAX: usize = 1_000;

const ZSTD_LEVEL: i32 = 1;

/// A compressed record and what its frame says of it.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) items: u32,
    pub(crate) plain_bytes: u32,
    pub(crate) payload: Vec<u8>,
}

/// A batch, compressed on the caller's side so that the one writer only writes.
#[derive(Debug, Clone)]
pub struct EncodedBatch {
    pub(crate) blocks: Vec<Packed>,
    pub(crate) events: u64,
}

impl EncodedBatch {
    /// Compresses a batch; takes about a millisecond per 400 events of 1 KB, so not on an async worker.
    pub fn new(batch: &Batch<'_>) -> Self {
        let mut blocks = Vec::new();
        let mut rest = batch.entries.as_slice();
        while !rest.is_empty() {
            let (entries, later) = rest.split_at(block_length(rest));
            let stored = StoredBlockRef {
                cluster: &batch.cluster,
                received_unix_ms: batch.received_unix_ms,
                entries,
            };
            blocks.push(pack(entries.len(), &stored));
            rest = later;
        }
        Self {
            blocks,
            events: batch.entries.len() as u64,
        }
    }
}

fn block_length(entries: &[Entry<'_>]) -> usize {
    let mut bytes = 0;
    let full = entries.iter().take(BLOCK_ENTRIES_MAX).position(|entry| {
        bytes += entry.plain_bytes();
        bytes >= BLOCK_PLAIN_BYTES
    });
    full.map_or(entries.len().min(BLOCK_ENTRIES_MAX), |last| last + 1)
}

impl Entry<'_> {
    fn plain_bytes(&self) -> usize {
        match &self.content {
            crate::model::Content::Event { json, .. } => json.len(),
            crate::model::Content::Unreadable(unreadable) => {
                unreadable.raw.as_ref().map_or(64, Vec::len)
            }
        }
    }
}

#[derive(Serialize)]
struct StoredBlockRef<'a> {
    cluster: &'a str,
    received_unix_ms: i64,
    entries: &'a [Entry<'a>],
}

#[derive(Deserialize)]
struct StoredBlock {
    cluster: String,
    received_unix_ms: i64,
    entries: Vec<Entry<'static>>,
}

pub(crate) fn unpack_block(seq: u64, plain_bytes: u32, payload: &[u8]) -> Result<Block, Damaged> {
    let stored: StoredBlock = unpack(plain_bytes, payload)?;
    Ok(Block {
        seq,
        cluster: stored.cluster,
        received_unix_ms: stored.received_unix_ms,
        entries: stored.entries,
    })
}

pub(crate) fn pack_deliveries(deliveries: &[Delivery]) -> Packed {
    pack(deliveries.len(), deliveries)
}

pub(crate) fn pack<T: Serialize + ?Sized>(items: usize, value: &T) -> Packed {
    let plain = plain(value);
    let payload = zstd::bulk::compress(&plain, ZSTD_LEVEL)
        .expect("compressing memory to memory fails only without memory");
    Packed {
        items: items as u32,
        plain_bytes: plain.len() as u32,
        payload,
    }
}

pub(crate) fn unpack<T: DeserializeOwned>(plain_bytes: u32, payload: &[u8]) -> Result<T, Damaged> {
    let plain = zstd::bulk::decompress(payload, plain_bytes as usize)
        .map_err(|_| Damaged("it cannot be decompressed"))?;
    from_plain(&plain)
}

/// For records too small to compress.
pub(crate) fn plain<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the queue's own types always serialize")
}

pub(crate) fn from_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    postcard::from_bytes(bytes).map_err(|_| Damaged("its content does not fit its kind"))
}
