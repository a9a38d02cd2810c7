//! The index of a store on a ledger stream: rows in memory, each change of them on the stream, and snapshots.
//!
//! A commit is one append on `index`: all the rows that it changes, with the commit's number. Now and then all rows are
//! written on `snapshot` or `snapshot-2`, with the number of the commit that they are as of, and what came before goes. Rows are
//! in memory: 100 to 300 bytes for each stored block that waits.
//!
//! Invariants:
//! * a commit is there whole or not at all, as an append counts when all of its messages are there;
//! * commits are numbered without gaps from the snapshot on: one that is missing is damage, and is never passed over;
//! * a snapshot that was not finished is nothing, and what there is of it goes before the next one is written: servers that
//!   fail again and again do not fill the stream so.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::Bytes;

use super::{
    db::{Changes, Rows},
    records::Totals,
    recover::Unsound,
};
use crate::{
    frame::{self, Header, Kind},
    jetstream::{
        ledger_stream::{Entry, LedgerStream},
        segments::MESSAGE_BYTES,
    },
};

const INDEX: &str = "index";
/// In turn, so that what there is of one that was not finished can go while the last one stays.
const SNAPSHOTS: [&str; 2] = ["snapshot", "snapshot-2"];
/// Below so many bytes of changes a snapshot is not worth it.
pub(super) const SNAPSHOT_BYTES: u64 = 4 << 20;

/// The index, where it lies on a stream.
pub(super) struct StreamIndex {
    stream: Arc<LedgerStream>,
    rows: Rows,
    /// Of changes since the snapshot, and of the snapshot.
    changes_bytes: u64,
    snapshot_bytes: u64,
    /// Commits since the snapshot.
    changes: u64,
    /// See [`super::StreamOptions::snapshot_bytes`].
    snapshot_bytes_min: u64,
    /// Which of the subjects has the last snapshot.
    snapshot_at: usize,
}

impl StreamIndex {
    /// Reads the rows, from all that the stream holds. A snapshot is written beyond so many bytes of changes.
    pub(super) fn load(
        stream: Arc<LedgerStream>,
        entries: &[Entry],
        snapshot_bytes_min: u64,
    ) -> Result<Self, Unsound> {
        let mut index = Self {
            rows: Rows::default(),
            changes_bytes: 0,
            snapshot_bytes: 0,
            changes: 0,
            snapshot_bytes_min,
            snapshot_at: 1,
            stream,
        };
        let mut as_of = None;
        let of = |subject: &'static str| entries.iter().filter(move |one| &*one.subject == subject);
        // What the last snapshot replaces may be about to go, and is not asked for.
        let each =
            (0..SNAPSHOTS.len()).filter_map(|at| Some((at, bounds(of(SNAPSHOTS[at])).pop()?)));
        let (at, last) = each.max_by_key(|(_, last)| *last).unzip();
        index.snapshot_at = at.unwrap_or(index.snapshot_at);
        let subject = SNAPSHOTS[index.snapshot_at];
        if let Some((_, stored)) = appends(&index.stream, subject, Vec::from_iter(last))?.pop() {
            let (header, payload) = frame::decode(&stored)?;
            index.rows.apply(Changes::read(payload)?);
            index.snapshot_bytes = stored.len() as u64;
            as_of = Some(header.seq);
        }
        let first = last.map_or(0, |(first, _)| first);
        let changes = bounds(of(INDEX).filter(|one| one.seq > first));
        for (_, stored) in appends(&index.stream, INDEX, changes)? {
            let (header, payload) = frame::decode(&stored)?;
            if as_of.is_some_and(|as_of| header.seq <= as_of) {
                continue;
            }
            let expected = as_of.map_or(Totals::EMPTY.commits, |as_of| as_of + 1);
            if header.seq != expected {
                let (found, of) = (header.seq, INDEX);
                let reason = format!("commit {expected} of its {of} is missing, {found} follows");
                return Err(Unsound::Damaged(reason));
            }
            index.rows.apply(Changes::read(payload)?);
            index.changes_bytes += stored.len() as u64;
            index.changes += 1;
            as_of = Some(header.seq);
        }
        Ok(index)
    }

