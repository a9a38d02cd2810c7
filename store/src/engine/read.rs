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
    db::Db,
    files,
    index::Index,
    keys,
    records::{Held, START, Seal, Slice, Totals, small},
    recover,
    shared::UnroutedBlock,
};
use crate::{
    Block, Delivery, LeaseLimit, Members, SeenBlock,
    codec::{self, Class},
    frame::{Damaged, Kind},
    log::{LogError, LogFiles, Position, Reader, Record, ScanError, scan, scan_some},
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

/// Stored blocks that one lease takes from, at most: keeps its record within one frame, 24 bytes each at the most.
pub const SLICES_MAX: usize = 250;

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

pub(super) fn totals(db: &Db) -> Result<Totals, ReadError> {
    let stored = db.get(keys::TOTALS)?;
    Ok(small(&stored.ok_or(Damaged("its ledger is missing"))?)?)
}

pub(super) fn seen(db: &Db, log: &LogFiles) -> Result<Vec<SeenBlock>, ReadError> {
    let totals = totals(db)?;
    let from = seen_from(log, &totals)?;
    let mut blocks = Ok(Vec::new());
    scan(log, from, |header, _, payload| {
        if header.seq > totals.seen_forgotten
            && let Ok(read) = &mut blocks
        {
            match seen_block(header.seq, payload) {
                Ok(block) => read.push(block),
                Err(damaged) => blocks = Err(damaged),
            }
        }
    })?;
    Ok(blocks?)
}

/// Where the log of seen keys is read from. What is missing of it is passed over where all that was before a record behind
/// it is forgotten; anything else that is missing stays in the way.
pub(super) fn seen_from(log: &LogFiles, totals: &Totals) -> Result<Position, ScanError> {
    for (segment, gap) in log.gaps().into_iter().rev() {
        let behind = Position {
            segment,
            offset: gap.end,
        };
        let mut is_forgotten = false;
        scan_some(log, behind, totals.seen_end, |header, _, _| {
            is_forgotten = header.seq.saturating_sub(1) <= totals.seen_forgotten;
            false
        })?;
        if is_forgotten {
            return Ok(behind);
        }
    }
    let oldest = log.segments()?.first().copied();
    Ok(oldest.map_or(START, |segment| Position { segment, offset: 0 }))
}

/// A record of seen keys.
pub(super) fn seen_block(seq: u64, payload: &[u8]) -> Result<SeenBlock, Damaged> {
    let (seen_unix_ms, keys) = codec::unpack_seen(payload)?;
    Ok(SeenBlock {
        seq,
        seen_unix_ms,
        keys,
    })
}

pub(super) fn seal(db: &Db, channel: &str) -> Result<Option<Seal>, ReadError> {
    Ok(db
        .get(keys::seal(channel))?
        .map(|stored| Seal::read(&stored))
        .transpose()?)
}

/// What the channel's next message would stand for, most severe and oldest first.
pub(super) fn next_slices(
    db: &Db,
    channel: &str,
    limit: LeaseLimit,
) -> Result<Vec<Slice>, ReadError> {
    let mut slices: Vec<Slice> = Vec::new();
    let events_max = u32::try_from(limit.events_max).unwrap_or(u32::MAX);
    let (mut events_left, mut bytes_left) = (events_max, limit.bytes_max);
    for row in db.scan_prefix(keys::waiting_of(channel)) {
        let (key, value) = row?;
        let held: Held = small(&value)?;
        let (_, severity, seq) =
            keys::read_waiting(&key).ok_or(Damaged("its key is no delivery's"))?;
        let bytes = held.plain_bytes as usize;
        let full = events_left == 0 || slices.len() == SLICES_MAX;
        if full || (!slices.is_empty() && bytes > bytes_left) {
            break;
        }
        let from = held.from;
        let to = held.to.min(from.saturating_add(events_left));
        slices.push(Slice {
            severity,
            seq,
            from,
            to,
            of: held.to,
        });
        events_left -= to - from;
        bytes_left = bytes_left.saturating_sub(bytes);
    }
    Ok(slices)
}

/// What slices of a channel stand for; `None` if one of them does not wait any more.
pub(super) fn members(
    index: &Index,
    log: &LogFiles,
    channel: &str,
    slices: &[Slice],
) -> Result<Option<Members>, ReadError> {
    let mut reader = Reader::new(log.clone());
    let mut members = Vec::new();
    for slice in slices {
        let key = keys::waiting(channel, slice.severity, slice.seq);
        let Some((held, record)) = record(index, &mut reader, &key)? else {
            return Ok(None);
        };
        let held = Held {
            from: slice.from,
            to: slice.to,
            ..held
        };
        unpack(&held, &record, slice.severity, &mut members)?;
    }
    Ok(Some(members))
}

/// Adds what a record says of some deliveries.
pub(super) fn unpack(
    held: &Held,
    record: &Record,
    severity: Severity,
    members: &mut Members,
) -> Result<(), ReadError> {
    if record.header.seq != held.record_seq {
        return Err(Damaged("another record is in its place").into());
    }
    let (_, rest) = codec::take_address(record.payload())?;
    let first = held.first;
    let range = held.from.checked_sub(first).zip(held.to.checked_sub(first));
    let (from, to) = range.ok_or(Damaged("it holds other deliveries than were leased"))?;
    let deliveries = codec::unpack(held.class, record.header.plain_bytes, rest, from..to)?;
    let severe = |delivery: Delivery| (severity, delivery);
    members.extend(deliveries.into_iter().map(severe));
    Ok(())
}

/// The record that a key points to; `None` if there is no such key.
pub(super) fn record(
    index: &Index,
    reader: &mut Reader,
    key: &[u8],
) -> Result<Option<(Held, Record)>, ReadError> {
    let mut before: Option<Held> = None;
    loop {
        // Asked for anew each time: the index may have been replaced.
        let Some(stored) = index.db().get(key)? else {
            return Ok(None);
        };
        let held = Held::read(&stored)?;
        match reader.read(held.place) {
            // It may have been moved after the index was read; its old segment is gone then.
            Err(LogError::Io(error))
                if error.kind() == io::ErrorKind::NotFound
                    && before.as_ref().is_none_or(|one| one.place != held.place) =>
            {
                before = Some(held);
            }
            outcome => return Ok(Some((held, outcome?))),
        }
    }
}

/// Counts by looking at every record; the ledger's counters must agree with it.
pub(super) fn count(index: &Index, logs: &files::LogNames) -> Result<Counted, ReadError> {
    let mut counted = Counted::default();
    let db = index.db();
    loop {
        let routed_end = totals(&index.db())?.routed_end;
        counted.waiting = 0;
        let scanned = scan(&logs.events, routed_end, |header, _, _| {
            counted.waiting += u64::from(header.items);
        });
        match scanned {
            // Its file may have gone meanwhile, as all of it was routed.
            Err(_) if totals(&index.db())?.routed_end != routed_end => {}
            scanned => {
                scanned?;
                break;
            }
        }
    }
    let mut reader = Reader::new(logs.deliveries.clone());
    for row in db.scan_prefix(keys::HELD) {
        let (key, stored) = row?;
        let Some((held, record)) = record(index, &mut reader, &key)? else {
            continue;
        };
        if record.header.seq != held.record_seq {
            return Err(Damaged("another record is in its place").into());
        }
        let (address, _) = codec::take_address(record.payload())?;
        let last = address.first + record.header.items;
        if held.from < address.first || held.from >= held.to || held.to > last {
            return Err(Damaged("it holds other deliveries than its key says").into());
        }
        let bytes = u64::from(held.place.bytes);
        if key.starts_with(keys::TOLD) {
            counted.told_bytes += bytes;
        } else if key.starts_with(keys::DEAD) {
            counted.dead_bytes += bytes;
        } else {
            let name = address.channel.clone().into_owned();
            *counted.waiting_bytes.entry(name.clone()).or_default() += bytes;
            let (_, waits) = Held::read_waiting(&stored)?;
            let found = (name, address.severity);
            let backlog = counted.backlogs.entry(found).or_insert(CountedBacklog {
                first_since_unix_ms: waits.since_unix_ms,
                ..CountedBacklog::default()
            });
            backlog.events += held.count();
            backlog.bytes += bytes;
        }
        if !key.starts_with(keys::TOLD) {
            let name = address.channel.into_owned();
            let channel = counted.channels.entry((name, held.class)).or_default();
            match key.starts_with(keys::DEAD) {
                true => channel.dead += held.count(),
                false => channel.waiting += held.count(),
            }
        }
    }
    Ok(counted)
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) waiting: u64,
    pub(super) channels: BTreeMap<(String, Class), CountedChannel>,
    pub(super) waiting_bytes: BTreeMap<String, u64>,
    pub(super) backlogs: CountedBacklogs,
    pub(super) dead_bytes: u64,
    pub(super) told_bytes: u64,
}

pub(super) type CountedBacklogs = BTreeMap<(String, Severity), CountedBacklog>;

/// What waits for a channel in one severity, as a scan found it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CountedBacklog {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) first_since_unix_ms: i64,
}

/// Deliveries of a class to a channel that a scan found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CountedChannel {
    pub(super) waiting: u64,
    pub(super) dead: u64,
}

/// Why a read ended, without a panic's own words: they may quote an event.
pub(super) fn unread(error: &tokio::task::JoinError) -> String {
    match error.is_panic() {
        true => "reading it panicked; the log tells where".to_owned(),
        false => "reading it was cut short, as the process ends".to_owned(),
    }
}
