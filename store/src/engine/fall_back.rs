//! Copies of what waits critically for a channel that cannot be posted to, for another one.
//!
//! A channel's keys of one severity rise, whatever is put there, so how far the copying has come is one
//! sequence (key `f`), committed with the copies. What was passed and comes back under a later key, a dead letter
//! that is raised, says so itself.
//!
//! Invariants:
//! * a delivery is copied once, and none that waits critically is left out;
//! * what is copied waits in the commit that holds its copy: reading and compressing are done beside the
//!   writer, which then looks whether all of it is still as it was;
//! * a copy is not copied again, so two channels may be each other's fallback.

use std::{collections::BTreeMap, ops::RangeInclusive};

use auditrelay_audit::Severity;

use super::{
    Engine, Inner,
    db::Db,
    job::{Answer, Op},
    keys,
    owner::Owner,
    read::{self, ReadError},
    records::{Held, small},
    recover::Unsound,
    stage::{Round, StageError},
};
use crate::{
    DeliveriesEncoder, Delivery, EventToDeliver, FellBack, Full, Members, Queue, QueueError, Space,
    codec::{self, Class, Packed},
    frame::{self, Damaged, Kind},
    log::Reader,
};

/// About so much is copied at once: no further record is begun beyond.
const EVENTS_MAX: u64 = 1_000;
const PLAIN_BYTES_MAX: u64 = 1024 * 1024;
/// Keys looked at, those too of which nothing is copied.
const ROWS_MAX: usize = 1_000;

/// A key's sequence, and which deliveries wait under it.
type Row = (u64, u32, u32);

/// What the writer is asked to commit.
pub(super) struct Copies {
    from: String,
    to: String,
    after: u64,
    /// All that waits behind `after`, as far as it is dealt with here.
    rows: Vec<Row>,
    pub(super) records: Vec<Packed>,
}

/// What is to be copied next.
#[derive(Clone, Default)]
struct Piece {
    after: u64,
    rows: Vec<Row>,
    /// Of these, what is looked into.
    copied: Vec<Row>,
    stored_bytes: u64,
    more: bool,
}

/// How far all channels have come.
pub(super) fn all(db: &Db) -> Result<BTreeMap<String, u64>, Unsound> {
    let rows = db.scan_prefix(keys::FALLBACKS);
    rows.map(|row| Ok(small(&row?.1)?)).collect()
}

/// Keys of what waits critically, behind a sequence and up to another.
fn between(channel: &str, after: u64, last: u64) -> RangeInclusive<Vec<u8>> {
    let key = |seq| keys::waiting(channel, Severity::Critical, seq);
    key(after.saturating_add(1))..=key(last)
}

/// What waits behind where the copies have come; `None` if that is nothing.
fn next(db: &Db, from: &str) -> Result<Option<Piece>, ReadError> {
    let stored = db.get(keys::fallback(from))?;
    let reached = stored.map(|stored| small::<(String, u64)>(&stored));
    let mut piece = Piece {
        after: reached.transpose()?.map_or(0, |(_, after)| after),
        ..Piece::default()
    };
    let (mut events, mut plain_bytes) = (0, 0);
    for row in db.range(between(from, piece.after, u64::MAX)) {
        let (key, stored) = row?;
        let (held, waits) = Held::read_waiting(&stored)?;
        let (_, _, seq) = keys::read_waiting(&key).ok_or(Damaged("its key is no delivery's"))?;
        let row = (seq, held.from, held.to);
        let is_copied = !waits.passed && held.class != Class::Notices;
        let is_too_much = !piece.copied.is_empty()
            && (events + held.count() > EVENTS_MAX || plain_bytes >= PLAIN_BYTES_MAX);
        if piece.rows.len() == ROWS_MAX || (is_copied && is_too_much) {
            piece.more = true;
            break;
        }
        piece.rows.push(row);
        if is_copied {
            events += held.count();
            plain_bytes += u64::from(held.plain_bytes);
            piece.stored_bytes += u64::from(held.place.bytes);
            piece.copied.push(row);
        }
    }
    Ok((!piece.rows.is_empty()).then_some(piece))
}

/// Reads what is to be copied and packs it anew; says how many events that are. `None` if it does not wait any
/// more as it did.
fn pack(inner: &Inner, from: &str, rows: &[Row]) -> Result<Option<(Vec<Packed>, u64)>, ReadError> {
    let mut reader = Reader::new(inner.logs.deliveries.clone());
    let mut encoder = DeliveriesEncoder::default();
    encoder.meant_for(Some(from));
    let mut events = 0;
    for (seq, first, end) in rows {
        let key = keys::waiting(from, Severity::Critical, *seq);
        let found = read::record(&inner.index, &mut reader, &key)?;
        let Some((held, record)) = found.filter(|(held, _)| (held.from, held.to) == (*first, *end))
        else {
            return Ok(None);
        };
        let mut members = Members::new();
        read::unpack(&held, &record, Severity::Critical, &mut members)?;
        for (_, delivery) in members {
            if let Delivery::Event(event) = delivery
                && event.meant_for.is_none()
            {
                events += 1;
                encoder.push(&EventToDeliver {
                    cluster: &event.cluster,
                    route: &event.route,
                    json: &event.json,
                    marks: event.marks,
                });
            }
        }
    }
    Ok(Some((encoder.finish().events, events)))
}

