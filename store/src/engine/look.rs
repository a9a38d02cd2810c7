//! What operators look at: dead letters, what a message stood for, what was routed and is still kept.
//!
//! Nothing of it waits to be delivered, so damage that is found here is an error of the command and not
//! of the queue.

use std::io::ErrorKind::NotFound;

use auditrelay_audit::Severity;

use super::{
    Inner, keys,
    read::{self, ReadError},
    records::{DeadRow, START, ToldRow},
    shared::UnroutedBlock,
};
use crate::{
    Cursor, DeadFilter, DeadLetter, Members, QuarantineRecord, Quarantined, Retained, Told, codec,
    frame::{self, Damaged, Kind},
    log::{LogError, Position, Reader, ScanError, scan_some},
};

/// How much of what is retained is read at once, as stored.
const RETAINED_BYTES: u64 = 1024 * 1024;

pub(super) fn dead(
    inner: &Inner,
    filter: &DeadFilter,
    after: u64,
    max: usize,
) -> Result<Vec<DeadLetter>, ReadError> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    let db = inner.index.db();
    for row in db.range(keys::dead_of(after.saturating_add(1))..) {
        let (key, stored) = row?;
        let Some(id) = key
            .starts_with(keys::DEAD)
            .then(|| keys::message(&key))
            .flatten()
        else {
            break;
        };
        let row = DeadRow::read(&stored)?;
        match letters.last_mut() {
            Some(letter) if letter.id == id => {
                letter.events += row.held.count();
                letter.severity = letter.severity.min(row.severity);
            }
            _ => {
                let letter = DeadLetter {
                    id,
                    channel: row.channel,
                    severity: row.severity,
                    events: row.held.count(),
                    burial: row.burial,
                };
                if letters.len() == max {
                    break;
                }
                if filter.matches(&letter) {
                    letters.push(letter);
                }
            }
        }
    }
    Ok(letters)
}

pub(super) fn dead_members(inner: &Inner, id: u64) -> Result<Option<Members>, ReadError> {
    let mut members = Members::new();
    let mut reader = Reader::new(inner.logs.deliveries.clone());
    for row in inner.index.db().scan_prefix(keys::dead_of(id)) {
        let (key, stored) = row?;
        let severity = DeadRow::read(&stored)?.severity;
        add(inner, &mut reader, &key, severity, &mut members)?;
    }
    Ok((!members.is_empty()).then_some(members))
}

pub(super) fn told(inner: &Inner, id: u64) -> Result<Option<Told>, ReadError> {
    let mut told: Option<Told> = None;
    let mut reader = Reader::new(inner.logs.deliveries.clone());
    for row in inner.index.db().scan_prefix(keys::told_by(id)) {
        let (key, stored) = row?;
        let row = ToldRow::read(&stored)?;
        let told = told.get_or_insert_with(|| Told {
            id,
            channel: row.channel,
            told_unix_ms: row.told_unix_ms,
            posted: row.posted,
            members: Members::new(),
        });
        add(inner, &mut reader, &key, row.severity, &mut told.members)?;
    }
    Ok(told)
}

fn add(
    inner: &Inner,
    reader: &mut Reader,
    key: &[u8],
    severity: Severity,
    members: &mut Members,
) -> Result<(), ReadError> {
    // It may have been given up meanwhile.
    if let Some((held, record)) = read::record(&inner.index, reader, key)? {
        read::unpack(&held, &record, severity, members)?;
    }
    Ok(())
}

pub(super) fn quarantined(
    inner: &Inner,
    after: u64,
    max: usize,
) -> Result<Vec<Quarantined>, ReadError> {
    let db = inner.index.db();
    let mut items = Vec::new();
    for row in db
        .range(keys::quarantine(after.saturating_add(1))..)
        .take(max)
    {
        let (key, stored) = row?;
        if !key.starts_with(keys::QUARANTINE) {
            break;
        }
        let (header, _) = frame::decode(&stored)?;
        items.push(Quarantined {
            id: header.seq,
            record: quarantined_row(&stored)?,
        });
    }
    Ok(items)
}

pub(super) fn quarantined_row(stored: &[u8]) -> Result<QuarantineRecord, ReadError> {
    let (_, payload) = frame::decode(stored)?;
    Ok(codec::read_quarantined(payload)?)
}

pub(super) fn retained(inner: &Inner, from: Cursor) -> Result<Retained, ReadError> {
    let files = &inner.logs.events;
    let end = read::totals(&inner.index.db())?.routed_end;
    let segments = files.segments().map_err(LogError::Io)?;
    let oldest = segments.first().map_or(START.segment, |segment| *segment);
    let mut at = Position {
        segment: from.segment,
        offset: from.offset,
    };
    if at.segment < oldest {
        at = Position {
            segment: oldest,
            offset: 0,
        };
    }
    // They go from the oldest on, so a later one that is missing did not go by itself.
    if (at.segment..=end.segment).any(|segment| !segments.contains(&segment)) {
        return Err(Damaged("a file of what is retained is missing").into());
    }
    let mut places = Vec::new();
    let mut read_bytes = 0;
    let reached = scan_some(files, at, end, |header, place, _| {
        read_bytes += u64::from(place.bytes);
        if header.kind == Kind::Block as u8 {
            places.push(UnroutedBlock {
                seq: header.seq,
                place,
                items: header.items,
                plain_bytes: header.plain_bytes,
            });
        }
        read_bytes < RETAINED_BYTES
    });
    let reached = match reached {
        // The segment went while it was read: it was too old. The next one is asked for.
        Err(ScanError::Io(error)) if error.kind() == NotFound => Position {
            segment: at.segment + 1,
            offset: 0,
        },
        reached => reached?,
    };
    let mut bytes_left = 0;
    for segment in segments
        .iter()
        .filter(|one| (reached.segment..=end.segment).contains(one))
    {
        let whole = files.length(*segment).unwrap_or(0);
        bytes_left += if *segment == end.segment {
            end.offset.min(whole)
        } else {
            whole
        };
    }
    let blocks = match read::blocks(files, &places) {
        Err(ReadError::Log(LogError::Io(error))) if error.kind() == NotFound => Vec::new(),
        blocks => blocks?,
    };
    Ok(Retained {
        blocks,
        next: (reached < end).then_some(Cursor {
            segment: reached.segment,
            offset: reached.offset,
        }),
        bytes_left: bytes_left.saturating_sub(reached.offset),
    })
}
