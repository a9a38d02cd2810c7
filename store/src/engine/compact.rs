//! Moving what is still held out of segments that are otherwise settled.
//!
//! A channel that cannot be posted to keeps its deliveries for as long as it takes, and without this
//! each of them would keep the whole segment that it is in, with everything else that is long settled.
//!
//! Invariants: a record is durable at its new place before the index points there, and its old segment
//! goes after that, as any that nothing points to. Who read the index before and finds the segment gone
//! reads the index again ([`super::read`]). Of a record that is settled in part only the rest is moved, and
//! keeps the numbers of its deliveries, since a lease may name them. A record is moved only if three
//! quarters of its segment are settled, so no more than a third as much is written by moving as by
//! routing; near the marks if one quarter is. A round moves a bounded piece: appends wait for it.

use super::{
    holdings::{self, Holder},
    keys,
    owner::Owner,
    records::{DeadRow, Held, SettledAs},
    stage::{Round, StageError},
    tidy::{LIVE_FRACTION, live_in},
};
use crate::{codec, frame::Damaged, log::Reader};

/// Index entries looked at in a round: about a millisecond.
const ROWS_PER_ROUND: usize = 2_000;
/// Bytes moved in a round.
const BYTES_PER_ROUND: u64 = 1024 * 1024;

/// How far the moving has come.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    segment: u64,
    /// The last index entry that was looked at.
    after: Vec<u8>,
}

/// A key that points to a record, as it was read.
struct Row<'a> {
    key: &'a [u8],
    stored: &'a [u8],
    held: Held,
}

impl Owner {
    /// Moves a piece of what is held in a segment that is worth giving up.
    pub(super) fn compact(&mut self) -> Result<(), String> {
        let begin = |segment| Moving {
            segment,
            after: keys::HELD.to_vec(),
        };
        let Some(moving) = self
            .moving
            .take()
            .or_else(|| self.sparse_segment().map(begin))
        else {
            return Ok(());
        };
        let segment = moving.segment;
        let moved = self.move_some(moving).map_err(|error| self.reason(error));
        let committed = moved.and_then(|mut round| {
            if !round.indexed {
                return Ok(());
            }
            let waiting = std::mem::take(&mut round.moved_waiting);
            if !waiting.is_empty() {
                self.note_settled(0, SettledAs::Waits, &waiting);
            }
            self.moved_into
                .insert(self.database.logs.deliveries.end().segment);
            self.commit_index(&mut round)
        });
        committed.map_err(|reason| format!("moving what is held in segment {segment}: {reason}"))
    }

    /// A segment of deliveries, not the last one, of which little is of use.
    pub(super) fn sparse_segment(&self) -> Option<u64> {
        let live = &self.holdings.live;
        let sizes = self.database.logs.deliveries.sizes();
        let earlier = sizes.range(..self.totals.deliveries_end.segment);
        // Quotas count what is held and the marks count files, so near the marks files have to be full.
        // What was moved is not moved again for that: beside small records their notes are a part of a file.
        let room = &self.shared.room;
        let is_tight = room.used() > self.limits.bytes_max / 2 || room.refusing().is_some();
        let is_sparse = |segment: u64, bytes: u64| {
            let live = live_in(live, segment);
            let enough = match is_tight && !self.moved_into.contains(&segment) {
                true => bytes / 4 * 3,
                false => bytes / LIVE_FRACTION,
            };
            live > 0 && live < enough
        };
        let sparse = earlier
            .into_iter()
            .find(|(one, bytes)| is_sparse(**one, **bytes));
        sparse.map(|(segment, _)| *segment)
    }

