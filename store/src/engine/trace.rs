//! One event, looked for by its audit ID in all that is stored: see [`crate::QueuedPage`] and its neighbours.
//!
//! Contract:
//! * a page reads about [`PAGE_BYTES`] of one file; files that go while they are read are passed over, as nothing
//!   points into them any more;
//! * an audit ID is compared as JSON has it, however it is escaped;
//! * nothing here changes anything, and damage is an error of who looks.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::ErrorKind::NotFound,
};

use auditrelay_audit::{Envelope, Severity};

use super::{
    Engine, Inner,
    db::Db,
    keys, locked,
    read::{self, ReadError},
    records::{DeadRow, Held, SettledAs, Settlement, Slice, ToldRow},
    shared::UnroutedBlock,
};
use crate::{
    Appended, Cursor, Note, Noted, QueueError, Queued, QueuedPage, SeenKey, SeenPage, ToldKept,
    Whereabouts,
    codec::{self, Class},
    frame::{Damaged, Header, Kind},
    log::{LogError, LogFiles, Place, Position, Reader, ScanError, scan_some},
};

/// How much is read at once, as stored.
const PAGE_BYTES: u64 = 1024 * 1024;

impl Engine {
    /// Appended blocks that are still there, routed or not, from a cursor on, oldest first.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn appended(&self, from: Cursor) -> Result<Appended, QueueError> {
        self.look(move |inner| appended(inner, from)).await
    }

    /// Deliveries of events with an audit ID that the log still has, from a cursor on, and what is noted of them
    /// and of those that are known already, by record and number.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn queued(
        &self,
        audit_id: String,
        known: BTreeSet<(u64, u32)>,
        from: Cursor,
    ) -> Result<QueuedPage, QueueError> {
        self.look(move |inner| queued(inner, &audit_id, known, from))
            .await
    }

    /// Where deliveries are, by record and number; `None` where they are not any more; and what is kept of what
    /// messages told. Looks at every key of the index that points to deliveries, and reads none of these.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn whereabouts(
        &self,
        of: Vec<(u64, u32)>,
    ) -> Result<(Vec<Option<Whereabouts>>, ToldKept), QueueError> {
        self.look(move |inner| whereabouts(inner, &of)).await
    }

    /// Keys of some identities in the dedup window, from a cursor on, oldest first.
    ///
    /// # Errors
    /// What is stored cannot be read.
    pub async fn seen_keys(
        &self,
        identities: BTreeSet<u64>,
        from: Cursor,
    ) -> Result<SeenPage, QueueError> {
        self.look(move |inner| seen_keys(inner, &identities, from))
            .await
    }
}

/// Where to go on after a page, and how much is left then.
type Left = (Option<Cursor>, u64);

/// Tells of the records of one page.
fn page(
    files: &LogFiles,
    from: Cursor,
    end: Position,
    mut found: impl FnMut(&Header, Place),
) -> Result<Left, ReadError> {
    let segments = files.segments().map_err(LogError::Io)?;
    let mut rest = segments
        .into_iter()
        .filter(|segment| (from.segment..=end.segment).contains(segment));
    let Some(segment) = rest.next() else {
        return Ok((None, 0));
    };
    let length = |segment| match segment == end.segment {
        true => end.offset,
        // One that has just gone has nothing left.
        false => files.length(segment).unwrap_or(0),
    };
    let offset = match segment == from.segment {
        true => from.offset,
        false => 0,
    };
    let to = Position {
        segment,
        offset: length(segment),
    };
    let mut read_bytes = 0;
    let reached = scan_some(
        files,
        Position { segment, offset },
        to,
        |header, place, _| {
            read_bytes += u64::from(place.bytes);
            found(header, place);
            read_bytes < PAGE_BYTES
        },
    );
    let reached = match reached {
        Err(ScanError::Io(error)) if error.kind() == NotFound => to,
        reached => reached?,
    };
    let left_here = to.offset.saturating_sub(reached.offset);
    let bytes_left = left_here + rest.map(length).sum::<u64>();
    let next = match (left_here, bytes_left) {
        (_, 0) => None,
        (0, _) => Some(Cursor {
            segment: segment + 1,
            offset: 0,
        }),
        _ => Some(Cursor {
            segment,
            offset: reached.offset,
        }),
    };
    Ok((next, bytes_left))
}

