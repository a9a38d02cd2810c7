//! Moving what still waits out of segments that are settled but for a little.
//!
//! A channel that cannot be posted to keeps its deliveries for as long as it takes, and without this
//! each of them would keep the whole segment that it is in, with everything else that is long settled.
//!
//! Invariants: a record is durable at its new place before the index points there, and its old segment
//! goes after that, as any that nothing points to. Who read the index before and finds the segment gone
//! reads the index again ([`super::read`]). A record is moved only if three quarters of its segment are
//! settled, so no more than a third as much is written by moving as by routing. A round moves a bounded
//! piece: appends wait for it.

use super::{
    job::{Delivered, small},
    keys,
    owner::Owner,
    stage::StageError,
};
use crate::{
    frame::{Header, Kind},
    log::{Reader, SEGMENT_BYTES},
};

/// A segment with less than this that waits is given up.
const LIVE_BYTES_MIN: u64 = SEGMENT_BYTES / 4;
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

impl Owner {
    /// Moves a piece of what waits in a segment that is worth giving up.
    pub(super) fn compact(&mut self) -> Result<(), String> {
        let Some(moving) = self.moving.take().or_else(|| self.worth_giving_up()) else {
            return Ok(());
        };
        let segment = moving.segment;
        let outcome = self.move_some(moving).and_then(|batch| {
            let Some(batch) = batch else { return Ok(()) };
            let committed = self.database.logs.deliveries.commit();
            committed.map_err(|error| StageError::Failed(error.to_string()))?;
            self.totals.deliveries_end = self.database.logs.deliveries.end();
            self.commit_batch(batch).map_err(StageError::Failed)
        });
        let reason = match outcome {
            Ok(()) => return Ok(()),
            Err(StageError::Damaged(reason)) => self.damaged(reason),
            Err(StageError::Failed(reason)) => reason,
            Err(StageError::Refused(error)) => error.to_string(),
        };
        Err(format!("moving what waits in segment {segment}: {reason}"))
    }

    fn worth_giving_up(&self) -> Option<Moving> {
        let sparse = self
            .live
            .range(..self.totals.deliveries_end.segment)
            .find(|(_, live)| **live > 0 && **live < LIVE_BYTES_MIN);
        sparse.map(|(segment, _)| Moving {
            segment: *segment,
            after: keys::DELIVERIES.to_vec(),
        })
    }

    /// Appends some of the segment's records to the log, and says what changes in the index.
    fn move_some(&mut self, mut moving: Moving) -> Result<Option<sled::Batch>, StageError> {
        let mut batch = sled::Batch::default();
        let log = &mut self.database.logs.deliveries;
        let mut reader = Reader::new(log.files().clone());
        let (mut rows, mut moved_bytes) = (0, 0);
        let rest = self.database.db.range(moving.after.clone()..);
        for row in rest.skip_while({
            let after = moving.after.clone();
            move |row| matches!(row, Ok((key, _)) if key[..] == after[..])
        }) {
            let (key, value) = row?;
            if !key.starts_with(keys::DELIVERIES) {
                break;
            }
            rows += 1;
            moving.after = key.to_vec();
            let mut delivered: Delivered = small(&value)?;
            if delivered.place.start.segment == moving.segment {
                let record = reader.read(delivered.place)?;
                let Header {
                    seq,
                    items,
                    plain_bytes,
                    ..
                } = record.header;
                let kind = match delivered.notices {
                    true => Kind::Notices,
                    false => Kind::Events,
                };
                let bytes = u64::from(delivered.place.bytes);
                let left = self.live.entry(moving.segment).or_default();
                *left = left.saturating_sub(bytes);
                delivered.place = log.append(kind, seq, items, plain_bytes, record.payload());
                let segment = delivered.place.start.segment;
                *self.live.entry(segment).or_default() += bytes;
                moved_bytes += bytes;
                batch.insert(key, delivered.stored(seq));
            }
            if rows == ROWS_PER_ROUND || moved_bytes >= BYTES_PER_ROUND {
                self.moving = Some(moving);
                return Ok((moved_bytes > 0).then_some(batch));
            }
        }
        Ok((moved_bytes > 0).then_some(batch))
    }
}