    /// Appends some of the segment's records to the log, and says what changes in the index.
    fn move_some(&mut self, mut moving: Moving) -> Result<Round, StageError> {
        let mut round = Round::default();
        let mut reader = Reader::new(self.database.logs.deliveries.files().clone());
        let (mut rows, mut moved_bytes) = (0, 0);
        let after = moving.after.clone();
        for row in self.database.index.db().range(after.clone()..) {
            let (key, stored) = row?;
            if !key.starts_with(keys::HELD) {
                return Ok(round);
            }
            if key[..] == after[..] {
                continue;
            }
            rows += 1;
            moving.after = key.to_vec();
            let held = Held::read(&stored)?;
            if held.place.start.segment == moving.segment {
                moved_bytes += u64::from(held.place.bytes);
                let row = Row {
                    key: &key,
                    stored: &stored,
                    held,
                };
                self.move_row(&row, &mut reader, &mut round)?;
            }
            if rows == ROWS_PER_ROUND || moved_bytes >= BYTES_PER_ROUND {
                self.moving = Some(moving);
                return Ok(round);
            }
        }
        Ok(round)
    }

    fn move_row(
        &mut self,
        row: &Row<'_>,
        reader: &mut Reader,
        round: &mut Round,
    ) -> Result<(), StageError> {
        let held = &row.held;
        let record = reader.read(held.place)?;
        let (address, rest) = codec::take_address(record.payload())?;
        let (channel, severity) = (address.channel.into_owned(), address.severity);
        let items = record.header.items;
        let is_whole = (held.from, held.to) == (held.first, held.first + items);
        let moved = if is_whole {
            let (seq, kind) = (held.record_seq, held.class.kind());
            let pieces = [record.payload()];
            let log = &mut self.database.logs.deliveries;
            let place = log.append(kind, seq, items, held.plain_bytes, &pieces);
            Held {
                place,
                ..held.clone()
            }
        } else {
            let range = held.from - held.first..held.to - held.first;
            let packed = codec::cut(held.class, held.plain_bytes, rest, range)?;
            let seq = self.next_seq();
            let address = codec::addressed(&channel, severity, held.class, held.from);
            let pieces: [&[u8]; 2] = [&address, &packed.payload];
            let (kind, items) = (held.class.kind(), packed.items);
            let log = &mut self.database.logs.deliveries;
            Held {
                place: log.append(kind, seq, items, packed.plain_bytes, &pieces),
                record_seq: seq,
                plain_bytes: packed.plain_bytes,
                first: held.from,
                ..held.clone()
            }
        };
        if !is_whole {
            // The old record may still be found by a salvage, and the new one with it.
            let ranges = [(held.record_seq, held.from, held.to)];
            self.note_settled(0, SettledAs::Gone, &ranges);
        }
        let holder = self.note_moved(row, &moved, &channel, round)?;
        self.holdings.remove(holder, held);
        self.holdings.add(holder, &moved);
        round.batch.insert(row.key, moved.put_into(row.stored)?);
        round.indexed = true;
        Ok(())
    }

    /// What was said of a record's deliveries may stand in the segment that goes: it is said again.
    fn note_moved<'a>(
        &mut self,
        row: &Row<'_>,
        moved: &Held,
        channel: &'a str,
        round: &mut Round,
    ) -> Result<Holder<'a>, StageError> {
        let ranges = [(moved.record_seq, moved.from, moved.to)];
        if row.key.starts_with(keys::DEAD) {
            let message = keys::message(row.key).unwrap_or_default();
            let DeadRow { burial, .. } = DeadRow::read(row.stored)?;
            self.note_settled(message, SettledAs::Dead(burial), &ranges);
            return Ok(Holder::Dead);
        }
        if row.key.starts_with(keys::TOLD) {
            let message = keys::message(row.key).unwrap_or_default();
            self.note_settled(message, SettledAs::Gone, &ranges);
            return Ok(Holder::Told);
        }
        // It may have been a dead letter before, and a file that stays may say so.
        round.moved_waiting.extend(ranges);
        round.touched.insert(channel.to_owned());
        let (_, severity, seq) =
            keys::read_waiting(row.key).ok_or(Damaged("its key is no delivery's"))?;
        let (_, waits) = Held::read_waiting(row.stored)?;
        Ok(Holder::Channel(holdings::Row {
            channel,
            severity,
            seq,
            waits,
        }))
    }
}
