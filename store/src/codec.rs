//! Records to bytes and back.
//!
//! A batch is cut into blocks of about [`BLOCK_PLAIN_BYTES`], so that routing and leasing handle a
//! bounded piece at a time whatever the request was. A block is its events' keys as they are (nothing
//! compresses a hash) and, compressed by zstd, a table of its entries and their JSON one after the other.
//! Level 1 shrinks the JSON of audit events about 20-fold.

use std::{borrow::Cow, cell::RefCell};

use auditrelay_audit::EventKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    frame::Damaged,
    model::{Batch, Block, Content, Delivery, Entry, EventDelivery, Notice, Unreadable},
};

/// A block is closed when it has grown to this size before compression.
pub(crate) const BLOCK_PLAIN_BYTES: usize = 256 * 1024;
/// Bounds a block of many tiny events.
pub(crate) const BLOCK_ENTRIES_MAX: usize = 1_000;

const ZSTD_LEVEL: i32 = 1;
const KEY_BYTES: usize = 24;

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
}

impl EncodedBatch {
    /// Compresses a batch; takes about half a millisecond per 400 events of 1 KB, so not on an async
    /// worker.
    pub fn new(batch: &Batch<'_>) -> Self {
        let mut encoder = BatchEncoder::new(&batch.cluster, batch.received_unix_ms);
        for entry in &batch.entries {
            encoder.push(&entry.key, &entry.content);
        }
        encoder.finish()
    }
}

/// Compresses a batch as it is read, block by block, so that an event is still in the processor's cache.
#[derive(Debug)]
pub struct BatchEncoder {
    cluster: String,
    received_unix_ms: i64,
    blocks: Vec<Packed>,
    // The block that grows.
    keys: Vec<u8>,
    table: Vec<TableEntry>,
    plain: Vec<u8>,
    plain_bytes: usize,
}

impl BatchEncoder {
    /// A batch of a cluster, received at a Unix time in milliseconds.
    pub fn new(cluster: &str, received_unix_ms: i64) -> Self {
        Self {
            cluster: cluster.to_owned(),
            received_unix_ms,
            blocks: Vec::new(),
            keys: Vec::new(),
            table: Vec::new(),
            plain: Vec::new(),
            plain_bytes: 0,
        }
    }

    /// Adds an item.
    pub fn push(&mut self, key: &EventKey, content: &Content<'_>) {
        put_key(key, &mut self.keys);
        match content {
            Content::Event {
                json,
                body_unreadable,
            } => {
                self.plain.extend_from_slice(json.as_bytes());
                self.plain_bytes += json.len();
                self.table.push(TableEntry::Event {
                    json_bytes: json.len() as u32,
                    body_unreadable: *body_unreadable,
                });
            }
            Content::Unreadable(unreadable) => {
                self.plain_bytes += unreadable.raw.as_ref().map_or(64, Vec::len);
                self.table.push(TableEntry::Unreadable(unreadable.clone()));
            }
        }
        if self.plain_bytes >= BLOCK_PLAIN_BYTES || self.table.len() == BLOCK_ENTRIES_MAX {
            self.close();
        }
    }

    fn close(&mut self) {
        let table = BlockTable {
            cluster: Cow::Borrowed(&self.cluster),
            received_unix_ms: self.received_unix_ms,
            entries: std::mem::take(&mut self.table),
        };
        let payload = std::mem::take(&mut self.keys);
        let packed = pack_table(table.entries.len(), &table, &mut self.plain, payload);
        self.blocks.push(packed);
        self.plain.clear();
        self.plain_bytes = 0;
    }

    /// The whole batch.
    pub fn finish(mut self) -> EncodedBatch {
        if !self.table.is_empty() {
            self.close();
        }
        EncodedBatch {
            blocks: self.blocks,
        }
    }
}

/// What stands behind the JSON of a block's events.
#[derive(Serialize, Deserialize)]
struct BlockTable<'a> {
    #[serde(borrow)]
    cluster: Cow<'a, str>,
    received_unix_ms: i64,
    entries: Vec<TableEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
enum TableEntry {
    Event {
        json_bytes: u32,
        body_unreadable: bool,
    },
    Unreadable(Unreadable),
}

pub(crate) fn unpack_block(
    seq: u64,
    items: u32,
    plain_bytes: u32,
    payload: &[u8],
) -> Result<Block, Damaged> {
    let (keys, compressed) = payload
        .split_at_checked(items as usize * KEY_BYTES)
        .ok_or(Damaged("its keys are cut short"))?;
    let plain = Plain::unpack(plain_bytes, compressed)?;
    let (table, mut jsons) = plain.read::<BlockTable<'_>>()?;
    if table.entries.len() != items as usize {
        return Err(Damaged("it holds another number of events than it says"));
    }
    let mut entries = Vec::with_capacity(items as usize);
    for (entry, key) in table.entries.into_iter().zip(read_keys(keys)) {
        let content = match entry {
            TableEntry::Event {
                json_bytes,
                body_unreadable,
            } => Content::Event {
                json: Cow::Owned(jsons.next(json_bytes)?),
                body_unreadable,
            },
            TableEntry::Unreadable(unreadable) => Content::Unreadable(unreadable),
        };
        entries.push(Entry { key, content });
    }
    Ok(Block {
        seq,
        cluster: table.cluster.into_owned(),
        received_unix_ms: table.received_unix_ms,
        entries,
    })
}

/// What stands behind the JSON of deliveries.
#[derive(Serialize, Deserialize)]
enum TableDelivery<'a> {
    Event {
        #[serde(borrow)]
        cluster: Cow<'a, str>,
        #[serde(borrow)]
        route: Cow<'a, str>,
        json_bytes: u32,
        body_unreadable: bool,
        audit_id_reused: bool,
    },
    Notice(Notice),
}

