//! Reading: blocks to route, members of a lease, and a full count that owes nothing to the counters.
//!
//! All of it blocks on the disk and runs off the async workers. A damaged record is a storage error:
//! what else is damaged is not known, so the queue stops rather than go on with a hole.

use std::collections::BTreeMap;

use auditrelay_audit::{EventKey, Severity};

use super::{
    files,
    job::{Seal, Slice, small},
    keys,
};
use crate::{
    Block, Delivery, LeaseLimit, SeenBlock, codec,
    frame::{self, Damaged, Header, Kind},
};

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Damaged(#[from] Damaged),
}

impl ReadError {
    /// Whether what is stored is wrong, not the way to it.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Sled(error) => files::is_damage(error),
            Self::Damaged(_) => true,
        }
    }
}

/// Records under a prefix with their parts put together.
struct Records<'a> {
    rows: sled::Iter,
    prefix: &'a [u8],
}

struct Record {
    key: Vec<u8>,
    header: Header,
    payload: Vec<u8>,
}

impl<'a> Records<'a> {
    fn new(db: &sled::Db, prefix: &'a [u8]) -> Self {
        Self {
            rows: db.scan_prefix(prefix),
            prefix,
        }
    }

    fn next(&mut self) -> Result<Option<Record>, ReadError> {
        let Some(row) = self.rows.next() else {
            return Ok(None);
        };
        let (key, value) = row?;
        debug_assert!(key.starts_with(self.prefix));
        let (header, piece) = frame::decode(&value)?;
        let mut payload = piece.to_vec();
        for part in 1..header.parts {
            let (_, value) = self
                .rows
                .next()
                .ok_or(Damaged("a part of it is missing"))??;
            let (next, piece) = frame::decode(&value)?;
            if (next.seq, next.part) != (header.seq, part) {
                return Err(Damaged("a part of it is missing").into());
            }
            payload.extend_from_slice(piece);
        }
        if header.part != 0 {
            return Err(Damaged("its first part is missing").into());
        }
        Ok(Some(Record {
            key: key.to_vec(),
            header,
            payload,
        }))
    }
}

/// A single event may be as large as a request, so blocks are bounded by their size too.
const UNROUTED_PLAIN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Keeps a lease's record within one frame.
const SLICES_MAX: usize = 2_000;

pub(super) fn unrouted(db: &sled::Db, blocks_max: usize) -> Result<Vec<Block>, ReadError> {
    let mut records = Records::new(db, keys::BLOCKS);
    let mut blocks = Vec::new();
    let mut plain_bytes = 0;
    while blocks.len() < blocks_max
        && plain_bytes < UNROUTED_PLAIN_BYTES_MAX
        && let Some(record) = records.next()?
    {
        let header = record.header;
        plain_bytes += header.plain_bytes as usize;
        blocks.push(codec::unpack_block(
            header.seq,
            header.plain_bytes,
            &record.payload,
        )?);
    }
    Ok(blocks)
}

pub(super) fn seen(db: &sled::Db) -> Result<Vec<SeenBlock>, ReadError> {
    let mut records = Records::new(db, keys::SEEN);
    let mut blocks = Vec::new();
    while let Some(record) = records.next()? {
        let (seen_unix_ms, keys): (i64, Vec<EventKey>) = codec::from_plain(&record.payload)?;
        blocks.push(SeenBlock {
            seq: record.header.seq,
            seen_unix_ms,
            keys,
        });
    }
    Ok(blocks)
}

pub(super) fn seal(db: &sled::Db, channel: &str) -> Result<Option<Seal>, ReadError> {
    Ok(db
        .get(keys::seal(channel))?
        .map(|stored| small(&stored))
        .transpose()?)
}

/// What the channel's next message would stand for, most severe and oldest first.
pub(super) fn next_slices(
    db: &sled::Db,
    channel: &str,
    limit: LeaseLimit,
) -> Result<Vec<Slice>, ReadError> {
    let mut slices: Vec<Slice> = Vec::new();
    let (mut events_left, mut bytes_left) = (limit.events_max as u32, limit.bytes_max);
    let prefix = keys::deliveries_of(channel);
    for row in db.scan_prefix(&prefix) {
        let (key, value) = row?;
        let (header, _) = frame::decode(&value)?;
        if header.part != 0 {
            continue;
        }
        let (severity, seq) =
            keys::rank_and_seq(&key, channel).ok_or(Damaged("its key is no delivery's"))?;
        let from = consumed(db, channel, severity, seq)?;
        let bytes = header.plain_bytes as usize;
        let full = events_left == 0 || slices.len() == SLICES_MAX;
        if full || (!slices.is_empty() && bytes > bytes_left) {
            break;
        }
        let to = header.items.min(from + events_left);
        let notices = header.kind == Kind::Notices as u8;
        slices.push(Slice {
            severity,
            seq,
            notices,
            from,
            to,
            of: header.items,
        });
        events_left -= to - from;
        bytes_left = bytes_left.saturating_sub(bytes);
    }
    Ok(slices)
}

fn consumed(db: &sled::Db, channel: &str, severity: Severity, seq: u64) -> Result<u32, ReadError> {
    let Some(stored) = db.get(keys::consumed(channel, severity, seq))? else {
        return Ok(0);
    };
    let (_, bytes) = frame::decode(&stored)?;
    let bytes = bytes
        .try_into()
        .map_err(|_| Damaged("its content does not fit its kind"))?;
    Ok(u32::from_be_bytes(bytes))
}

pub(super) fn members(
    db: &sled::Db,
    channel: &str,
    slices: &[Slice],
) -> Result<Vec<(Severity, Delivery)>, ReadError> {
    let mut members = Vec::new();
    for slice in slices {
        let key = keys::deliveries(channel, slice.severity, slice.seq);
        let record = Records::new(db, &key)
            .next()?
            .ok_or(Damaged("a leased block is missing"))?;
        let deliveries: Vec<Delivery> = codec::unpack(record.header.plain_bytes, &record.payload)?;
        let leased = deliveries
            .into_iter()
            .skip(slice.from as usize)
            .take((slice.to - slice.from) as usize);
        members.extend(leased.map(|delivery| (slice.severity, delivery)));
    }
    Ok(members)
}

/// Counts events by looking at every record; the ledger's counters must agree with it.
pub(super) fn count(db: &sled::Db, channels: &[String]) -> Result<Counted, ReadError> {
    let mut counted = Counted::default();
    let mut blocks = Records::new(db, keys::BLOCKS);
    while let Some(record) = blocks.next()? {
        counted.waiting += u64::from(record.header.items);
    }
    for channel in channels {
        let prefix = keys::deliveries_of(channel);
        let mut records = Records::new(db, &prefix);
        let mut waiting = 0;
        while let Some(record) = records.next()? {
            if record.header.kind == Kind::Events as u8 {
                let (severity, seq) = keys::rank_and_seq(&record.key, channel)
                    .ok_or(Damaged("its key is no delivery's"))?;
                waiting += record.header.items - consumed(db, channel, severity, seq)?;
            }
        }
        counted.channels.insert(channel.clone(), u64::from(waiting));
    }
    Ok(counted)
}

/// What a scan found waiting.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) waiting: u64,
    pub(super) channels: BTreeMap<String, u64>,
}
