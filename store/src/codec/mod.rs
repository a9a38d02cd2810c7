//! Records to bytes and back.
//!
//! A batch is cut into blocks of about [`BLOCK_PLAIN_BYTES`], so that routing and leasing handle a
//! bounded piece at a time whatever the request was. A block is a table of its items and their keys as
//! they are (nothing compresses a hash), and behind them, compressed by zstd, their JSON one after the
//! other: who only needs the table does not pay for the rest. Level 1 shrinks the JSON of audit events
//! about 15-fold.

mod address;
mod batch;
mod deliveries;
mod names;
mod unreadable;

use std::cell::RefCell;

use auditrelay_audit::EventKey;
use serde::{Serialize, de::DeserializeOwned};

use crate::frame::Damaged;

pub(crate) use address::{Class, addressed, take_address};
use batch::take_skipped;
pub use batch::{BatchEncoder, DamagedTexts, EncodedBatch};
pub(crate) use batch::{reached, unpack_block, with_reached, without_reached};
pub use deliveries::{DeliveriesEncoder, EncodedDeliveries, EventToDeliver};
pub(crate) use deliveries::{cut, find, repack, told_by, unpack};
pub(crate) use unreadable::{StoredKind, quarantined, read_quarantined};

/// A block is closed when it has grown to this size before compression.
pub const BLOCK_PLAIN_BYTES: usize = 512 * 1024;
/// Bounds a block of many tiny events.
pub const BLOCK_ITEMS_MAX: usize = 1_000;

const ZSTD_LEVEL: i32 = 1;
const KEY_BYTES: usize = 24;

/// A compressed record and what its frame says of it.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) items: u32,
    pub(crate) plain_bytes: u32,
    pub(crate) payload: Vec<u8>,
}

/// Texts one after the other.
#[derive(Debug)]
pub struct Texts {
    all: String,
    ends: Vec<usize>,
}

impl Texts {
    fn unpack(
        plain_bytes: u32,
        compressed: &[u8],
        lengths: impl Iterator<Item = u32>,
    ) -> Result<Self, Damaged> {
        let all = String::from_utf8(decompress(plain_bytes, compressed)?)
            .map_err(|_| Damaged("an event of it is no text"))?;
        let mut end = 0;
        let mut ends = Vec::new();
        for length in lengths {
            end += length as usize;
            if !all.is_char_boundary(end) {
                return Err(Damaged("an event of it is cut short"));
            }
            ends.push(end);
        }
        Ok(Self { all, ends })
    }

    /// The text of an item, by its number.
    pub fn get(&self, item: usize) -> &str {
        let start = match item {
            0 => 0,
            later => self.ends[later - 1],
        };
        &self.all[start..self.ends[item]]
    }
}

/// The keys of a block that are remembered, and since when.
pub(crate) fn pack_seen(seen_unix_ms: i64, keys: &[EventKey]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(8 + keys.len() * KEY_BYTES);
    payload.extend_from_slice(&seen_unix_ms.to_be_bytes());
    for key in keys {
        put_key(key, &mut payload);
    }
    payload
}

pub(crate) fn unpack_seen(payload: &[u8]) -> Result<(i64, Vec<EventKey>), Damaged> {
    let (time, keys) = payload
        .split_first_chunk::<8>()
        .ok_or(Damaged("its time is missing"))?;
    Ok((i64::from_be_bytes(*time), read_keys(keys).collect()))
}

fn put_key(key: &EventKey, out: &mut Vec<u8>) {
    out.extend_from_slice(&key.identity.to_be_bytes());
    out.extend_from_slice(&key.fingerprint);
}

fn read_keys(bytes: &[u8]) -> impl Iterator<Item = EventKey> {
    let (keys, _) = bytes.as_chunks::<KEY_BYTES>();
    keys.iter().map(|key| {
        let (identity, fingerprint) = key.split_at(8);
        EventKey {
            identity: u64::from_be_bytes(identity.try_into().unwrap_or_default()),
            fingerprint: fingerprint.try_into().unwrap_or_default(),
        }
    })
}

pub(crate) fn pack<T: Serialize + ?Sized>(items: usize, value: &T) -> Packed {
    let plain = plain(value);
    let mut payload = Vec::new();
    compress(&plain, &mut payload);
    Packed {
        items: items as u32,
        plain_bytes: plain.len() as u32,
        payload,
    }
}

fn compress(plain: &[u8], out: &mut Vec<u8>) {
    /// zstd's tables are larger than most blocks, and so is the space that it asks for: making both anew
    /// for each would take as long as using them.
    struct Compressor {
        zstd: zstd::bulk::Compressor<'static>,
        space: Vec<u8>,
    }
    thread_local! {
        static COMPRESSOR: RefCell<Option<Compressor>> = const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        let Compressor { zstd, space } = kept.get_or_insert_with(|| Compressor {
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)
                .expect("there is memory for zstd's tables"),
            space: Vec::new(),
        });
        let bound = zstd::zstd_safe::compress_bound(plain.len());
        if space.len() < bound {
            space.resize(bound, 0);
        }
        let written = zstd
            .compress_to_buffer(plain, &mut space[..])
            .expect("the space is as large as zstd asks for");
        out.reserve_exact(written);
        out.extend_from_slice(&space[..written]);
        // One block of a large event does not keep its space for ever.
        space.truncate(4 * BLOCK_PLAIN_BYTES);
        space.shrink_to(4 * BLOCK_PLAIN_BYTES);
    });
}

fn decompress(plain_bytes: u32, compressed: &[u8]) -> Result<Vec<u8>, Damaged> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = kept.get_or_insert_with(|| {
            zstd::bulk::Decompressor::new().expect("there is memory for zstd's tables")
        });
        decompressor
            .decompress(compressed, plain_bytes as usize)
            .map_err(|_| Damaged("it cannot be decompressed"))
    })
}

/// For records too small to compress.
pub(crate) fn plain<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the queue's own types always serialize")
}

pub(crate) fn from_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    postcard::from_bytes(bytes).map_err(|_| Damaged("its content does not fit its kind"))
}