impl Engine {
    pub(super) async fn copy_to_fallback(
        &self,
        from: &str,
        to: &str,
    ) -> Result<FellBack, QueueError> {
        if from == to {
            return Ok(FellBack::default());
        }
        loop {
            let name = from.to_owned();
            let found = self.read(move |inner| next(&inner.index.db(), &name));
            let Some(piece) = found.await? else {
                return Ok(FellBack::default());
            };
            let full = |full| FellBack {
                events: 0,
                more: true,
                full: Some(full),
            };
            if let Some(why) = lack(&self.space(), to, piece.stored_bytes) {
                return Ok(full(why));
            }
            let _admitted = match self.admit(piece.stored_bytes) {
                Ok(admitted) => admitted,
                Err(why) => return Ok(full(why)),
            };
            let (name, rows) = (from.to_owned(), piece.copied);
            let packed = self.read(move |inner| pack(inner, &name, &rows)).await?;
            let Some((records, events)) = packed else {
                continue;
            };
            let copies = Copies {
                from: from.to_owned(),
                to: to.to_owned(),
                after: piece.after,
                rows: piece.rows,
                records,
            };
            if let Answer::Stale = self.write(Op::FallBack(copies)).await? {
                continue;
            }
            return Ok(FellBack {
                events,
                more: piece.more,
                full: None,
            });
        }
    }
}

/// Why copies of so many bytes would be the first to be given up again, see [`super::shed`]. What they are
/// copies of stays where it is, so they can wait until there is room.
fn lack(space: &Space, to: &str, bytes: u64) -> Option<Full> {
    let own = space.waiting_bytes.get(to).copied().unwrap_or_default();
    let quota = space.channel_bytes_max / 4 * 3;
    if own > 0 && own.saturating_add(bytes) > quota {
        return Some(Full(format!(
            "channel {to} has a backlog of {own} bytes; copies are not added to more than {quota}, three \
             quarters of its quota (queue.channel_bytes_max)"
        )));
    }
    let all: u64 = space.waiting_bytes.values().sum();
    let most = space.bytes_max / 4 * 3;
    (all.saturating_add(bytes) > most).then(|| {
        Full(format!(
            "the backlogs of all channels are {all} bytes; copies are not added to more than {most}, three \
             quarters of queue.bytes_max"
        ))
    })
}

impl Owner {
    /// Whether what waits under a key was dealt with.
    pub(super) fn has_passed(&self, channel: &str, severity: Severity, seq: u64) -> bool {
        let reached = self.fallbacks.get(channel).copied().unwrap_or_default();
        severity == Severity::Critical && seq <= reached
    }

    /// Lets copies wait for another channel, if what they are copies of waits as it did when it was read.
    pub(super) fn fall_back(
        &mut self,
        copies: Copies,
        round: &mut Round,
    ) -> Result<Answer, StageError> {
        let Copies {
            from,
            to,
            after,
            rows,
            records,
        } = copies;
        let reached = self.fallbacks.get(&from).copied().unwrap_or_default();
        let last = rows.last().map_or(after, |(seq, ..)| *seq);
        if reached != after || round.settled.contains(&from) {
            return Ok(Answer::Stale);
        }
        // Copies are as old as the oldest of what they are copies of.
        let mut since_unix_ms = None;
        let mut expected = rows.into_iter();
        for row in self.database.index.db().range(between(&from, after, last)) {
            let (key, stored) = row?;
            let (held, waits) = Held::read_waiting(&stored)?;
            if !waits.passed && held.class != Class::Notices && waits.since_unix_ms != 0 {
                let earliest = since_unix_ms
                    .map_or(waits.since_unix_ms, |one: i64| one.min(waits.since_unix_ms));
                since_unix_ms = Some(earliest);
            }
            let seq = keys::read_waiting(&key).map(|(_, _, seq)| seq);
            let found = seq.map(|seq| (seq, held.from, held.to));
            if found != expected.next() {
                return Ok(Answer::Stale);
            }
        }
        if expected.next().is_some() {
            return Ok(Answer::Stale);
        }
        let since = since_unix_ms.unwrap_or(self.now_unix_ms);
        for packed in &records {
            let (severity, class) = (Severity::Critical, Class::Copies);
            self.deliver(&to, severity, class, packed, since, round);
        }
        let stored = frame::single(Kind::FellBack, last, &codec::plain(&(&from, last)));
        round.batch.insert(keys::fallback(&from), stored);
        self.fallbacks.insert(from, last);
        Ok(Answer::Done)
    }
}
