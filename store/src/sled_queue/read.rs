//! Reading: blocks to route, members of a lease, and a full count that owes nothing to the counters.
//!
//! All of it blocks on the disk and runs off the async workers. A damaged record is a storage error:
//! what else is damaged is not known, so the queue stops rather than go on with a hole.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
};

use auditrelay_audit::Severity;

use super::{
    files,
    job::{Delivered, START, Seal, Slice, Totals, small},
    keys, recover,
    shared::UnroutedBlock,
};
use crate::{
    Block, Delivery, LeaseLimit, SeenBlock, codec,
    frame::{Damaged, Kind},
    log::{LogError, LogFiles, Place, Position, Reader, Record, ScanError, scan},
};

#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("{0}")]
    Log(#[from] LogError),
    #[error("{0}")]
    Scan(#[from] ScanError),
    #[error("{0}")]
    Damaged(#[from] Damaged),
}

impl ReadError {
    /// Whether what is stored is wrong, not the way to it.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Sled(error) => recover::is_damage(error),
            Self::Log(LogError::Io(error)) | Self::Scan(ScanError::Io(error)) => {
                recover::is_truncation(error)
            }
            Self::Log(LogError::Damaged(_))
            | Self::Scan(ScanError::Damaged { .. })
            | Self::Damaged(_) => true,
        }
    }
}

/// A single event may be as large as a request, so blocks are bounded by their size too.
const UNROUTED_PLAIN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Keeps a lease's record within one frame.
const SLICES_MAX: usize = 250;

/// How many of the first blocks are read at once.
pub(super) fn some_of(blocks: &VecDeque<UnroutedBlock>, max: usize) -> usize {
    let mut plain_bytes = 0;
    blocks
        .iter()
        .take(max)
        .take_while(|block| {
            let fits = plain_bytes < UNROUTED_PLAIN_BYTES_MAX;
            plain_bytes += block.plain_bytes as usize;
            fits
        })
        .count()
}

pub(super) fn blocks(log: &LogFiles, places: &[UnroutedBlock]) -> Result<Vec<Block>, ReadError> {
    let mut reader = Reader::new(log.clone());
    let read = |block: &UnroutedBlock| {
        let record = reader.read(block.place)?;
        let header = record.header;
        if (header.kind, header.seq) != (Kind::Block as u8, block.seq) {
            return Err(Damaged("another record is in its place").into());
        }
        let (bytes, start) = record.into_bytes();
        let block = codec::unpack_block(block.seq, header.items, header.plain_bytes, bytes, start)?;
        Ok(block)
    };
    places.iter().map(read).collect()
}

pub(super) fn seen(db: &sled::Db, log: &LogFiles) -> Result<Vec<SeenBlock>, ReadError> {
    let totals: Totals = small(
        &db.get(keys::TOTALS)?
            .ok_or(Damaged("its ledger is missing"))?,
    )?;
    let oldest = log.segments().map_err(LogError::Io)?.first().copied();
    let from = oldest.map_or(START, |segment| Position { segment, offset: 0 });
    let mut places = Vec::new();
    scan(log, from, |header, place| {
        if header.seq > totals.seen_forgotten {
            places.push(place);
        }
    })?;
    let mut reader = Reader::new(log.clone());
    let read = |place| {
        let record = reader.read(place)?;
        let (seen_unix_ms, keys) = codec::unpack_seen(record.payload())?;
        Ok(SeenBlock {
            seq: record.header.seq,
            seen_unix_ms,
            keys,
        })
    };
    places.into_iter().map(read).collect()
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
    for row in db.scan_prefix(keys::deliveries_of(channel)) {
        let (key, value) = row?;
        let delivered: Delivered = small(&value)?;
        let (severity, seq) =
            keys::rank_and_seq(&key, channel).ok_or(Damaged("its key is no delivery's"))?;
        let bytes = delivered.plain_bytes as usize;
        let full = events_left == 0 || slices.len() == SLICES_MAX;
        if full || (!slices.is_empty() && bytes > bytes_left) {
            break;
        }
        let from = delivered.settled;
        let to = delivered.items.min(from.saturating_add(events_left));
        slices.push(Slice {
            severity,
            seq,
            notices: delivered.notices,
            from,
            to,
            of: delivered.items,
        });
        events_left -= to - from;
        bytes_left = bytes_left.saturating_sub(bytes);
    }
    Ok(slices)
}

pub(super) fn members(
    db: &sled::Db,
    log: &LogFiles,
    channel: &str,
    slices: &[Slice],
) -> Result<Vec<(Severity, Delivery)>, ReadError> {
    let mut reader = Reader::new(log.clone());
    let mut members = Vec::new();
    for slice in slices {
        let key = keys::deliveries(channel, slice.severity, slice.seq);
        let record = delivered_record(db, &mut reader, &key)?;
        if record.header.seq != slice.seq {
            return Err(Damaged("another record is in its place").into());
        }
        let unpack = match slice.notices {
            true => codec::unpack_notices,
            false => codec::unpack_deliveries,
        };
        let leased = unpack(
            record.header.plain_bytes,
            record.payload(),
            slice.from..slice.to,
        )?;
        members.extend(
            leased
                .into_iter()
                .map(|delivery| (slice.severity, delivery)),
        );
    }
    Ok(members)
}

fn delivered_record(db: &sled::Db, reader: &mut Reader, key: &[u8]) -> Result<Record, ReadError> {
    let place = || -> Result<Place, ReadError> {
        let stored = db.get(key)?.ok_or(Damaged("a leased block is missing"))?;
        Ok(small::<Delivered>(&stored)?.place)
    };
    let mut before = place()?;
    loop {
        match reader.read(before) {
            Err(LogError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                // It may have been moved after the index was read; its old segment is gone then.
                let now = place()?;
                if now == before {
                    return Err(LogError::Io(error).into());
                }
                before = now;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Counts events by looking at every record; the ledger's counters must agree with it.
pub(super) fn count(
    db: &sled::Db,
    logs: &files::LogNames,
    channels: &[String],
) -> Result<Counted, ReadError> {
    let mut counted = Counted::default();
    let totals: Totals = small(
        &db.get(keys::TOTALS)?
            .ok_or(Damaged("its ledger is missing"))?,
    )?;
    scan(&logs.events, totals.routed_end, |header, _| {
        counted.waiting += u64::from(header.items);
    })?;
    let mut reader = Reader::new(logs.deliveries.clone());
    for channel in channels {
        let mut waiting = 0;
        for row in db.scan_prefix(keys::deliveries_of(channel)) {
            let delivered: Delivered = small(&row?.1)?;
            let record = reader.read(delivered.place)?;
            if record.header.kind == Kind::Events as u8 {
                let left = record.header.items.checked_sub(delivered.settled);
                waiting += u64::from(left.ok_or(Damaged("more is settled than there is"))?);
            }
        }
        counted.channels.insert(channel.clone(), waiting);
    }
    Ok(counted)
}

/// What a scan found waiting.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) waiting: u64,
    pub(super) channels: BTreeMap<String, u64>,
}
