//! A store on a ledger stream ([`crate::jetstream`]): its logs as subjects, its index as a log of changes.
//!
//! A commit of the index is one append on `index`: all the rows that it changes, with the commit's number. Now and then all
//! rows are written on `snapshot` or `snapshot-2`, with the number of the commit that they are as of, and what came before goes. Rows are
//! in memory: 100 to 300 bytes for each stored block that waits.
//!
//! Invariants:
//! * an append counts when all of its messages are there, so a commit is there whole or not at all;
//! * commits are numbered without gaps from the snapshot on: one that is missing is damage, and is never passed over;
//! * a snapshot that was not finished is nothing, and what there is of it goes before the next one is written: servers that
//!   fail again and again do not fill the stream so;
//! * the logs were durable before the commit that points into them, as on a disk;
//! * a stream with records and without an index is damaged; only one with neither is new;
//! * where somebody deleted messages of the logs, only what needs them fails, and it fails here: what is not routed, the keys of
//!   the dedup window, and what waits or is a dead letter have to be there. What was told and is only kept to be looked at is
//!   given up. So moving, shedding and exporting meet nothing that is missing, and removing a segment needs nothing of it.
//!   Commands that look at what was routed or settled long ago are refused as long as a segment with a gap stays.

use std::{collections::BTreeMap, io, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Engine,
    db::{Changes, Db, Rows},
    files::{Database, LogNames, Medium, OpenError},
    holdings::Holder,
    index::Index,
    keys,
    records::{Held, START, Totals, small},
    recover::{Counters, Unsound, open_logs, read_index},
};
use crate::{
    Limits, Tenure,
    frame::{self, Header, Kind},
    jetstream::{
        IMPORTING,
        ledger_stream::{Entry, LedgerStream, whole},
        segments::{MESSAGE_BYTES, Segments},
    },
    log::{LogFiles, Position},
};

const INDEX: &str = "index";
/// In turn, so that what there is of one that was not finished can go while the last one stays.
const SNAPSHOTS: [&str; 2] = ["snapshot", "snapshot-2"];
/// Below so many bytes of changes a snapshot is not worth it.
const SNAPSHOT_BYTES: u64 = 4 << 20;

/// How a queue is opened on a ledger stream.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// What may be kept on the stream.
    pub limits: Limits,
    /// A log goes on in a new segment beyond this size, in bytes.
    pub segment_bytes: u64,
    /// Changes of the index are replaced by a snapshot beyond this size, in bytes, and beyond twice the snapshot
    /// before.
    pub snapshot_bytes: u64,
    /// Now, Unix time in milliseconds.
    pub now_unix_ms: i64,
    /// Whose end ends the opening: after it nothing is taken over any more from whoever leads then.
    pub tenure: Tenure,
}

impl StreamOptions {
    /// Without limits, by one that is alone.
    pub fn new(now_unix_ms: i64) -> Self {
        Self {
            limits: Limits::default(),
            segment_bytes: crate::log::SEGMENT_BYTES,
            snapshot_bytes: SNAPSHOT_BYTES,
            now_unix_ms,
            tenure: Tenure::always(),
        }
    }
}

/// The index, where it lies on a stream.
pub(super) struct StreamIndex {
    stream: Arc<LedgerStream>,
    rows: Rows,
    /// Of changes since the snapshot, and of the snapshot.
    changes_bytes: u64,
    snapshot_bytes: u64,
    /// Commits since the snapshot.
    changes: u64,
    /// See [`StreamOptions::snapshot_bytes`].
    snapshot_bytes_min: u64,
    /// Which of the subjects has the last snapshot.
    snapshot_at: usize,
}

impl StreamIndex {
    /// What it takes on the stream, roughly.
    pub(super) fn bytes(&self) -> u64 {
        self.changes_bytes + self.snapshot_bytes + self.changes * MESSAGE_BYTES
    }

    /// Commits changes; see [`Database::commit`].
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

/// What the queue is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Use,
    Import,
}

impl Engine {
    /// Opens the queue that a ledger stream holds, or begins one. Blocks while it is read.
    pub(crate) fn open_on_stream(
        stream: LedgerStream,
        options: &StreamOptions,
    ) -> Result<Self, OpenError> {
        Self::open_for(stream, options, Purpose::Use)
    }

    /// The same for the import that has marked the stream.
    pub(crate) fn open_to_import(
        stream: LedgerStream,
        options: &StreamOptions,
    ) -> Result<Self, OpenError> {
        Self::open_for(stream, options, Purpose::Import)
    }

    fn open_for(
        stream: LedgerStream,
        options: &StreamOptions,
        purpose: Purpose,
    ) -> Result<Self, OpenError> {
        let name = stream.name().to_owned();
        let opened = open(Arc::new(stream), options, purpose).map_err(|unsound| match unsound {
            Unsound::Unreachable(error) => OpenError::Unreachable {
                stream: name.clone(),
                error,
            },
            Unsound::Damaged(reason) => OpenError::DamagedStream {
                stream: name.clone(),
                reason,
            },
            Unsound::Newer(format) => OpenError::Newer {
                path: name.clone().into(),
                format,
            },
        });
        let (database, names, counters) = opened?;
        let limits = (&options.limits, options.now_unix_ms);
        Self::start((database, counters), names, None, limits)
    }
}