/// A page's file may go while its records are read: then nothing points to them.
fn unless_gone<T>(read: Result<T, LogError>) -> Result<Option<T>, LogError> {
    match read {
        Err(LogError::Io(error)) if error.kind() == NotFound => Ok(None),
        read => read.map(Some),
    }
}

fn appended(inner: &Inner, from: Cursor) -> Result<Appended, ReadError> {
    let files = &inner.logs.events;
    let routed_end = read::totals(&inner.index.db())?.routed_end;
    let (first_unrouted, end) = {
        let unrouted = locked(&inner.shared.unrouted);
        let last = unrouted.back().map(|block| block.place.end());
        let end = last.map_or(routed_end, |last| last.max(routed_end));
        (unrouted.front().map(|block| block.seq), end)
    };
    let mut places = Vec::new();
    let (next, bytes_left) = page(files, from, end, |header, place| {
        if header.kind == Kind::Block as u8 {
            places.push(UnroutedBlock {
                seq: header.seq,
                place,
                items: header.items,
                plain_bytes: header.plain_bytes,
            });
        }
    })?;
    let blocks = match read::blocks(files, &places) {
        Err(ReadError::Log(LogError::Io(error))) if error.kind() == NotFound => Vec::new(),
        blocks => blocks?,
    };
    Ok(Appended {
        blocks,
        first_unrouted,
        next,
        bytes_left,
    })
}

fn queued(
    inner: &Inner,
    audit_id: &str,
    mut known: BTreeSet<(u64, u32)>,
    from: Cursor,
) -> Result<QueuedPage, ReadError> {
    let files = &inner.logs.deliveries;
    let end = read::totals(&inner.index.db())?.deliveries_end;
    let mut places = Vec::new();
    let (next, bytes_left) = page(files, from, end, |header, place| {
        if header.kind == Kind::Events as u8 || header.kind == Kind::Settled as u8 {
            places.push(place);
        }
    })?;
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    let mut reader = Reader::new(files.clone());
    for place in places {
        let Some(record) = unless_gone(reader.read(place))? else {
            break;
        };
        let stamp = record.header.seq;
        if record.header.kind == Kind::Settled as u8 {
            let settlement: Settlement = codec::from_plain(record.payload())?;
            note(settlement, stamp, &known, &mut notes);
            continue;
        }
        let (address, rest) = codec::take_address(record.payload())?;
        let plain_bytes = record.header.plain_bytes;
        let is_wanted = |json: &str| has_audit_id(json, audit_id);
        for (index, event) in codec::find(address.class, plain_bytes, rest, is_wanted)? {
            let number = address.first + index;
            // What is kept for longer is moved as it is, and then stands there twice for a while.
            if known.insert((stamp, number)) {
                found.push(Queued {
                    record: stamp,
                    number,
                    channel: address.channel.clone().into_owned(),
                    severity: address.severity,
                    is_copy: address.class == Class::Copies,
                    event,
                });
            }
        }
    }
    Ok(QueuedPage {
        found,
        notes,
        next,
        bytes_left,
    })
}

/// Takes what a note says of deliveries that are known.
fn note(settlement: Settlement, stamp: u64, known: &BTreeSet<(u64, u32)>, notes: &mut Vec<Note>) {
    for (record, from, to) in settlement.deliveries {
        if from >= to {
            continue;
        }
        for (record, number) in known.range((record, from)..(record, to)) {
            notes.push(Note {
                record: *record,
                number: *number,
                stamp,
                message: settlement.message,
                noted: match &settlement.fate {
                    SettledAs::Gone => Noted::Gone,
                    SettledAs::Dead(burial) => Noted::Dead(burial.clone()),
                    SettledAs::Waits => Noted::Waits,
                },
            });
        }
    }
}

/// Whether an event has this audit ID. Only a text that has it, or in which something is escaped, is read.
fn has_audit_id(json: &str, audit_id: &str) -> bool {
    (json.contains(audit_id) || json.contains('\\'))
        && Envelope::parse(json).is_ok_and(|event| &*event.audit_id == audit_id)
}

