//! What became of deliveries is said in the log of deliveries too ([`super::records::Settlement`]), so that
//! a salvage without an index does not queue again what was delivered.
//!
//! Such a note stands behind its record, often in a later file, and a file goes when no record of it is
//! held any more: the record's own file may stay longer, since others wait in it. Before a file goes, its notes
//! on records in older files that stay are said again at the log's end.
//!
//! Invariants:
//! * of two notes on one delivery the one with the higher sequence is true, wherever they stand;
//! * a note is durable at its new place before its old file goes;
//! * appends wait for what is done here, so a file is read once, in order, and nothing of it is asked for by itself.

use super::{
    owner::Owner,
    records::{SettledAs, Settlement},
    stage::Round,
    tidy::live_in,
};
use crate::{
    codec,
    frame::Kind,
    log::{LogFiles, Position, ScanError, scan_some},
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

    /// Files of deliveries that nothing points to any more, oldest first.
    pub(super) fn settled_segments(&self) -> impl Iterator<Item = u64> {
        let end = self.totals.deliveries_end.segment;
        let all = self.database.logs.deliveries.sizes().keys().copied();
        all.filter(move |segment| *segment < end && live_in(&self.holdings.live, *segment) == 0)
    }

    /// Says again what the oldest file that can go says of older ones that stay; returns it when it can go.
    /// Reads one file at the most, so it may take several calls.
    pub(super) fn carry_notes(&mut self) -> Result<Option<u64>, String> {
        let Some(going) = self.settled_segments().next() else {
            return Ok(None);
        };
        let log = &self.database.logs.deliveries;
        let (files, sizes) = (log.files().clone(), log.sizes().clone());
        // All that is older stays, or it would have been the one.
        let mut ranges = Vec::new();
        for (segment, bytes) in sizes.range(..going) {
            match self.records_of.get(segment) {
                Some(range) => ranges.push(range.clone()),
                None => {
                    let range = records_of(&files, *segment, *bytes);
                    self.records_of.insert(*segment, range);
                    return Ok(None);
                }
            }
        }
        self.records_of.remove(&going);
        if ranges.is_empty() {
            return Ok(Some(going));
        }
        let before = self.database.logs.deliveries.end();
        for (stamp, mut note) in notes_of(&files, going, sizes[&going]) {
            note.deliveries
                .retain(|(record, _, _)| ranges.iter().any(|range| range.contains(record)));
            if !note.deliveries.is_empty() {
                self.note(stamp, &note);
            }
        }
        let carried = self.database.logs.deliveries.end().offset - before.offset;
        if carried > 0 {
            self.carried += carried;
            self.commit_index(&mut Round::default())?;
        }
        Ok(Some(going))
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
    let mut notes = Vec::new();
    let read = each(files, segment, bytes, |kind, stamp, payload| {
        if kind == Kind::Settled as u8
            && let Ok(note) = codec::from_plain(payload)
        {
            notes.push((stamp, note));
        }
    });
    if let Err(error) = read {
        tracing::warn!(%error, "a file of settled deliveries cannot be read to its end: a later salvage knows less of what was settled; look at \
             the disk, or who deletes messages of the ledger stream");
    }
    notes
}

fn each(
    files: &LogFiles,
    segment: u64,
    bytes: u64,
    mut found: impl FnMut(u8, u64, &[u8]),
) -> Result<(), ScanError> {
    let from = Position { segment, offset: 0 };
    let end = Position {
        segment,
        offset: bytes,
    };
    scan_some(files, from, end, |header, _, payload| {
        found(header.kind, header.seq, payload);
        true
    })?;
    Ok(())
}