fn open(
    stream: Arc<LedgerStream>,
    options: &StreamOptions,
    purpose: Purpose,
) -> Result<(Database, LogNames, Counters), Unsound> {
    // What was cut short was never acknowledged.
    let entries = whole(stream.list()?, |entry| entry);
    let is_marked = entries.iter().any(|entry| &*entry.subject == IMPORTING);
    if is_marked && purpose == Purpose::Use {
        let text = "an import into it is not complete: no relay leads before it is; what was cut short is begun anew by \
                    the same `auditrelay import`";
        let is_importing = io::Error::new(io::ErrorKind::ResourceBusy, text);
        return Err(Unsound::Unreachable(is_importing));
    }
    let names = names(&stream, &entries)?;
    let mut index = load(stream, &entries)?;
    index.snapshot_bytes_min = options.snapshot_bytes;
    let db = Db::Memory(index.rows.clone());
    if db.get(keys::TOTALS)?.is_none() {
        begin(&names, &mut index, &entries)?;
    }
    let mut counters = read_index(&db)?;
    names.events.reaches(counters.totals.routed_end);
    names.deliveries.reaches(counters.totals.deliveries_end);
    let logs = open_logs(&names, None, options.segment_bytes, &mut counters)?;
    do_without_what_is_missing(&names, &mut index, &mut counters)?;
    index.stream.opened();
    let database = Database {
        index: Arc::new(Index::new(db)),
        logs,
        medium: Medium::Stream(index),
    };
    Ok((database, names, counters))
}

fn names(stream: &Arc<LedgerStream>, entries: &[Entry]) -> io::Result<LogNames> {
    let log = |name| -> io::Result<LogFiles> {
        let segments = Segments::new(Arc::clone(stream), name, entries.iter());
        LogFiles::on_stream(Arc::new(segments), name)
    };
    Ok(LogNames {
        events: log("events")?,
        deliveries: log("deliveries")?,
        seen: log("seen")?,
    })
}

/// Looks whether what is missing of the logs is needed. The other logs were read as far as they are.
fn do_without_what_is_missing(
    names: &LogNames,
    index: &mut StreamIndex,
    counters: &mut Counters,
) -> Result<(), Unsound> {
    let db = Db::Memory(index.rows.clone());
    // The segment that followed one may be gone, which said how long that was.
    let mut reached = BTreeMap::<u64, u64>::new();
    for row in db.scan_prefix(keys::HELD) {
        let end = Held::read(&row?.1)?.place.end();
        let offset = reached.entry(end.segment).or_default();
        *offset = end.offset.max(*offset);
    }
    for (segment, offset) in reached {
        names.deliveries.reaches(Position { segment, offset });
    }
    let gaps = names.deliveries.gaps();
    let others = names.events.gaps().len() + names.seen.gaps().len();
    if gaps.len() + others == 0 {
        return Ok(());
    }
    let mut given_up = Changes::default();
    let mut told_deliveries = 0;
    for row in db.scan_prefix(keys::HELD) {
        let (key, stored) = row?;
        let held = Held::read(&stored)?;
        let (start, end) = (held.place.start, held.place.end());
        let is_in = |(segment, gap): &&(u64, Range<u64>)| {
            *segment == start.segment && gap.start < end.offset && start.offset < gap.end
        };
        let Some((segment, gap)) = gaps.iter().find(is_in) else {
            continue;
        };
        if !key.starts_with(keys::TOLD) {
            let segment = names.deliveries.path(*segment);
            let reason = format!(
                "{} lacks its bytes {} to {}: messages of it were deleted, and with them what waits for a channel or is a \
                 dead letter",
                segment.display(),
                gap.start,
                gap.end
            );
            return Err(Unsound::Damaged(reason));
        }
        given_up.remove(key);
        told_deliveries += held.count();
        counters.holdings.remove(Holder::Told, &held);
    }
    if told_deliveries > 0 {
        // As it is stored: what was counted since is counted again by who opens it next.
        let mut totals: Totals = small(&db.get(keys::TOTALS)?.unwrap_or_default())?;
        totals.commits += 1;
        counters.totals.commits = totals.commits;
        given_up.insert(keys::TOTALS, totals.stored());
        index.commit(given_up, totals.commits)?;
    }
    tracing::warn!(
        gaps = gaps.len() + others,
        told_deliveries,
        "messages of the ledger stream were deleted that nothing needs any more; the relay goes on without them, and without the detail of \
         told deliveries that they held: see who else may delete messages there"
    );
    Ok(())
}

/// Makes an empty store.
fn begin(names: &LogNames, index: &mut StreamIndex, entries: &[Entry]) -> Result<(), Unsound> {
    let is_record = |entry: &&Entry| &*entry.subject != "fence" && entry.bytes > 0;
    if let Some(record) = entries.iter().find(is_record) {
        let reason = format!("it holds {}, and its index is missing", record.subject);
        return Err(Unsound::Damaged(reason));
    }
    for log in [&names.events, &names.deliveries, &names.seen] {
        log.create(START.segment)?;
    }
    let mut first = Changes::default();
    first.insert(keys::TOTALS, Totals::EMPTY.stored());
    Ok(index.commit(first, Totals::EMPTY.commits)?)
}

/// Reads the rows.
fn load(stream: Arc<LedgerStream>, entries: &[Entry]) -> Result<StreamIndex, Unsound> {
    let mut index = StreamIndex {
        rows: Rows::default(),
        changes_bytes: 0,
        snapshot_bytes: 0,
        changes: 0,
        snapshot_bytes_min: SNAPSHOT_BYTES,
        snapshot_at: 1,
        stream,
    };
    let mut as_of = None;
    let of = |subject: &'static str| entries.iter().filter(move |one| &*one.subject == subject);
    // What the last snapshot replaces may be about to go, and is not asked for.
    let each = (0..SNAPSHOTS.len()).filter_map(|at| Some((at, bounds(of(SNAPSHOTS[at])).pop()?)));
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

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "stream_gap_tests.rs"]
mod gap_tests;