pub(crate) fn pack_deliveries(deliveries: &[Delivery]) -> Packed {
    let table: Vec<_> = deliveries.iter().map(table_delivery).collect();
    let mut jsons = Vec::new();
    for delivery in deliveries {
        if let Delivery::Event(event) = delivery {
            jsons.extend_from_slice(event.json.as_bytes());
        }
    }
    pack_table(deliveries.len(), &table, &mut jsons, Vec::new())
}

fn table_delivery(delivery: &Delivery) -> TableDelivery<'_> {
    match delivery {
        Delivery::Event(event) => TableDelivery::Event {
            cluster: Cow::Borrowed(&event.cluster),
            route: Cow::Borrowed(&event.route),
            json_bytes: event.json.len() as u32,
            body_unreadable: event.body_unreadable,
            audit_id_reused: event.audit_id_reused,
        },
        Delivery::Notice(notice) => TableDelivery::Notice(notice.clone()),
    }
}

/// The deliveries `range` of a record.
pub(crate) fn unpack_deliveries(
    plain_bytes: u32,
    payload: &[u8],
    range: std::ops::Range<u32>,
) -> Result<Vec<Delivery>, Damaged> {
    let plain = Plain::unpack(plain_bytes, payload)?;
    let (table, mut jsons) = plain.read::<Vec<TableDelivery<'_>>>()?;
    if (table.len() as u64) < u64::from(range.end) {
        return Err(Damaged("it holds fewer deliveries than were leased"));
    }
    let mut deliveries = Vec::with_capacity(range.len());
    for (index, one) in (0..range.end).zip(table) {
        match one {
            TableDelivery::Event { json_bytes, .. } if index < range.start => {
                jsons.skip(json_bytes)?;
            }
            TableDelivery::Event {
                cluster,
                route,
                json_bytes,
                body_unreadable,
                audit_id_reused,
            } => deliveries.push(Delivery::Event(EventDelivery {
                cluster: cluster.into_owned(),
                route: route.into_owned(),
                json: jsons.next(json_bytes)?,
                body_unreadable,
                audit_id_reused,
            })),
            TableDelivery::Notice(_) if index < range.start => {}
            TableDelivery::Notice(notice) => deliveries.push(Delivery::Notice(notice)),
        }
    }
    Ok(deliveries)
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

/// JSON texts, and behind them the table that says what they are.
struct Plain {
    bytes: Vec<u8>,
    jsons_bytes: usize,
}

impl Plain {
    fn unpack(plain_bytes: u32, payload: &[u8]) -> Result<Self, Damaged> {
        let (jsons_bytes, compressed) = payload
            .split_first_chunk::<4>()
            .ok_or(Damaged("it is cut short"))?;
        let bytes = zstd::bulk::decompress(compressed, plain_bytes as usize)
            .map_err(|_| Damaged("it cannot be decompressed"))?;
        Ok(Self {
            bytes,
            jsons_bytes: u32::from_be_bytes(*jsons_bytes) as usize,
        })
    }

    fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<(T, Jsons<'a>), Damaged> {
        let (jsons, table) = self
            .bytes
            .split_at_checked(self.jsons_bytes)
            .ok_or(Damaged("its table is missing"))?;
        let table = postcard::from_bytes(table)
            .map_err(|_| Damaged("its content does not fit its kind"))?;
        Ok((table, Jsons(jsons)))
    }
}

/// Texts, one after the other.
struct Jsons<'a>(&'a [u8]);

impl<'a> Jsons<'a> {
    fn skip(&mut self, bytes: u32) -> Result<&'a [u8], Damaged> {
        let (text, rest) = self
            .0
            .split_at_checked(bytes as usize)
            .ok_or(Damaged("an event of it is cut short"))?;
        self.0 = rest;
        Ok(text)
    }

    fn next(&mut self, bytes: u32) -> Result<String, Damaged> {
        let text = self.skip(bytes)?;
        str::from_utf8(text)
            .map(str::to_owned)
            .map_err(|_| Damaged("an event of it is no text"))
    }
}

/// Appends the table to the texts, and both, compressed, to `payload`.
fn pack_table(
    items: usize,
    table: &impl Serialize,
    plain: &mut Vec<u8>,
    mut payload: Vec<u8>,
) -> Packed {
    payload.extend_from_slice(&(plain.len() as u32).to_be_bytes());
    plain.extend_from_slice(&self::plain(table));
    compress(plain, &mut payload);
    Packed {
        items: items as u32,
        plain_bytes: plain.len() as u32,
        payload,
    }
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
    thread_local! {
        // Its tables are larger than most blocks; making them anew for each would take as long.
        static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
            const { RefCell::new(None) };
    }
    COMPRESSOR.with_borrow_mut(|kept| {
        let compressor = kept.get_or_insert_with(|| {
            zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("there is memory for zstd's tables")
        });
        let start = out.len();
        // The bound is for what does not compress; what is left over is given back.
        out.resize(start + zstd::zstd_safe::compress_bound(plain.len()), 0);
        let written = compressor
            .compress_to_buffer(plain, &mut out[start..])
            .expect("the space is as large as zstd asks for");
        out.truncate(start + written);
        out.shrink_to_fit();
    });
}

/// For records too small to compress.
pub(crate) fn plain<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("the queue's own types always serialize")
}

pub(crate) fn from_plain<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damaged> {
    postcard::from_bytes(bytes).map_err(|_| Damaged("its content does not fit its kind"))
}