    /// The rows; clones are of the same.
    pub(super) fn rows(&self) -> Rows {
        self.rows.clone()
    }

    /// Nobody waits any more for what it was read for.
    pub(super) fn opened(&self) {
        self.stream.opened();
    }

    /// What it takes on the stream, roughly.
    pub(super) fn bytes(&self) -> u64 {
        self.changes_bytes + self.snapshot_bytes + self.changes * MESSAGE_BYTES
    }

    /// Commits changes; see [`super::files::Database::commit`].
    pub(super) fn commit(&mut self, changes: Changes, commits: u64) -> io::Result<()> {
        let stored = framed(Kind::Changes, commits, |out| changes.store(out));
        let stored_bytes = stored.len() as u64;
        self.stream.append_bytes(INDEX, 0, stored)?;
        self.changes_bytes += stored_bytes;
        self.changes += 1;
        self.rows.apply(changes);
        Ok(())
    }

    /// Writes a snapshot where that is worth it, and removes what it replaces.
    pub(super) fn renew(&mut self, commits: u64) -> io::Result<()> {
        let changes_bytes = self.changes_bytes + self.changes * MESSAGE_BYTES;
        if changes_bytes < self.snapshot_bytes_min.max(2 * self.snapshot_bytes) {
            return Ok(());
        }
        self.write_snapshot(commits)
    }

    fn write_snapshot(&mut self, commits: u64) -> io::Result<()> {
        let (last, next) = (self.snapshot_at, 1 - self.snapshot_at);
        self.stream.purge(SNAPSHOTS[next], None)?;
        let stored = framed(Kind::Snapshot, commits, |out| self.rows.store(out));
        let stored_bytes = stored.len() as u64;
        let chunks = self.stream.append_bytes(SNAPSHOTS[next], 0, stored)?;
        self.snapshot_at = next;
        if let Some(first) = chunks.first() {
            self.stream.purge(INDEX, Some(first.seq))?;
            self.stream.purge(SNAPSHOTS[last], Some(first.seq))?;
        }
        self.snapshot_bytes = stored_bytes;
        self.changes_bytes = 0;
        self.changes = 0;
        Ok(())
    }
}

/// Of what is written there is one copy: a snapshot may be large.
fn framed(kind: Kind, commits: u64, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut stored = vec![0; frame::HEADER_BYTES];
    write(&mut stored);
    frame::fill(&Header::new(kind, commits), &mut stored);
    stored.into()
}

/// Appends on a subject, by the first and last sequence of each: what they hold, with the first sequence.
fn appends(
    stream: &LedgerStream,
    subject: &str,
    whole: Vec<(u64, u64)>,
) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let (Some(first), Some(last)) = (whole.first(), whole.last()) else {
        return Ok(Vec::new());
    };
    let read = stream.read_some(subject, first.0, last.1, || true)?;
    let mut read: BTreeMap<u64, Vec<u8>> = read
        .into_iter()
        .map(|(entry, payload)| (entry.seq, payload))
        .collect();
    let append = |(first, last): (u64, u64)| {
        let parts = read.extract_if(first..=last, |_, _| true);
        (first, parts.flat_map(|(_, payload)| payload).collect())
    };
    Ok(whole.into_iter().map(append).collect())
}

/// The first and last sequence of each append; all of its messages are there.
fn bounds<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<(u64, u64)> {
    let mut whole = Vec::new();
    let mut first = 0;
    for entry in entries {
        if entry.part == 1 {
            first = entry.seq;
        }
        if entry.part == entry.parts {
            whole.push((first, entry.seq));
        }
    }
    whole
}
