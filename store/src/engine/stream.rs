//! A store on a ledger stream ([`crate::jetstream`]): its logs as subjects, its index as a log of changes
//! ([`super::stream_index`]).
//!
//! Invariants:
//! * an append counts when all of its messages are there;
//! * the logs were durable before the commit that points into them, as on a disk;
//! * a stream with records and without an index is damaged; only one with neither is new;
//! * where somebody deleted messages of the logs, only what needs them fails, and it fails here: what is not routed, the keys of
//!   the dedup window, and what waits or is a dead letter have to be there. What was told and is only kept to be looked at is
//!   given up. So moving, shedding and exporting meet nothing that is missing, and removing a segment needs nothing of it.
//!   Commands that look at what was routed or settled long ago are refused as long as a segment with a gap stays.

use std::{collections::BTreeMap, io, ops::Range, sync::Arc};

use super::{
    Engine,
    db::{Changes, Db},
    files::{Database, LogNames, Medium, OpenError},
    holdings::Holder,
    index::Index,
    keys,
    records::{Held, START, Totals, small},
    recover::{Counters, Unsound, open_logs, read_index},
    stream_index::{SNAPSHOT_BYTES, StreamIndex},
};
use crate::{
    Limits, Tenure,
    jetstream::{
        IMPORTING,
        ledger_stream::{Entry, LedgerStream, whole},
        segments::Segments,
    },
    log::{LogFiles, Position},
};

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
    let mut index = StreamIndex::load(stream, &entries, options.snapshot_bytes)?;
    let db = Db::Memory(index.rows());
    if db.get(keys::TOTALS)?.is_none() {
        begin(&names, &mut index, &entries)?;
    }
    let mut counters = read_index(&db)?;
    names.events.reaches(counters.totals.routed_end);
    names.deliveries.reaches(counters.totals.deliveries_end);
    let logs = open_logs(&names, None, options.segment_bytes, &mut counters)?;
    do_without_what_is_missing(&names, &mut index, &mut counters)?;
    index.opened();
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
    let db = Db::Memory(index.rows());
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

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "stream_gap_tests.rs"]
mod gap_tests;
