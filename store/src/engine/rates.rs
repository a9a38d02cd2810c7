//! What the rates of routes counted: some rows for each commit that counted any, in the commit itself, so that
//! a rate knows of exactly those events that are routed.
//!
//! The router asks for all of them once, when it starts, and says now and then what they come to: then its word
//! takes the place of all rows before it. So their number is bounded by how often it does, and nothing has to be
//! looked for here.

use std::collections::BTreeSet;

use super::{
    db::Db, keys, owner::Owner, read::ReadError, records::small, recover::Unsound, stage::Round,
};
use crate::{
    RateCount, RatesCounted, codec,
    frame::{self, Kind},
};

/// At most 25 bytes each: within what a value may have.
const COUNTS_PER_ROW: usize = 240;

/// Which rows an index holds; each is looked at, as one that cannot be read would end the router.
pub(super) fn rows(db: &Db) -> Result<BTreeSet<u64>, Unsound> {
    let mut rows = BTreeSet::new();
    for row in db.scan_prefix(keys::RATES) {
        let (_, stored) = row?;
        let (header, payload) = frame::decode(&stored)?;
        codec::from_plain::<Vec<RateCount>>(payload)?;
        rows.insert(header.seq);
    }
    Ok(rows)
}

/// All that was counted, oldest first.
pub(super) fn all(db: &Db) -> Result<Vec<RateCount>, ReadError> {
    let mut all = Vec::new();
    for row in db.scan_prefix(keys::RATES) {
        all.extend(small::<Vec<RateCount>>(&row?.1)?);
    }
    Ok(all)
}

impl Owner {
    pub(super) fn count_rates(&mut self, counted: &RatesCounted, round: &mut Round) {
        if counted.is_all {
            for seq in std::mem::take(&mut self.rate_rows) {
                round.batch.remove(keys::rates(seq));
            }
        }
        for counts in counted.counts.chunks(COUNTS_PER_ROW) {
            let seq = self.next_seq();
            let stored = frame::single(Kind::Rates, seq, &codec::plain(counts));
            round.batch.insert(keys::rates(seq), stored);
            self.rate_rows.insert(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::SLED_PAYLOAD_BYTES_MAX;

    #[test]
    fn a_full_row_fits_its_frame() {
        let largest = RateCount {
            key: u64::MAX,
            slot: i64::MIN,
            events: u32::MAX,
        };
        let row = codec::plain(&[largest; COUNTS_PER_ROW][..]);
        assert!(row.len() <= SLED_PAYLOAD_BYTES_MAX, "{}", row.len());
        let read: Vec<RateCount> = codec::from_plain(&row).expect("whole");
        assert_eq!(read, [largest; COUNTS_PER_ROW]);
    }
}
