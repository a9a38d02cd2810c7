//! Moving what still waits out of segments that are settled but for a little.
//!
//! A channel that cannot be posted to keeps its deliveries for as long as it takes, and without this
//! each of them would keep the whole segment that it is in, with everything else that is long settled.
//!
//! Invariants: a record is durable at its new place before the index points there, and its old segment
//! goes after that. Who read the index before and finds the segment gone reads the index again
//! ([`super::read`]). A record is moved only if three quarters of its segment are settled, so no more than
//! a third as much is written by moving as by routing.

use super::{
    job::{Delivered, small},
    keys,
    owner::Owner,
};
use crate::{
    frame::{Header, Kind},
    log::{Reader, SEGMENT_BYTES},
};

/// A segment with less than this that waits is given up.
const LIVE_BYTES_MIN: u64 = SEGMENT_BYTES / 4;

impl Owner {
    /// Gives up one segment, if there is one to give up.
    pub(super) fn compact(&mut self) -> Result<(), String> {
        let current = self.database.logs.deliveries.end().segment;
        let sparse = self
            .live
            .range(..current)
            .find(|(_, live)| **live < LIVE_BYTES_MIN);
        let Some(segment) = sparse.map(|(segment, _)| *segment) else {
            return Ok(());
        };
        let batch = self
            .moved(segment)
            .map_err(|error| format!("moving what waits in segment {segment}: {error}"))?;
        self.database
            .logs
            .deliveries
            .commit()
            .map_err(|error| format!("the log of deliveries: {error}"))?;
        self.totals.deliveries_end = self.database.logs.deliveries.end();
        self.commit_batch(batch)?;
        self.live.remove(&segment);
        let removed = self.database.logs.deliveries.files().remove(segment);
        removed.map_err(|error| format!("removing segment {segment}: {error}"))
    }

    /// Appends the segment's live records to the log, and says what changes in the index.
    fn moved(&mut self, segment: u64) -> Result<sled::Batch, Box<dyn std::error::Error>> {
        let mut batch = sled::Batch::default();
        let log = &mut self.database.logs.deliveries;
        let mut reader = Reader::new(log.files().clone());
        for row in self.database.db.scan_prefix(keys::DELIVERIES) {
            let (key, value) = row?;
            let mut delivered: Delivered = small(&value)?;
            if delivered.place.start.segment != segment {
                continue;
            }
            let record = reader.read(delivered.place)?;
            let Header {
                seq,
                items,
                plain_bytes,
                ..
            } = record.header;
            let kind = if delivered.notices {
                Kind::Notices
            } else {
                Kind::Events
            };
            delivered.place = log.append(kind, seq, items, plain_bytes, record.payload());
            let bytes = u64::from(delivered.place.bytes);
            *self.live.entry(delivered.place.start.segment).or_default() += bytes;
            batch.insert(key, delivered.stored(seq));
        }
        Ok(batch)
    }
}
