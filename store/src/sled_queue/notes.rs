//! What became of deliveries is said in the log of deliveries too ([`super::records::Settlement`]), so that
//! a salvage without an index does not queue again what was delivered.
//!
//! Such a note stands behind its record, often in a later file, and a file goes when no record of it is
//! held any more: the record's own file may stay longer, since others wait in it. Before a file goes, its notes
//! on records in older files that stay are said again at the log's end.
//!
//! Invariants:
//! * of two notes on one delivery the one with the higher sequence is true, wherever they stand;
//! * a note is durable at its new place before its old file goes.

use super::{
    owner::Owner,
    records::{SettledAs, Settlement},
    tidy::live_in,
};
use crate::{
    codec,
    frame::Kind,
    log::{LogFiles, Place, Position, Reader, ScanError, scan_some},
};

impl Owner {
    /// Says in the log of deliveries what does not wait any more: records by their sequence, and which of
    /// their deliveries.
    pub(super) fn note_settled(
        &mut self,
        message: u64,
        fate: SettledAs,
        deliveries: &[(u64, u32, u32)],
    ) {
        let stamp = self.next_seq();
        let settlement = Settlement {
            message,
            fate,
            deliveries: deliveries.to_vec(),
        };
        self.note(stamp, &settlement);
    }

    fn note(&mut self, stamp: u64, settlement: &Settlement) {
        let log = &mut self.database.logs.deliveries;
        let (payload, items) = (codec::plain(settlement), settlement.deliveries.len());
        log.append(Kind::Settled, stamp, items as u32, 0, &[&payload]);
    }

    /// Files of deliveries that nothing points to any more.
    pub(super) fn settled_segments(&self) -> Vec<u64> {
        let end = self.totals.deliveries_end.segment;
        let all = self.database.logs.deliveries.sizes().keys().copied();
        all.filter(|segment| *segment < end && live_in(&self.holdings.live, *segment) == 0)
            .collect()
    }

    /// Says again what files that are about to go say of older ones that stay; says whether there was
    /// anything.
    pub(super) fn carry_notes(&mut self, going: &[u64]) -> bool {
        let files = self.database.logs.deliveries.files().clone();
        let sizes = self.database.logs.deliveries.sizes().clone();
        let mut carried = false;
        for segment in going {
            let older = sizes
                .range(..segment)
                .filter(|(one, _)| !going.contains(one));
            let mut ranges = Vec::new();
            for (one, bytes) in older {
                let range = self.records_of.entry(*one);
                let range = range.or_insert_with(|| records_of(&files, *one, *bytes));
                ranges.push(range.clone());
            }
            if ranges.is_empty() {
                continue;
            }
            for (stamp, mut note) in notes_of(&files, *segment, sizes[segment]) {
                note.deliveries
                    .retain(|(record, _, _)| ranges.iter().any(|range| range.contains(record)));
                if !note.deliveries.is_empty() {
                    self.note(stamp, &note);
                    carried = true;
                }
            }
            self.records_of.remove(segment);
        }
        carried
    }
}

/// Sequences of records.
pub(super) type Sequences = std::ops::RangeInclusive<u64>;

/// Between which sequences the records of a file are. It is not written to any more, so it is read once.
fn records_of(files: &LogFiles, segment: u64, bytes: u64) -> Sequences {
    let (mut first, mut last) = (u64::MAX, 0);
    let whole = each(files, segment, bytes, |kind, seq, _| {
        if kind != Kind::Settled as u8 {
            first = first.min(seq);
            last = last.max(seq);
        }
    });
    match whole {
        Ok(()) => first..=last,
        // What it holds is not known.
        Err(_) => 0..=u64::MAX,
    }
}

/// What can be read of a file's notes. Damage does no harm here: nothing else of it is needed.
fn notes_of(files: &LogFiles, segment: u64, bytes: u64) -> Vec<(u64, Settlement)> {
    let mut places = Vec::new();
    let read = each(files, segment, bytes, |kind, seq, place| {
        if kind == Kind::Settled as u8 {
            places.push((seq, place));
        }
    });
    if let Err(error) = read {
        tracing::warn!(%error, "a file of settled deliveries cannot be read to its end");
    }
    let mut reader = Reader::new(files.clone());
    let note = |(stamp, place)| {
        let record = reader.read(place).ok()?;
        Some((stamp, codec::from_plain(record.payload()).ok()?))
    };
    places.into_iter().filter_map(note).collect()
}

fn each(
    files: &LogFiles,
    segment: u64,
    bytes: u64,
    mut found: impl FnMut(u8, u64, Place),
) -> Result<(), ScanError> {
    let from = Position { segment, offset: 0 };
    let end = Position {
        segment,
        offset: bytes,
    };
    scan_some(files, from, end, |header, place| {
        found(header.kind, header.seq, place);
        true
    })?;
    Ok(())
}