fn whereabouts(
    inner: &Inner,
    of: &[(u64, u32)],
) -> Result<(Vec<Option<Whereabouts>>, ToldKept), ReadError> {
    let mut sought: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, (record, _)) in of.iter().enumerate() {
        sought.entry(*record).or_default().push(index);
    }
    let mut found = vec![None; of.len()];
    // Keys of one channel stand together, most severe first and oldest first: in the order of delivery.
    let mut waiting: BTreeMap<String, u64> = BTreeMap::new();
    let mut told: HashMap<u64, u64> = HashMap::new();
    let mut kept = ToldKept::default();
    let db = inner.index.db();
    for row in db.scan_prefix(keys::HELD) {
        let (key, stored) = row?;
        let held = Held::read(&stored)?;
        let waits = keys::read_waiting(&key);
        let before = waits.and_then(|(channel, _, _)| waiting.get(channel).copied());
        for index in sought.get(&held.record_seq).into_iter().flatten() {
            let number = of[*index].1;
            if !(held.from..held.to).contains(&number) {
                continue;
            }
            found[*index] = Some(match waits {
                Some(place) => Whereabouts::Waiting {
                    before: before.unwrap_or_default() + u64::from(number - held.from),
                    leased: leased(&db, place, number)?,
                },
                None => settled(&key, &stored)?,
            });
        }
        if let Some((channel, _, _)) = waits {
            match waiting.get_mut(channel) {
                Some(count) => *count += held.count(),
                None => drop(waiting.insert(channel.to_owned(), held.count())),
            }
        } else if key.starts_with(keys::TOLD)
            && let Some(message) = keys::message(&key)
        {
            *told.entry(message).or_default() += held.count();
            if kept.oldest.is_none() {
                kept.oldest = Some((message, ToldRow::read(&stored)?.told_unix_ms));
            }
            if held.class == Class::Events {
                kept.events += held.count();
            }
        }
    }
    for place in found.iter_mut().flatten() {
        if let Whereabouts::Told {
            message, events, ..
        } = place
        {
            *events = told.get(message).copied().unwrap_or_default();
        }
    }
    Ok((found, kept))
}

/// The lease that has a delivery, and when it was sealed.
fn leased(
    db: &Db,
    (channel, severity, seq): (&str, Severity, u64),
    number: u32,
) -> Result<Option<(u64, i64)>, ReadError> {
    let has_it = |slice: &Slice| {
        (slice.severity, slice.seq) == (severity, seq) && (slice.from..slice.to).contains(&number)
    };
    let seal = read::seal(db, channel)?.filter(|seal| seal.slices.iter().any(has_it));
    Ok(seal.map(|seal| (seal.id, seal.sealed_unix_ms)))
}

/// What a row says of deliveries that do not wait.
fn settled(key: &[u8], stored: &[u8]) -> Result<Whereabouts, ReadError> {
    let message = keys::message(key).ok_or(Damaged("its key is no message's"))?;
    if key.starts_with(keys::TOLD) {
        let row = ToldRow::read(stored)?;
        return Ok(Whereabouts::Told {
            message,
            told_unix_ms: row.told_unix_ms,
            posted: row.posted,
            events: 0,
        });
    }
    let burial = DeadRow::read(stored)?.burial;
    Ok(Whereabouts::Dead { message, burial })
}

fn seen_keys(
    inner: &Inner,
    identities: &BTreeSet<u64>,
    from: Cursor,
) -> Result<SeenPage, ReadError> {
    let files = &inner.logs.seen;
    let totals = read::totals(&inner.index.db())?;
    let mut places = Vec::new();
    let (next, bytes_left) = page(files, from, totals.seen_end, |header, place| {
        if header.seq > totals.seen_forgotten {
            places.push(place);
        }
    })?;
    let (mut found, mut oldest_unix_ms) = (Vec::new(), None);
    let mut reader = Reader::new(files.clone());
    for place in places {
        let Some(record) = unless_gone(reader.read(place))? else {
            break;
        };
        let (seen_unix_ms, keys) = codec::unpack_seen(record.payload())?;
        let oldest = oldest_unix_ms.get_or_insert(seen_unix_ms);
        *oldest = seen_unix_ms.min(*oldest);
        let own = keys
            .into_iter()
            .filter(|key| key.identity != 0 && identities.contains(&key.identity));
        found.extend(own.map(|key| SeenKey {
            block: record.header.seq,
            seen_unix_ms,
            key,
        }));
    }
    Ok(SeenPage {
        found,
        oldest_unix_ms,
        next,
        bytes_left,
    })
}
